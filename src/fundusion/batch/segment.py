"""Masks of many photographs: a folder per structure, a row per study, and a run that goes on where it was killed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.durable import write_bytes, write_text
from ..core.errors import FundusionError, InvalidInput
from ..core.study import Image, StudyRecord
from ..prompting import Prompted, refine_masks
from ..quality.gradability import assess
from ..readers import read_study
from ..readers.manifest import RejectedRow
from ..report.overlays import artery_vein_map, draw_masks
from ..segmenting import Masks, Segmenter, Tiles, segment_image
from ..transforms.field_of_view import find_field_of_view
from .unproven import warnings_of, write_warnings

TABLE = "segments.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow:
    """What became of one study.

    Args:
        study_id: As given.
        status: "ok" or "rejected".
        code: "ok" or the stable code of the rejection.
        message: One sentence.
        gradable: Verdict of the quality gate on a colour photograph; masks are made all the same and carry it.
        areas_px: Structure to its number of pixels.
        unproven: Structure to where its segmenter says that it was seen to be wrong; the mask needs a look before it is used.
        skipped: Structure to the reason why it has no mask at all: a promptable model had nothing to be prompted with.
        shape: Height and width of the masks.
        name: Of its pictures, without suffix.
        key: Of file and segmenters; a run with the same key does nothing again.
    """

    study_id: str
    status: str
    code: str
    message: str = ""
    gradable: bool | None = None
    areas_px: dict[str, int] | None = None
    unproven: dict[str, str] | None = None
    skipped: dict[str, str] | None = None
    shape: tuple[int, int] | None = None
    name: str = ""
    key: str = ""


def segment_all(
    records: Sequence[StudyRecord],
    out: str | Path,
    segmenters: Sequence[Segmenter],
    *,
    rejected: Sequence[RejectedRow] = (),
    modality: str = "cfp",
    flips: int = 4,
    probabilities: bool = False,
    tiles: Tiles | None = None,
    prompted: Prompted | None = None,
    reporter: Any = None,
) -> list[SegmentRow]:
    """Write masks, an overlay and a row for every study and return the rows; what is done already is kept.

    Files per study: `<structure>/<name>.png` (0 and 255, the size of the picture), `artery_vein/<name>.png` where both are there,
    `overlay/<name>.png`, and with `probabilities` also `<structure>_probability/<name>.png` (0 to 255). `measure` takes such folders.

    Args:
        records: Studies; the first picture of the modality of each is segmented.
        out: Folder; `segments.csv` and `segments.jsonl` in it hold the rows.
        segmenters: All of them are applied.
        rejected: Rows of the manifest that are no studies; they are counted too.
        modality: Pictures that are used.
        flips: Mirror images averaged.
        probabilities: Also write probabilities.
        tiles: Segment in parts.
        prompted: Draws anew what it can of the masks found; where nothing was found there is a reason instead of a mask.
        reporter: Called with a title; gives a context whose value is called with (done, total, counts).

    Raises:
        InvalidInput: A segmenter is of another kind of picture (`segmenter.modality`).
    """
    for segmenter in segmenters:
        own = segmenter.facts.get("modality", modality)
        if own != modality:
            raise InvalidInput(
                f"the segmenter {segmenter.name!r} is of {own} pictures, not of {modality}: its masks would mean nothing.",
                code="segmenter.modality",
                hint=f"Use --modality {own} for such pictures, or another segmenter.",
            )
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    reporter = reporter or (lambda title: nullcontext(lambda *a, **k: None))
    way = _Way(
        segmenters=segmenters,
        modality=modality,
        flips=flips,
        probabilities=probabilities,
        tiles=tiles,
        prompted=prompted,
    )
    key = way.key()
    known = _known(folder)
    warnings = warnings_of(segmenters)
    rows = [SegmentRow(study_id=r.origin, status="rejected", code=r.code, message=r.message) for r in rejected]
    counts = {"ok": 0, "rejected": len(rows)}
    with reporter("segmenting") as show:
        for number, record in enumerate(records, 1):
            mine = f"{key} {_stamp(record, modality)}"
            done = known.get(record.study_id)
            said = {c: warnings[c] for c in (done.areas_px or {} if done else {}) if c in warnings} or None
            if done is None or done.key != mine or not _is_there(folder, done):
                done = _one(record, folder, way, mine)
                _append(folder, done)
            elif done.unproven != said:
                # Masks of a run before the segmenter said so.
                done = replace(done, unproven=said)
                _append(folder, done)
            rows.append(done)
            counts[done.status] += 1
            show(number, len(records), counts)
    classes = [c for s in segmenters for c in s.classes]
    write_warnings(folder, warnings, classes)
    write_text(folder / TABLE, _csv(rows, classes))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How every picture is segmented."""

    segmenters: Sequence[Segmenter]
    modality: str
    flips: int
    probabilities: bool
    tiles: Tiles | None
    prompted: Prompted | None

    def key(self) -> str:
        """Return what decides the masks besides the picture."""
        tiles = None if self.tiles is None else [self.tiles.size_px, self.tiles.overlap_px]
        models = [
            [s.name, s.sha256, dict(s.thresholds), [[k, c.scale, c.offset] for k, c in s.calibration.items()]]
            for s in self.segmenters
        ]
        prompted = None if self.prompted is None else [self.prompted.name, self.prompted.sha256]
        return json.dumps([*models, self.flips, self.probabilities, self.modality, tiles, prompted])


def _refined(found: Sequence[Masks], image: Image, prompted: Prompted | None) -> tuple[list[Masks], dict[str, str]]:
    """Return masks drawn anew where a promptable model can, and the structures without a mask with the reason."""
    if prompted is None:
        return list(found), {}
    done, skipped = [], {}
    for one in found:
        wanted = prompted.structures(one.masks)
        refined = refine_masks(prompted.models, image, one, structures=wanted, name=prompted.name)
        done.append(refined.masks)
        skipped |= refined.skipped
    return done, skipped


def _one(record: StudyRecord, out: Path, way: _Way, key: str) -> SegmentRow:
    try:
        image = _picture(record, way.modality)
        field = find_field_of_view(image.pixels) if way.modality == "cfp" else None
        gradable = assess(image, field=field).gradable if way.modality == "cfp" else None
        own = [segment_image(s, image, field=field, flips=way.flips, tiles=way.tiles) for s in way.segmenters]
        found, skipped = _refined(own, image, way.prompted)
    except FundusionError as error:
        return SegmentRow(
            study_id=record.study_id,
            status="rejected",
            code=error.code or "image.unusable",
            message=str(error),
            key=key,
        )
    masks = {c: m for f in found for c, m in f.masks.items() if c not in skipped}
    name = _safe(record.study_id)
    for structure, mask in masks.items():
        _png(out / structure / f"{name}.png", mask.astype(np.uint8) * 255)
    if "artery" in masks and "vein" in masks:
        _png(out / "artery_vein" / f"{name}.png", artery_vein_map(masks["artery"], masks["vein"]))
    if way.probabilities:
        for one in found:
            for structure, values in ((c, p) for c, p in one.probabilities.items() if c not in skipped):
                _png(out / f"{structure}_probability" / f"{name}.png", np.rint(values * 255).astype(np.uint8))
    shown = {c: m for c, m in masks.items() if not (c == "vessel" and "artery" in masks)}
    _png(out / "overlay" / f"{name}.png", draw_masks(image.pixels, shown))
    return SegmentRow(
        study_id=record.study_id,
        status="ok",
        code="ok",
        message="; ".join(f"{c}: {why}" for c, why in skipped.items()),
        gradable=gradable,
        skipped=skipped or None,
        unproven={c: text for c, text in warnings_of(way.segmenters).items() if c in masks} or None,
        areas_px={c: int(m.sum()) for c, m in masks.items()},
        shape=(int(image.pixels.shape[0]), int(image.pixels.shape[1])),
        name=name,
        key=key,
    )


def _picture(record: StudyRecord, modality: str) -> Image:
    images = read_study(record).images.get(modality, ())
    if not images:
        there = ", ".join(record.images) or "nothing"
        raise InvalidInput(
            f"the study has no picture of {modality}; it holds {there}.",
            code="study.no_image",
            hint="Give --modality, or other studies.",
        )
    return images[0]


def _safe(study_id: str) -> str:
    """Return a file name for a study; two studies never share one."""
    import hashlib

    plain = re.sub(r"[^\w.\-]+", "_", study_id).strip("._")[:80]
    return plain if plain == study_id else f"{plain}-{hashlib.sha256(study_id.encode()).hexdigest()[:8]}"


def _png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    from PIL import Image as Pillow

    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, "PNG", optimize=False)
    write_bytes(path, stream.getvalue())


def _is_there(out: Path, row: SegmentRow) -> bool:
    return row.status == "rejected" or all((out / c / f"{row.name}.png").is_file() for c in (row.areas_px or {}))


def _stamp(record: StudyRecord, modality: str) -> str:
    found = []
    for path in record.images.get(modality, ())[:1]:
        file = Path(path.partition("#")[0])
        found.append(f"{file.stat().st_size}:{file.stat().st_mtime_ns}" if file.is_file() else "absent")
    return ",".join(found)


def _known(folder: Path) -> dict[str, SegmentRow]:
    """Return the rows of an earlier run; a last line that a kill cut is left out."""
    rows: dict[str, SegmentRow] = {}
    path = folder / "segments.jsonl"
    if path.is_file():
        for line in path.read_text("utf-8").splitlines():
            try:
                row = SegmentRow(**json.loads(line))
            except (ValueError, TypeError):
                continue
            rows[row.study_id] = row
    return rows


def _append(folder: Path, row: SegmentRow) -> None:
    path = folder / "segments.jsonl"
    whole = not path.is_file() or path.stat().st_size == 0 or path.read_bytes()[-1:] == b"\n"
    with path.open("a", encoding="utf-8") as stream:
        # A line that a kill cut is ended first, so that this one stands alone.
        stream.write(("" if whole else "\n") + json.dumps(asdict(row), ensure_ascii=False) + "\n")
        stream.flush()


def _csv(rows: Sequence[SegmentRow], classes: Sequence[str]) -> str:
    import csv

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["study_id", "status", "code", "message", "gradable", "height_px", "width_px",
                     *(f"{c}_px" for c in classes), "name", "unproven"])  # fmt: skip
    for row in rows:
        areas, shape = row.areas_px or {}, row.shape or ("", "")
        gradable = "" if row.gradable is None else str(row.gradable).lower()
        writer.writerow([row.study_id, row.status, row.code, row.message, gradable, *shape,
                         *(areas.get(c, "") for c in classes), row.name, "|".join(row.unproven or {})])  # fmt: skip
    return stream.getvalue()
