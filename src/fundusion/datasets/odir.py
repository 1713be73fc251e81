"""ODIR-5K: colour photographs of both eyes, age, sex, eight labels. Research use only.

The keywords *are* the labels. They are offered as `labels["findings"]` for auxiliary targets and never as report or table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ..core.vocabulary import ODIR_LABELS, Laterality
from ._overlap import relations
from ._reading import Collector, Reading, begin, eye_of
from ._tables import Row, has_columns
from ._tree import Folder, key_of, stem_of

_CARD = DatasetCard(
    title="ODIR-5K (Peking University)",
    modalities=frozenset({"cfp", "table"}),
    paper="odir2019.grand-challenge.org",
    labels={
        "disease": "N D G C A H M O of the eye, from its keywords (the table gives them per patient)",
        "dr_grade": "ICDR 0-4 where the keywords name it",
        "findings": "keywords of the eye without notes on the picture",
    },
    images=10000,
    patients=5000,
    license="research use only; images may not be published again",
    ask="odir2019.grand-challenge.org",
    layout="ODIR-5K_Training_Annotations*.xlsx (or data.xlsx, full_df.csv) beside the folders of images, or labels.csv with "
    "images/.",
    splits=("train", "test"),
    notes="Keywords are the labels in words and never an input. Eyes of the test part have no labels.",
    **relations("odir"),
)

#: Notes on the picture, not on the eye.
QUALITY_WORDS = frozenset(
    {
        "lens dust",
        "optic disk photographically invisible",
        "low image quality",
        "image offset",
        "no fundus image",
        "anterior segment image",
    }
)
_DR_GRADES = (
    ("proliferative", 4),
    ("severe nonproliferative", 3),
    ("severe non proliferative", 3),
    ("moderate non", 2),
    ("mild non", 1),
)
_LETTERS = (
    ("G", ("glaucoma",)),
    ("C", ("cataract",)),
    ("A", ("age-related macular degeneration",)),
    ("H", ("hypertensive retinopathy",)),
    ("M", ("myopi",)),
)


_PATIENT_TABLES = ("*odir*annotation*.xlsx", "*odir*annotation*.csv", "data.xlsx", "full_df.csv")
_KEYWORDS = "left diagnostic keywords"


def _eye_table(folder: Folder) -> Path | None:
    table = folder.file("labels.csv")
    fits = folder.folder("images") is not None and has_columns(table, "image", "eye", "keywords")
    return table if fits else None


def _patient_table(folder: Folder) -> Path | None:
    return next((p for p in folder.all(*_PATIENT_TABLES) if has_columns(p, "id", _KEYWORDS)), None)


def _best_table(folder: Folder) -> Path | None:
    """Return the workbook of all patients where there is one: `full_df.csv` of mirrors leaves patients out."""
    tables = [path for here in folder.below(depth=3) if (path := _patient_table(here)) is not None]
    return next((path for path in tables if path.suffix.casefold() == ".xlsx"), tables[0] if tables else None)


def _fits(folder: Folder) -> bool:
    return _eye_table(folder) is not None or _patient_table(folder) is not None


LAYOUTS = {"odir": _fits}


@datasets.register("odir", _CARD)
def odir(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per eye.

    Args:
        root: Folder as downloaded (or its parent), or one with `images/` and a `labels.csv` per eye.
        split: "train" or "test" of the download; None takes all that is there.

    Raises:
        ReadError: No such layout; says what was looked for.
    """
    found = begin(root, _fits, _CARD)
    per_eye, per_patient = _eye_table(found.base), _best_table(found.base)
    if per_eye is not None:
        _read_eyes(found, per_eye)
    elif per_patient is not None:
        _read_patients(found, per_patient)
    return found.done(split)


def findings_of(keywords: str) -> tuple[str, ...]:
    """Return the normalised findings of a keyword cell, without notes on the picture.

    Example:
        >>> findings_of("mild nonproliferative retinopathy，lens dust")
        ('mild nonproliferative retinopathy',)
    """
    words = [w.strip().lower() for w in re.split("[，,]", keywords or "")]
    return tuple(dict.fromkeys(w for w in words if w and w not in QUALITY_WORDS))


def grade_of(findings: Sequence[str]) -> float | None:
    """Return the ICDR grade the findings name; None when they name none.

    Example:
        >>> grade_of(("normal fundus",)), grade_of(("moderate non proliferative retinopathy",)), grade_of(("cataract",))
        (0.0, 2.0, None)
    """
    grades = []
    for word in findings:
        if word == "normal fundus":
            grades.append(0)
        elif "retinopathy" in word and "hypertensive" not in word:
            stripped = word.replace("non proliferative", "nonproliferative").replace(
                "non-proliferative", "nonproliferative"
            )
            if "nonproliferative" in stripped:
                level = next((g for w, g in _DR_GRADES if w.split()[0] in stripped and g < 4), None)
                grades += [level] if level else []
            elif "proliferative" in stripped:
                grades.append(4)
    return float(max(grades)) if grades else None


def letters_of(findings: Sequence[str]) -> dict[str, float]:
    """Return the eight labels an eye's findings mean, by the rule of the challenge.

    Normal only when nothing else is found; a finding of no named group is O.
    """
    flags = dict.fromkeys(ODIR_LABELS, 0.0)
    for word in findings:
        if word == "normal fundus":
            continue
        letter = next((k for k, stems in _LETTERS if all(s in word for s in stems)), None)
        if letter is None and "retinopathy" in word and "hypertensive" not in word:
            letter = "D"
        flags[letter or "O"] = 1.0
    if findings and not any(flags.values()):
        flags["N"] = 1.0
    return flags


def _read_eyes(found: Collector, table: Path) -> None:
    folder = found.base.folder("images")
    files = folder.pictures() if folder else {}
    for row in found.rows(table, needs=["image", "eye"]):
        path = found.pick(files, stem_of(row["image"]), expected=f"images/{row['image']}")
        if path is not None:
            flags = {k: v for k in ODIR_LABELS if (v := found.grade(row, k, 1)) is not None}
            stated = row.number("dr_grade_from_keywords")
            _add(found, row, path, eye_of(row["eye"]), row["keywords"], flags=flags, grade=stated)
    found.unlisted(files.values())


def _read_patients(found: Collector, table: Path) -> None:
    """Labels of the download are per patient; those of an eye come from its keywords."""
    train, test = _photographs(found.base)
    seen: set[str] = set()
    for row in found.rows(table, needs=["id", _KEYWORDS]):
        for side in ("left", "right"):
            name = row[f"{side} fundus"] or f"{row['id']}_{side}.jpg"
            # `full_df.csv` repeats the line of a patient for each of the two eyes.
            if key_of(name) in seen:
                continue
            seen.add(key_of(name))
            path = found.pick(train, stem_of(name), expected=name)
            if path is None:
                continue
            if path.stem.casefold().endswith(("_left", "_right")) and not path.stem.casefold().endswith(side):
                found.contradiction(row.origin, f"{name} is listed as the {side} eye", lost=name)
                continue
            keywords = row[f"{side} diagnostic keywords"]
            findings = findings_of(keywords)
            flags = letters_of(findings) if findings else dict.fromkeys(ODIR_LABELS, float("nan"))
            _add(found, row, path, eye_of(side), keywords, flags=flags, split="train")
    for path in test.values():
        patient, _, side = path.stem.rpartition("_")
        found.add(
            path.stem, images={"cfp": [path]}, patient_id=patient or None, laterality=eye_of(side), split="test",
            origin=found.relative(path),
        )  # fmt: skip
    found.unlisted(train.values())


def _photographs(base: Folder) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the pictures of the training and of the test part; made-smaller copies only when there is nothing else."""
    train: dict[str, Path] = {}
    test: dict[str, Path] = {}
    smaller: dict[str, Path] = {}
    for here in base.below(depth=4):
        place = key_of(here.path.relative_to(base.path).as_posix())
        into = smaller if "preprocessed" in place else test if "test" in place else train
        for stem, path in here.pictures().items():
            into.setdefault(stem, path)
    return {**(smaller if not train else {}), **train}, test


def _add(
    found: Collector, row: Row, path: Path, eye: Laterality | None, keywords: str, *, flags: dict[str, float],
    grade: float | None = None, split: str | None = None,
) -> None:  # fmt: skip
    findings = findings_of(keywords)
    patient = row["patient_id"] or row["id"]
    age = row.number("age") if "age" in row else row.number("patient age")
    sex = row["sex"] or row["patient sex"]
    found.add(
        path.stem,
        images={"cfp": [path]},
        patient_id=patient or None,
        laterality=eye,
        metadata={"age": age, "sex": sex.lower() or None},
        labels={"disease": flags, "findings": findings, "dr_grade": grade if grade is not None else grade_of(findings)},
        split=split,
        origin=row.origin,
    )
