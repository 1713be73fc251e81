"""Pictures and what may be said of them: real ones with keywords or grades, drawn ones with their truth; seen once by a frozen tower."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..core.registry import ImageInput, datasets
from ..core.study import StudyRecord
from ..core.vocabulary import TABLE
from ..datasets._splits import position_of
from ..datasets.synthetic import DrawnEye, draw_eye
from ..layers.eye_words import MODALITIES, question, told_findings, told_picture, told_yes
from ..layers.precision import fast_matmul, usable_precision
from ..transforms.collate import normalise_images
from ..transforms.image import preprocessing_signature
from ..transforms.prepared import prepare_study
from .config import SetConfig, data_folder
from .data import prepare_set
from .embeddings import digest_of_module, resized
from .store import BlockStore

#: Keywords of ODIR -> findings that can be said; what is not here is left out of captions.
KEYWORDS: Mapping[str, str] = {
    "normal fundus": "normal", "mild nonproliferative retinopathy": "dr1", "moderate non proliferative retinopathy": "dr2",
    "severe nonproliferative retinopathy": "dr3", "proliferative diabetic retinopathy": "dr4",
    "severe proliferative diabetic retinopathy": "dr4", "diabetic retinopathy": "dr", "cataract": "cataract",
    "pathological myopia": "myopia", "myopic maculopathy": "myopia", "glaucoma": "glaucoma",
    "suspected glaucoma": "glaucoma_suspect", "dry age-related macular degeneration": "amd",
    "wet age-related macular degeneration": "amd", "macular epiretinal membrane": "membrane",
    "epiretinal membrane": "membrane", "epiretinal membrane over the macula": "membrane",
    "hypertensive retinopathy": "hypertensive", "drusen": "drusen", "myelinated nerve fibers": "myelinated",
    "vitreous degeneration": "vitreous", "refractive media opacity": "haze", "laser spot": "laser",
    "post laser photocoagulation": "laser", "branch retinal vein occlusion": "brvo",
    "old branch retinal vein occlusion": "brvo", "maculopathy": "maculopathy",
}  # fmt: skip
#: Share of drawn eyes by modality.
_DRAWN = ("cfp", "cfp", "oct", "ffa")
#: Side of drawn photographs, px: a microaneurysm is four to six of them wide.
DRAWN_PX = 448
#: Greatest side of drawn B-scans and angiograms, px; nothing small is looked for in them.
_OTHERS_PX = 224
_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What may be said of one picture.

    Args:
        study_id: Of its study.
        group: Patient; pictures of one stay together.
        source: Set, or "drawn".
        modality: "cfp", "oct" or "ffa".
        eye: "OD", "OS", or None when it is not known or a picture of this kind does not show it.
        findings: Keys of `eye_words.FINDINGS`; None when they are not known.
        retinopathy: Whether a drawn photograph shows diabetic retinopathy; None for every other picture, of which this is not asked:
            what small dots in real photographs mean is not learned from keywords.
        complete: Whether findings that are not named are absent; a grade says nothing of other diseases.
    """

    study_id: str
    group: str
    source: str
    modality: str
    eye: str | None = None
    findings: tuple[str, ...] | None = None
    retinopathy: bool | None = None
    complete: bool = True

    def mirrored(self) -> Told:
        """Return what may be said of the mirror image."""
        return replace(self, eye={"OD": "OS", "OS": "OD"}.get(self.eye or ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldSet:
    """Pictures and what may be said of them, in a fixed order.

    Args:
        told: One per picture.
        cells: float16 `(n, 2, N, E)`: the picture and its mirror image as the tower sees them.
        rejected: Studies that could not be read: name, code, reason.
        digest: Of all of it.
    """

    told: tuple[Told, ...]
    cells: npt.NDArray[np.float16]
    rejected: tuple[tuple[str, str, str], ...] = ()
    digest: str = ""

    def held_out(self, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
        """Return which pictures belong to the patients that are held out, by the rule of every training here."""
        return np.asarray([position_of(t.group, seed=seed) < fraction for t in self.told], np.bool_)


def told_of(record: StudyRecord, source: str) -> Told:
    """Return what a record of a public set says of its photograph.

    Example:
        >>> record = StudyRecord(study_id="a", labels={"findings": ("drusen", "lens dust")})
        >>> told_of(record, "odir").findings, told_of(StudyRecord(study_id="b", labels={"dr_grade": 0}), "idrid").findings
        (('drusen',), None)
    """
    words = record.labels.get("findings")
    findings: tuple[str, ...] | None = None
    complete = True
    if isinstance(words, (tuple, list)) and words:
        # An eye with words of its own kind only, such as a naevus, is no normal eye and has no caption.
        findings = tuple(dict.fromkeys(KEYWORDS[w] for w in words if w in KEYWORDS)) or None
    elif (grade := record.labels.get("dr_grade")) is not None and float(grade) in range(1, 5):
        # A grade of 0 says nothing of other diseases.
        findings, complete = (f"dr{int(float(grade))}",), False
    return Told(
        study_id=record.study_id, group=record.group, source=source, modality="cfp",
        eye=record.laterality.value if record.laterality else None, findings=findings, complete=complete,
    )  # fmt: skip


def told_of_drawn(eye: DrawnEye, modality: str) -> Told:
    """Return what is true of a drawn picture of a kind and can be seen in it."""
    facts, grade = eye.facts, eye.facts.grade
    if modality == "cfp":
        seen = {f"dr{grade}": grade > 0, "drusen": facts.drusen, "hypertensive": facts.hypertensive,
                "myopia": facts.myopia, "glaucoma_suspect": facts.large_cup, "cataract": facts.cataract > 0.25}  # fmt: skip
    elif modality == "oct":
        seen = {"fluid": facts.fluid, "oedema": facts.oedema, "drusen": facts.drusen}
    else:
        seen = {"leakage": facts.leakage}
    found = tuple(k for k, there in seen.items() if there)
    return Told(
        study_id=f"drawn/{eye.study.study_id}/{modality}", group=f"drawn/{eye.study.patient_id}", source="drawn",
        modality=modality, eye=None if modality == "oct" else facts.laterality.value,
        findings=found or (("normal",) if modality == "cfp" else ()),
        retinopathy=grade > 0 if modality == "cfp" else None,
    )  # fmt: skip


def drawn_grades(count: int) -> list[int]:
    """Return the grades of drawn eyes: half have no retinopathy, the other grades are as frequent as each other.

    Example:
        >>> grades = drawn_grades(1000)
        >>> 450 < grades.count(0) < 550, sorted(set(grades))
        (True, [0, 1, 2, 3, 4])
    """
    chance = np.random.default_rng(0)
    return [0 if chance.random() < 0.5 else int(chance.integers(1, 5)) for _ in range(count)]


def drawn_eye(number: int, seed: int, grade: int, *, size: int, picture: bool = True) -> tuple[DrawnEye, str]:
    """Return one of the drawn eyes of a recipe and the modality it is seen in; without its picture it costs little.

    Half are photographs, a quarter B-scans, a quarter angiograms.

    Example:
        >>> eye, modality = drawn_eye(2, 0, 1, size=48, picture=False)
        >>> modality, eye.study.images == {}
        ('oct', True)
    """
    modality = _DRAWN[number % len(_DRAWN)]
    taken = (modality,) if picture else (TABLE,)
    return draw_eye((seed, number), size=size if picture else 48, modalities=taken, grade=grade), modality


def drawn_pixels(number: int, seed: int, grade: int, wanted: ImageInput, *, size: int) -> npt.NDArray[np.uint8]:
    """Return the picture of a drawn eye, prepared for a captioner."""
    photograph = _DRAWN[number % len(_DRAWN)] == "cfp"
    eye, modality = drawn_eye(number, seed, grade, size=size if photograph else min(size, wanted.size, _OTHERS_PX))
    return prepare_study(eye.study, {modality: wanted}).images[modality][0].pixels


def questions_about(told: Told) -> list[tuple[str, str, str]]:
    """Return what can be asked of a picture, in both languages: kind, question and answer.

    Example:
        >>> asked = questions_about(Told(study_id="a", group="a", source="drawn", modality="cfp", retinopathy=False))
        >>> [(kind, answer) for kind, _, answer in asked]
        [('modality', 'colour fundus photograph.'), ('modality', '彩色眼底照片。'), ('retinopathy', 'no.'), ('retinopathy', '无。')]
    """
    asked = []
    for language in ("en", "zh"):
        index = 0 if language == "en" else 1
        stop = ".。"[index]
        asked.append(("modality", language, MODALITIES[told.modality][index] + stop))
        if told.findings is not None:
            asked.append(("caption", language, told_picture(told.modality, told.eye, told.findings, language)))
            asked.append(("findings", language, told_findings(told.findings, language)))
        if told.eye is not None:
            side = {"OD": ("right eye", "右眼"), "OS": ("left eye", "左眼")}[told.eye][index]
            asked.append(("laterality", language, side + stop))
        if told.retinopathy is not None:
            asked.append(("retinopathy", language, told_yes(told.retinopathy, language)))
    return sorted(((k, question(k, lang), answer) for k, lang, answer in asked), key=lambda row: row[0])


def see(
    model: Any,
    keys: Sequence[str],
    pixels_of: Callable[[int], npt.NDArray[np.uint8]],
    *,
    wanted: ImageInput,
    small: bool = True,
    cache: str | Path | None = None,
    progress: Callable[..., None] | None = None,
) -> npt.NDArray[np.float16]:
    """Return pictures and their mirror images as the tower of a captioner sees them, float16 `(n, 2, N, E)`.

    Args:
        model: The captioner.
        keys: What each picture is known by in the cache.
        pixels_of: Number of a picture -> its pixels `(S, S, 3)`; called only for those that are not in the cache.
        wanted: Pixels of the model.
        small: Also look for what is small; costs more than the rest.
        cache: Folder; another tower or preprocessing is another store.
        progress: Called with (done, total).
    """
    found: dict[int, npt.NDArray[np.float16]] = {}
    store = None
    if cache:
        manner = "" if small else "|large"
        purpose = f"captioner|{preprocessing_signature(wanted)}|{digest_of_module(model.tower)}{manner}"
        store = BlockStore(cache, purpose=purpose, shape=_shape(model, wanted), dtype=np.float16)
    missing = [i for i, key in enumerate(keys) if store is None or key not in store]
    for start in range(0, len(missing), _BATCH):
        index = missing[start : start + _BATCH]
        block = _seen(model, np.stack([pixels_of(i) for i in index]), wanted, small)
        found |= dict(zip(index, block, strict=True))
        if store is not None:
            store.put({keys[i]: found[i] for i in index})
        if progress:
            progress(start + len(index), len(missing))
    known = [i for i in range(len(keys)) if i not in found]
    if store is not None and known:
        found |= dict(zip(known, store.get([keys[i] for i in known]), strict=True))
    return np.stack([found[i] for i in range(len(keys))])


def drawing_keys(count: int, seed: int, *, size: int) -> list[str]:
    """Return what drawn pictures are known by: number, seed, side, and a small picture of every kind as a mark of the drawing code."""
    marks = hashlib.sha256()
    for number in range(len(_DRAWN)):
        eye, modality = drawn_eye(number, 0, 2, size=96)
        marks.update(eye.study.images[modality][0].pixels.tobytes())
    return [f"drawn|{marks.hexdigest()}|{seed}|{i}|{size}" for i in range(count)]


def _seen(model: Any, pictures: npt.NDArray[np.uint8], wanted: ImageInput, small: bool) -> npt.NDArray[np.float16]:
    images = normalise_images(resized(torch.from_numpy(pictures), wanted.size), wanted)
    model.tower.to(memory_format=torch.channels_last)
    low = torch.autocast("cpu", torch.bfloat16, enabled=usable_precision("bf16", "cpu") == "bf16")
    with torch.inference_mode(), fast_matmul(), low:
        both = [model.cells(x, small=small).float().numpy().astype(np.float16) for x in (images, images.flip(3))]
    return np.stack(both, 1)


def _shape(model: Any, wanted: ImageInput) -> tuple[int, ...]:
    with torch.inference_mode():
        return (2, *model.cells(torch.zeros(1, 3, wanted.size, wanted.size)).shape[1:])


def prepare_told(
    model: Any,
    sets: Sequence[SetConfig],
    *,
    wanted: ImageInput,
    drawn: int,
    drawn_seed: int,
    drawn_px: int = DRAWN_PX,
    cache: str | Path | None = None,
    reporter: Any,
) -> ToldSet:
    """Return all pictures a captioner is trained on and held out from.

    Args:
        model: Its tower sees them.
        sets: Public sets of photographs.
        wanted: Pixels of the tower.
        drawn: Number of drawn pictures.
        drawn_seed: Of their patients.
        drawn_px: Side they are drawn at.
        cache: Folder for what the tower saw.
        reporter: Called with a title; gives a context whose value is called with (done, total).
    """
    told: list[Told] = []
    parts: list[npt.NDArray[np.float16]] = []
    rejected: list[tuple[str, str, str]] = []
    for chosen in sets:
        folder = Path(chosen.root)
        records = [
            replace(
                r,
                study_id=f"{chosen.name}/{r.study_id}",
                patient_id=f"{chosen.name}/{r.patient_id}" if r.patient_id else None,
            )
            for r in datasets.create(chosen.name, root=folder if folder.is_absolute() else data_folder() / folder)
        ]
        with reporter(f"reading {chosen.name}") as show:
            data = prepare_set(records, {"cfp": wanted}, side=256, cache=cache, progress=show)
        by_id = {r.study_id: r for r in records}
        told += [told_of(by_id[s], chosen.name) for s in data.study_ids]
        rejected += [(r.study_id, r.code, r.message) for r in data.rejected]
        with reporter(f"looking at {chosen.name}") as show:
            pictures = data.images["cfp"]
            keys = [
                hashlib.sha256(np.ascontiguousarray(pictures[i : i + 1]).tobytes()).hexdigest()
                for i in range(len(data.study_ids))
            ]
            parts.append(
                see(
                    model, keys, lambda i, p=pictures: np.asarray(p[i : i + 1])[0], wanted=wanted, small=False,
                    cache=cache, progress=show,
                )
            )  # fmt: skip
    if drawn:
        grades = drawn_grades(drawn)
        told += [
            told_of_drawn(*drawn_eye(i, drawn_seed, grades[i], size=drawn_px, picture=False)) for i in range(drawn)
        ]
        keys = drawing_keys(drawn, drawn_seed, size=drawn_px)
        with reporter("drawing eyes") as show:
            parts.append(
                see(
                    model, keys, lambda i: drawn_pixels(i, drawn_seed, grades[i], wanted, size=drawn_px), wanted=wanted,
                    cache=cache, progress=show,
                )
            )  # fmt: skip
    cells = np.concatenate(parts)
    sums = hashlib.sha256(repr([(t.study_id, t.findings, t.eye, t.retinopathy, t.complete) for t in told]).encode())
    sums.update(np.ascontiguousarray(cells).tobytes())
    return ToldSet(told=tuple(told), cells=cells, rejected=tuple(rejected), digest=sums.hexdigest())
