"""Ways to make an image-text model answer a question from few labels: what its texts say counts beside the examples.

Source: protocol of FLAIR (Silva-Rodriguez et al. 2025, doi:10.1016/j.media.2024.103357; jusiro/FLAIR, Apache-2.0): AdamW, rate 1e-3, eps 1e-4, one
picture a step, 40 epochs, cosine; logistic regression with C 0.316 and balanced classes. Deviation: vectors are computed once from the
pictures as they are; the released code changes them at random in every step and, by mistake, in prediction too (`augmented_answers`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import InvalidInput, require
from ..layers.adapters import ClipAdapter, TipAdapter
from ..transforms.augment import augment
from ..transforms.collate import normalise_images
from .protocols import Protocol, Question, Settings
from .steps import generators_of

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
_BATCH = 32
#: Strength of the logistic regression, of its inverse penalty.
_C = 0.316


def zeroshot(question: Question, learn: Rows, ask: Rows, settings: Settings) -> Array:
    """Return probabilities from the texts alone; no label is used."""
    _, classes, scale = _aligned(question)
    return _probabilities(scale * _asked(question, ask, settings) @ classes.T)


def logistic(question: Question, learn: Rows, ask: Rows, settings: Settings) -> Array:
    """Return probabilities of FLAIR's linear probe, a logistic regression.

    `settings.probe_features`: "backbone", the vectors before the projection, as the paper says; "projected", unit vectors after it, which is what
    the released script takes when weights come from the hub, because the attributes it sets after loading have no effect.
    """
    linear_model: Any = require("sklearn.linear_model", extra="evaluate")
    if settings.probe_features == "projected":
        vectors, _, _ = _aligned(question)
        x, asked = vectors[learn].numpy(), _asked(question, ask, settings).numpy()
    elif settings.probe_features == "backbone":
        x, asked = question.vectors[learn], question.vectors[ask]
    else:
        raise InvalidInput(
            f"probe features {settings.probe_features!r} are not 'backbone' or 'projected'.", code="config.probe"
        )
    model = linear_model.LogisticRegression(C=_C, class_weight="balanced", max_iter=1000, random_state=settings.seed)
    labels = question.labels[learn]
    answer = np.zeros((len(ask), question.classes))
    if len(np.unique(labels)) < 2:
        answer[:, labels[0]] = 1.0
        return answer
    with warnings.catch_warnings():
        # A problem that is not solved to the last digit after 1000 steps is solved well enough.
        warnings.simplefilter("ignore")
        model.fit(x.astype(np.float64), labels)
    answer[:, model.classes_] = model.predict_proba(asked.astype(np.float64))
    return answer


def clip_adapter(question: Question, learn: Rows, ask: Rows, settings: Settings) -> Array:
    """Return probabilities of a CLIP-Adapter: a bottleneck on the image vector, the texts as they are."""
    vectors, classes, scale = _aligned(question)
    torch.manual_seed(settings.seed)
    adapter = ClipAdapter(vectors.shape[1])
    _train(adapter, lambda x: scale * adapter(x) @ classes.T, question, learn, settings)
    with torch.no_grad():
        return _probabilities(scale * adapter(_asked(question, ask, settings)) @ classes.T)


def tip_adapter(question: Question, learn: Rows, ask: Rows, settings: Settings) -> Array:
    """Return probabilities of a Tip-Adapter: texts, and votes of the examples by nearness; nothing is trained."""
    return _tip(question, learn, ask, settings, trained=False)


def tip_adapter_f(question: Question, learn: Rows, ask: Rows, settings: Settings) -> Array:
    """Return probabilities of a Tip-Adapter whose examples are moved by training."""
    return _tip(question, learn, ask, settings, trained=True)


def _tip(question: Question, learn: Rows, ask: Rows, settings: Settings, *, trained: bool) -> Array:
    if settings.tip_scales not in ("released", "consistent"):
        raise InvalidInput(f"tip scales {settings.tip_scales!r} are not 'released' or 'consistent'.", code="config.tip")
    vectors, classes, scale = _aligned(question)
    hot = F.one_hot(torch.from_numpy(question.labels[learn]), question.classes).float()
    tip = TipAdapter(vectors[learn], hot, released_scales=settings.tip_scales == "released")
    if trained:
        _train(tip, lambda x: tip.training_logits(x, classes, scale), question, learn, settings)
    with torch.no_grad():
        return _probabilities(tip(_asked(question, ask, settings), classes, scale))


def _train(
    module: torch.nn.Module, logits: Callable[[Tensor], Tensor], question: Question, learn: Rows, settings: Settings
) -> None:
    vectors, _, _ = _aligned(question)
    labels = torch.from_numpy(question.labels)
    optimizer = torch.optim.AdamW(module.parameters(), lr=settings.learning_rate or 1e-3, eps=1e-4)
    size = min(settings.adapter_batch, len(learn))
    steps = settings.epochs * -(-len(learn) // size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = np.random.default_rng([settings.seed, 6])
    for _ in range(settings.epochs):
        order = generator.permutation(learn)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            loss = F.cross_entropy(logits(vectors[rows]), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()


def _aligned(question: Question) -> tuple[Tensor, Tensor, float]:
    """Return vectors `(T, D)`, vectors of the classes `(K, D)` and the learned scale."""
    if question.aligned is None or question.class_vectors is None:
        raise InvalidInput(
            "this protocol needs an image-text model.",
            code="config.protocol",
            hint="Those are listed by: fundusion models --role align",
        )
    return torch.from_numpy(question.aligned), torch.from_numpy(question.class_vectors), question.scale


@torch.no_grad()
def _asked(question: Question, ask: Rows, settings: Settings) -> Tensor:
    """Return vectors of the rows to answer; with `augmented_answers` of pictures that are changed at random, as released."""
    vectors, _, _ = _aligned(question)
    if not settings.augmented_answers:
        return vectors[ask]
    generator, _ = generators_of(settings.seed, 1 << 20)
    parts = []
    for start in range(0, len(ask), _BATCH):
        stored = torch.from_numpy(np.array(question.pictures[ask[start : start + _BATCH]]))
        images = augment(stored, question.wanted.size, generator=generator, strength=0.25)
        images = normalise_images(images, question.wanted).to(settings.device)
        parts.append(question.aligner.to(settings.device).align_images(images).float().cpu())
    return torch.cat(parts)


def _probabilities(logits: Tensor) -> Array:
    return np.asarray(logits.softmax(1).double().numpy(), np.float64)


def flair_split(
    labels: npt.NDArray[np.int64], seed: int, *, test: float = 0.2, train: float = 0.2
) -> tuple[Rows, Rows]:
    """Return rows to learn from and rows to measure on as FLAIR divides a set: shuffled, of each class the first part and the next.

    Pictures are divided, not patients: two pictures of one eye may be on both sides.

    Args:
        labels: Class of each picture; negative ones are left out.
        seed: Another seed is another fold.
        test: Share measured on.
        train: Share learned from.

    Raises:
        InvalidInput: The shares are not usable.

    Example:
        >>> learn, ask = flair_split(np.repeat([0, 1], 10), 0)
        >>> len(learn), len(ask), len(np.intersect1d(learn, ask))
        (4, 4, 0)
    """
    if not (0 < test < 1 and 0 < train <= 1 - test + 1e-9):
        raise InvalidInput(f"shares test {test} and train {train} do not fit into one.", code="config.split")
    order = np.random.default_rng(seed).permutation(len(labels))
    learn: list[npt.NDArray[np.int64]] = []
    ask: list[npt.NDArray[np.int64]] = []
    for k in np.unique(labels[labels >= 0]):
        rows = order[labels[order] == k]
        first = round(test * len(rows))
        ask.append(rows[:first])
        learn.append(rows[first : first + round(train * len(rows))])
    return np.sort(np.concatenate(learn)), np.sort(np.concatenate(ask))


#: Protocols that need an image-text model; "logistic" does with projected vectors only.
ALIGNED: dict[str, Protocol] = {
    "zeroshot": zeroshot, "logistic": logistic, "clip_adapter": clip_adapter, "tip_adapter": tip_adapter, "tip_adapter_f": tip_adapter_f,
}  # fmt: skip
