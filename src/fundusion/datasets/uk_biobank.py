"""UK Biobank: photographs and OCT volumes by participant, visit and field number, in folders of the research platform or flat."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.registry import DatasetCard, datasets
from ..core.vocabulary import Laterality
from ._overlap import relations
from ._reading import Reading, begin
from ._tables import Row, has_columns, rows
from ._tree import Folder

_CARD = DatasetCard(
    title="UK Biobank, eye measures (category 100016)",
    modalities=frozenset({"cfp", "oct", "table"}),
    paper="biobank.ndph.ox.ac.uk/ukb/label.cgi?id=100016",
    license="by application; no redistribution",
    ask="ukbiobank.ac.uk",
    layout="files such as 1000012_21015_0_0.png (left) and 1000012_21016_0_0.png (right), flat or below 'Fundus (left)/10/'; a "
    "table with eid, 31-0.0, 21003-0.0 is read when it stands beside them.",
    notes="The participant is the patient, the instance the visit. A table of many participants without pictures is normal; "
    "pictures without a row of the table are kept and counted. That 21011 is the left volume and "
    "21013 the right one follows the list of fields and was not checked on volumes.",
    **relations("uk_biobank"),
)
_NAME = re.compile(r"(\d{5,9})_(21011|21013|21015|21016)_(\d)_(\d+)\.(png|jpe?g|fda)$", re.IGNORECASE)
_FIELDS = {
    "21015": ("cfp", Laterality.LEFT), "21016": ("cfp", Laterality.RIGHT),
    "21011": ("oct", Laterality.LEFT), "21013": ("oct", Laterality.RIGHT),
}  # fmt: skip


def _has_names(folder: Folder) -> bool:
    return any(_NAME.fullmatch(path.name) for path in folder.files.values())


def _fits(folder: Folder) -> bool:
    if _has_names(folder):
        return True
    places = [f for key, f in folder.folders.items() if key.startswith(("fundus", "oct", "retinal optical"))]
    return any(_has_names(f) or any(_has_names(g) for g in list(f.folders.values())[:3]) for f in places)


LAYOUTS = {"uk_biobank": _fits}


@datasets.register("uk_biobank", _CARD)
def uk_biobank(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per participant, visit and eye.

    Args:
        root: Folder of the files, or one that holds `Fundus (left)` and `Fundus (right)`, or its parent.
        split: The publisher made none.
    """
    found = begin(root, _fits, _CARD)
    people = _people(found.base)
    eyes: dict[tuple[str, str, Laterality], dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path, match in _files(found.base):
        modality, eye = _FIELDS[match.group(2)]
        eyes[match.group(1), match.group(3), eye][modality].append(path)
    unknown = 0
    for (eid, instance, eye), images in sorted(eyes.items()):
        row = people.get(eid)
        unknown += bool(people) and row is None
        found.add(
            f"{eid}_{instance}_{eye.value}",
            images={m: sorted(p) for m, p in images.items()},
            patient_id=eid,
            laterality=eye,
            visit=f"instance {instance}",
            metadata=_metadata(row, instance),
            origin=found.relative(next(iter(images.values()))[0]),
        )
    found.unlisted(p for here in found.base.below(depth=4) for p in here.pictures().values())
    if unknown:
        found.note(f"{unknown} eyes have no row in the table of fields")
    return found.done(split)


def _files(base: Folder) -> Iterator[tuple[Path, re.Match[str]]]:
    for here in base.below(depth=4):
        for path in here.files.values():
            match = _NAME.fullmatch(path.name)
            if match:
                yield path, match


def _people(base: Folder) -> dict[str, Row]:
    people: dict[str, Row] = {}
    for table in base.all("*.csv", "*.tsv", "*.tab"):
        if has_columns(table, ("eid", "participant.eid")):
            for row in rows(table, needs=[("eid", "participant.eid")]):
                people.setdefault(row["eid"] or row["participant.eid"], row)
    return people


def _metadata(row: Row | None, instance: str) -> dict[str, Any]:
    if row is None:
        return {}
    # The columns of the platform are called p31 and p21003_i0, those of older extracts 31-0.0 and 21003-0.0.
    sex = row["31-0.0"] or row["p31"] or row["participant.p31"]
    age = row.number(f"21003-{instance}.0")
    age = row.number(f"p21003_i{instance}") if age is None else age
    words = {"0": "female", "1": "male", "female": "female", "male": "male"}
    return {"age": age, "sex": words.get(sex.casefold().removesuffix(".0"))}
