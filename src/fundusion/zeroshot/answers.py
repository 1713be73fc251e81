"""Pictures and prompts -> answers, study by study, behind the same gate as every other analysis."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.errors import FundusionError, InvalidInput
from ..core.registry import terms_of_weights
from ..core.results import ModalityUse, Prediction, Quality, StudyResult
from ..core.study import Study, StudyRecord
from ..core.vocabulary import MODALITY_TITLES
from ..decision.calibration import probabilities_from_logits
from ..decision.operating_point import decide
from ..intake import take_study
from ..knowledge.questions import PromptSet
from ..layers.prototypes import class_vectors, similarity_logits
from ..preparation import Preparation, PreparedItem, prepare_record
from ..report.figures import thumbnail
from ..report.reading import report_notes
from ..train.aligners import LoadedAligner
from ..transforms.collate import normalise_images
from ..transforms.prepared import prepare_study
from .fitting import Fit

Array = npt.NDArray[np.float64]
NOT_CALIBRATED = "zeroshot.not_calibrated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The result of one study."""

    result: StudyResult
    study: Study | None = None
    titles: Mapping[str, str] = field(default_factory=dict)

    def headline(self) -> str | None:
        """Return the answer in words; None for a rejected study."""
        if self.result.status != "ok":
            return None
        said = next(iter(self.result.predictions.values()))
        top = sorted(said.probabilities.items(), key=lambda item: -item[1])[:3]
        return ", ".join(f"{self.titles.get(k, k)} {p:.2f}" for k, p in top)

    def thumbnail(self) -> str | None:
        """Return a small picture as a data URI, or None without an image."""
        for images in (self.study.images if self.study else {}).values():
            planes = images[0].planes()
            return thumbnail(planes[len(planes) // 2])
        return None


class ZeroShot:
    """An image-text model with a question.

    Args:
        loaded: The model.
        question: Labels and prompts.
        fit: Calibration and prediction sets from labelled eyes; None gives what the model says as it is.
        gate: Refuse pictures that cannot be judged; False answers all that can be read.
        mirror: Answer with the mean of a picture and its mirror image.
        calls: See `layers.prototypes.class_vectors`.
        renormalise: See there.
        device: Where the model is.
        batch_size: Pictures of one forward pass.

    Raises:
        InvalidInput: The fit belongs to another model or question (`zeroshot.other_fit`).
    """

    def __init__(
        self,
        loaded: LoadedAligner,
        question: PromptSet,
        *,
        fit: Fit | None = None,
        gate: bool = True,
        mirror: bool = False,
        calls: str = "alone",
        renormalise: bool = False,
        device: str = "cpu",
        batch_size: int = 32,
    ) -> None:
        self.loaded, self.question, self.device, self.batch_size = loaded, question, device, batch_size
        self.gate, self.mirror, self.calls, self.renormalise = gate, mirror, calls, renormalise
        self.classes = class_vectors(loaded.model, question.groups, calls=calls, renormalise=renormalise, device=device)
        self.fit = fit
        if fit is not None:
            fit.check(self.signature)

    @property
    def signature(self) -> dict[str, Any]:
        """What a fit belongs to: the model, the question, how it is asked."""
        return {
            "model": self.loaded.name, "weights_sha256": self.loaded.sha256, "options": _plain(self.loaded.options),
            "question": self.question.digest(), "mirror": self.mirror, "calls": self.calls,
            "renormalise": self.renormalise,
        }  # fmt: skip

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the answers, JSON-ready."""
        from .. import __version__
        from ..transforms.image import preprocessing_signature

        question = self.question
        return {
            **self.signature,
            "package_version": __version__,
            "preprocessing": {question.modality: preprocessing_signature(self.loaded.wanted)},
            "command": "fundusion zeroshot",
            "tasks": {question.name: list(question.task.labels)},
            "prediction_sets": [question.name] if self.fit is not None and self.fit.conformal is not None else [],
            "prompts": {k: list(v) for k, v in question.prompts.items()},
            "against": list(question.against),
            "findings": dict(question.findings),
            "fit": None if self.fit is None else self.fit.digest(),
            "gate": self.gate,
            "device": str(self.device),
            **terms_of_weights({question.modality: self.loaded.record} if self.loaded.record else None),
        }

    def preparer(self) -> Callable[[StudyRecord], PreparedItem]:
        """Return the picklable function that worker processes run."""
        inputs = {self.question.modality: self.loaded.wanted}
        if not self.gate:
            return partial(prepare_ungated, preparation=Preparation(inputs=inputs, table=None))
        return partial(
            prepare_record, preparation=Preparation(inputs=inputs, table=None, required=(self.question.modality,))
        )

    def analyze(self, items: Sequence[PreparedItem]) -> list[Answered]:
        """Return the answers of prepared studies, in order."""
        if not items:
            return []
        pictures = [np.stack([i.pixels for i in item.prepared.images[self.question.modality]]) for item in items]
        logits = self.logits(np.concatenate(pictures))
        ends = np.cumsum([len(p) for p in pictures])
        of_study = [part.mean(0) for part in np.split(logits, ends[:-1])]
        return [self._answer(item, row) for item, row in zip(items, of_study, strict=True)]

    def logits(self, pictures: npt.NDArray[np.uint8]) -> Array:
        """Return logits `(T, K)` of the task for prepared pictures `(T, S, S, C)`.

        Raises:
            FundusionError: The model gave a number that is not finite (`model.not_finite`).
        """
        found = torch.cat([self._vectors(torch.from_numpy(p)) for p in _chunks(pictures, self.batch_size)])
        with torch.no_grad():
            raw = similarity_logits(self.loaded.model, found.to(self.device), self.classes.to(self.device))
        values = raw.double().numpy(force=True)
        if not np.isfinite(values).all():
            raise FundusionError("the model gave a value that is not finite.", code="model.not_finite")
        return task_logits(self.question, values)

    @torch.inference_mode()
    def _vectors(self, pictures: Tensor) -> Tensor:
        images = normalise_images(pictures, self.loaded.wanted).to(self.device)
        vectors = self.loaded.model.align_images(images).float()
        if self.mirror:
            other = self.loaded.model.align_images(images.flip(3)).float()
            vectors = torch.nn.functional.normalize(vectors + other, dim=1)
        return vectors.cpu()

    def predict(self, logits: Array) -> Prediction:
        """Return the answer of the logits `(K,)` of one study."""
        task = self.question.task
        p = probabilities_from_logits(task, logits) if self.fit is None else self.fit.probabilities(task, logits)
        named = {k: float(v) for k, v in zip(task.labels, p[0], strict=True)}
        thresholds = {} if self.fit is None else self.fit.thresholds
        label, decision = decide(task, named, thresholds)
        kept = None
        if self.fit is not None and self.fit.conformal is not None:
            kept = self.fit.conformal.sets(p)[0]
            if self.fit.conformal.undecided(p)[0]:
                decision = "uncertain"
        return Prediction(
            task=self.question.name, kind=task.kind, probabilities=named, label=label, decision=decision,
            thresholds=thresholds, prediction_set=kept,
        )  # fmt: skip

    def reject(self, record: StudyRecord, error: Exception) -> Answered:
        """Return the result of a record that could not be used."""
        study = getattr(error, "study", None)
        result = StudyResult(
            study_id=record.study_id,
            patient_id=record.patient_id,
            laterality=record.laterality.value if record.laterality else None,
            status="rejected",
            code=getattr(error, "code", "internal"),
            message=getattr(error, "message", str(error)),
            hint=getattr(error, "hint", ""),
            quality=getattr(error, "quality", None),
            provenance=self._provenance(()),
            notes=getattr(error, "notes", ()),
        )
        return Answered(result=result, study=study)

    def _answer(self, item: PreparedItem, logits: Array) -> Answered:
        study = item.study
        modality = self.question.modality
        doubts = report_notes(study.report, laterality=study.laterality, patient_id=study.patient_id)
        calibrated = () if self.fit is not None else (NOT_CALIBRATED,)
        prediction = self.predict(logits)
        result = StudyResult(
            study_id=study.study_id,
            patient_id=study.patient_id,
            laterality=study.laterality.value if study.laterality else None,
            status="ok",
            code="ok",
            quality=item.quality,
            predictions={self.question.name: prediction},
            modalities={
                m: ModalityUse(present=True, used=m == modality, share=1.0 if m == modality else None)
                for m in dict.fromkeys((modality, *study.modalities))
            },
            provenance=self._provenance(item.digests),
            notes=(*item.notes, *doubts, *calibrated),
        )
        return Answered(result=result, study=study, titles=self.question.task.titles)

    def _provenance(self, digests: tuple[str, ...]) -> dict[str, Any]:
        config = self.config
        names = ("model", "weights_sha256", "package_version", "preprocessing", "question", "fit", "terms_of_use")
        return {**{k: config[k] for k in names if k in config}, "input_sha256": list(digests)}


def task_logits(question: PromptSet, similarities: Array) -> Array:
    """Return logits `(B, K)` of the task from logits of all groups of prompts `(B, K or K + 1)`.

    Multi-class: as they are. Multi-label: log odds of a label against what it is compared with; the label that is itself compared with (normal)
    against the mean of the others. Without such prompts every label stands against the mean of the others.
    """
    count = len(question.task.labels)
    if question.task.kind != "multilabel":
        return similarities
    labels, against = similarities[:, :count], similarities[:, count:]
    others = np.empty_like(labels)
    for k in range(count):
        rest = np.delete(labels, k, 1)
        others[:, k] = _log_mean_exp(rest) if rest.shape[1] else against[:, 0]
    if not against.shape[1]:
        return labels - others
    own = np.asarray([tuple(question.prompts[k]) == question.against for k in question.task.labels])
    return labels - np.where(own[None], others, against)


def prepare_ungated(record: StudyRecord, *, preparation: Preparation) -> PreparedItem:
    """Return a record read and cut, whatever its quality; runs in worker processes.

    Raises:
        FundusionError: A file cannot be used, or the study has no picture of the kind that is asked about (`study.no_image`).
    """
    taken = take_study(record, preparation.inputs)
    (modality,) = preparation.inputs
    prepared = prepare_study(taken.study, preparation.inputs, fields=taken.fields)
    if not prepared.images.get(modality):
        there = ", ".join(MODALITY_TITLES[m] for m in taken.study.modalities) or "nothing"
        raise InvalidInput(
            f"the study has no {MODALITY_TITLES[modality]}; it holds {there}.",
            code="study.no_image",
            hint="A question in words is asked to a picture.",
        )
    digests = tuple(i.digest for images in taken.study.images.values() for i in images if i.digest)
    return PreparedItem(
        study=taken.study, prepared=prepared, quality=Quality(gradable=True, score=1.0), digests=digests
    )


def _log_mean_exp(x: Array) -> Array:
    top = x.max(1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(x - top).mean(1)), np.float64)


def _chunks(pictures: npt.NDArray[np.uint8], size: int) -> list[npt.NDArray[np.uint8]]:
    return [np.array(pictures[i : i + size]) for i in range(0, len(pictures), size)]


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(value), default=str))
    return plain
