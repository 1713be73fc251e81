"""BLIP-2's first stage: queries learn to ask a frozen image encoder what texts say, without a language model.

Source: Li et al. 2023, arXiv:2301.12597, section 3.2, and released code salesforce/LAVIS (BSD-3-Clause), blip2_qformer.py, written from a
description: contrast over the best query with smoothing 0.1; matching over three times as many pairs, the mean of the queries' answers;
text written by the queries' Q-Former itself, where queries see queries, and a word sees the queries and the words before it. Deviations:
words are those of the tokenizer of the language model (released: BERT's), and the part that reads them starts as a copy of the part that
reads queries, because a folder of the library holds no other.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import InvalidInput, require
from ..core.interfaces import Loss, Turn, Words
from ..core.registry import Card, objectives
from ..layers.chat import PLAIN, read_chats
from ..layers.language_loss import answer_loss
from ..layers.pair_losses import soft_contrast, wrong_partners


class Querying(nn.Module):
    """The three losses of the first stage; the parts that read queries are those of the network itself.

    Args:
        network: BLIP-2 (`blip2.*`).
        width: Of the common space.
        smoothing: Of the contrast and of the next word.
        max_tokens: Longer texts are cut.
    """

    def __init__(self, network: Any, *, width: int = 256, smoothing: float = 0.1, max_tokens: int = 128) -> None:
        super().__init__()
        body = network.body
        if not hasattr(body, "qformer") or not hasattr(body, "query_tokens"):
            raise InvalidInput(
                "the first stage is that of BLIP-2.", code="config.objective", hint="Use --model blip2.*"
            )
        if not 0 <= smoothing < 1:
            raise InvalidInput(f"smoothing is in [0, 1), got {smoothing}.", code="config.invalid")
        library: Any = require("transformers.models.blip_2.modeling_blip_2", extra="text")
        self._words = network._tokenizer
        settings = copy.deepcopy(body.qformer.config)
        settings.use_qformer_text_input = True
        # One more than the words: the mark with which writing begins.
        settings.vocab_size = len(self._words) + 1
        self.begin, self.limit, self.smoothing = (
            len(self._words),
            min(max_tokens, settings.max_position_embeddings),
            smoothing,
        )
        self.qformer = library.Blip2QFormerModel(settings)
        self._share(body.qformer)
        self.embeddings = library.Blip2TextEmbeddings(settings)
        nn.init.normal_(self.embeddings.word_embeddings.weight, std=0.02)
        nn.init.normal_(self.embeddings.position_embeddings.weight, std=0.02)
        hidden = settings.hidden_size
        self.image_projection, self.text_projection = nn.Linear(hidden, width), nn.Linear(hidden, width)
        self.match, self.write = nn.Linear(hidden, 2), nn.Linear(hidden, settings.vocab_size)
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def _share(self, own: Any) -> None:
        self.qformer.layernorm, self.qformer.dropout = own.layernorm, own.dropout
        for layer, known in zip(self.qformer.encoder.layer, own.encoder.layer, strict=True):
            for name in ("attention", "crossattention", "intermediate_query", "output_query"):
                if hasattr(known, name):
                    setattr(layer, name, getattr(known, name))
            layer.intermediate = copy.deepcopy(known.intermediate_query)
            layer.output = copy.deepcopy(known.output_query)

    def __call__(self, network: Any, images: Any, captions: Sequence[str], **how: Any) -> Loss:
        """Return the loss of texts of pictures; see `forward`."""
        return super().__call__(network, images, captions, **how)

    def forward(
        self, network: Any, images: Tensor, captions: Sequence[str], *, generator: Any = None, **_: Any
    ) -> Loss:
        """Return the loss of texts of pictures `(B, 3, H, W)`, B at least 2.

        Args:
            network: As given at the start, or a copy whose queries are shared.
            images: One per text.
            captions: Not blank.
            generator: Draws the wrong partners.
        """
        if len(captions) < 2:
            raise InvalidInput("one text has no wrong partner; give two or more.", code="train.too_few")
        if any(not c.strip() for c in captions):
            raise InvalidInput("a text is blank.", code="chat.no_answer")
        words = self._read(captions, images.device)
        with torch.no_grad():
            patches = network.body.vision_model(pixel_values=images, interpolate_pos_encoding=True).last_hidden_state
        queries = network.body.query_tokens.expand(len(images), -1, -1)
        seen = F.normalize(self.image_projection(self._states(queries, None, patches)), dim=2)
        said = F.normalize(self.text_projection(self._states(None, words, None)[:, 0]), dim=1)
        # Of each picture the query that is nearest to the text.
        likeness = torch.einsum("iqd,td->itq", seen, said).amax(2) / self.temperature.clamp(0.001, 0.5)
        contrast = sum(soft_contrast(s, None, alpha=0.0, smoothing=self.smoothing) for s in (likeness, likeness.T)) / 2
        match = self._match(queries, words, patches, likeness, generator)
        caption = self._written(queries, words, patches)
        parts = {"contrast": contrast, "match": match, "caption": caption}
        return Loss(total=contrast + match + caption, parts=parts)

    def _read(self, captions: Sequence[str], device: Any) -> Words:
        rows = [[Turn(role="user", text=""), Turn(role="assistant", text=c)] for c in captions]
        words = read_chats(
            self._words, rows, [""] * len(rows), style=PLAIN, start=self._words.bos_token_id, limit=1 << 20, left=False
        )
        cut = {n: getattr(words, n)[:, : self.limit].to(device) for n in ("ids", "mask", "answer")}
        return Words(**cut)

    def _states(
        self, queries: Tensor | None, words: Words | None, patches: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        """Return the states of queries, of words, or of both in this order."""
        if words is None:
            states = queries
        else:
            states = self.embeddings(input_ids=words.ids, query_embeds=queries)
        count = 0 if queries is None else queries.shape[1]
        if mask is None and words is not None:
            mask = torch.cat([torch.ones(len(words.ids), count, device=words.ids.device), words.mask.float()], 1)
        made = self.qformer(query_embeds=states, query_length=count, attention_mask=mask, encoder_hidden_states=patches)
        return made.last_hidden_state

    def _match(self, queries: Tensor, words: Words, patches: Tensor, likeness: Tensor, generator: Any) -> Tensor:
        texts, pictures = wrong_partners(likeness, generator), wrong_partners(likeness.T, generator)
        count = len(patches)
        own = torch.arange(count, device=patches.device)
        picture, text = torch.cat([own, own, pictures]), torch.cat([own, texts, own])
        pairs = Words(ids=words.ids[text], mask=words.mask[text], answer=words.answer[text])
        states = self._states(queries[:1].expand(3 * count, -1, -1), pairs, patches[picture])
        logits = self.match(states[:, : queries.shape[1]]).mean(1)
        labels = torch.zeros(3 * count, dtype=torch.long, device=patches.device)
        labels[:count] = 1
        return F.cross_entropy(logits.float(), labels)

    def _written(self, queries: Tensor, words: Words, patches: Tensor) -> Tensor:
        ids = words.ids.clone()
        ids[:, 0] = self.begin
        begun = Words(ids=ids, mask=words.mask, answer=words.answer)
        logits = self.write(self._states(queries, begun, patches, writing_mask(queries.shape[1], words.mask)))
        return answer_loss(logits[:, queries.shape[1] :].float(), words, smoothing=self.smoothing)


def writing_mask(queries: int, words: Tensor) -> Tensor:
    """Return who sees whom while text is written, bool `(B, 1, Q + T, Q + T)`.

    Queries see queries; a word sees the queries, itself and the words before it; padding is seen by none but itself.

    Source: Li et al. 2023, arXiv:2301.12597, figure 2, the mask of image-grounded text generation.

    Example:
        >>> writing_mask(1, torch.tensor([[True, True]]))[0, 0].int().tolist()
        [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    rows, length = words.shape
    total = queries + length
    seen = torch.ones(total, total, dtype=torch.bool, device=words.device).tril()
    seen[:queries] = False
    seen[:, :queries] = True
    real = torch.cat([torch.ones(rows, queries, dtype=torch.bool, device=words.device), words], 1)
    eye = torch.eye(total, dtype=torch.bool, device=words.device)
    return (seen & real[:, None, :] | eye)[:, None]


@objectives.register(
    "querying.blip2", Card(title="Queries before a language model (BLIP-2, stage 1)", paper="arXiv:2301.12597")
)
def blip2(*, network: Any, width: int = 256, smoothing: float = 0.1, max_tokens: int = 128) -> Querying:
    """Return the three losses of the first stage for a BLIP-2."""
    return Querying(network, width=width, smoothing=smoothing, max_tokens=max_tokens)
