"""From a record to a result: read, judge, prepare, predict, explain, compose; each step is one call."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .core.errors import FundusionError, InvalidInput
from .core.registry import terms_of_weights
from .core.results import Explanation, ModalityUse, StudyResult
from .core.study import Study, StudyRecord
from .preparation import Preparation, PreparedItem, RejectedStudy, prepare_record

if TYPE_CHECKING:
    from .biomarkers.reference import Comparison
    from .core.cohort import Cohort
    from .measuring import MeasuredPhotograph, Measurer
    from .network import MultimodalNetwork
    from .quality.calibration import QualityModel
    from .report.compose import ReportDocument
    from .report.measured import MeasuredSection

__all__ = ["EXPLAIN_CHOICES", "Analysis", "Pipeline", "RejectedStudy", "prepare_record"]

EXPLAIN_CHOICES = ("none", "cam", "full")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """The result of one study and what its report shows.

    Args:
        result: Plain numbers.
        document: Of the report; None for a rejected study.
        study: With the pictures to show.
        measured: Photographs with their masks and numbers.
        comparisons: Photograph to its numbers beside a cohort.
        seconds: Spent on this study by step; "network" is its share of a batch.
    """

    result: StudyResult
    document: ReportDocument | None = None
    study: Study | None = None
    measured: tuple[MeasuredPhotograph, ...] = ()
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def report_html(self) -> str:
        """Return the self-contained report page."""
        from .report.render import render_rejected, render_study

        if self.document is not None:
            return render_study(replace(self.document, measured=self.sections()))
        from .quality.gradability import REASONS

        reasons = self.result.quality.reasons if self.result.quality else ()
        return render_rejected(self.result, study=self.study, reasons=[REASONS.get(r, (r, "")) for r in reasons])

    def sections(self) -> tuple[MeasuredSection, ...]:
        """Return the part of the page for each measured photograph: tables, pictures, plots."""
        from .report.measured import measured_section

        return tuple(
            measured_section(
                p.image, p.pixels, p.masks, p.found, laterality=p.laterality, facts=p.facts,
                comparison=self.comparisons.get(p.image),
            )
            for p in self.measured
        )  # fmt: skip

    def pictures(self) -> dict[str, bytes]:
        """Return files to keep beside the report: structures, zones and graph of each photograph, and the plots against age."""
        from .report.age_plots import age_plot_files
        from .report.eye_pictures import eye_picture_files

        files = {}
        for p in self.measured:
            files |= eye_picture_files(p.image, p.pixels, p.masks, p.found, laterality=p.laterality)
            if p.image in self.comparisons:
                files |= age_plot_files(self.comparisons[p.image], p.image, laterality=p.laterality)
        return files

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
        measurer: Segments and measures colour photographs; None measures nothing.
        cohort: Measurements of other eyes, to show those of a patient against their age.

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
        measurer: Measurer | None = None,
        cohort: Cohort | None = None,
    ) -> None:
        if explain not in EXPLAIN_CHOICES:
            raise InvalidInput(f"explain is {explain!r}; choose one of {EXPLAIN_CHOICES}.")
        self.facts = dict(facts or {})
        self.network = network.eval().to(device)
        self.device = device
        self.explain = explain
        self.name = name
        self.measurer = measurer
        self.cohort = cohort
        #: Words the findings in the report: result and study -> sentences by language, and who wrote them; None: the templates.
        self.narrate: Callable[[StudyResult, Study], tuple[Any, str]] | None = None
        #: Who words them, part of what decides a report; empty: the templates.
        self.narrator = ""
        self.preparation = Preparation(
            inputs=network.spec.inputs,
            table=network.spec.table,
            required=tuple(self.facts.get("required", ())),
            quality=quality,
            measured_sides=measurer.sides if measurer else (),
        )

    @classmethod
    def load(
        cls,
        model: str | Path = "screen",
        *,
        device: str = "cpu",
        explain: str = "cam",
        quality: str | Path | None = None,
        measure: bool = True,
        cohort: str | Path | None = None,
        unproven: bool = False,
    ) -> Pipeline:
        """Return the pipeline of a shipped model by name, or of a folder that training wrote.

        Args:
            model: Name or folder.
            device: Where the network runs.
            explain: "none", "cam" or "full".
            quality: File that `fundusion check --fit-quality` wrote; None takes the shipped calibration of the gate.
            measure: Segment and measure colour photographs with the shipped segmenters.
            unproven: Measure also structures that a shipped segmenter is often wrong about: cups and lesions.
            cohort: Table of measurements of other eyes with their ages, such as the `cohort.csv` of another run.

        Raises:
            InvalidInput: The cohort cannot be used, or is given although nothing is measured.
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
        measurer, others = None, None
        if measure:
            from .measuring import Measurer

            measurer = Measurer.shipped(device=device, unproven=unproven)
        if cohort is not None:
            from .readers.cohort import read_cohort

            if measurer is None:
                raise InvalidInput(
                    "a cohort is given, but nothing is measured.", code="config.cohort", hint="Leave out --no-measure."
                )
            others = read_cohort(cohort)
        return cls(
            network, facts, device=device, explain=explain, name=name, quality=calibration, measurer=measurer, cohort=others
        )  # fmt: skip

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
            **({"measure": self.measurer.config} if self.measurer else {}),
            **({"cohort": self.cohort.digest} if self.cohort else {}),
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
        began = time.perf_counter()
        answers = infer(
            self.network,
            [i.prepared for i in items],
            self.facts,
            device=self.device,
            explain=self.explain,
        )
        share = (time.perf_counter() - began) / len(items)
        return [self._compose(item, answer, share) for item, answer in zip(items, answers, strict=True)]

    def _measure(self, item: PreparedItem) -> tuple[list[MeasuredPhotograph], list[str]]:
        """Return what was measured, and why other photographs were not; a failure here takes no diagnosis with it."""
        measured: list[MeasuredPhotograph] = []
        failed = []
        eye = item.study.laterality.value if item.study.laterality else None
        for squares in item.squares if self.measurer else ():
            try:
                measured.append(self.measurer.measure(squares, laterality=eye))  # type: ignore[union-attr]
            except Exception as error:
                code = error.code if isinstance(error, FundusionError) else "internal"
                _log.warning("%s of %s was not measured: %s", squares.image, item.study.study_id, error)
                failed.append(f"{squares.image}.not_measured.{code}")
        return measured, failed

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

    def _compose(self, item: PreparedItem, answer: Any, seconds: float) -> Analysis:
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
        measured, unmeasured = self._measure(item)
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
            measurements=tuple(m for p in measured for m in p.found.measurements),
            provenance=self._provenance(item.digests, measured),
            notes=(*item.notes, *unmeasured, *(n for p in measured for n in p.notes), *doubts),
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
        spent = {"network": seconds, "measuring": sum(p.seconds for p in measured)}
        return Analysis(
            result=result, document=replace(document, narrative=told, narrator=narrator), study=study, measured=tuple(measured),
            comparisons=self._comparisons(measured, study), seconds=spent,
        )  # fmt: skip

    def _comparisons(self, measured: Sequence[MeasuredPhotograph], study: Study) -> dict[str, Comparison]:
        from .biomarkers.reference import compare

        if self.cohort is None or self.measurer is None:
            return {}
        return {
            p.image: compare(
                self.cohort, p.found.measurements, patient_id=study.patient_id, metadata=study.metadata,
                measured_with=self.measurer.measured_with,
            )
            for p in measured
        }  # fmt: skip

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

    def _provenance(self, digests: tuple[str, ...], measured: Sequence[MeasuredPhotograph] = ()) -> dict[str, Any]:
        config = self.config
        return {
            "model": config["model"],
            "weights_sha256": config["weights_sha256"],
            "package_version": config["package_version"],
            "preprocessing": config["preprocessing"],
            "input_sha256": list(digests),
            **terms_of_weights(self.facts.get("encoder_weights")),
            **(
                {"measuring": {**self.measurer.config, "photographs": {p.image: dict(p.facts) for p in measured}}}
                if self.measurer and measured
                else {}
            ),
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
