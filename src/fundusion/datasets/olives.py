"""OLIVES: OCT volumes and near-infrared pictures over many visits, sixteen biomarkers, acuity and thickness."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Collector, Reading, begin, eye_of
from ._tables import Row, has_columns, name_of
from ._tree import PICTURES, Folder, key_of

#: Name used here to the column of the table.
BIOMARKERS = {
    "atrophy": "Atrophy / thinning of retinal layers", "ez_disruption": "Disruption of EZ", "dril": "DRIL",
    "ir_haemorrhages": "IR hemorrhages", "ir_hrf": "IR HRF", "pavf": "Partially attached vitreous face",
    "favf": "Fully attached vitreous face", "preretinal": "Preretinal tissue/hemorrhage", "vitreous_debris": "Vitreous debris",
    "vmt": "VMT", "drt_me": "DRT/ME", "irf": "Fluid (IRF)", "srf": "Fluid (SRF)", "rpe_disruption": "Disruption of RPE",
    "ped_serous": "PED (serous)", "shrm": "SHRM",
}  # fmt: skip
_CARD = DatasetCard(
    title="OLIVES",
    modalities=frozenset({"oct", "slo", "table"}),
    paper="arXiv:2209.11195",
    labels={
        "olives": "1 when any B-scan of the volume has it, 0 when all graded ones have not, of: "
        + ", ".join(f"{k} {v}" for k, v in BIOMARKERS.items()),
        "trial": "TREX DME (macular oedema) or Prime (retinopathy)",
    },
    images=78189,
    patients=87,
    license="CC BY 4.0",
    ask="zenodo.org/records/7105232",
    layout="TREX DME/ and Prime_FULL/ as unpacked, with OLIVES_Dataset_Labels/ml_centric_labels.",
    notes="Biomarkers are graded on the first and last visit only; elsewhere they are not annotated. Acuity (letters) and central "
    "thickness (um) are blank for one patient. Copies without paths of visits cannot be put together and are not read.",
    **relations("olives"),
)
_PATH = ("Path (Trial/Arm/Folder/Visit/Eye/Image Name)", "File_Path", "Path")


def _trials(folder: Folder) -> list[Folder]:
    return [f for key, f in folder.folders.items() if key.startswith(("trex", "prime"))]


def _tables(base: Folder) -> list[Path]:
    found: dict[str, Path] = {}
    for here in base.below(depth=3):
        if here is not base and key_of(here.path.relative_to(base.path).parts[0]).startswith(("trex", "prime")):
            continue
        for path in here.all("biomarker_clinical_data_images.csv", "biomarker_clinical_data_images.xlsx",
                             "clinical_data_images.xlsx", "clinical_data_images.csv"):  # fmt: skip
            # full_labels and ml_centric_labels hold the same tables.
            if key_of(path.name) not in found and has_columns(path, _PATH, "eye_id"):
                found[key_of(path.name)] = path
    return list(found.values())


def _fits(folder: Folder) -> bool:
    return bool(_trials(folder)) and bool(_tables(folder))


LAYOUTS = {"olives": _fits}


@datasets.register("olives", _CARD)
def olives(root: str | Path, *, split: str | None = None, per_scan: bool = False) -> Reading:
    """Return one record per eye and visit.

    Args:
        root: Folder with `TREX DME`, `Prime_FULL` and the labels, or its parent.
        split: The publisher made none.
        per_scan: One record per graded B-scan with the biomarkers of that B-scan.
    """
    found = begin(root, _fits, _CARD)
    volumes: dict[str, dict[str, Row]] = {}
    graded: dict[str, dict[str, Row]] = {}
    for table in _tables(found.base):
        has_biomarkers = has_columns(table, "dril")
        for row in found.rows(table, needs=[_PATH, "eye_id"]):
            # Paths begin with a slash that is no root.
            place = PurePosixPath(next((row[c] for c in _PATH if row[c]), "").replace("\\", "/").lstrip("/"))
            if not place.name:
                continue
            volumes.setdefault(str(place.parent), {}).setdefault(place.name, row)
            if has_biomarkers:
                graded.setdefault(str(place.parent), {})[place.name] = row
    seen: set[Path] = set()
    for place, listed in volumes.items():
        folder = found.base.folder(*PurePosixPath(place).parts)
        if folder is None:
            found.lost(f"{place}/ ({len(listed)} files)")
            continue
        seen.add(folder.path)
        _read_volume(found, folder, place, listed, graded.get(place, {}), per_scan)
    for trial in _trials(found.base):
        for here in trial.below(depth=5):
            if here.path not in seen and any(key.endswith(PICTURES) for key in here.files):
                found.unlisted([next(p for k, p in here.files.items() if k.endswith(PICTURES))])
                found.note("folders that no table lists are shown by their first file")
    return found.done(split)


def _read_volume(
    found: Collector, folder: Folder, place: str, listed: dict[str, Row], graded: dict[str, Row], per_scan: bool
) -> None:
    parts = PurePosixPath(place).parts
    files = {k: p for k, p in folder.files.items() if k.endswith(PICTURES)}
    for name in listed:
        if key_of(name) not in files:
            found.missing(f"{place}/{name}")
    infrared = [p for k, p in files.items() if "fundus" in k]
    scans = sorted((p for k, p in files.items() if "fundus" not in k), key=_order)
    # The infrared picture of a visit may lie beside the folder of the eye.
    above = Folder(folder.path.parent)
    infrared += [
        p for k, p in above.files.items() if "fundus" in k and k.endswith(PICTURES) and parts[-1].casefold() in k
    ]
    row = next(iter({**listed, **graded}.values()))
    facts: dict[str, Any] = {
        "patient_id": row["patient_id"].removesuffix(".0") or None,
        "laterality": eye_of(parts[-1]),
        "visit": parts[-2] if len(parts) > 1 else None,
        "metadata": {"bcva_letters": row.number("bcva"), "cst_um": row.number("cst")},
    }
    labels = {"trial": "TREX DME" if parts[0].casefold().startswith("trex") else "Prime"}
    study = "_".join(parts)
    if per_scan:
        for name, line in graded.items():
            path = files.get(key_of(name))
            if path is not None:
                found.add(
                    f"{study}_{path.stem}",
                    images={"oct": [path]},
                    labels={**labels, "olives": _flags(found, [line])},
                    origin=line.origin,
                    **facts,
                )
        found.use(*files.values(), *infrared)
        return
    found.add(
        study,
        images={"oct": scans, "slo": infrared},
        labels={**labels, "olives": _flags(found, list(graded.values()))},
        origin=row.origin,
        **facts,
    )


def _flags(found: Collector, lines: list[Row]) -> dict[str, float] | None:
    if not lines:
        return None
    flags: dict[str, float] = {}
    for name, column in BIOMARKERS.items():
        known = [v for line in lines if name_of(column) in line and (v := found.grade(line, column, 1)) is not None]
        flags[name] = max(known) if known else float("nan")
    return flags


def _order(path: Path) -> list[tuple[int, str]]:
    return [(int(t), "") if t.isdigit() else (0, t) for t in re.split(r"(\d+)", path.stem) if t]
