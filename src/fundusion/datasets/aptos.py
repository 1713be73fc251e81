"""APTOS 2019: retinopathy grade 0-4. Competition rules; no patient identifier, many near-duplicates."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import ReadError
from ..core.registry import Card, datasets
from ..core.study import StudyRecord

_CARD = Card(
    title="APTOS 2019 blindness detection",
    modalities=frozenset({"cfp"}),
    paper="kaggle.com/c/aptos2019-blindness-detection",
    notes="Competition rules. 3,662 labelled pictures, no patient identifier, near-duplicates.",
    facts={"labels": {"dr_grade": "ICDR 0-4"}},
)


@datasets.register("aptos", _CARD)
def aptos(root: str | Path, *, split: str | None = None) -> Sequence[StudyRecord]:
    """Return one record per picture of `train.csv` (and of `test.csv`, without labels, for split "test").

    Args:
        root: Folder with `train.csv` and `train_images/`, or its parent.
        split: "train" (default) or "test".
    """
    base = Path(root)
    part = split or "train"
    table = next((p for p in sorted(base.rglob("*.csv")) if p.name.lower() == f"{part}.csv"), None)
    if table is None or not (table.parent / f"{part}_images").is_dir():
        raise ReadError(
            f"{base.name!r} does not look like APTOS 2019.",
            code="dataset.layout",
            hint=f"Needed are {part}.csv (id_code, diagnosis) and {part}_images/.",
        )
    records = []
    with table.open(encoding="utf-8-sig", newline="") as stream:
        for line, raw in enumerate(csv.DictReader(stream), 2):
            row = {k.strip().lower(): (v or "").strip() for k, v in raw.items() if k}
            grade = row.get("diagnosis", "")
            records.append(
                StudyRecord(
                    study_id=row["id_code"],
                    images={"cfp": (str(table.parent / f"{part}_images" / f"{row['id_code']}.png"),)},
                    labels={"dr_grade": float(grade)} if grade else {},
                    split=part,
                    origin=f"{table.name}:{line}",
                )
            )
    return records
