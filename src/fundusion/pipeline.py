"""From a record to a result: read, judge, prepare, predict, explain, compose; each step is one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .core.errors import InvalidInput, NotGradable
from .core.registry import ImageInput, terms_of_weights
from .core.results import Explanation, ModalityUse, Quality, StudyResult
from .core.study import Image, Study, StudyRecord
from .core.table import TableSchema
from .core.vocabulary import MODALITY_TITLES
from .transforms.prepared import PreparedStudy

if TYPE_CHECKING:
    from .network import MultimodalNetwork
    from .quality.calibration import QualityModel
    from .report.compose import ReportDocument

#: Longest side of the pictures a report shows, px.
DISPLAY_PX = 900

#: Shorter side of a photograph from which it is judged and shown, px, where the file has it.
VIEW_PX = 600

EXPLAIN_CHOICES = ("none", "cam", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What a worker process needs to know of the model: picklable, without torch.

    Args:
        inputs: Image modality to the pixels its encoder wants.
        table: Columns of the table; None when the network reads none.
        required: Image modalities without a gradable image of which no answer is given.
        quality: Calibration of the gate; None takes the shipped one.
    """

    inputs: Mapping[str, ImageInput]
    table: TableSchema | None
    required: tuple[str, ...] = ()
    quality: QualityModel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedItem:
    """A study that passed the gate: pictures for the report, pixels for the network, verdicts.

    Args:
        study: The study with its pictures scaled to at most `DISPLAY_PX`.
        prepared: Input of the network; maps lead back to the pictures of `study`.
        quality: Verdict of the image that decides: the best of the required modality.
        notes: Codes of oddities.
        digests: SHA-256 of the input files in order.
        frames: Image modality to the index of the picture each prepared image was cut from.
    """

    study: Study
    prepared: PreparedStudy
    quality: Quality
    notes: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    frames: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class RejectedStudy(NotGradable):
    """The gate refused; carries the verdict and the pictures for the report."""

    def __init__(
        self, message: str, *, code: str, hint: str, quality: Quality, study: Study, notes: tuple[str, ...]
    ) -> None:
        super().__init__(message, reasons=quality.reasons, code=code, hint=hint)
        self.quality = quality
        self.study = study
        self.notes = notes

    def __reduce__(self) -> Any:
        return _rejected, (self.message, self.code, self.hint, self.quality, self.study, self.notes)


def _rejected(
    message: str, code: str, hint: str, quality: Quality, study: Study, notes: tuple[str, ...]
) -> RejectedStudy:
    return RejectedStudy(message, code=code, hint=hint, quality=quality, study=study, notes=notes)


def prepare_record(record: StudyRecord, *, preparation: Preparation) -> PreparedItem:
    """Return a record read, judged and cut; runs in worker processes and loads no torch.

    Raises:
        FundusionError: A file or cell cannot be used; `code` says why.
        RejectedStudy: Read, but no answer may be given.
    """
    from .intake import take_study
    from .quality.gradability import assess
    from .transforms.prepared import prepare_study

    taken = take_study(record, preparation.inputs, view_px=VIEW_PX)
    study, fields = taken.study, taken.fields
    if preparation.table is not None:
        preparation.table.encode(study.metadata)
    verdicts: dict[str, list[Quality]] = {}
    for modality, images in taken.view.images.items():
        found = [f and f.scaled(1 / i.reduction) for i, f in zip(images, fields[modality], strict=True)]
        verdicts[modality] = [assess(i, field=f, model=preparation.quality) for i, f in zip(images, found, strict=True)]
    notes = tuple(sorted({n for images in study.images.values() for i in images for n in i.notes}))
    digests = tuple(i.digest for images in study.images.values() for i in images if i.digest)
    shown = replace(study, images={m: tuple(_display(i) for i in v) for m, v in taken.view.images.items()})
    _check_gate(study, verdicts, preparation, shown, notes)
    kept = {m: [k for k, q in enumerate(v) if q.gradable] for m, v in verdicts.items()}
    usable = replace(study, images={m: tuple(study.images[m][k] for k in ks) for m, ks in kept.items()})
    prepared = prepare_study(
        usable,
        preparation.inputs,
        schema=preparation.table,
        fields={m: tuple(fields[m][k] for k in ks) for m, ks in kept.items()},
    )
    prepared, frames = _towards_display(prepared, usable, shown, kept, preparation.inputs)
    graded = [q for m in preparation.required or tuple(verdicts) for q in verdicts.get(m, ()) if q.gradable]
    dropped = [f"{m}.{k}.not_used" for m, v in verdicts.items() for k, q in enumerate(v) if not q.gradable]
    quality = max(graded, key=lambda q: q.score) if graded else Quality(gradable=True, score=1.0)
    return PreparedItem(
        study=shown, prepared=prepared, quality=quality, notes=(*notes, *dropped), digests=digests, frames=frames
    )


def _check_gate(
    study: Study, verdicts: Mapping[str, list[Quality]], preparation: Preparation, shown: Study, notes: tuple[str, ...]
) -> None:
    from .quality.gradability import REASONS

    for modality in preparation.required:
        judged = verdicts.get(modality, [])
        title = MODALITY_TITLES[modality]
        if not judged:
            there = ", ".join(MODALITY_TITLES[m] for m in study.modalities) or "nothing"
            raise InvalidInput(
                f"the study has no {title}; it holds {there}.",
                code="study.no_image",
                hint=f"This model answers only with a {title}.",
            )
        if not any(q.gradable for q in judged):
            best = max(judged, key=lambda q: q.score)
            foreign = "quality.not_fundus" in best.reasons
            reason, hint = REASONS.get(best.reasons[0], (best.reasons[0], "")) if best.reasons else ("unknown", "")
            raise RejectedStudy(
                f"the {title} does not show a fundus." if foreign else f"the {title} is not gradable: {reason}",
                code="quality.not_fundus" if foreign else "quality.ungradable",
                hint=hint,
                quality=best,
                study=shown,
                notes=notes,
            )


def _display(image: Image) -> Image:
    """Return the image scaled so that its longest side is at most `DISPLAY_PX`; of a volume the middle plane."""
    import cv2

    planes = image.planes()
    pixels = planes[len(planes) // 2]
    scale = DISPLAY_PX / max(pixels.shape[:2])
    if scale < 1:
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return replace(image, pixels=np.ascontiguousarray(pixels), spacing_um=None, reduction=1, full_shape=None)


def _towards_display(
    prepared: PreparedStudy,
    usable: Study,
    shown: Study,
    kept: Mapping[str, list[int]],
    inputs: Mapping[str, ImageInput],
) -> tuple[PreparedStudy, dict[str, tuple[int, ...]]]:
    """Let the maps of prepared images lead to the scaled pictures, and say which picture each belongs to."""
    images, frames = {}, {}
    for modality, ready in prepared.images.items():
        owner = [
            k
            for i, k in enumerate(kept[modality])
            for _ in range(min(len(usable.images[modality][i].planes()), inputs[modality].max_frames))
        ]
        moved = []
        for item, k in zip(ready, owner, strict=True):
            picture = shown.images[modality][k].pixels
            image = usable.images[modality][kept[modality].index(k)]
            height, width = image.full_shape or image.planes()[0].shape[:2]
            factor = np.array([picture.shape[1] / width, picture.shape[0] / height])
            turned = item.to_original * factor[:, None]
            # Pixel centres: the first one of a picture half as large lies at 0.5 of the large one.
            turned[:, 2] += (factor - 1) / 2
            moved.append(replace(item, to_original=turned))
        images[modality], frames[modality] = tuple(moved), tuple(owner)
    return replace(prepared, images=images), frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """The result of one study and what its report shows."""

    result: StudyResult
    document: ReportDocument | None = None
    study: Study | None = None

    def report_html(self) -> str:
        """Return the self-contained report page."""
        from .report.render import render_rejected, render_study

        if self.document is not None:
            return render_study(self.document)
        from .quality.gradability import REASONS

        reasons = self.result.quality.reasons if self.result.quality else ()
        return render_rejected(self.result, study=self.study, reasons=[REASONS.get(r, (r, "")) for r in reasons])

    def headline(self) -> str | None:
        """Return the first sentence of the report; None for a rejected study."""
        return self.document.headline if self.document else None

    def thumbnail(self) -> str | None:
        """Return a small picture as a data URI, or None without an image."""
        from .report.figures import thumbnail

        for images in (self.study.images if self.study else {}).values():
            return thumbnail(images[0].pixels)
        return None


class Pipeline:
    """A network with its gate, calibration, thresholds and report.

    Args:
        network: In evaluation mode.
        facts: What was saved with it: calibration, thresholds, prevalence, card, digest of the weights.
        device: Where the network runs.
        explain: "none", "cam" (heat maps and shares) or "full" (also table columns, report phrases).
        name: Shown in provenance.
        quality: Calibration of the quality gate; None takes the shipped one.

    Example:
        >>> pipeline = Pipeline.load("screen")                                    # doctest: +SKIP
        >>> pipeline(fu.StudyRecord(study_id="a", images={"cfp": ("eye.jpg",)})).result.predictions  # doctest: +SKIP
    """

    def __init__(
        self,
        network: MultimodalNetwork,
        facts: Mapping[str, Any] | None = None,
        *,
        device: str = "cpu",
        explain: str = "cam",
        name: str = "custom",
        quality: QualityModel | None = None,
    ) -> None:
        if explain not in EXPLAIN_CHOICES:
            raise InvalidInput(f"explain is {explain!r}; choose one of {EXPLAIN_CHOICES}.")
        self.facts = dict(facts or {})
        self.network = network.eval().to(device)
        self.device = device
        self.explain = explain
        self.name = name
        #: Words the findings in the report: result and study -> sentences by language, and who wrote them; None: the templates.
        self.narrate: Callable[[StudyResult, Study], tuple[Any, str]] | None = None
        #: Who words them, part of what decides a report; empty: the templates.
        self.narrator = ""
        self.preparation = Preparation(
            inputs=network.spec.inputs,
            table=network.spec.table,
            required=tuple(self.facts.get("required", ())),
            quality=quality,
        )

    @classmethod
    def load(
        cls,
        model: str | Path = "screen",
        *,
        device: str = "cpu",
        explain: str = "cam",
        quality: str | Path | None = None,
    ) -> Pipeline:
        """Return the pipeline of a shipped model by name, or of a folder that training wrote.

        Args:
            model: Name or folder.
            device: Where the network runs.
            explain: "none", "cam" or "full".
            quality: File that `fundusion check --fit-quality` wrote; None takes the shipped calibration of the gate.

        Raises:
            UnknownName: Neither a shipped name nor a folder.
            IncompatibleWeights: The folder holds no usable network.
        """
        from .network import load_network
        from .shipped import resolve_model

        folder, name = resolve_model(model)
        network, facts = load_network(folder)
        calibration = None
        if quality is not None:
            from .quality.calibration import QualityModel

            calibration = QualityModel.load(quality)
        return cls(network, facts, device=device, explain=explain, name=name, quality=calibration)

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the answers, JSON-ready."""
        from . import __version__
        from .transforms.image import preprocessing_signature

        return {
            "model": self.name,
            "weights_sha256": self.facts.get("weights_sha256"),
            "package_version": __version__,
            "modalities": list(self.network.modalities),
            "preprocessing": {m: preprocessing_signature(i) for m, i in self.preparation.inputs.items()},
            "tasks": {name: list(t.labels) for name, t in self.network.spec.tasks.items()},
            "thresholds": self.facts.get("thresholds", {}),
            "explain": self.explain,
            "quality": "shipped" if self.preparation.quality is None else self.preparation.quality.digest(),
            "device": str(self.device),
            "terms": self.facts.get("card", {}).get("terms"),
            **({"narrator": self.narrator} if self.narrator else {}),
        }

    def preparer(self) -> partial[PreparedItem]:
        """Return the picklable function that worker processes run."""
        return partial(prepare_record, preparation=self.preparation)

    def __call__(self, record: StudyRecord) -> Analysis:
        """Return the analysis of one record.

        Raises:
            FundusionError: The record cannot be used.
        """
        return self.analyze([prepare_record(record, preparation=self.preparation)])[0]

    def analyze(self, items: Sequence[PreparedItem]) -> list[Analysis]:
        """Return the analyses of prepared studies, in order, from one forward pass (two with mirrored images)."""
        from .inference import infer

        if not items:
            return []
        answers = infer(
            self.network,
            [i.prepared for i in items],
            self.facts,
            device=self.device,
            explain=self.explain,
        )
        return [self._compose(item, answer) for item, answer in zip(items, answers, strict=True)]

    def reject(self, record: StudyRecord, error: Exception) -> Analysis:
        """Return the analysis of a record that could not be used."""
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
            modalities=self._uses(study, {}) if study else {},
            provenance=self._provenance(()),
            notes=getattr(error, "notes", ()),
        )
        return Analysis(result=result, study=study)

    def _compose(self, item: PreparedItem, answer: Any) -> Analysis:
        from .narrative.writer import narrative_rows
        from .report.compose import compose_report
        from .report.findings import compose_findings
        from .report.reading import OTHER_PATIENT, compare_with_report, read_report, report_notes

        study = item.study
        explanations = tuple(_place_maps(e, answer.maps.get(e.target, {}), item) for e in answer.explanations)
        uses = self._uses(study, answer.shares)
        missing = tuple(m for m in self.network.modalities if m not in answer.shares)
        findings = compose_findings(
            answer.predictions, tasks=self.network.spec.tasks, quality=item.quality, missing=missing
        )
        doubts = report_notes(study.report, laterality=study.laterality, patient_id=study.patient_id)
        result = StudyResult(
            study_id=study.study_id,
            patient_id=study.patient_id,
            laterality=study.laterality.value if study.laterality else None,
            status="ok",
            code="ok",
            quality=item.quality,
            predictions=answer.predictions,
            modalities=uses,
            explanation=explanations,
            findings=findings,
            provenance=self._provenance(item.digests),
            notes=(*item.notes, *doubts),
        )
        statements = () if OTHER_PATIENT in doubts else read_report(study.report)
        agreements = compare_with_report(findings, statements, study.laterality)
        document = compose_report(
            result,
            study=study,
            explanation=explanations,
            agreements=agreements,
            tasks=self.network.spec.tasks,
            would_add=self.facts.get("would_add", {}),
            columns=self._column_titles(),
        )
        told, narrator = self.narrate(result, study) if self.narrate else (narrative_rows(result), "")
        return Analysis(result=result, document=replace(document, narrative=told, narrator=narrator), study=study)

    def _column_titles(self) -> dict[str, tuple[str, str | None]]:
        from .core.table import KNOWN_COLUMNS

        columns = self.network.spec.table.columns if self.network.spec.table else ()
        known = {c.name: c.unit for c in columns}
        return {
            name: (KNOWN_COLUMNS[name].title if name in KNOWN_COLUMNS else name.replace("_", " ").capitalize(), unit)
            for name, unit in {**{k: v.unit for k, v in KNOWN_COLUMNS.items()}, **known}.items()
        }

    def _uses(self, study: Study, shares: Mapping[str, float]) -> dict[str, ModalityUse]:
        names = dict.fromkeys((*self.network.modalities, *study.modalities))
        return {m: ModalityUse(present=m in study.modalities, used=m in shares, share=shares.get(m)) for m in names}

    def _provenance(self, digests: tuple[str, ...]) -> dict[str, Any]:
        config = self.config
        return {
            "model": config["model"],
            "weights_sha256": config["weights_sha256"],
            "package_version": config["package_version"],
            "preprocessing": config["preprocessing"],
            "input_sha256": list(digests),
            **terms_of_weights(self.facts.get("encoder_weights")),
        }


def _place_maps(
    explanation: Explanation, maps: Mapping[str, Sequence[npt.NDArray[np.float32]]], item: PreparedItem
) -> Explanation:
    """Return the explanation with its maps in the frame of the pictures; several frames of one picture are averaged."""
    from .transforms.image import map_to_original

    placed: dict[str, tuple[npt.NDArray[np.float32], ...]] = {}
    for modality, frames in maps.items():
        pictures = item.study.images[modality]
        sums: dict[int, list[npt.NDArray[np.float32]]] = {}
        for heat, ready, k in zip(frames, item.prepared.images[modality], item.frames[modality], strict=True):
            sums.setdefault(k, []).append(map_to_original(heat, ready, pictures[k].pixels.shape[:2]))
        blank = {k: np.zeros(p.pixels.shape[:2], np.float32) for k, p in enumerate(pictures)}
        placed[modality] = tuple(
            np.mean(sums[k], axis=0).astype(np.float32) if k in sums else blank[k] for k in range(len(pictures))
        )
    return replace(explanation, heatmaps=placed)
