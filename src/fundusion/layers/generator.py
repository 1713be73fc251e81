"""One module for every model that answers in words: a model of transformers, its tokenizer, its style and how pictures enter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput, require
from ..core.interfaces import Decoding, Turn, Words
from .chat import ChatStyle, check_turns, read_chats
from .hub_folder import save_folder
from .int8 import is_int8
from .packing import Packed

#: Key of pictures that were given without a modality.
ANY = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Pictures of a call by modality, and which row has them.

    Args:
        images: Modality to `(B, 3, H, W)`; what stands in an absent row does not matter.
        present: Modality to bool `(B,)`.
    """

    images: Mapping[str, Tensor]
    present: Mapping[str, Tensor]

    def rows(self, index: Tensor) -> Pictures:
        """Return some rows."""
        return Pictures(
            images={m: x[index] for m, x in self.images.items()}, present={m: x[index] for m, x in self.present.items()}
        )

    def only(self) -> Tensor | None:
        """Return the pictures of the rows that have one, for models that read one kind; None without any."""
        if not self.images:
            return None
        ((name, images),) = self.images.items()
        rows = self.present[name]
        return images[rows] if bool(rows.any()) else None


def pictures_of(images: Tensor | Mapping[str, Tensor] | None, present: Any, count: int) -> Pictures:
    """Return pictures and their presence by modality, checked against the number of conversations.

    Raises:
        InvalidInput: Another shape, number of rows, NaN in a row that has a picture.
    """
    given = {} if images is None else dict(images) if isinstance(images, Mapping) else {ANY: images}
    told = {} if present is None else dict(present) if isinstance(present, Mapping) else {ANY: present}
    shown = {}
    for name, value in given.items():
        is_block = isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 4
        if not is_block or value.shape[1] != 3 or len(value) != count:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InvalidInput(
                f"expected normalised images ({count}, 3, H, W), one for each conversation, got {got}.",
                code="chat.images",
                hint="Give one picture per modality and conversation; repeat the channel of grey ones.",
            )
        shown[name] = told.get(name, torch.ones(count, dtype=torch.bool)).to(value.device)
        if shown[name].dtype != torch.bool or shown[name].shape != (count,):
            raise InvalidInput(f"present is bool ({count},), got {tuple(shown[name].shape)}.", code="chat.images")
        if not bool(torch.isfinite(value[shown[name]]).all()):
            raise InvalidInput("a picture holds NaN or infinity.", code="chat.images")
    if set(told) - set(given):
        raise InvalidInput(f"present names {sorted(told)}, and images are of {sorted(given)}.", code="chat.images")
    return Pictures(images=given, present=shown)


class Feed(Protocol):
    """How pictures enter one family of models."""

    def places(self, pictures: Pictures, count: int) -> list[str]:
        """Return the words that stand for the pictures of each row."""
        ...

    def inputs(self, pictures: Pictures, words: Words) -> dict[str, Any]:
        """Return the arguments of the model."""
        ...

    def prompt(self, pictures: Pictures, words: Words) -> dict[str, Any]:
        """Return the arguments of its generation."""
        ...


class ChatModel(nn.Module):
    """A language model that reads conversations and, through its feed, pictures.

    Args:
        body: Of transformers: `forward(...).logits` and `generate`.
        tokenizer: Its fast tokenizer.
        style: How turns are written for it.
        feed: How pictures enter.
        start: Id before the words; None adds none.
        limit: Most tokens of a conversation, pictures and answer included.
        pads: False: prompts of one length only are answered together, as absolute positions count.
        decoding: When none is asked for.
    """

    def __init__(
        self,
        body: Any,
        tokenizer: Any,
        *,
        style: ChatStyle,
        feed: Feed,
        start: int | None,
        limit: int,
        pads: bool = True,
        decoding: Decoding | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self._tokenizer, self._style, self._feed = tokenizer, style, feed
        self.start, self.limit, self.pads = start, limit, pads
        self.decoding = decoding or Decoding()

    @property
    def side(self) -> int | None:
        """Side of the pictures this model reads, px; None where any is read, or none."""
        return getattr(self._feed, "side", None)

    @property
    def marks(self) -> tuple[str, ...]:
        """Words that open a turn in the style of this model: an answer that goes on with one speaks for somebody else."""
        return self._style.marks

    def read(
        self,
        images: Tensor | Mapping[str, Tensor] | None,
        messages: Sequence[Sequence[Turn]],
        *,
        answers: bool = True,
        present: Any = None,
    ) -> Words:
        """Return token ids; with `answers` the last turn is the answer to learn and padding is on the right, else on the left."""
        return self._read(pictures_of(images, present, len(messages)), messages, answers=answers)

    def _read(self, pictures: Pictures, messages: Sequence[Sequence[Turn]], *, answers: bool) -> Words:
        check_turns(messages, answers=answers)
        places = self._feed.places(pictures, len(messages))
        words = read_chats(
            self._tokenizer, messages, places, style=self._style, start=self.start, limit=self.limit, left=not answers
        )
        # A family that reads more than the conversation, such as queries that read the question, has two more verbs.
        if hasattr(self._feed, "read_more"):
            words = replace(words, extras=self._feed.read_more(messages))
        device = next(self.body.parameters()).device
        moved = {k: v.to(device) for k, v in words.extras.items()}
        return Words(ids=words.ids.to(device), mask=words.mask.to(device), answer=words.answer.to(device), extras=moved)

    def check_length(self, messages: Sequence[Sequence[Turn]], *, pictures: int = 0) -> None:
        """Refuse conversations that this model cannot read, before a picture is opened.

        Args:
            messages: Turns per row, the last an answer.
            pictures: Pictures of each row, told of families whose pictures take a known number of tokens.

        Raises:
            InvalidInput: Too long, or sides in another order.
        """
        check_turns(messages, answers=True)
        count = int(getattr(self._feed, "count", 0)) * min(pictures, 1)
        read_chats(
            self._tokenizer, messages, [""] * len(messages), style=self._style, start=self.start, limit=self.limit - count,
            left=False,
        )  # fmt: skip

    def spare_memory(self) -> None:
        """Compute activations of the language model again in the backward pass instead of keeping them."""
        inner: Any = getattr(self.body, "language_model", None)
        for name in ("activation_checkpointing_enable", "gradient_checkpointing_enable"):
            # The second is the name of the library before 5.20.
            switch = getattr(self.body, name, None) or getattr(inner, name, None)
            if switch is not None:
                switch()
                return

    def token_logits(
        self, images: Tensor | Mapping[str, Tensor] | None, words: Words, *, present: Any = None
    ) -> Tensor:
        """Return float32 logits `(B, T, V)`; those at place t are of the token at t + 1."""
        pictures = self._as_body(pictures_of(images, present, len(words.ids)))
        return self.body(**self._feed.inputs(pictures, words)).logits.float()

    @property
    def packs(self) -> bool:
        """Whether several conversations may stand in one row."""
        return bool(getattr(self._feed, "packs", False))

    def packed_logits(
        self, images: Tensor | Mapping[str, Tensor] | None, packed: Packed, count: int, *, present: Any = None
    ) -> Tensor:
        """Return float32 logits of packed conversations; those of one do not depend on the others in its row.

        Args:
            images: Of the conversations, in their order.
            packed: What `pack` made of `read`.
            count: Number of conversations.
            present: Which conversation has its picture.

        Raises:
            InvalidInput: This family counts positions in a way that allows no packing (`config.packing`).
        """
        if not self.packs:
            raise InvalidInput(
                "conversations of this model cannot be packed.", code="config.packing", hint="Leave out packing."
            )
        pictures = self._as_body(pictures_of(images, present, count))
        given = self._feed.inputs(pictures, packed.words)
        dtype = self.body.get_input_embeddings().weight.dtype
        given |= {"attention_mask": packed.mask(dtype), "position_ids": packed.places}
        return self.body(**given).logits.float()

    def _as_body(self, pictures: Pictures) -> Pictures:
        # Some libraries keep a few weights exact in a model of half precision; pictures go to the others.
        kinds = {p.dtype for p in self.body.parameters()}
        dtype = torch.bfloat16 if torch.bfloat16 in kinds else torch.float32
        device = next(self.body.parameters()).device
        return replace(pictures, images={m: x.to(device, dtype) for m, x in pictures.images.items()})

    @torch.no_grad()
    def generate(
        self,
        images: Tensor | Mapping[str, Tensor] | None,
        messages: Sequence[Sequence[Turn]],
        *,
        max_tokens: int = 128,
        decoding: Decoding | None = None,
        seed: int = 0,
        stop: Sequence[str] = (),
        present: Any = None,
        watch: Callable[[list[str]], None] | None = None,
    ) -> list[str]:
        """Return one answer per conversation, without its prompt.

        Args:
            images: `(B, 3, H, W)`, or by modality, or None.
            messages: Turns per row; the last is of the user.
            max_tokens: Most new tokens.
            decoding: How tokens are chosen; None takes the rule of the model.
            seed: Of the draws; the random state of the caller is left alone.
            stop: An answer ends before the first of these words.
            present: Which row has its picture.
            watch: Called after every token with the answers so far of the rows that are being answered.
        """
        if max_tokens < 1 or any(not s for s in stop):
            raise InvalidInput(
                f"max_tokens {max_tokens} must be positive and stop words not empty.", code="config.decoding"
            )
        pictures = self._as_body(pictures_of(images, present, len(messages)))
        words = self._read(pictures, messages, answers=False)
        self._check_room(words, max_tokens)
        rule, was = decoding or self.decoding, self.body.training
        answers = [""] * len(messages)
        self.body.eval()
        devices = [words.ids.device.index or 0] if words.ids.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(seed)
                for rows, part in self._groups(words):
                    made = self._answer(pictures.rows(rows), part, self._settings(rule, max_tokens), stop, watch)
                    for row, text in zip(rows.tolist(), made, strict=True):
                        answers[row] = text
        finally:
            self.body.train(was)
        return answers

    def _check_room(self, words: Words, max_tokens: int) -> None:
        longest = int(words.mask.sum(1).max())
        if longest + max_tokens > self.limit:
            raise InvalidInput(
                f"a prompt of {longest} tokens and {max_tokens} new ones are more than this model reads, {self.limit}.",
                code="text.too_long",
                hint="Ask a shorter question or for fewer tokens.",
            )

    def _groups(self, words: Words) -> list[tuple[Tensor, Words]]:
        lengths = words.mask.sum(1)
        if self.pads:
            return [(torch.arange(len(lengths), device=lengths.device), words)]
        groups = []
        for length in sorted(set(lengths.tolist())):
            rows = torch.nonzero(lengths == length)[:, 0]
            part = {k: getattr(words, k)[rows][:, -length:] for k in ("ids", "mask", "answer")}
            groups.append((rows, Words(**part, extras={k: v[rows] for k, v in words.extras.items()})))
        return groups

    def _settings(self, rule: Decoding, max_tokens: int) -> Any:
        transformers = require("transformers", extra="text")
        own = getattr(getattr(self.body, "generation_config", None), "eos_token_id", None)
        ends = {self._tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])}
        if self._style.end:
            ends.add(self._tokenizer.convert_tokens_to_ids(self._style.end))
        drawn = {"do_sample": False}
        if rule.temperature > 0:
            drawn = {"do_sample": True, "temperature": rule.temperature, "top_k": rule.top_k, "top_p": rule.top_p}
        return transformers.GenerationConfig(
            max_new_tokens=max_tokens, num_beams=rule.beams, repetition_penalty=rule.repetition_penalty,
            eos_token_id=sorted(e for e in ends if e is not None), pad_token_id=self._tokenizer.pad_token_id or 0,
            bos_token_id=self._tokenizer.bos_token_id, **drawn,
        )  # fmt: skip

    def _answer(
        self,
        pictures: Pictures,
        words: Words,
        settings: Any,
        stop: Sequence[str],
        watch: Callable[[list[str]], None] | None,
    ) -> list[str]:
        """Return the answers of prompts that are padded on the left."""
        return self._made(self._feed.prompt(pictures, words), words.ids.shape[1], settings, stop, watch)

    def _made(
        self,
        given: Mapping[str, Any],
        length: int,
        settings: Any,
        stop: Sequence[str],
        watch: Callable[[list[str]], None] | None,
    ) -> list[str]:
        """Return what is generated after the first `length` ids of the library's answer."""

        def ended(ids: Tensor, scores: Any, **_: Any) -> Tensor:
            said = [self._said(row, stop) for row in ids[:, length:]]
            if watch is not None:
                watch([text for text, _ in said])
            return torch.tensor([done for _, done in said], device=ids.device)

        rules = {"stopping_criteria": [ended]} if stop or watch is not None else {}
        told = self._feed.rules(settings) if hasattr(self._feed, "rules") else {"generation_config": settings}
        made = self.body.generate(**given, **told, **rules)
        return [self._said(row, stop)[0].strip() for row in made[:, length:]]

    def _said(self, ids: Tensor, stop: Sequence[str]) -> tuple[str, bool]:
        text = self._tokenizer.decode(ids.tolist(), skip_special_tokens=True)
        found = [text.index(s) for s in stop if s in text]
        return (text[: min(found)], True) if found else (text, False)

    def save(self, folder: str | Path) -> None:
        """Write weights, settings and tokenizer into a folder that `weights=FOLDER` reads.

        Raises:
            InvalidInput: Low-rank adapters are attached, or weights were rounded to eight bits.
        """
        if is_int8(self.body):
            raise InvalidInput(
                "weights of eight bits are not saved; they are made in loading.",
                code="model.precision",
                hint="Save the model as it was before.",
            )
        # A family whose adapters are part of it writes them beside the weights.
        if hasattr(self._feed, "save_whole"):
            save_folder(folder, self.body, self._tokenizer, self._feed.save_whole(Path(folder), self.body))
            return
        if any(".lora_" in n for n, _ in self.body.named_parameters()):
            raise InvalidInput(
                "this model has low-rank adapters; a folder holds whole weights.",
                code="model.adapters",
                hint="Save the adapters alone, or merge them first.",
            )
        save_folder(folder, self.body, self._tokenizer)
        if hasattr(self._feed, "save_more"):
            self._feed.save_more(Path(folder))
