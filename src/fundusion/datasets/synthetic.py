"""Drawn eyes: pictures, table, report and labels of imaginary patients with known truth; nothing to download.

Labels and what shows them
    `dr_grade`, `referable`: the photograph. `disease`: eight ODIR-style letters; O is shown by B-scan or ultrasound only,
    G needs the cup in the photograph and the pressure in the table. `systemic` is made to measure fusion:

    ================== ===================== ===== =================================================================
    label              shown by              about AUROC of a reader who sees the signs without error
    ================== ===================== ===== =================================================================
    haemorrhage        photograph            0.43  photograph 0.96; table 0.78, because control of diabetes drives it
    subretinal_fluid   B-scan                0.37  B-scan 0.95; anything else 0.5
    vascular_risk      table                 0.40  table 0.88: a chance that rises with HbA1c and systolic pressure
    retinal_tear       report                0.36  report 0.92; anything else 0.5
    glaucoma           photograph and table  0.21  photograph 0.79, table 0.78, both 0.91: large cup AND high pressure
    needs_injection    B-scan and report     0.22  B-scan 0.82, report 0.71, both 0.90: fluid AND no injection
    ================== ===================== ===== =================================================================

    "About" is the prevalence in 3000 eyes. Of the labels 4 % are turned round (not of `vascular_risk`), 8 % of reports
    leave a complaint or treatment out, 6 % of table cells are empty: no reader of one modality is perfect.

    Reports of a cohort hold history only unless asked otherwise: a report of findings names what the pictures show, so
    that text alone would answer everything.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.durable import write_text
from ..core.errors import InvalidInput, ReadError
from ..core.registry import Card, datasets
from ..core.study import Image, Study, StudyRecord
from ..core.vocabulary import TABLE, TEXT, Laterality, parse_laterality
from ._drawn.anatomy import Spot, Truth, VesselSegment, children
from ._drawn.angiogram import PHASES, draw_angiogram
from ._drawn.bscan import draw_bscan
from ._drawn.patient import (
    EyeFacts,
    PatientFacts,
    draw_facts,
    draw_patient,
    labels_of,
    table_of,
)
from ._drawn.photograph import (
    CAMERAS,
    Fundus,
    PhotographStyle,
    draw_fundus,
    photograph,
    place_frame,
    render_truth,
)
from ._drawn.reports import draw_report
from ._drawn.sheet import COLUMNS, MODALITIES, TASKS, read_row, write_row
from ._drawn.ultrasound import draw_ultrasound

__all__ = [
    "MODALITIES",
    "TASKS",
    "DrawnEye",
    "EyeFacts",
    "PatientFacts",
    "PhotographStyle",
    "Spot",
    "Truth",
    "VesselSegment",
    "draw_bscan",
    "draw_cohort",
    "draw_eye",
    "draw_photograph",
    "draw_ultrasound",
    "synthetic",
    "write_cohort",
]

_ALL = (*MODALITIES, TEXT, TABLE)

_CARD = Card(
    title="Drawn eyes",
    modalities=frozenset(_ALL),
    paper="none: drawn by this package",
    notes="Imaginary patients; for tests, examples and benchmarks of the machinery, never evidence of accuracy.",
    facts={"labels": {name: list(task.labels) for name, task in TASKS.items()}},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnEye:
    """A drawn eye.

    Args:
        study: What a clinic would have: images, report, table, labels.
        truth: What is drawn in the fundus, in the frame of photograph and angiogram (also when neither was taken).
        facts: What is true of patient and eye, also where no image shows it.
    """

    study: Study
    truth: Truth
    facts: EyeFacts


def draw_photograph(
    generator: np.random.Generator,
    *,
    size: int = 512,
    laterality: Laterality | str = Laterality.RIGHT,
    grade: int = 0,
    cup_to_disc: float = 0.35,
    drusen: bool = False,
    hypertensive: bool = False,
    myopic: bool = False,
    style: PhotographStyle | None = None,
) -> tuple[npt.NDArray[np.uint8], Truth]:
    """Return a colour fundus photograph `(S, S, 3)` uint8 and what is drawn in it.

    In a right eye the disc lies to the right of the fovea. Another size, style or laterality of the same generator
    state shows the same fundus.

    Args:
        generator: Source of chance.
        size: Side, px; 48 to 4096.
        laterality: Which eye.
        grade: ICDR grade 0-4.
        cup_to_disc: Ratio of the radii of cup and disc, 0.05-0.95.
        drusen: Age-related drusen.
        hypertensive: Narrow arteries, flame haemorrhages, cotton-wool spots.
        myopic: Crescent of atrophy beside the disc, thin pigment.
        style: Camera, pigment, haze, blur and so on; None draws one.

    Raises:
        InvalidInput: A value is out of range.
    """
    _check_size(size)
    if isinstance(grade, bool) or grade not in range(5):
        raise InvalidInput(f"grade is {grade!r}; needed is 0, 1, 2, 3 or 4.", code="synthetic.grade")
    if not 0.05 <= cup_to_disc <= 0.95:
        raise InvalidInput(f"cup_to_disc is {cup_to_disc}; needed is 0.05 to 0.95.", code="synthetic.cup")
    eye = _eye(laterality)
    anatomy, styling, placing, shooting = children(generator, 4)
    fundus = draw_fundus(
        anatomy, grade=int(grade), cup_to_disc=cup_to_disc, drusen=drusen, hypertensive=hypertensive, myopic=myopic
    )
    style = style or _style(styling, camera=list(CAMERAS)[int(styling.integers(len(CAMERAS)))])
    frame = place_frame(placing, size=size, laterality=eye, style=style)
    rendering = render_truth(fundus, frame)
    return photograph(shooting, fundus, frame, style=style, rendering=rendering), rendering.truth


def draw_eye(
    seed: int | Sequence[int],
    *,
    size: int = 512,
    modalities: Collection[str] = ("cfp",),
    language: str = "en",
    laterality: Laterality | str | None = None,
    grade: int | None = None,
    report: str = "full",
    oct_frames: int = 1,
    style: PhotographStyle | None = None,
) -> DrawnEye:
    """Return one eye; the same arguments give the same bytes, and leaving out a modality changes no other.

    Args:
        seed: Number of the patient, or several numbers.
        size: Side of every picture, px.
        modalities: Of "cfp", "oct", "ffa", "ultrasound", "text", "table".
        language: "en" or "zh".
        laterality: None draws one.
        grade: ICDR grade; None draws one from duration and control of the diabetes.
        report: "history", "findings" or "full"; "history" says nothing that a picture shows.
        oct_frames: Number of B-scans, spread over the macula.
        style: How the photograph is taken; None follows the patient.

    Raises:
        InvalidInput: A value is out of range or unknown.
    """
    root = np.random.default_rng(np.random.SeedSequence(seed))
    patient_chance, eye_chance = children(root, 2)
    diabetic = True if grade else None
    patient = draw_patient(patient_chance, diabetic=diabetic)
    eye = _eye(laterality) if laterality is not None else list(Laterality)[int(eye_chance.integers(2))]
    number = "-".join(str(s) for s in (seed if isinstance(seed, Sequence) else (seed,)))
    return _draw(
        eye_chance,
        draw_facts(eye_chance, patient, eye, grade=grade),
        patient_id=f"drawn-{number}",
        size=size,
        modalities=modalities,
        language=language,
        report=report,
        oct_frames=oct_frames,
        style=style,
    )


def draw_cohort(
    count: int,
    *,
    seed: int = 0,
    modalities: Collection[str] = ("cfp", "oct", TEXT, TABLE),
    size: int = 96,
    missing: float | Mapping[str, float] = 0.0,
    eyes_per_patient: int = 2,
    language: str = "en",
    report: str = "history",
    oct_frames: int = 1,
) -> Iterator[DrawnEye]:
    """Yield eyes of many patients; eye i is the same whatever the count and whatever is missing.

    Args:
        count: Number of eyes.
        seed: Another seed gives other patients.
        modalities: What is taken of each eye; see `draw_eye`.
        size: Side of every picture, px.
        missing: Chance that a modality was not taken, for all or by modality. An eye keeps at least one.
        eyes_per_patient: 1 or 2.
        language: "en", "zh" or "mixed".
        report: See `draw_eye`.
        oct_frames: See `draw_eye`.
    """
    _check_cohort(count, eyes_per_patient, language)
    _check_modalities(modalities)
    rates = _rates(missing, modalities)
    return _cohort(
        count, seed, rates, eyes_per_patient, language=language, size=size, report=report, oct_frames=oct_frames
    )


def _cohort(
    count: int, seed: int, rates: Mapping[str, float], eyes_per_patient: int, *, language: str, **options: Any
) -> Iterator[DrawnEye]:
    for i in range(count):
        number, which = divmod(i, eyes_per_patient)
        shared = np.random.default_rng(np.random.SeedSequence([seed, number]))
        patient = draw_patient(shared)
        first = list(Laterality)[int(shared.integers(2))] if eyes_per_patient == 1 else list(Laterality)[which]
        tongue = ("en", "zh")[int(shared.integers(2))] if language == "mixed" else language
        chance = np.random.default_rng(np.random.SeedSequence([seed, number, which]))
        taken = _taken(np.random.default_rng(np.random.SeedSequence([seed, number, which, 1])), rates)
        facts = draw_facts(chance, patient, first)
        yield _draw(
            chance, facts, patient_id=f"drawn-{seed}-{number:05d}", modalities=taken, language=tongue, **options
        )


def _taken(generator: np.random.Generator, rates: Mapping[str, float]) -> tuple[str, ...]:
    """Return what of the modalities is there; the luckiest one when chance would leave none."""
    names = [m for m in _ALL if m in rates]
    chance = dict(zip(_ALL, generator.random(len(_ALL)), strict=True))
    kept = tuple(m for m in names if chance[m] >= rates[m])
    if kept or not names:
        return kept
    possible = [m for m in names if rates[m] < 1] or names
    return (max(possible, key=lambda m: chance[m] - rates[m]),)


def _draw(
    generator: np.random.Generator,
    facts: EyeFacts,
    *,
    patient_id: str,
    size: int,
    modalities: Collection[str],
    language: str,
    report: str,
    oct_frames: int,
    style: PhotographStyle | None = None,
) -> DrawnEye:
    _check_size(size)
    _check_modalities(modalities)
    anatomy, looking, writing, filling, labelling = children(generator, 5)
    fundus = draw_fundus(
        anatomy,
        grade=facts.grade,
        cup_to_disc=facts.cup_to_disc,
        drusen=facts.drusen,
        hypertensive=facts.hypertensive,
        myopic=facts.myopia,
    )
    pictures, truth = _pictures(
        looking, facts, fundus, size=size, modalities=modalities, frames=oct_frames, style=style
    )
    seen = {name for name, number in truth.counts.items() if number}
    text = draw_report(writing, facts, seen=seen, modalities=modalities, language=language, content=report)
    eye = facts.laterality
    study = Study(
        study_id=f"{patient_id}-{eye.value}",
        patient_id=patient_id,
        laterality=eye,
        images={m: tuple(Image(pixels=p, modality=m, laterality=eye) for p in v) for m, v in pictures.items()},
        report=text if TEXT in modalities else None,
        metadata=table_of(filling, facts) if TABLE in modalities else {},
        labels=labels_of(labelling, facts, haemorrhage="HE" in seen),
        visit="1",
    )
    return DrawnEye(study=study, truth=truth, facts=facts)


def _pictures(
    generator: np.random.Generator,
    facts: EyeFacts,
    fundus: Fundus,
    *,
    size: int,
    modalities: Collection[str],
    frames: int,
    style: PhotographStyle | None,
) -> tuple[dict[str, tuple[npt.NDArray[np.uint8], ...]], Truth]:
    """Return pictures by modality and the truth; each modality has its own chance, so that none changes another."""
    styling, placing, shooting, scanning, dyeing, sounding = children(generator, 6)
    style = style or _style(styling, camera=facts.patient.camera, facts=facts)
    frame = place_frame(placing, size=size, laterality=facts.laterality, style=style)
    rendering = render_truth(fundus, frame)
    pictures: dict[str, tuple[npt.NDArray[np.uint8], ...]] = {}
    if "cfp" in modalities:
        pictures["cfp"] = (photograph(shooting, fundus, frame, style=style, rendering=rendering),)
    if "oct" in modalities:
        pictures["oct"] = _scans(scanning, facts, size, frames)
    if "ffa" in modalities:
        phase = list(PHASES)[int(dyeing.integers(len(PHASES)))]
        pictures["ffa"] = (
            draw_angiogram(dyeing, fundus, frame, rendering=rendering, phase=phase, leakage=facts.leakage),
        )
    if "ultrasound" in modalities:
        scan = draw_ultrasound(
            sounding,
            size=size,
            detachment=facts.detachment,
            vitreous_haemorrhage=facts.vitreous_haemorrhage,
            myopia=facts.myopia,
        )
        pictures["ultrasound"] = (scan,)
    return pictures, rendering.truth


def _scans(
    generator: np.random.Generator, facts: EyeFacts, size: int, frames: int
) -> tuple[npt.NDArray[np.uint8], ...]:
    if not 1 <= frames <= 512:
        raise InvalidInput(f"oct_frames is {frames}; needed is 1 to 512.", code="synthetic.frames")
    offsets = [0.0] if frames == 1 else np.linspace(-0.8, 0.8, frames)
    return tuple(
        draw_bscan(
            chance,
            size=size,
            laterality=facts.laterality,
            fluid=facts.fluid and abs(float(at)) < 0.5,
            oedema=facts.oedema and abs(float(at)) < 0.5,
            drusen=facts.drusen,
            offset=float(at),
        )
        for chance, at in zip(children(generator, frames), offsets, strict=True)
    )


def _style(generator: np.random.Generator, *, camera: str, facts: EyeFacts | None = None) -> PhotographStyle:
    patient = facts.patient if facts else None
    young = np.clip((55 - patient.age) / 35, 0, 1) if patient else generator.random() ** 2
    drawn = PhotographStyle(
        pigment=float(generator.beta(2.2, 2.4)),
        tessellation=float(generator.beta(1.3, 2.5)),
        sheen=float(young * generator.uniform(0.2, 1)),
        haze=float(generator.beta(1, 14)),
        blur=float(generator.beta(1.5, 12)),
        noise=float(generator.uniform(0.05, 0.3)),
        exposure=float(generator.uniform(0.72, 1.18)),
        uneven=float(generator.beta(1.5, 2.5)),
        camera=camera,
    )
    if facts is None or patient is None:
        return drawn
    return replace(
        drawn,
        pigment=patient.pigment * (0.4 if facts.myopia else 1.0),
        tessellation=min(1.0, patient.tessellation + (0.5 if facts.myopia else 0.0)),
        haze=max(drawn.haze, facts.cataract),
    )


def _eye(value: Laterality | str) -> Laterality:
    eye = parse_laterality(value)
    if eye is None:
        raise InvalidInput("laterality is empty; needed is OD or OS.", code="laterality.unknown")
    return eye


def _check_size(size: int) -> None:
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not 48 <= size <= 4096:
        raise InvalidInput(f"size is {size!r}; needed is a whole number of pixels, 48 to 4096.", code="synthetic.size")


def _check_modalities(modalities: Collection[str]) -> None:
    unknown = sorted(set(modalities) - set(_ALL))
    if unknown or isinstance(modalities, str):
        raise InvalidInput(
            f"modalities {unknown or modalities!r} cannot be drawn.",
            code="modality.unknown",
            hint=f"Known: {', '.join(_ALL)}.",
        )


def _check_cohort(count: int, eyes_per_patient: int, language: str) -> None:
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 0:
        raise InvalidInput(f"count is {count!r}; needed is a whole number of eyes.", code="synthetic.count")
    if eyes_per_patient not in (1, 2):
        raise InvalidInput(f"eyes_per_patient is {eyes_per_patient!r}; needed is 1 or 2.", code="synthetic.count")
    if language not in ("en", "zh", "mixed"):
        raise InvalidInput(f"language {language!r} is not 'en', 'zh' or 'mixed'.", code="synthetic.language")


def _rates(missing: float | Mapping[str, float], modalities: Collection[str]) -> dict[str, float]:
    rates = {m: float(missing.get(m, 0.0) if isinstance(missing, Mapping) else missing) for m in modalities}
    strange = sorted(set(missing) - set(_ALL)) if isinstance(missing, Mapping) else []
    if strange or not all(0 <= r <= 1 for r in rates.values()):
        raise InvalidInput(
            f"missing is {missing!r}; needed is a share in [0, 1], or one by modality.", code="synthetic.missing"
        )
    return rates


def write_cohort(
    folder: str | Path,
    count: int,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    jpeg_quality: int | None = None,
    **options: Any,
) -> Path:
    """Draw a cohort into a folder and return the path of its `manifest.csv`.

    The manifest is written last, so that a folder with one is complete. Splits are by patient: 70 % train, 15 % val,
    15 % test.

    Args:
        folder: Made when it does not exist.
        count: Number of eyes.
        seed: See `draw_cohort`.
        progress: Called with eyes done and eyes in all.
        jpeg_quality: Write photographs as JPEG of this quality; None writes PNG. Other pictures are PNG.
        **options: Of `draw_cohort`.
    """
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise InvalidInput(f"jpeg_quality is {jpeg_quality}; needed is 1 to 100.", code="synthetic.jpeg")
    eyes = draw_cohort(count, seed=seed, **options)
    base = Path(folder)
    (base / "images").mkdir(parents=True, exist_ok=True)
    sheet = io.StringIO(newline="")
    writer = csv.DictWriter(sheet, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for done, eye in enumerate(eyes, 1):
        writer.writerow(write_row(eye.study, base, jpeg_quality=jpeg_quality, seed=seed))
        if progress is not None:
            progress(done, count)
    manifest = base / "manifest.csv"
    write_text(manifest, sheet.getvalue())
    return manifest


@datasets.register("synthetic", _CARD)
def synthetic(
    root: str | Path, *, split: str | None = None, count: int = 48, seed: int = 0, **options: Any
) -> Sequence[StudyRecord]:
    """Return the records of a folder of drawn eyes; an empty or new folder is filled first.

    Args:
        root: Folder.
        split: "train", "val" or "test"; None takes all.
        count: Number of eyes to draw when the folder is empty.
        seed: Which patients.
        **options: Of `write_cohort`.

    Raises:
        ReadError: The folder holds files but no `manifest.csv` of drawn eyes.
    """
    base = Path(root)
    manifest = base / "manifest.csv"
    if not manifest.is_file():
        if base.is_dir() and any(p.name != "images" for p in base.iterdir()):
            raise ReadError(
                f"{base.name!r} holds other files and no manifest.csv of drawn eyes.",
                code="dataset.layout",
                hint="Give an empty folder; it is filled with drawn eyes.",
            )
        write_cohort(base, count, seed=seed, **options)
    with manifest.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if rows and set(rows[0]) != set(COLUMNS):
        raise ReadError(f"the manifest of {base.name!r} is not one of drawn eyes.", code="dataset.layout")
    return [read_row(r, base, i) for i, r in enumerate(rows, 2) if split is None or r["split"] == split]
