"""PAPILA: both eyes of 244 patients, disc and cup by two experts, clinical table. 0 healthy, 1 glaucoma, 2 suspect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ..core.vocabulary import Laterality
from ._overlap import relations
from ._reading import Collector, Reading, begin, eye_of
from ._tables import Row, grid, has_columns, name_of
from ._tree import Folder, stem_of

_CARD = DatasetCard(
    title="PAPILA",
    modalities=frozenset({"cfp", "table"}),
    paper="doi:10.1038/s41597-022-01388-1",
    labels={"glaucoma_diagnosis": "healthy, glaucoma, suspect (0, 1, 2 in the table)"},
    masks={
        f"{structure}{reader}": "contour: a line of x and y in pixels per point"
        for structure in ("disc", "cup")
        for reader in ("", "_2nd")
    },
    images=488,
    patients=244,
    license="CC BY 4.0 (see the page of the set)",
    ask="figshare.com/articles/dataset/PAPILA/14798004",
    layout="FundusImages/RET002OD.jpg with ClinicalData/patient_data_od.xlsx and ExpertsSegmentations/Contours, or "
    "clinical.csv alone.",
    notes="The table calls a patient #002 and its pictures RET002. Public code often swaps 1 and 2: 1 is glaucoma, 2 is "
    "suspect. Two experts disagree by design. The code of phakic or pseudophakic is kept as published. Masks are contours in text files.",
    **relations("papila"),
)
_DIAGNOSES = {"0": "healthy", "1": "glaucoma", "2": "suspect"}
_SEXES = {"0": "male", "1": "female", "m": "male", "f": "female", "male": "male", "female": "female"}
#: Metadata name to the column names by which it is found.
_NUMBERS = {
    "age": ("age",),
    "sphere_dioptre": ("dioptre 1", "sphere"),
    "cylinder_dioptre": ("dioptre 2", "cylinder"),
    "axis_degree": ("astigmatism", "axis"),
    "iop_pneumatic_mmhg": ("pneumatic", "pneumatic iop"),
    "iop_perkins_mmhg": ("perkins", "perkins iop"),
    "pachymetry": ("pachymetry",),
    "axial_length": ("axial length",),
    "mean_defect_db": ("vf md", "mean defect"),
}


def _tables(folder: Folder) -> list[Path]:
    clinical = folder.folder("clinicaldata")
    return clinical.all("patient_data_o?.xlsx", "patient_data_o?.csv") if clinical else []


def _fits(folder: Folder) -> bool:
    if folder.folder("fundusimages") and _tables(folder):
        return True
    return has_columns(folder.file("clinical.csv"), "patient_id", "diagnosis", "perkins_iop", "eye")


LAYOUTS = {"papila": _fits}


@datasets.register("papila", _CARD)
def papila(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per eye; with `clinical.csv` alone, records of a table without pictures.

    Args:
        root: `PapilaDB-PAPILA-...` as unpacked or its parent, or a folder with `clinical.csv`.
        split: The publisher made none.
    """
    found = begin(root, _fits, _CARD)
    simple = found.base.file("clinical.csv")
    tables = _tables(found.base)
    if not tables and simple is not None:
        for row in found.rows(simple, needs=["patient_id", "eye"]):
            _add(found, row, eye_of(row["eye"]), row["patient_id"], None)
        return found.done(split)
    images, contours = found.base.folder("fundusimages"), found.base.folder("expertssegmentations", "contours")
    files = images.pictures() if images else {}
    for table in tables:
        eye = eye_of(table.stem[-2:])
        for row in _three_headers(table):
            number = row["id"].lstrip("#")
            name = f"RET{number}{eye.value if eye else ''}"
            path = found.pick(files, stem_of(name), expected=f"FundusImages/{name}.jpg")
            if path is not None:
                _add(found, row, eye, row["id"], path, contours)
    found.unlisted(files.values())
    if contours is not None:
        found.unlisted(contours.files.values())
    return found.done(split)


def _three_headers(table: Path) -> Iterator[Row]:
    """Yield the rows below a header of three lines; the name of a column is the lowest that is written."""
    lines = grid(table)
    first = next((i for i, line in enumerate(lines) if line and re.fullmatch(r"#?\d+", line[0])), len(lines))
    names = [""] * max((len(line) for line in lines), default=0)
    for line in lines[:first]:
        for column, cell in enumerate(line):
            names[column] = name_of(cell) or names[column]
    for number, line in enumerate(lines[first:], first + 1):
        if line and line[0]:
            cells = {
                name or ("id" if i == 0 else ""): cell for i, (name, cell) in enumerate(zip(names, line, strict=False))
            }
            cells["id"] = line[0]
            yield Row(cells, f"{table.name}:{number}")


def _add(
    found: Collector, row: Row, eye: Laterality | None, patient: str, path: Path | None, contours: Folder | None = None
) -> None:
    metadata: dict[str, float | str | None] = {
        name: next((n for c in columns if (n := row.number(c)) is not None), None) for name, columns in _NUMBERS.items()
    }
    metadata["sex"] = found.choice(row, "gender", _SEXES)
    lens = "crystalline_status" if "crystalline_status" in row else "phakic/pseudophakic"
    metadata["crystalline_status"] = row.number(lens)
    masks: dict[str, list[Path]] = {}
    for structure in ("disc", "cup"):
        for reader, suffix in (("1", ""), ("2", "_2nd")):
            drawn = contours.file(f"{path.stem}_{structure}_exp{reader}.txt") if contours and path else None
            if drawn is not None:
                masks[structure + suffix] = [drawn]
    found.add(
        path.stem if path else f"{patient}_{eye.value if eye else 'eye'}",
        images={"cfp": [path] if path else []},
        patient_id=patient,
        laterality=eye,
        metadata=metadata,
        masks=masks,
        labels={"glaucoma_diagnosis": found.choice(row, "diagnosis", _DIAGNOSES)},
        origin=row.origin,
    )
