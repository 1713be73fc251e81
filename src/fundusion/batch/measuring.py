"""Folders of masks from any tool -> tables of measurements, one durable state per eye."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..biomarkers.catalogue import structure_of
from ..biomarkers.eye import EyeFacts, EyeMeasurements, measure_eye
from ..biomarkers.maps import GREEN, split_map
from ..biomarkers.outcome import REASONS
from ..biomarkers.reference import compare
from ..core.cohort import Cohort
from ..core.durable import write_bytes
from ..core.errors import FundusionError, InvalidInput
from ..core.results import Measurement
from ..core.study import Image
from ..measuring import look_for_fovea
from ..quality.gradability import assess
from ..readers.image import read_image
from ..readers.mask import SUFFIXES, read_color_mask, read_mask
from ..report.age_plots import age_plot_files
from ..report.cohort_page import summary_of
from ..report.eye_pictures import zone_files
from ..report.render import safe_file_name
from ..transforms.field_of_view import find_field_of_view
from .cohort_pages import FOLDER, write_eye_page, write_list
from .ledger import Entry, Ledger
from .measurement_tables import FORMATS, measurement_row, write_measurement_tables
from .run import Interrupted, RunSummary, stoppable
from .unproven import FILE, read_warning

#: Folders of masks that may lie beside those of the vessels, by option name.
COMPANIONS = ("artery", "vein", "disc", "cup", "field")
#: Columns that a table of facts may have.
FACTS = (
    "name",
    "laterality",
    "spacing_um",
    "gradable",
    "disc_row",
    "disc_col",
    "disc_diameter_px",
    "fovea_row",
    "fovea_col",
    "patient_id",
    "age",
    "sex",
)
#: Eyes that are committed at once.
_CHUNK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskItem:
    """One eye: its vessel mask, and what belongs to it.

    Args:
        name: Path inside the folder, without suffix.
        path: Vessel mask or artery-vein map.
        companions: "disc", "cup", "field", "artery", "vein", "image" or a lesion to path.
        facts: Row of the table of facts.
    """

    name: str
    path: Path
    companions: Mapping[str, Path] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How masks are read; all of it decides the results.

    Args:
        green: Meaning of green in artery-vein maps.
        labels: Numbers of classes in masks that hold them.
        probability: Grey levels are probabilities; each value then carries what they leave open.
        spacing_um: Of all eyes whose row says nothing.
        laterality: Of all eyes whose row says nothing.
        estimate_scale: Take micrometres from the assumed size of a disc.
        measured_with: Tool that made the masks; only numbers of one tool are compared.
        cohort: Other eyes, to show each eye against its age.
    """

    green: str = "uncertain"
    labels: Mapping[str, int] = field(default_factory=dict)
    probability: bool = False
    spacing_um: float | None = None
    laterality: str | None = None
    estimate_scale: bool = True
    measured_with: str | None = None
    cohort: Cohort | None = None


def find_items(
    paths: Sequence[Path], *, companions: Mapping[str, Path] | None = None, facts: Path | None = None
) -> list[MaskItem]:
    """Return the masks under files and folders, in the order of their names, with what belongs to each.

    A companion has the name of the mask, or one of both has an ending more, such as `_disc`; the suffix may be another.

    Raises:
        InvalidInput: `input.missing`, `input.empty`, `input.ambiguous` (two masks of one name), `input.unmatched`, `facts.columns`, `facts.name`.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise InvalidInput(f"{path.name!r} does not exist.", code="input.missing", hint="Check the path.")
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if not file.name.lower().endswith(SUFFIXES) or file.name.startswith("."):
                continue
            name = _stem(file.relative_to(path).as_posix() if path.is_dir() else file.name)
            if name in found:
                raise InvalidInput(
                    f"two masks are called {name!r}.", code="input.ambiguous", hint="Give one folder at a time."
                )
            found[name] = file
    if not found:
        raise InvalidInput(
            "no mask was found.", code="input.empty", hint=f"Read are files that end in {', '.join(SUFFIXES)}."
        )
    rows = _facts(facts, found) if facts else {}
    beside = {kind: _index(folder) for kind, folder in (companions or {}).items()}
    for kind, files in beside.items():
        if not any(_match(name, files) for name in found):
            raise InvalidInput(
                f"no file of the folder for {kind!r} has the name of a mask.",
                code="input.unmatched",
                hint=f"Masks are called {sorted(found)[:2]}, files there {sorted(files)[:2]}.",
            )
    return [
        MaskItem(
            name=name, path=path, facts=rows.get(name, {}),
            companions={kind: place for kind, files in beside.items() if (place := _match(name, files)) is not None},
        )
        for name, path in sorted(found.items())
    ]  # fmt: skip


def _stem(name: str) -> str:
    suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]


def _index(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InvalidInput(
            f"{folder.name!r} is no folder.", code="input.missing", hint="Give the folder of these masks."
        )
    return {
        _stem(p.relative_to(folder).as_posix()): p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != FILE
    }


def _match(name: str, files: Mapping[str, Path]) -> Path | None:
    if name in files:
        return files[name]
    longer = [k for k in files if k.startswith((f"{name}_", f"{name}-", f"{name}."))]
    if len(longer) == 1:
        return files[longer[0]]
    shorter = [k for k in files if name.startswith((f"{k}_", f"{k}-", f"{k}."))]
    return files[max(shorter, key=len)] if shorter and not longer else None


def _facts(path: Path, names: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    if not path.is_file():
        raise InvalidInput(
            f"the table of facts {path.name!r} does not exist.", code="input.missing", hint="Check the path."
        )
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path.name!r} is not UTF-8 text.", code="facts.encoding", hint="Save it as UTF-8 CSV."
        ) from error
    reader = csv.DictReader(io.StringIO(text))
    unknown = sorted({*(reader.fieldnames or ())} - {*FACTS})
    if "name" not in (reader.fieldnames or ()) or unknown:
        raise InvalidInput(
            f"the table of facts has the columns {reader.fieldnames}.",
            code="facts.columns",
            hint=f"Needed is `name`; known beside are {', '.join(FACTS[1:])}.",
        )
    rows: dict[str, dict[str, str]] = {}
    for row in reader:
        name = row["name"] if row["name"] in names else _stem(row["name"])
        if name not in names or name in rows:
            what = "twice" if name in rows else "but no mask has that name"
            raise InvalidInput(f"the table of facts names {row['name']!r} {what}.", code="facts.name")
        rows[name] = {k: v.strip() for k, v in row.items() if k != "name" and v and v.strip()}
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One eye after measuring, with the masks that were measured and its photograph."""

    found: EyeMeasurements
    laterality: str | None
    masks: Mapping[str, Any]
    image: Image | None = None


def measure_item(item: MaskItem, reading: Reading) -> Measured:
    """Return the measurements of one item.

    Raises:
        ReadError, InvalidInput: The vessel mask cannot be used, or a file beside it has another size.
    """
    pixels = read_color_mask(item.path)
    soft = reading.probability and pixels.ndim == 2 and int(pixels.max(initial=0)) > 10
    masks: dict[str, Any] = dict(split_map(pixels, green=reading.green, labels=reading.labels))
    probabilities = {"vessels": pixels.astype(np.float32) / 255} if soft else None
    shape = pixels.shape[:2]
    image = None
    for kind, path in item.companions.items():
        if kind == "image":
            image = read_image(path)
            size = image.pixels.shape[:2]
        else:
            grey = read_mask(path)
            masks[kind] = grey > (127 if grey.max(initial=0) > 1 else 0)
            size = grey.shape
        if size != shape:
            raise InvalidInput(
                f"{path.name!r} is {size[1]} x {size[0]} px, the vessel mask {shape[1]} x {shape[0]} px.",
                code="mask.size",
                hint="Masks are measured in the frame of one picture; export them at its size.",
            )
    facts = _eye_facts(item.facts, reading)
    if image is not None and "gradable" not in item.facts:
        facts = EyeFacts(**{**_plain(facts), "ungradable": not assess(image).gradable})
    if "disc" not in masks and "disc_row" in item.facts:
        masks["disc"] = _drawn_disc(item.facts, shape)
    code = _no_vessels(masks)
    if code:
        raise InvalidInput(REASONS[code], code=code, hint="Check that white is vessel and black is not.")
    if image is not None and image.pixels.shape[2:] == (3,):
        seen = masks["field"] if "field" in masks else find_field_of_view(image.pixels).mask(image.pixels.shape)
        facts = look_for_fovea(facts, image.pixels, masks, seen)
    found = measure_eye(masks, facts, probabilities=probabilities)
    return Measured(found=found, laterality=facts.laterality, masks=masks, image=image)


def _no_vessels(masks: Mapping[str, Any]) -> str | None:
    share = max(float(np.mean(masks[k])) for k in ("vessels", "artery", "vein") if k in masks)
    return "mask.empty" if share == 0 else "mask.full" if share > 0.5 else None


def _plain(facts: EyeFacts) -> dict[str, Any]:
    return {k: getattr(facts, k) for k in EyeFacts.__slots__}


def _number(row: Mapping[str, str], key: str, low: float = -math.inf) -> float | None:
    if key not in row:
        return None
    try:
        value = float(row[key])
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > low):
        raise InvalidInput(
            f"{key} is {row[key]!r}, which is no usable number.",
            code="facts.number",
            hint="Leave it empty where it is not known.",
        )
    return value


def _eye_facts(row: Mapping[str, str], reading: Reading) -> EyeFacts:
    eye = row.get("laterality", reading.laterality)
    if eye is not None and eye not in ("OD", "OS"):
        raise InvalidInput(
            f"laterality is {eye!r}; needed is OD or OS.",
            code="facts.laterality",
            hint="Leave it empty where it is not known.",
        )
    gradable = row.get("gradable", "yes").lower()
    if gradable not in ("yes", "no", "1", "0", "true", "false"):
        raise InvalidInput(f"gradable is {gradable!r}; needed is yes or no.", code="facts.gradable")
    row_col = _number(row, "fovea_row"), _number(row, "fovea_col")
    spacing = _number(row, "spacing_um", 0.0)
    return EyeFacts(
        spacing_um=reading.spacing_um if spacing is None else spacing,
        laterality=eye,
        fovea=None if row_col[0] is None or row_col[1] is None else (row_col[0], row_col[1]),
        ungradable=gradable in ("no", "0", "false"),
        estimate_scale=reading.estimate_scale,
    )


def _drawn_disc(row: Mapping[str, str], shape: Sequence[int]) -> np.ndarray:
    row_, col, size = (_number(row, k) for k in ("disc_row", "disc_col", "disc_diameter_px"))
    if row_ is None or col is None or size is None or size <= 0:
        raise InvalidInput("a disc needs disc_row, disc_col and disc_diameter_px.", code="facts.disc")
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    disc: np.ndarray = (rows - row_) ** 2 + (cols - col) ** 2 <= (size / 2) ** 2
    return disc


def measure_all(
    items: Sequence[MaskItem],
    out: Path,
    *,
    reading: Reading | None = None,
    pictures: bool = False,
    table: str = "csv",
    resume: bool = True,
    progress: Callable[[int, int, Mapping[str, int]], None] | None = None,
) -> RunSummary:
    """Return the summary of measuring all items into a folder: `measurements.jsonl`, `measurements.*`, `eyes.*`, `pictures/`.

    Args:
        items: Of `find_items`.
        out: Folder of this run alone; an interrupted run goes on there.
        reading: How masks are read.
        pictures: Write a picture of the graph and the zones of each eye.
        table: "csv", "parquet" or "json".
        resume: Go on with an interrupted run of the same settings.
        progress: Called with (done, total, counts).

    Raises:
        Busy, InvalidInput, ExhaustedResource: See `batch.ledger`.
    """
    reading = reading or Reading()
    if reading.green not in GREEN:
        raise InvalidInput(f"green is {reading.green!r}; needed is one of {GREEN}.", code="config.green")
    if table not in FORMATS:
        raise InvalidInput(f"table is {table!r}; needed is csv, parquet or json.", code="config.table")
    code = 0
    with stoppable() as stop:
        ledger = Ledger(out, config=_config(items, reading, pictures), study_ids=[i.name for i in items], resume=resume)
        try:
            if pictures or reading.cohort is not None:
                (out / "pictures").mkdir(exist_ok=True)
            if reading.cohort is not None:
                (out / FOLDER).mkdir(exist_ok=True)
            try:
                _work(items, ledger, reading, pictures, progress, stop)
            except Interrupted as signalled:
                code = 128 + signalled.number
            _export(ledger, out, table)
            counts, codes = ledger.counts(), ledger.codes()
        finally:
            ledger.close()
    numbers = {"total": len(items), "ok": counts.get("ok", 0), "rejected": counts.get("rejected", 0)}
    numbers["pending"] = numbers["total"] - numbers["ok"] - numbers["rejected"]
    if reading.cohort is not None:
        lines = (out / "measurements.jsonl").read_text("utf-8").splitlines()
        write_list(out, map(json.loads, lines), numbers, reading.cohort.name)
    return RunSummary(folder=out, counts=numbers, codes=codes, exit_code=code or (3 if numbers["rejected"] else 0))


def _config(items: Sequence[MaskItem], reading: Reading, pictures: bool) -> dict[str, Any]:
    inputs = [[i.name, sorted(i.companions), sorted(i.facts.items())] for i in items]
    warned = {k: v for i in items for k, v in _warnings(i).items()}
    return json.loads(json.dumps({
        "command": "measure", "pictures": pictures, "inputs": inputs,
        **{k: getattr(reading, k) for k in Reading.__slots__ if k not in ("labels", "cohort", "measured_with")},
        "labels": dict(reading.labels),
        **({"measured_with": reading.measured_with} if reading.measured_with else {}),
        **({"cohort": reading.cohort.digest} if reading.cohort else {}),
        **({"unproven": warned} if warned else {}),
    }))  # fmt: skip


def _work(
    items: Sequence[MaskItem],
    ledger: Ledger,
    reading: Reading,
    pictures: bool,
    progress: Callable[[int, int, Mapping[str, int]], None] | None,
    stop: Callable[[], None],
) -> None:
    done = ledger.finished()
    waiting = [(k, item) for k, item in enumerate(items) if k not in done]
    finished = len(done)
    for start in range(0, len(waiting), _CHUNK):
        entries = []
        for position, item in waiting[start : start + _CHUNK]:
            stop()
            entries.append(_entry(position, item, ledger.folder, reading, pictures))
        ledger.record(entries)
        finished += len(entries)
        if progress:
            progress(finished, len(items), ledger.counts())


def _entry(position: int, item: MaskItem, folder: Path, reading: Reading, pictures: bool) -> Entry:
    row: dict[str, Any] = {
        "name": item.name,
        "status": "ok",
        "code": "ok",
        "message": "",
        "hint": "",
        "measured_with": reading.measured_with,
        "measurements": [],
    }
    try:
        row |= _person(item, reading)
        measured = measure_item(item, reading)
        warnings = _warnings(item)
        row["measurements"] = [measurement_row(_remarked(m, warnings)) for m in measured.found.measurements]
        row |= {"unproven": warnings} if warnings else {}
        row["scale"] = {"um_per_px": measured.found.scale.um_per_px, "estimated": measured.found.scale.estimated}
        if pictures or reading.cohort is not None:
            _write_pictures(folder, item, measured, reading, row)
    except FundusionError as error:
        if error.code.startswith(("disk.", "resource.")):
            raise
        row |= {"status": "rejected", "code": error.code, "message": error.message, "hint": error.hint}
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    return Entry(position=position, study_id=item.name, status=row["status"], line=line, facts="{}")


def _warnings(item: MaskItem) -> dict[str, str]:
    """Return structure to the sentence with which its masks came, of the masks of one item."""
    found: dict[str, str] = {}
    for path in (item.path, *(p for k, p in item.companions.items() if k != "image")):
        found |= read_warning(path.parent)
    return found


def _remarked(m: Measurement, warnings: Mapping[str, str]) -> Measurement:
    if m.value is None or structure_of(m.name) not in warnings:
        return m
    return replace(m, flags=(*m.flags, "mask.unproven"))


def _person(item: MaskItem, reading: Reading) -> dict[str, Any]:
    """Return who the eye belongs to, as far as the table of facts says."""
    age, sex = _number(item.facts, "age"), item.facts.get("sex")
    if age is not None and not 0 <= age <= 130:
        raise InvalidInput(f"age is {item.facts['age']!r}; needed are years.", code="facts.age")
    if sex is not None and sex not in ("female", "male"):
        raise InvalidInput(
            f"sex is {sex!r}; needed is female or male.", code="facts.sex", hint="Leave it empty where it is not known."
        )
    eye = item.facts.get("laterality", reading.laterality)
    return {"patient_id": item.facts.get("patient_id"), "laterality": eye, "age": age, "sex": sex}


def _write_pictures(folder: Path, item: MaskItem, measured: Measured, reading: Reading, row: dict[str, Any]) -> None:
    """Write the graph and the zones as PNG and SVG and, with a cohort, the eye against its age and its page; the row learns where it stands."""
    pixels = measured.image.pixels if measured.image is not None and measured.image.pixels.shape[-1] == 3 else None
    stem = safe_file_name(item.name)
    kept = {k: v for k, v in measured.masks.items() if k != "field"}
    files = zone_files(pixels, measured.found, kept, laterality=measured.laterality)
    if reading.cohort is not None:
        beside = compare(
            reading.cohort, measured.found.measurements, patient_id=row["patient_id"], metadata=row,
            measured_with=reading.measured_with or "",
        )  # fmt: skip
        files |= age_plot_files(beside, "", laterality=measured.laterality)
        row["beside"] = summary_of(beside)
        write_eye_page(folder, row, measured.found, comparison=beside, files=files)
    for end, data in files.items():
        write_bytes(folder / "pictures" / f"{stem}{end}", data)


def _export(ledger: Ledger, out: Path, table: str) -> None:
    write_bytes(out / "measurements.jsonl", (e.line.encode() + b"\n" for e in ledger.entries()))
    write_measurement_tables(out, lambda: (json.loads(e.line) for e in ledger.entries()), table=table)
