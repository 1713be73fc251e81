"""IDRiD, disease grading: retinopathy grade 0-4, risk of macular oedema 0-2. CC BY 4.0.

There is no patient identifier, and there are near-identical pictures with different grades: `fundusion check` lists them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core.errors import ReadError
from ..core.registry import Card, datasets
from ..core.study import StudyRecord

_CARD = Card(
    title="IDRiD, disease grading",
    modalities=frozenset({"cfp"}),
    paper="doi:10.3390/data3030025",
    notes="CC BY 4.0. Names of training and test pictures collide; identifiers here carry the part.",
    facts={"labels": {"dr_grade": "ICDR 0-4", "dme_risk": "0-2"}},
)


@datasets.register("idrid", _CARD)
def idrid(root: str | Path, *, split: str | None = None) -> Sequence[StudyRecord]:
    """Return one record per picture.

    Args:
        root: "B. Disease Grading" as unpacked or a parent of it, or a folder with `labels.csv`.
        split: "train" or "test"; None takes both.
    """
    base = Path(root)
    simple = base / "labels.csv"
    records: list[StudyRecord] = []
    if simple.is_file():
        records = list(_simple(simple))
    else:
        for table in sorted(base.rglob("*.csv")):
            name = table.name.lower()
            if "disease grading" in name and "labels" in name:
                records += _as_downloaded(table, "train" if "training" in name else "test")
    if not records:
        raise ReadError(
            f"{base.name!r} does not look like IDRiD disease grading.",
            code="dataset.layout",
            hint="Needed are '2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv' and '1. Original Images'.",
        )
    return [r for r in records if split is None or r.split == split]


def _simple(table: Path) -> Iterator[StudyRecord]:
    with table.open(encoding="utf-8-sig", newline="") as stream:
        for line, row in enumerate(csv.DictReader(stream), 2):
            part, stem = Path(row["image"]).parent.name, Path(row["image"]).stem
            yield _record(
                f"{part}_{stem}",
                table.parent / row["image"],
                row["dr_grade"],
                row["dme_risk"],
                f"{table.name}:{line}",
                part,
            )


def _as_downloaded(table: Path, part: str) -> Iterator[StudyRecord]:
    files = {
        p.stem.lower(): p
        for p in sorted(table.parent.parent.rglob("*.jpg"))
        if ("testing" in p.parent.name.lower()) == (part == "test")
    }
    with table.open(encoding="utf-8-sig", newline="") as stream:
        for line, raw in enumerate(csv.DictReader(stream), 2):
            # The third header ends in a space, and unnamed empty columns follow.
            row = {k.strip().lower(): (v or "").strip() for k, v in raw.items() if k and k.strip()}
            stem = row.get("image name", "")
            if not stem:
                continue
            path = files.get(stem.lower(), table.parent / f"{stem}.jpg")
            yield _record(
                f"{part}_{stem}",
                path,
                row["retinopathy grade"],
                row["risk of macular edema"],
                f"{table.name}:{line}",
                part,
            )


def _record(study: str, path: Path, grade: str, dme: str, origin: str, part: str) -> StudyRecord:
    labels: dict[str, object] = {"dr_grade": float(grade)}
    if dme:
        labels["dme_risk"] = float(dme)
    # A retinopathy grade says whether the eye has retinopathy; of the other labels it says nothing, but such an eye is not normal.
    labels["disease"] = {"D": float(float(grade) > 0), **({"N": 0.0} if float(grade) > 0 else {})}
    return StudyRecord(
        study_id=study,
        images={"cfp": (str(path),)},
        labels=labels,
        split=part if part in ("train", "test") else None,
        origin=origin,
    )
