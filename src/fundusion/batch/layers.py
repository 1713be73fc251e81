"""Layers, thickness and fluid of many OCT scans: a row per scan, a table of measurements, surfaces and a picture to look at."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..biomarkers.oct_layers import SURFACES, measure_layers
from ..core.durable import write_bytes, write_text
from ..core.errors import FundusionError, InvalidInput, ReadError
from ..core.results import Measurement
from ..core.study import Image
from ..core.vocabulary import Laterality
from ..layering import Layers, find_layers, layer_scan
from ..readers import read_images
from ..segmenting import Segmenter

#: Share by which a spacing that was stated may differ from the one in the file.
_SAME = 0.02
#: Share of columns without surfaces from which on a scan has no layers.
_LOST = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRow:
    """What became of one scan.

    Args:
        name: Of the file or folder, without suffix.
        status: "ok" or "rejected".
        code: "ok" or the stable code of the rejection.
        message: One sentence.
        lost: Share of columns without surfaces.
        measurements: Of `biomarkers.oct_layers.measure_layers`.
    """

    name: str
    status: str
    code: str
    message: str = ""
    lost: float | None = None
    measurements: tuple[Measurement, ...] = ()


def measure_scans(
    paths: Sequence[str | Path],
    out: str | Path,
    segmenter: Segmenter,
    *,
    spacing_um: tuple[float, ...] | None = None,
    laterality: Laterality | None = None,
    fovea: tuple[float, float] | None = None,
    flips: int = 2,
    reporter: Any = None,
) -> list[ScanRow]:
    """Write `scans.csv`, `measurements.csv`, `surfaces/<name>.csv` and `overlay/<name>.png`, and return a row per scan.

    Args:
        paths: B-scans, volumes, folders of B-scans.
        out: Folder.
        segmenter: Of layers.
        spacing_um: Down and across of a B-scan, or between B-scans, down and across of a volume, where the files do not say.
        laterality: Where the files do not say.
        fovea: (B-scan, column), from 0; None finds the pit of a volume.
        flips: 1, or 2 to average with the mirrored scan.
        reporter: Called with a title; gives a context whose value is called with (done, total, counts).
    """
    folder = Path(out)
    (folder / "surfaces").mkdir(parents=True, exist_ok=True)
    reporter = reporter or (lambda title: nullcontext(lambda *a, **k: None))
    rows: list[ScanRow] = []
    with reporter("measuring layers") as show:
        for number, path in enumerate(paths, 1):
            name = _name(Path(path), {r.name for r in rows})
            try:
                image = _stated(_read(path), spacing_um, laterality)
                layers = find_layers(segmenter, image, flips=flips)
                if layers.lost > _LOST:
                    raise InvalidInput(
                        f"in {layers.lost:.0%} of the columns no layers were found.",
                        code="oct.not_found",
                        hint="Is it an upright B-scan of a macula? The network has seen drawn eyes only.",
                    )
                found = measure_layers(layer_scan(layers, image, laterality=laterality, fovea=fovea))
            except FundusionError as error:
                rows.append(
                    ScanRow(name=name, status="rejected", code=error.code or "image.unusable", message=str(error))
                )
            else:
                rows.append(ScanRow(name=name, status="ok", code="ok", lost=layers.lost, measurements=tuple(found)))
                write_text(folder / "surfaces" / f"{name}.csv", _surfaces(layers))
                _picture(folder / "overlay" / f"{name}.png", image, layers)
            show(number, len(paths), {"rejected": sum(r.status == "rejected" for r in rows)})
    _tables(folder, rows)
    return rows


def _read(path: str | Path) -> Image:
    images = read_images(path, modality="oct")
    if len(images) != 1:
        raise ReadError(
            f"{Path(path).name!r} holds {len(images)} images.", code="file.several", hint="Name one part of the file."
        )
    return images[0]


def _stated(image: Image, spacing_um: tuple[float, ...] | None, laterality: Laterality | None) -> Image:
    """Return the scan with the spacing and the eye that were stated, where the file says nothing else."""
    if laterality is not None and image.laterality not in (None, laterality):
        raise InvalidInput(
            "the file says the other eye than was stated.", code="laterality.conflict", hint="Find out which is right."
        )
    if spacing_um is None:
        return image
    axes = 3 if image.is_volume else 2
    if len(spacing_um) != axes:
        raise InvalidInput(
            f"{len(spacing_um)} spacings were stated, the scan has {axes} axes.",
            code="config.invalid",
            hint="Between B-scans, down, across for a volume; down, across for a B-scan; in um.",
        )
    if image.spacing_um is None:
        return replace(image, spacing_um=spacing_um)
    if any(abs(a / b - 1) > _SAME for a, b in zip(spacing_um, image.spacing_um, strict=True)):
        raise InvalidInput(
            f"the file says {image.spacing_um} um, stated was {spacing_um} um.",
            code="spacing.conflict",
            hint="Leave the statement out to take that of the file.",
        )
    return image


def _name(path: Path, taken: set[str]) -> str:
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in path.stem)[:80] or "scan"
    number = 1
    while (name := plain if number == 1 else f"{plain}-{number}") in taken:
        number += 1
    return name


def _surfaces(layers: Layers) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["bscan", "column", *(f"{n}_px" for n in layers.surfaces)])
    depth, width = next(iter(layers.surfaces.values())).shape
    for scan in range(depth):
        for column in range(width):
            values = [v[scan, column] for v in layers.surfaces.values()]
            # A surface that was not found is empty, never a number.
            writer.writerow([scan, column, *("" if np.isnan(v) else f"{v:.2f}" for v in values)])
    return stream.getvalue()


def _picture(path: Path, image: Image, layers: Layers) -> None:
    """Draw surfaces and fluid into the middle B-scan."""
    from PIL import Image as Pillow

    scan: npt.NDArray[Any] = image.pixels[len(image.pixels) // 2] if image.is_volume else image.pixels[..., 0]
    if scan.dtype == np.uint16:
        scan = scan // 257
    middle = len(layers.fluid) // 2
    canvas = np.repeat(scan.astype(np.uint8)[..., None], 3, 2)
    wet = layers.fluid[middle] >= layers.threshold
    canvas[wet] = (0.5 * canvas[wet] + np.array([0, 60, 127])).astype(np.uint8)
    for number, row in enumerate(layers.surfaces[n][middle] for n in SURFACES if n in layers.surfaces):
        hue = np.array([[[int(179 * number / len(SURFACES)), 200, 255]]], np.uint8)
        colour = tuple(int(c) for c in cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0])
        for column in np.flatnonzero(np.isfinite(row)):
            canvas[int(np.clip(round(row[column]), 0, len(canvas) - 1)), column] = colour
    stream = io.BytesIO()
    Pillow.fromarray(canvas).save(stream, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, stream.getvalue())


def _tables(folder: Path, rows: Sequence[ScanRow]) -> None:
    scans, numbers = io.StringIO(), io.StringIO()
    one, many = csv.writer(scans, lineterminator="\n"), csv.writer(numbers, lineterminator="\n")
    one.writerow(["name", "status", "code", "message", "columns_lost"])
    many.writerow(["name", "measurement", "region", "value", "unit", "failure", "flags", "columns"])
    for row in rows:
        one.writerow([row.name, row.status, row.code, row.message, "" if row.lost is None else f"{row.lost:.3f}"])
        for m in row.measurements:
            value = "" if m.value is None else f"{m.value:.6g}"
            many.writerow([row.name, m.name, m.region, value, m.unit, m.failure or "", " ".join(m.flags), m.n])
    write_text(folder / "scans.csv", scans.getvalue())
    write_text(folder / "measurements.csv", numbers.getvalue())
