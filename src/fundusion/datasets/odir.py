"""ODIR-5K: colour photographs of both eyes, age, sex, eight labels. Research use only.

The keywords *are* the labels. They are offered as `labels["findings"]` for auxiliary targets and never as report or table.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import ReadError
from ..core.registry import Card, datasets
from ..core.study import StudyRecord
from ..core.vocabulary import ODIR_LABELS, Laterality

_CARD = Card(
    title="ODIR-5K (Peking University)",
    modalities=frozenset({"cfp", "table"}),
    paper="odir2019.grand-challenge.org",
    weight_license=None,
    notes="Research use only; images may not be published again.",
    facts={"labels": {"disease": "N D G C A H M O per eye", "dr_grade": "0-4 where the keywords name it"}},
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


@datasets.register("odir", _CARD)
def odir(root: str | Path, *, split: str | None = None) -> Sequence[StudyRecord]:
    """Return one record per eye.

    Args:
        root: Folder as downloaded (or its parent), or one with `images/` and a `labels.csv` per eye.
        split: "train" or "test" of the download; None takes what has labels.

    Raises:
        ReadError: No such layout; says what was looked for.
    """
    base = Path(root)
    per_eye = next((p for p in (base / "labels.csv", base / "odir" / "labels.csv") if p.is_file()), None)
    if per_eye is not None and (per_eye.parent / "images").is_dir():
        return list(_from_eye_table(per_eye))
    tables = sorted(p for p in base.rglob("*") if p.suffix.lower() in (".xlsx", ".csv") and _is_patient_table(p))
    if tables:
        return list(_from_patient_table(tables[0], base))
    raise ReadError(
        f"{base.name!r} does not look like ODIR-5K.",
        code="dataset.layout",
        hint="Needed is ODIR-5K_Training_Annotations*.xlsx (or data.xlsx) beside the folders of images, or labels.csv with images/.",
    )


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


def _from_eye_table(path: Path) -> Iterator[StudyRecord]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for line, raw in enumerate(csv.DictReader(stream), 2):
            row = {k.strip(): (v or "").strip() for k, v in raw.items() if k}
            yield _record(
                row,
                image=path.parent / "images" / row["image"],
                eye=Laterality.RIGHT if row["eye"].lower() == "right" else Laterality.LEFT,
                flags={k: float(row[k]) for k in ODIR_LABELS},
                origin=f"{path.name}:{line}",
            )


def _record(
    row: Mapping[str, Any], *, image: Path, eye: Laterality, flags: dict[str, float], origin: str
) -> StudyRecord:
    findings = findings_of(row.get("keywords", ""))
    labels: dict[str, Any] = {"disease": flags, "findings": findings}
    stated = str(row.get("dr_grade_from_keywords", "")).strip()
    grade = float(stated) if stated else grade_of(findings)
    if grade is not None:
        labels["dr_grade"] = grade
    age = str(row.get("age", "")).strip()
    metadata = {"age": float(age) if age else None, "sex": str(row.get("sex", "")).strip().lower() or None}
    return StudyRecord(
        study_id=Path(image).stem,
        patient_id=str(row["patient_id"]),
        laterality=eye,
        images={"cfp": (str(image),)},
        metadata=metadata,
        labels=labels,
        origin=origin,
    )


def _is_patient_table(path: Path) -> bool:
    name = path.name.lower()
    return name == "data.xlsx" or ("odir" in name and "annotation" in name) or name == "full_df.csv"


def _from_patient_table(path: Path, base: Path) -> Iterator[StudyRecord]:
    """Labels of the download are per patient; those of an eye come from its keywords."""
    import polars

    frame = (
        polars.read_excel(path, infer_schema_length=0)
        if path.suffix.lower() == ".xlsx"
        else polars.read_csv(path, infer_schema=False)
    )
    files = {p.name.lower(): p for p in sorted(base.rglob("*.jpg"))}
    seen: set[str] = set()
    for line, raw in enumerate(frame.iter_rows(named=True), 2):
        row = {str(k).replace("\ufeff", "").strip(): (v or "").strip() for k, v in raw.items()}
        for side, eye in (("Left", Laterality.LEFT), ("Right", Laterality.RIGHT)):
            name = (row.get(f"{side}-Fundus") or f"{row['ID']}_{side.lower()}.jpg").lower()
            if name in seen:
                continue
            seen.add(name)
            keywords = row.get(f"{side}-Diagnostic Keywords", "")
            findings = findings_of(keywords)
            cells = {
                "patient_id": row["ID"],
                "age": row.get("Patient Age"),
                "sex": row.get("Patient Sex"),
                "keywords": keywords,
            }
            yield _record(
                cells,
                image=files.get(name, base / name),
                eye=eye,
                flags=letters_of(findings) if findings else dict.fromkeys(ODIR_LABELS, float("nan")),
                origin=f"{path.name}:{line}",
            )
