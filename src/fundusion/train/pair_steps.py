"""Batches of pictures and texts for the image-text objectives; every choice in a step is decided by (seed, step)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.interfaces import Batch, Loss
from ..core.registry import ImageInput
from ..core.vocabulary import TEXT
from ..transforms.augment import augment
from ..transforms.collate import normalise_images
from .data import PreparedSet
from .embeddings import resized
from .steps import generators_of

#: How the text of a picture is chosen: whole (its report, or all findings); by one finding drawn of it (the report where there is
#: none); the report where there is one, else by finding; or pictures and texts apart.
Choice = Literal["whole", "finding", "report", "unpaired"]
CHOICES: Mapping[str, Choice] = {
    "clip": "whole", "siglip": "whole", "retizero": "whole",
    "flair": "finding", "keepfit": "report", "medclip": "unpaired",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What can be said about one study.

    Args:
        texts: Whole texts; empty when there are none.
        findings: Numbers of its findings.
        mentions: Finding to 1 or -1, for matching.
        expert: Whether its text was written for it (a report) and not made from labels.
    """

    texts: tuple[str, ...] = ()
    findings: tuple[int, ...] = ()
    mentions: Mapping[int, int] = field(default_factory=dict)
    expert: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A text that belongs to no picture: what is known about a finding, or a report without a picture."""

    text: str
    mentions: Mapping[int, int]


class PairStep:
    """Makes batches and losses of image-text training.

    Args:
        network: The aligner; tokenises too.
        objective: Called with network and batch.
        data: Prepared studies: pictures, or vectors of an image tower that is not trained.
        modality: Kind of pictures.
        wanted: Pixels the image tower wants.
        studies: Study of each row; rows are pictures.
        said: What is said of each study.
        names: Texts of each finding, its name first.
        lines: Texts without pictures.
        choice: How the text of a picture is chosen.
        templates: Sentences around a text; one is drawn each time.
        copies: Also give changed copies of the texts (released MedCLIP).
        seed: Of everything random.
        strength: Of random changes of pictures.
        flip: Mirror half of the pictures.
        steps_per_epoch: Batches per epoch.
    """

    def __init__(
        self,
        network: Any,
        objective: Any,
        data: PreparedSet,
        modality: str,
        *,
        wanted: ImageInput,
        studies: npt.NDArray[np.int64],
        said: Sequence[Said],
        names: Sequence[Sequence[str]],
        lines: Sequence[Line],
        choice: Choice,
        templates: Sequence[str],
        copies: bool,
        seed: int,
        strength: float,
        flip: bool,
        steps_per_epoch: int,
    ) -> None:
        self.network, self.objective, self.data, self.modality = network, objective, data, modality
        self.wanted, self.studies, self.said, self.names, self.lines = wanted, studies, said, names, lines
        self.choice, self.templates, self.copies = choice, templates, copies
        self.seed, self.strength, self.flip, self.steps_per_epoch = seed, strength, flip, steps_per_epoch

    def batch(self, rows: npt.NDArray[np.int64], step: int, size: int | None) -> Batch:
        """Return randomly changed pictures with texts."""
        generator, numpy_generator = generators_of(self.seed, step)
        stored = self._stored(rows)
        if stored.dtype == torch.uint8:
            side = size or self.wanted.size
            images = augment(stored, side, generator=generator, strength=self.strength, flip=self.flip)
            stored = normalise_images(images, self.wanted)
        return self._with_texts(rows, stored, numpy_generator)

    def still(self, rows: npt.NDArray[np.int64], number: int) -> Batch:
        """Return whole pictures with texts that depend on the number only, for validation."""
        stored = self._stored(rows)
        if stored.dtype == torch.uint8:
            stored = normalise_images(resized(stored, self.wanted.size), self.wanted)
        return self._with_texts(rows, stored, generators_of(self.seed + 2, number)[1])

    def loss(self, batch: Batch, step: int) -> Loss:
        """Return the loss of a batch."""
        return self.objective(
            self.network, batch, generator=generators_of(self.seed + 1, step)[0], epoch=step / self.steps_per_epoch
        )

    def _stored(self, rows: npt.NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.data.images[self.modality][rows]))

    def _with_texts(self, rows: npt.NDArray[np.int64], images: Tensor, generator: np.random.Generator) -> Batch:
        said = [self.said[self.studies[r]] for r in rows]
        ids = [self.data.study_ids[self.studies[r]] for r in rows]
        if self.choice == "unpaired":
            return self._unpaired(ids, said, images, generator)
        chosen = [self._text(s, generator) for s in said]
        return self._batch(
            ids, images, [text for text, _ in chosen],
            {
                "category": torch.tensor([float("nan") if k is None else float(k) for _, k in chosen]),
                "knowledge": torch.tensor([float(s.expert) for s in said]),
            },
        )  # fmt: skip

    def _text(self, said: Said, generator: np.random.Generator) -> tuple[str, int | None]:
        """Return a text and, when it was made from one finding, the number of it."""
        if said.findings and (self.choice == "finding" or (self.choice != "whole" and not said.expert)):
            finding = said.findings[int(generator.integers(len(said.findings)))]
            return self._dressed(_one(self.names[finding], generator), generator), finding
        if not said.texts:
            return "", None
        text = _one(said.texts, generator)
        return (text if said.expert else self._dressed(text, generator)), None

    def _dressed(self, text: str, generator: np.random.Generator) -> str:
        return _one(self.templates, generator).format(text)

    def _unpaired(self, ids: list[str], said: list[Said], images: Tensor, generator: np.random.Generator) -> Batch:
        """Return pictures first, then as many texts, which belong to none of them in particular."""
        labels = [_row(s.mentions, len(self.names)) for s in said]
        texts: list[str] = []
        for s in said:
            text, finding = self._text(s, generator)
            texts.append(text)
            labels.append(_row(s.mentions if finding is None else {finding: 1}, len(self.names)))
        for line in self._drawn(len(said) // 2, generator):
            texts.append(line.text)
            labels.append(_row(line.mentions, len(self.names)))
        count = len(texts)
        if self.copies:
            texts += [_changed(t, generator) for t in texts]
            labels += labels[len(said) :]
        copies = torch.zeros(len(labels))
        copies[len(said) + count :] = 1.0
        names = ids + [f"text {i}" for i in range(len(texts))]
        targets = {"findings": torch.stack(labels), "copies": copies}
        return self._batch(names, images, [""] * len(said) + texts, targets)

    def _drawn(self, count: int, generator: np.random.Generator) -> list[Line]:
        if not self.lines:
            return []
        return [self.lines[int(i)] for i in generator.integers(len(self.lines), size=count)]

    def _batch(self, ids: list[str], images: Tensor, texts: list[str], targets: dict[str, Tensor]) -> Batch:
        token_ids, mask = self.network.tokenize(texts)
        present = torch.zeros(len(ids), 2, dtype=torch.bool)
        present[: len(images), 0] = True
        present[:, 1] = mask.any(1)
        return Batch(
            study_ids=tuple(ids),
            modalities=(self.modality, TEXT),
            present=present,
            images={self.modality: images},
            owner={self.modality: torch.arange(len(images))},
            text_ids=token_ids,
            text_mask=mask,
            targets=targets,
        )


def _one(choices: Sequence[str], generator: np.random.Generator) -> str:
    return choices[int(generator.integers(len(choices)))]


def _row(mentions: Mapping[int, int] | None, count: int) -> Tensor:
    row = torch.zeros(count)
    for finding, value in (mentions or {}).items():
        row[finding] = float(value)
    return row


def _changed(text: str, generator: np.random.Generator, *, rate: float = 0.1) -> str:
    """Return the text with some words left out and two of them exchanged.

    Source: Wei and Zou 2019, arXiv:1901.11196 (deletion and swap; the two kinds that need a thesaurus are left out).
    """
    words = text.split()
    if len(words) < 3:
        return text
    kept = [w for w, u in zip(words, generator.random(len(words)), strict=True) if u >= rate] or words
    first, second = (int(i) for i in generator.integers(len(kept), size=2))
    kept[first], kept[second] = kept[second], kept[first]
    return " ".join(kept)
