"""Ways to make an encoder answer a question, one function each: rows to learn from -> probabilities of rows to answer.

Source: linear and k-NN probes as in Caron et al. 2021, arXiv:2104.14294; attentive probe after Bardes et al. 2024, arXiv:2404.08471; BitFit, Ben
Zaken et al. 2022, arXiv:2106.10199; LoRA, Hu et al. 2022, arXiv:2106.09685; fine-tuning with layer-wise decay as RETFound,
doi:10.1038/s41586-023-06555-x.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.registry import ImageInput
from ..layers.lora import add_lora
from ..layers.rates import decayed_groups
from ..transforms.augment import augment
from ..transforms.collate import normalise_images
from .embeddings import resized
from .experts import best_ridge, ridge_logistic
from .steps import generators_of

Array = npt.NDArray[np.float64]
_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What protocols with gradient steps use.

    Args:
        steps: Optimiser steps.
        batch_size: Pictures of a step.
        learning_rate: None is the protocol's own.
        layer_decay: Of `finetune`.
        lora_rank: Of `lora`.
        frozen_share: First share of the steps in which only the head is trained (CABNet's first stage); 0 is off.
        neighbours: Of `knn`.
        epochs: Of the adapters of image-text models.
        adapter_batch: Pictures of a step of these.
        tip_scales: Of a Tip-Adapter: "released" predicts with other scales than it trains with, "consistent" with the same.
        augmented_answers: Answer pictures that are changed at random, as released adapters do; False answers them as they are.
        probe_features: Of `logistic`: "backbone" or "projected".
        device: Where the encoder runs.
        seed: Of fresh heads, of the order of pictures, of their random changes.
    """

    steps: int = 200
    batch_size: int = 16
    learning_rate: float | None = None
    layer_decay: float = 0.65
    lora_rank: int = 8
    frozen_share: float = 0.0
    neighbours: int = 20
    epochs: int = 40
    adapter_batch: int = 1
    tip_scales: str = "released"
    augmented_answers: bool = False
    probe_features: str = "backbone"
    device: str = "cpu"
    seed: int = 0


@dataclass(slots=True)
class Question:
    """Pictures with one label each, and what an encoder says about them.

    Args:
        encoder: Is never changed; protocols train copies.
        wanted: Pixels it reads.
        pictures: uint8 `(T, S, S, C)`.
        labels: int64 `(T,)`.
        classes: Number of labels.
        studies: int64 `(T,)`, study of each picture.
        groups: int64 `(T,)`, patient of each picture.
        vectors: float32 `(T, E)`, of the untouched encoder.
        tokens: float16 `(T, N, E)`; made when an attentive probe first asks.
        aligner: Image-text model; None where only its image tower, or another encoder, is used.
        aligned: float32 `(T, D)`, unit vectors of the untouched aligner.
        class_vectors: float32 `(K, D)`, of the texts of each class.
        scale: What the aligner multiplies similarities by.
    """

    encoder: nn.Module
    wanted: ImageInput
    pictures: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: int
    studies: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    tokens: Tensor | None = None
    aligner: Any = None
    aligned: npt.NDArray[np.float32] | None = None
    class_vectors: npt.NDArray[np.float32] | None = None
    scale: float = 1.0

    def images(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Return whole pictures as the encoder reads them."""
        stored = torch.from_numpy(np.ascontiguousarray(self.pictures[rows]))
        return normalise_images(resized(stored, self.wanted.size), self.wanted)


Protocol = Callable[[Question, npt.NDArray[np.int64], npt.NDArray[np.int64], Settings], Array]


def linear(question: Question, learn: npt.NDArray[np.int64], ask: npt.NDArray[np.int64], settings: Settings) -> Array:
    """Return probabilities of ridge logistic regressions, one per class, on standardised vectors.

    Strength is chosen by cross-validation over patients from 60 pictures on; below, it is 10. With fewer pictures than features the
    problem is solved in the space the pictures span, which has the same solution.
    """
    x = question.vectors.astype(np.float64)
    mean, spread = x[learn].mean(0), x[learn].std(0) + 1e-6
    x = (x - mean) / spread / math.sqrt(x.shape[1])
    if x.shape[1] > len(learn):
        _, _, basis = np.linalg.svd(x[learn], full_matrices=False)
        x = x @ basis.T
    events = (question.labels[learn][:, None] == np.arange(question.classes)).astype(np.float64)
    # Features have length one, not one each: the strengths that are tried are scaled with them.
    x = x * 10
    ridge = 10.0
    if len(learn) >= 60:
        ridge = best_ridge(x[learn], events, np.unique(question.groups[learn], return_inverse=True)[1])
    logits = np.empty((len(ask), question.classes))
    for k in range(question.classes):
        weights, bias = ridge_logistic(x[learn], events[:, k], ridge=ridge)
        logits[:, k] = x[ask] @ weights + bias
    p: Array = 1 / (1 + np.exp(-logits))
    return p / p.sum(1, keepdims=True)


def knn(question: Question, learn: npt.NDArray[np.int64], ask: npt.NDArray[np.int64], settings: Settings) -> Array:
    """Return votes of the nearest pictures by cosine, weighted by exp(similarity / 0.07)."""
    x = question.vectors.astype(np.float64)
    x = x - x[learn].mean(0)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    similarity = x[ask] @ x[learn].T
    k = min(settings.neighbours, len(learn))
    nearest = np.argsort(-similarity, 1, kind="stable")[:, :k]
    weight = np.exp((np.take_along_axis(similarity, nearest, 1) - 1) / 0.07)
    votes = np.zeros((len(ask), question.classes))
    for c in range(question.classes):
        votes[:, c] = (weight * (question.labels[learn][nearest] == c)).sum(1)
    # A class without a neighbour is unlikely, not impossible.
    votes += 1e-3 * votes.sum(1, keepdims=True) / question.classes + 1e-30
    return votes / votes.sum(1, keepdims=True)


class AttentiveHead(nn.Module):
    """One learned query attends to the patch tokens; norm and a linear answer follow."""

    def __init__(self, embed_dim: int, classes: int) -> None:
        super().__init__()
        heads = next(h for h in (8, 4, 2, 1) if embed_dim % h == 0)
        self.norm = nn.LayerNorm(embed_dim)
        self.query = nn.Parameter(torch.randn(1, 1, embed_dim) * 0.02)
        self.attend = nn.MultiheadAttention(embed_dim, heads, batch_first=True)
        self.last = nn.LayerNorm(embed_dim)
        self.linear = nn.Linear(embed_dim, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits `(T, K)`."""
        x = self.norm(tokens)
        heard, _ = self.attend(self.query.expand(len(x), -1, -1), x, x, need_weights=False)
        return self.linear(self.last(heard[:, 0]))


def attentive(
    question: Question, learn: npt.NDArray[np.int64], ask: npt.NDArray[np.int64], settings: Settings
) -> Array:
    """Return probabilities of an attentive head on the tokens of the untouched encoder."""
    if question.tokens is None:
        question.tokens = _tokens(question, settings)
    tokens = question.tokens
    torch.manual_seed(settings.seed)
    head = AttentiveHead(tokens.shape[2], question.classes)
    optimizer = torch.optim.AdamW(head.parameters(), lr=settings.learning_rate or 1e-3, weight_decay=0.05)
    labels = torch.from_numpy(question.labels)
    for step, rows in enumerate(_rows(learn, settings)):
        _rate(optimizer, step, settings.steps)
        loss = nn.functional.cross_entropy(head(tokens[rows].float()), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    head.eval()
    with torch.no_grad():
        parts = [head(tokens[r].float()).softmax(1) for r in torch.from_numpy(ask).split(_BATCH)]
    return torch.cat(parts).double().numpy()


@torch.no_grad()
def _tokens(question: Question, settings: Settings) -> Tensor:
    encoder = copy.deepcopy(question.encoder).eval().to(settings.device)
    parts = []
    for start in range(0, len(question.pictures), _BATCH):
        f = encoder.encode(
            question.images(np.arange(start, min(start + _BATCH, len(question.pictures)))).to(settings.device)
        )
        found = f.tokens if f.tokens is not None else f.maps[-1].flatten(2).transpose(1, 2)
        parts.append(found.half().cpu())
    return torch.cat(parts)


class _Answering(nn.Module):
    """An encoder with a fresh norm and linear answer."""

    def __init__(self, encoder: Any, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.last = nn.LayerNorm(encoder.embed_dim)
        self.head = nn.Linear(encoder.embed_dim, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.last(self.encoder.encode(images).pooled))


def finetune(question: Question, learn: npt.NDArray[np.int64], ask: npt.NDArray[np.int64], settings: Settings) -> Array:
    """Return probabilities after training every weight; layers near the input move less."""
    torch.manual_seed(settings.seed)
    model = _Answering(copy.deepcopy(question.encoder).requires_grad_(True), question.classes)
    groups = decayed_groups(model, rate=settings.learning_rate or 5e-4, decay=settings.layer_decay, weight_decay=0.05)
    return _trained(question, model, groups, learn, ask, settings)


def lora(question: Question, learn: npt.NDArray[np.int64], ask: npt.NDArray[np.int64], settings: Settings) -> Array:
    """Return probabilities after training low-rank adapters and the head."""
    torch.manual_seed(settings.seed)
    encoder = add_lora(copy.deepcopy(question.encoder), rank=settings.lora_rank)
    model = _Answering(encoder, question.classes)
    groups = decayed_groups(model, rate=settings.learning_rate or 1e-3, decay=1.0, weight_decay=0.0)
    return _trained(question, model, groups, learn, ask, settings)


def bitfit(question: Question, learn: npt.NDArray[np.int64], ask: npt.NDArray[np.int64], settings: Settings) -> Array:
    """Return probabilities after training biases and the head only."""
    torch.manual_seed(settings.seed)
    encoder = copy.deepcopy(question.encoder)
    biases = 0
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
        biases += name.endswith("bias")
    if not biases:
        raise InvalidInput("this encoder has no biases to train.", hint="Use --protocol lora.")
    model = _Answering(encoder, question.classes)
    groups = decayed_groups(model, rate=settings.learning_rate or 1e-3, decay=1.0, weight_decay=0.0)
    return _trained(question, model, groups, learn, ask, settings)


def _trained(
    question: Question, model: _Answering, groups: list[Any], learn: Any, ask: Any, settings: Settings
) -> Array:
    model.to(settings.device)
    optimizer = torch.optim.AdamW(groups)
    labels = torch.from_numpy(question.labels)
    first = round(settings.frozen_share * settings.steps)
    for step, rows in enumerate(_rows(learn, settings)):
        _rate(optimizer, step, settings.steps)
        stored = torch.from_numpy(np.ascontiguousarray(question.pictures[rows]))
        generator, _ = generators_of(settings.seed, step)
        images = normalise_images(
            augment(stored, question.wanted.size, generator=generator, strength=0.5), question.wanted
        )
        model.train()
        loss = nn.functional.cross_entropy(model(images.to(settings.device)), labels[rows].to(settings.device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if step < first:
            for parameter in model.encoder.parameters():
                parameter.grad = None
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
        optimizer.step()
    model.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(ask), _BATCH):
            images = question.images(ask[start : start + _BATCH]).to(settings.device)
            parts.append(((model(images).softmax(1) + model(images.flip(3)).softmax(1)) / 2).cpu())
    return torch.cat(parts).double().numpy()


def _rows(learn: npt.NDArray[np.int64], settings: Settings) -> list[npt.NDArray[np.int64]]:
    """Return the pictures of each step: permutations one after the other, so that all are seen equally often."""
    generator = np.random.default_rng([settings.seed, 5])
    size = min(settings.batch_size, len(learn))
    need = settings.steps * size
    order = np.concatenate([generator.permutation(learn) for _ in range(need // len(learn) + 1)])
    return list(order[:need].reshape(settings.steps, size))


def _rate(optimizer: torch.optim.Optimizer, step: int, total: int) -> None:
    """Warm-up over a tenth of the steps, then a cosine."""
    factor = min(1.0, (step + 1) / max(1, total // 10)) * 0.5 * (1 + math.cos(math.pi * step / max(1, total)))
    for group in optimizer.param_groups:
        group.setdefault("full", group["lr"])
        group["lr"] = group["full"] * factor


PROTOCOLS: dict[str, Protocol] = {
    "linear": linear, "knn": knn, "attentive": attentive, "finetune": finetune, "lora": lora, "bitfit": bitfit,
}  # fmt: skip
