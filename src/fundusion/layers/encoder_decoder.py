"""Conversations for language models with an encoder, such as Flan-T5: the prompt is read whole, the answer is written apart from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Turn, Words
from .chat import PLAIN, padded
from .generator import ChatModel, Feed, Pictures, pictures_of

#: Length T5 was trained at; its positions are relative, so that nothing in the network tells.
TRAINED_LENGTH = 512


def plain_chat(body: Any, tokenizer: Any, feed: Feed) -> ChatModel:
    """Return the chat model of a vision and language model whose prompt goes on as the answer, with an encoder or without.

    Args:
        body: Of transformers, with `config.text_config`.
        tokenizer: Of its language model.
        feed: How pictures enter.
    """
    text = body.config.text_config
    if text.is_encoder_decoder:
        limit = min(TRAINED_LENGTH, int(tokenizer.model_max_length))
        return EncoderDecoderChat(body, tokenizer, style=PLAIN, feed=feed, start=None, limit=limit)
    limit = int(text.max_position_embeddings)
    return ChatModel(body, tokenizer, style=PLAIN, feed=feed, start=tokenizer.bos_token_id, limit=limit)


class EncoderDecoderChat(ChatModel):
    """A chat model whose language model has an encoder; everything is as in `ChatModel`, with two differences.

    Only the last answer of a conversation is learned, because what stands before it is read as a whole and not written; and prompt and
    answer each have the room of `limit`.

    Source: Raffel et al. 2020, arXiv:1910.10683, section 2.1; library transformers.
    """

    def _read(self, pictures: Pictures, messages: Sequence[Sequence[Turn]], *, answers: bool) -> Words:
        words = super()._read(pictures, messages, answers=answers)
        return replace(words, answer=_last_run(words.answer))

    def token_logits(
        self, images: Tensor | Mapping[str, Tensor] | None, words: Words, *, present: Any = None
    ) -> Tensor:
        """Return float32 logits `(B, T, V)`; those at place t are of the token at t + 1, and zero where the encoder reads."""
        pictures = self._as_body(pictures_of(images, present, len(words.ids)))
        learned = words.answer & words.mask
        asked = words.mask & ~learned
        said = [row[marks] for row, marks in zip(words.ids, learned, strict=True)]
        # The decoder begins where the prompt ends: its first token is told by the last place of the prompt.
        places = [
            torch.cat([asking.nonzero()[-1], marks.nonzero()[:, 0]])
            for asking, marks in zip(asked, learned, strict=True)
        ]
        device, longest = words.ids.device, max(len(p) for p in places)
        before = torch.full((len(said), longest), self._begin, dtype=torch.long, device=device)
        mask = torch.zeros((len(said), longest), dtype=torch.long, device=device)
        for i, ids in enumerate(said):
            before[i, 1 : len(ids) + 1] = ids
            mask[i, : len(ids) + 1] = 1
        given = self._feed.inputs(pictures, self._prompt(replace(words, mask=asked)))
        found = self.body(**given, decoder_input_ids=before, decoder_attention_mask=mask).logits.float()
        logits = found.new_zeros((*words.ids.shape, found.shape[-1]))
        rows = torch.cat([torch.full_like(p, i) for i, p in enumerate(places)])
        order = torch.cat([torch.arange(len(p), device=device) for p in places])
        return logits.index_put((rows, torch.cat(places)), found[rows, order])

    @property
    def _begin(self) -> int:
        """Id that the answer begins after."""
        config = self.body.config.text_config
        begin = config.decoder_start_token_id
        return int(config.pad_token_id if begin is None else begin)

    def _prompt(self, words: Words) -> Words:
        """Return the words that the mask shows and the end token, as the encoder was trained to read them."""
        end = int(self._tokenizer.eos_token_id)
        rows = [[*row[marks].tolist(), end] for row, marks in zip(words.ids, words.mask, strict=True)]
        made = padded([(ids, [False] * len(ids)) for ids in rows], self._tokenizer.pad_token_id, left=False)
        device = words.ids.device
        moved = {k: getattr(made, k).to(device) for k in ("ids", "mask", "answer")}
        return Words(**moved, extras=words.extras)

    def _check_room(self, words: Words, max_tokens: int) -> None:
        longest = int(words.mask.sum(1).max())
        if max(longest + 1, max_tokens) > self.limit:
            raise InvalidInput(
                f"a prompt of {longest + 1} tokens or an answer of {max_tokens} is more than this model reads, {self.limit}.",
                code="text.too_long",
                hint="Ask a shorter question or for fewer tokens.",
            )

    def _answer(
        self,
        pictures: Pictures,
        words: Words,
        settings: Any,
        stop: Sequence[str],
        watch: Callable[[list[str]], None] | None,
    ) -> list[str]:
        settings.decoder_start_token_id = self._begin
        return self._made(self._feed.prompt(pictures, self._prompt(words)), 1, settings, stop, watch)


def _last_run(marks: Tensor) -> Tensor:
    """Return bool `(B, T)` with the last run of each row alone.

    Example:
        >>> _last_run(torch.tensor([[True, False, True, True, False]])).int().tolist()
        [[0, 0, 1, 1, 0]]
    """
    begins = marks & ~torch.cat([torch.zeros_like(marks[:, :1]), marks[:, :-1]], 1)
    number = begins.long().cumsum(1)
    return marks & (number == number.amax(1, keepdim=True))
