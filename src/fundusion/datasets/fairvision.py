"""Harvard FairVision: 30,000 people with an OCT volume and an SLO picture, for fairness over race, sex, ethnicity and more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.registry import DatasetCard, datasets
from ._archive import small_entries
from ._overlap import relations
from ._reading import Collector, Reading, begin
from ._tables import Row, has_columns, rows
from ._tree import Folder

_CARD = DatasetCard(
    title="Harvard FairVision",
    modalities=frozenset({"oct", "slo", "table"}),
    paper="arXiv:2310.02492",
    labels={
        "amd_stage": "none, early, intermediate, late",
        "vision_threatening_dr": "0 none to moderate, 1 severe or proliferative",
        "glaucoma": "0 or 1",
    },
    images=60000,
    license="CC BY-NC-ND 4.0",
    ask="ophai.hms.harvard.edu/datasets/harvard-fairvision30k",
    layout="AMD/, DR/, Glaucoma/, each with Training/, Validation/, Test/ of data_xxxxx.npz, and data_summary_amd.csv and sisters.",
    splits=("train", "val", "test"),
    notes="Volumes stay inside their archives: data_xxxxx.npz#oct_bscans (glaucoma 200 x 200 x 200, else 128 x 200 x 200). "
    "-1 and 'unknown' are missing. No patient identifier is published; the numbers of the three diseases are independent.",
    **relations("fairvision"),
)
_DISEASES = ("amd", "dr", "glaucoma")
_PARTS = {"train": ("training", "train"), "val": ("validation", "val"), "test": ("test",)}
_AMD = {
    "normal": "none", "not.in.icd.table": "none", "no.amd.diagnosis": "none", "early.dry": "early", "early amd": "early",
    "intermediate.dry": "intermediate", "intermediate amd": "intermediate", "late amd": "late",
    "advanced.atrophic.dry.with.subfoveal.involvement": "late", "advanced.atrophic.dry.without.subfoveal.involvement": "late",
    "wet.amd.active.choroidal.neovascularization": "late", "wet.amd.inactive.choroidal.neovascularization": "late",
    "wet.amd.inactive.scar": "late",
}  # fmt: skip
_DR = {
    "non-vision threatening dr": 0.0, "vision threatening dr": 1.0, "normal": 0.0, "not.in.icd.table": 0.0,
    "no.dr.diagnosis": 0.0, "mild.npdr": 0.0, "moderate.npdr": 0.0, "severe.npdr": 1.0, "pdr": 1.0,
}  # fmt: skip
_GLAUCOMA = {"0": 0.0, "1": 1.0, "no": 0.0, "yes": 1.0, "non-glaucoma": 0.0, "glaucoma": 1.0}
#: Disease to task, key of the archive, column of the table, meanings.
_LABELS: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, Any]]] = {
    "amd": ("amd_stage", ("amd", "amd_condition"), _AMD),
    "dr": ("vision_threatening_dr", ("dr", "dr_subtype"), _DR),
    "glaucoma": ("glaucoma", ("glaucoma",), _GLAUCOMA),
}
_NUMBER = re.compile(r"(\d+)\.(?:npz|jpe?g|png)$", re.IGNORECASE)


def _part(folder: Folder, part: str) -> Folder | None:
    return next((f for name in _PARTS[part] if (f := folder.folder(name)) is not None), None)


def _fits(folder: Folder) -> bool:
    for disease in _DISEASES:
        inner = folder.folder(disease)
        inner = inner and (inner.folder("dataset") or inner)
        if inner is not None and any((f := _part(inner, p)) is not None and f.file("data_*.npz") for p in _PARTS):
            return True
    return False


LAYOUTS = {"fairvision": _fits}


@datasets.register("fairvision", _CARD)
def fairvision(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per eye: its volume inside the archive and its SLO picture.

    Args:
        root: Folder with `AMD/`, `DR/`, `Glaucoma/`, or its parent.
        split: "train", "val" or "test"; None takes all.
    """
    found = begin(root, _fits, _CARD)
    for disease in _DISEASES:
        folder = found.base.folder(disease)
        if folder is None:
            continue
        facts = _summary(found.base, folder, disease)
        inner = folder.folder("dataset") or folder
        for part in _PARTS:
            place = _part(inner, part)
            if place is not None:
                _read_part(found, disease, part, place, facts)
        for number, row in facts.items():
            found.lost(f"{folder.path.name}/*/{row['filename'] or number}")
    return found.done(split)


def _summary(base: Folder, folder: Folder, disease: str) -> dict[str, Row]:
    for here in (base, folder, folder.folder("readme")):
        table = here.file(f"data_summary_{disease}.csv") if here else None
        if has_columns(table, "filename") and table is not None:
            named = ((_NUMBER.search(row["filename"]), row) for row in rows(table, needs=["filename"]))
            return {match.group(1): row for match, row in named if match}
    return {}


def _read_part(found: Collector, disease: str, part: str, place: Folder, facts: dict[str, Row]) -> None:
    slo: dict[str, Path] = {}
    for path in place.all("slo*"):
        match = _NUMBER.search(path.name)
        if match:
            slo[match.group(1)] = path
    listed = bool(facts)
    for path in place.all("data_*.npz"):
        match = _NUMBER.search(path.name)
        number = match.group(1) if match else path.stem
        row = facts.pop(number, None)
        if row is None and listed:
            found.unlisted([path])
        task, columns, meanings = _LABELS[disease]
        origin = row.origin if row is not None else found.relative(path)
        cell = next((row[c] for c in columns if row[c]), "") if row is not None else ""
        text = cell or next(iter(small_entries(path, *columns).values()), "")
        value = meanings.get(text.casefold().removesuffix(".0"))
        if text and value is None:
            found.contradiction(origin, f"{columns[0]} is {text[:40]!r}; known are {', '.join(meanings)}")
        found.add(
            f"{disease}_{part}_{number}",
            images={"oct": [f"{path}#oct_bscans"], "slo": [slo[number]] if number in slo else [f"{path}#slo_fundus"]},
            metadata=_person(row, path),
            labels={task: value},
            split=part,
            origin=origin,
        )
    for number in sorted(set(slo) - {m.group(1) for p in place.all("data_*.npz") if (m := _NUMBER.search(p.name))}):
        found.missing(f"{found.relative(place.path)}/data_{number}.npz")
    found.unlisted(slo.values())


def _person(row: Row | None, path: Path) -> dict[str, Any]:
    if row is None:
        return {"sex": {"1": "male", "0": "female"}.get(small_entries(path, "male").get("male", "").removesuffix(".0"))}
    age = row.number("age")
    sex = {"male": "male", "female": "female", "m": "male", "f": "female"}.get(row["gender"].casefold())
    words = {name: row.known(name) for name in ("race", "ethnicity", "language", "maritalstatus")}
    # -1 is the publisher's word for not known.
    known = {
        k: None if v is not None and (v in ("-1", "-1.0") or v.casefold() == "unknown") else v for k, v in words.items()
    }
    return {"age": age if age is not None and age >= 0 else None, "sex": sex, **known}
