"""Tensors between collate and prediction, and the verbs a model can have. Torch is named, never imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from .results import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Several studies as tensors.

    Images are packed: all images of a modality lie in one tensor, and `owner` says which study (row) each belongs to,
    so that any number of images per study costs no padding.

    Args:
        study_ids: One per row, length B.
        modalities: Order of the columns of `present`: image modalities, "text", "table".
        present: bool `(B, M)`.
        images: Modality to float32 `(T, C, H, W)`, T images of all studies together.
        owner: Modality to int64 `(T,)`, row of each image, ascending.
        text_ids: int64 `(B, T)`, or None without text.
        text_mask: bool `(B, T)`, True at real tokens.
        table: float32 `(B, F)`; a categorical cell holds the index of its level. Missing cells hold 0 and are masked.
        table_mask: bool `(B, F)`, True where a value is known.
        targets: Task to float32 `(B,)` or, multi-label, `(B, K)`; NaN means not annotated.
    """

    study_ids: tuple[str, ...]
    modalities: tuple[str, ...]
    present: Tensor
    images: Mapping[str, Tensor] = field(default_factory=dict)
    owner: Mapping[str, Tensor] = field(default_factory=dict)
    text_ids: Tensor | None = None
    text_mask: Tensor | None = None
    table: Tensor | None = None
    table_mask: Tensor | None = None
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.study_ids)

    def presence(self) -> dict[str, Tensor]:
        """Return modality to bool `(B,)`."""
        return {name: self.present[:, i] for i, name in enumerate(self.modalities)}

    def to(self, device: Any) -> Batch:
        """Return the batch on a device."""

        def move(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {k: move(v) for k, v in value.items()}
            return value.to(device) if hasattr(value, "to") else value

        return Batch(**{f.name: move(getattr(self, f.name)) for f in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What an encoder says about one modality.

    Args:
        pooled: `(B, E)`.
        tokens: `(B, N, E)` or None.
        token_mask: bool `(B, N)`, True at real tokens, or None when all are real.
        maps: `(B, C_i, H_i, W_i)` feature maps, fine to coarse.
        extras: Named by-products for explanation, such as "gates" `(B, M)` or "attention" `(B, N)`.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    token_mask: Tensor | None = None
    maps: tuple[Tensor, ...] = ()
    extras: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Where a promptable segmenter looks, in pixels of the image it is given: `(x, y)`, centre of the first pixel at 0.

    Args:
        points: float32 `(B, P, 2)` or None.
        point_labels: int64 `(B, P)`: 1 inside, 0 outside, -1 padding.
        boxes: float32 `(B, 4)`, x0, y0, x1, y1, or None.
        masks: float32 logits `(B, 1, H, W)` or None.
    """

    points: Tensor | None = None
    point_labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one side says in a conversation.

    Args:
        role: "system" (first turn only), "user" or "assistant".
        text: Words; never read as a command of the format, whatever marks they hold.
    """

    role: str
    text: str

    def __post_init__(self) -> None:
        if self.role not in ("system", "user", "assistant"):
            raise InvalidInput(f"a turn is of system, user or assistant, got {self.role!r}.", code="chat.role")


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Conversations as token ids, the marks of the format and the places of pictures included.

    Args:
        ids: int64 `(B, T)`.
        mask: bool `(B, T)`, True at real tokens.
        answer: bool `(B, T)`, True at tokens of the assistant, the one that ends an answer included; never at padding.
        extras: What else a model reads, by its own names, such as the instruction of a Q-Former.
    """

    ids: Tensor
    mask: Tensor
    answer: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How the next token is chosen.

    Args:
        temperature: 0 takes the likeliest; above, tokens are drawn.
        top_k: Only the k likeliest are drawn from; 0 is all.
        top_p: Only the likeliest that make up this share are drawn from.
        repetition_penalty: Above 1, tokens that were said become less likely.
        beams: Answers followed at a time; above 1 only with temperature 0.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    beams: int = 1

    def __post_init__(self) -> None:
        good = self.temperature >= 0 and self.top_k >= 0 and 0 < self.top_p <= 1 and self.repetition_penalty > 0
        if not good or self.beams < 1 or (self.beams > 1 and self.temperature > 0):
            raise InvalidInput(f"tokens cannot be chosen by {self}.", code="config.decoding")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A scalar to minimise and its weighted parts, which sum to it."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOutput:
    """Answer of a network before it becomes numbers.

    Args:
        logits: Task to `(B, K)`.
        fused: Result of the fusion; None for decision-level fusion.
        features: Modality to features, one row per study; rows of absent studies are zero.
        presence: Modality to bool `(B,)`: what was used (after modality dropout in training).
        by_modality: Decision-level fusion only: task to modality to logits `(B, K)`.
    """

    logits: Mapping[str, Tensor]
    fused: Features | None
    features: Mapping[str, Features]
    presence: Mapping[str, Tensor]
    by_modality: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


@runtime_checkable
class Encoder(Protocol):
    """Reads images `(T, C, H, W)`; has `embed_dim`."""

    embed_dim: int

    def encode(self, images: Tensor) -> Features: ...


@runtime_checkable
class TextEncoder(Protocol):
    """Reads token ids `(B, T)`; has `embed_dim` and `tokenize`."""

    embed_dim: int

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]: ...

    def encode_text(self, ids: Tensor, mask: Tensor) -> Features: ...


@runtime_checkable
class Aligner(Protocol):
    """Puts images and texts in one space, so that their similarity means something.

    An aligner is an `Encoder` and a `TextEncoder` too. Its towers may differ in width: `embed_dim` is that of images, `text_embed_dim`
    that of texts. Fusion takes one tower alone: `image_tower()` is an `Encoder`, `text_tower()` a `TextEncoder`, both sharing the
    weights of the aligner.

    Both methods return unit vectors of `align_dim`; `align_images` also reads pooled features `(B, embed_dim)` kept from before. A
    text of no token has a vector too, which means nothing: its presence is False.

    A logit is `scale() * image @ text.T + shift()`, where the shift is zero except in sigmoid models.
    """

    align_dim: int

    def align_images(self, images: Tensor) -> Tensor: ...

    def align_texts(self, ids: Tensor, mask: Tensor) -> Tensor: ...

    def scale(self) -> Tensor: ...

    def shift(self) -> Tensor: ...


@runtime_checkable
class Segmenter(Protocol):
    """Reads images `(B, C, H, W)` and, when it can be prompted, where to look; returns logits `(B, K, H, W)`."""

    def segment(self, images: Tensor, prompts: Prompts | None = None) -> Tensor: ...


@runtime_checkable
class Generator(Protocol):
    """Answers conversations in words, with pictures before it or without.

    Images are `(B, 3, H, W)`, or a mapping of modality to them, or None. `present` says which row has its picture, bool `(B,)` or by
    modality; None: every row has every picture given. One list of turns per row. Token ids come from `read`, whose answers are marked,
    so that one loss trains every generator. The logits `(B, T, V)` at place t are those of the token at t + 1. The same seed gives the
    same words.
    """

    def read(
        self, images: Any, messages: Sequence[Sequence[Turn]], *, answers: bool = True, present: Any = None
    ) -> Words: ...

    def token_logits(self, images: Any, words: Words, *, present: Any = None) -> Tensor: ...

    def generate(
        self,
        images: Any,
        messages: Sequence[Sequence[Turn]],
        *,
        max_tokens: int = 128,
        decoding: Decoding | None = None,
        seed: int = 0,
        stop: Sequence[str] = (),
        present: Any = None,
    ) -> list[str]: ...


@runtime_checkable
class TableEncoder(Protocol):
    """Reads cells `(B, F)` with a mask; has `embed_dim`."""

    embed_dim: int

    def encode_table(self, table: Tensor, mask: Tensor) -> Features: ...


@runtime_checkable
class FeatureFusion(Protocol):
    """Features by modality and their presence -> one `Features`; has `embed_dim`."""

    embed_dim: int

    def __call__(self, features: Mapping[str, Features], present: Mapping[str, Tensor]) -> Features: ...


@runtime_checkable
class DecisionFusion(Protocol):
    """Logits by modality of one task and their presence -> logits."""

    def combine(self, task: str, logits: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor: ...


@runtime_checkable
class Measurer(Protocol):
    """Reads masks `(H, W)` by name, not zero inside; returns quantities with units, or the reason of each that failed."""

    def measure(self, masks: Mapping[str, NDArray[np.bool_]], spacing_um: float | None = None) -> list[Measurement]: ...
