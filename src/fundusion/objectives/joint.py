"""BLIP's three losses on pictures and captions in one step: alike in one space, belonging together, and the next word.

Source: Li et al. 2022, arXiv:2201.12086, section 3.2 and released code salesforce/BLIP (BSD-3-Clause), models/blip_pretrain.py, written
from a description: the text encoder shares all weights with the decoder except self-attention; a momentum model (0.995) and a memory of
57,600 pairs give soft targets (alpha 0.4, grown over the first steps; ALBEF, arXiv:2107.07651, equations 3 to 6); wrong partners are drawn
by likeness within the batch; temperature 0.07, kept in [0.001, 0.5]; smoothing 0.1 of the next word. Deviation: momentum and memory move
after the step of the optimiser, so that a step whose loss is not finite leaves no trace in them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Loss, Turn, Words
from ..core.registry import Card, objectives
from ..layers.language_loss import answer_loss
from ..layers.pair_losses import soft_contrast, wrong_partners


class JointBlip(nn.Module):
    """The three losses; its modules are trained with the network, its momentum model and memory are part of a checkpoint.

    Args:
        network: BLIP for captions (`blip.*`); its image tower and decoder are used as they are.
        width: Of the common space.
        queue: Pairs that are remembered.
        momentum: Of the slower model.
        alpha: Share of its targets.
        ramp: Steps until alpha is reached.
        smoothing: Of the next word.
    """

    image_queue: Tensor
    text_queue: Tensor
    place: Tensor

    def __init__(
        self, network: Any, *, width: int, queue: int, momentum: float, alpha: float, ramp: int, smoothing: float
    ) -> None:
        super().__init__()
        if not (queue >= 1 and 0 <= momentum < 1 and 0 <= alpha <= 1 and 0 <= smoothing < 1):
            raise InvalidInput(
                f"queue {queue}, momentum {momentum}, alpha {alpha} or smoothing {smoothing} is out of range.",
                code="config.invalid",
            )
        body = network.body
        if not hasattr(body, "text_decoder"):
            raise InvalidInput(
                "the three losses are those of BLIP.", code="config.objective", hint="Use --model blip.*"
            )
        hidden, seen = body.config.text_config.hidden_size, body.config.vision_config.hidden_size
        self.encoder = _encoder_of(body.text_decoder.bert)
        self.image_projection, self.text_projection = nn.Linear(seen, width), nn.Linear(hidden, width)
        self.match = nn.Linear(hidden, 2)
        self.temperature = nn.Parameter(torch.tensor(0.07))
        tokenizer = network._tokenizer
        enc = tokenizer.convert_tokens_to_ids("[ENC]")
        self.marks = (
            int(tokenizer.cls_token_id),
            int(network.start) + 1 if enc in (None, tokenizer.unk_token_id) else int(enc),
        )
        self.momentum, self.alpha, self.ramp, self.smoothing = momentum, alpha, ramp, smoothing
        self.slow = nn.ModuleDict({n: copy.deepcopy(m) for n, m in self._fast(network).items()})
        self.slow.requires_grad_(False)
        self.register_buffer("image_queue", F.normalize(torch.randn(queue, width), dim=1))
        self.register_buffer("text_queue", F.normalize(torch.randn(queue, width), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))
        self._pending: tuple[Tensor, Tensor] | None = None

    def _fast(self, network: Any) -> dict[str, nn.Module]:
        return {
            "vision": network.body.vision_model, "encoder": self.encoder,
            "image_projection": self.image_projection, "text_projection": self.text_projection,
        }  # fmt: skip

    def __call__(self, network: Any, images: Any, captions: Sequence[str], **how: Any) -> Loss:
        """Return the loss of captions of pictures; see `forward`."""
        return super().__call__(network, images, captions, **how)

    def forward(
        self, network: Any, images: Tensor, captions: Sequence[str], *, step: int = 0, generator: Any = None
    ) -> Loss:
        """Return the loss of captions of pictures `(B, 3, H, W)`, B at least 2.

        Args:
            network: As given at the start, or a copy.
            images: One per caption.
            captions: Not blank.
            step: Of the training; alpha grows with it.
            generator: Draws the wrong partners.
        """
        if len(captions) < 2:
            raise InvalidInput("one caption has no wrong partner; give two or more.", code="train.too_few")
        blank = [i for i, c in enumerate(captions) if not c.strip()]
        if blank:
            raise InvalidInput(f"caption {blank[0]} is blank.", code="chat.no_answer")
        rows = [[Turn(role="user", text=""), Turn(role="assistant", text=c)] for c in captions]
        words = network.read(images, rows)
        patches = network.body.vision_model(pixel_values=images, interpolate_pos_encoding=True).last_hidden_state
        seen = F.normalize(self.image_projection(patches[:, 0]), dim=1)
        said = F.normalize(self.text_projection(self._text(self.encoder, words, self.marks[0])[:, 0]), dim=1)
        contrast, likeness = self._contrast(images, words, seen, said, step)
        match = self._match(words, patches, likeness, generator)
        decoder = network.body.text_decoder
        logits = decoder(
            input_ids=words.ids, attention_mask=words.mask.long(), encoder_hidden_states=patches, is_decoder=True
        ).logits
        caption = answer_loss(logits.float(), words, smoothing=self.smoothing)
        parts = {"contrast": contrast, "match": match, "caption": caption}
        return Loss(total=contrast + match + caption, parts=parts)

    def _text(self, encoder: Any, words: Words, mark: int, patches: Tensor | None = None) -> Tensor:
        ids = words.ids.clone()
        ids[:, 0] = mark
        return encoder(
            input_ids=ids, attention_mask=words.mask.long(), encoder_hidden_states=patches, is_decoder=False
        ).last_hidden_state

    def _contrast(
        self, images: Tensor, words: Words, seen: Tensor, said: Tensor, step: int
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        heat = self.temperature.clamp(0.001, 0.5)
        slow: Any = self.slow
        with torch.no_grad():
            patches = slow["vision"](pixel_values=images, interpolate_pos_encoding=True).last_hidden_state
            slow_seen = F.normalize(slow["image_projection"](patches[:, 0]), dim=1)
            states = self._text(slow["encoder"], words, self.marks[0])
            slow_said = F.normalize(slow["text_projection"](states[:, 0]), dim=1)
            all_seen, all_said = torch.cat([slow_seen, self.image_queue]), torch.cat([slow_said, self.text_queue])
            teachers = (slow_seen @ all_said.T / heat, slow_said @ all_seen.T / heat)
            self._pending = (slow_seen, slow_said)
        alpha = self.alpha * min(1.0, step / self.ramp if self.ramp else 1.0)
        rows = (seen @ all_said.T / heat, said @ all_seen.T / heat)
        loss = sum(soft_contrast(r, t, alpha=alpha) for r, t in zip(rows, teachers, strict=True)) / 2
        count = len(seen)
        return loss, (rows[0][:, :count], rows[1][:, :count])

    def _match(self, words: Words, patches: Tensor, likeness: tuple[Tensor, Tensor], generator: Any) -> Tensor:
        texts, pictures = (wrong_partners(s, generator) for s in likeness)
        count = len(patches)
        own = torch.arange(count, device=patches.device)
        picture, text = torch.cat([own, own, pictures]), torch.cat([own, texts, own])
        pairs = Words(ids=words.ids[text], mask=words.mask[text], answer=words.answer[text])
        logits = self.match(self._text(self.encoder, pairs, self.marks[1], patches[picture])[:, 0])
        labels = torch.zeros(3 * count, dtype=torch.long, device=patches.device)
        labels[:count] = 1
        return F.cross_entropy(logits.float(), labels)

    @torch.no_grad()
    def after_step(self, network: Any) -> None:
        """Let the slow model follow, and remember the pairs of the last step; called when the step was done."""
        fast = self._fast(network)
        slow: Any = self.slow
        for name, module in fast.items():
            for old, new in zip(slow[name].parameters(), module.parameters(), strict=True):
                old.lerp_(new, 1 - self.momentum)
        if self._pending is None:
            return
        for queue, new in zip((self.image_queue, self.text_queue), self._pending, strict=True):
            places = (int(self.place) + torch.arange(len(new), device=new.device)) % len(queue)
            queue[places[-len(queue) :]] = new[-len(queue) :]
        self.place.copy_((self.place + len(self._pending[0])) % len(self.image_queue))
        self._pending = None


def _encoder_of(decoder: nn.Module) -> nn.Module:
    """Return a text encoder that shares everything with a decoder except the attention of words to words."""
    made: Any = copy.deepcopy(decoder)
    own: Any = decoder
    made.embeddings = own.embeddings
    for layer, known in zip(made.encoder.layer, own.encoder.layer, strict=True):
        for name in ("crossattention", "intermediate", "output"):
            setattr(layer, name, getattr(known, name))
    return made


@objectives.register("joint.blip", Card(title="Contrast, matching and next word (BLIP)", paper="arXiv:2201.12086"))
def blip(
    *,
    network: Any,
    width: int = 256,
    queue: int = 57600,
    momentum: float = 0.995,
    alpha: float = 0.4,
    ramp: int = 1000,
    smoothing: float = 0.1,
) -> JointBlip:
    """Return the three losses for a BLIP."""
    return JointBlip(network, width=width, queue=queue, momentum=momentum, alpha=alpha, ramp=ramp, smoothing=smoothing)
