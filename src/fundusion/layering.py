"""Layers and fluid of B-scans: a network says for every surface which pixels lie below it, and the surface is where they begin.

Source: surfaces by sums over columns He et al. 2021, doi:10.1016/j.media.2020.101856, in a simpler form: the mean of "not yet below" over a
column, near the surface, is its row to a part of a pixel, and surfaces cannot cross once they are put in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .biomarkers.oct_layers import SURFACES, LayerScan
from .core.errors import InvalidInput
from .core.study import Image
from .core.vocabulary import Laterality
from .segmenting import Precision, Segmenter, square_probabilities

#: A column is left out where surfaces had to be moved by more than this share of the height to be in order.
_CROSSING = 0.01
#: A column is left out where the place of a surface is spread over more than this share of the height.
_SPREAD = 0.04
#: Rows of a surface's column that are summed, to both sides, share of the height.
_NEAR = 0.03

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Surfaces and fluid of one B-scan or of a volume.

    Args:
        surfaces: Name to row `(D, W)` in the scan's own pixels; NaN in columns that were not found.
        fluid: Probability `(D, H, W)` float32.
        threshold: Of the probability of fluid.
        lost: Share of columns that were not found.
        provenance: Segmenter, digest, number of mirror images.
    """

    surfaces: Mapping[str, Floats]
    fluid: npt.NDArray[np.float32]
    threshold: float
    lost: float
    provenance: Mapping[str, Any]


def find_layers(
    segmenter: Segmenter, image: Image | npt.NDArray[np.uint8], *, flips: int = 1, precision: Precision = "auto"
) -> Layers:
    """Return the surfaces of a B-scan `(H, W, 1 or 3)` or of every one of a volume `(D, H, W)`.

    Args:
        segmenter: Trained by a recipe with `drawn_scans`, from `load_segmenter`.
        image: A scan, or its pixels in 8 bits.
        flips: 1, or 2 to average with the scan mirrored left to right.
        precision: As of `segment_image`.

    Raises:
        InvalidInput: Another segmenter, another number of flips, or pixels that are no scan.
    """
    names = tuple(segmenter.facts.get("surfaces", ()))
    if not names:
        raise InvalidInput(
            f"{segmenter.name!r} does not draw layers.", code="config.invalid", hint="Train recipes/oct_layers.toml."
        )
    if flips not in (1, 2):
        raise InvalidInput(f"flips of a B-scan are 1 or 2, got {flips}.", code="config.invalid")
    scans = _scans(image)
    rows: dict[str, list[Floats]] = {n: [] for n in names}
    fluid, lost = [], []
    for scan in scans:
        found, wet, bad = _one(segmenter, scan, flips, precision)
        for name, row in zip(names, found, strict=True):
            rows[name].append(np.where(bad, np.nan, row))
        fluid.append(wet)
        lost.append(bad.mean())
    return Layers(
        surfaces={n: np.stack(v) for n, v in rows.items()},
        fluid=np.stack(fluid),
        threshold=float(segmenter.thresholds.get("fluid", 0.5)),
        lost=float(np.mean(lost)),
        provenance={
            "segmenter": segmenter.name,
            "sha256": segmenter.sha256,
            "flips": flips,
            "terms": segmenter.facts.get("terms", ""),
        },
    )


def layer_scan(
    layers: Layers, image: Image, *, laterality: Laterality | None = None, fovea: tuple[float, float] | None = None
) -> LayerScan:
    """Return what `biomarkers.oct_layers.measure_layers` takes, with the spacing the file states and nothing it does not.

    Args:
        layers: Of `find_layers`.
        image: The scan.
        laterality: None takes that of the file.
        fovea: (B-scan, column); None takes the thinnest place of the middle of a volume, and nothing for a single scan.
    """
    stated = image.spacing_um
    volume = image.is_volume
    spacing: tuple[float | None, float | None, float | None] = (None, None, None)
    if stated is not None and len(stated) == (3 if volume else 2):
        spacing = (stated[0], stated[1], stated[2]) if volume else (None, stated[0], stated[1])
    return LayerScan(
        surfaces=layers.surfaces,
        fluid=layers.fluid >= layers.threshold,
        spacing_um=spacing,
        laterality=laterality or image.laterality,
        fovea=fovea if fovea is not None else _pit(layers) if volume else None,
    )


def _pit(layers: Layers) -> tuple[float, float] | None:
    """Return (B-scan, column) of the thinnest inner retina in the middle third of a volume; None where it is not thin enough to be a pit."""
    inner = layers.surfaces["inl_opl"] - layers.surfaces["ilm"]
    depth, width = inner.shape
    if depth < 3 or np.isfinite(inner).mean() < 0.5:
        return None
    filled = np.where(np.isfinite(inner), inner, np.nanmedian(inner)).astype(np.float32)
    smooth = cv2.GaussianBlur(filled, (0, 0), sigmaX=max(width / 100, 1.0), sigmaY=0.8)
    top, left = depth // 3, width // 3
    middle = smooth[top : depth - top, left : width - left]
    usual, least = float(np.median(smooth)), float(middle.min())
    if least > 0.5 * usual:
        return None
    # The middle of the pit, not its first thinnest column: a wide pit has many.
    rows, columns = np.nonzero(middle <= least + 0.1 * (usual - least))
    return float(rows.mean() + top), float(columns.mean() + left)


def _scans(image: Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    pixels = image.pixels if isinstance(image, Image) else np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[2] in (1, 3) and not (isinstance(image, Image) and image.is_volume):
        pixels = pixels[..., 0][None] if pixels.shape[2] == 1 else pixels.mean(2).round().astype(np.uint8)[None]
    if pixels.dtype == np.uint16:
        pixels = (pixels // 257).astype(np.uint8)
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or min(pixels.shape[1:]) < 32:
        raise InvalidInput(
            f"expected a B-scan (H, W, 1) or a volume (D, H, W) of 8 bits, at least 32 px wide and high, got {pixels.dtype} {pixels.shape}.",
            code="image.shape",
        )
    return pixels


def _one(
    segmenter: Segmenter, scan: npt.NDArray[np.uint8], flips: int, precision: Precision
) -> tuple[Floats, npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return surfaces `(K, W)` in order, probability of fluid `(H, W)`, and the columns that were not found."""
    height, width = scan.shape
    side = segmenter.field_px
    shrinks = side < max(height, width)
    square = cv2.resize(scan, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    # Mirrored up and down a retina is none, so only the first two of the mirror images are used.
    found = square_probabilities(segmenter, np.repeat(square[..., None], 3, 2), flips=flips, precision=precision)
    names = segmenter.classes
    below = np.stack([found[names.index(n)] for n in segmenter.facts["surfaces"]]).astype(np.float64)
    place = _places(below, max(4, round(_NEAR * side)))
    spread = (below * (1 - below)).sum(1)
    offsets = segmenter.facts.get("offsets", {})
    place -= np.array([offsets.get(n, 0.0) for n in segmenter.facts["surfaces"]])[:, None] * side
    ordered = np.maximum.accumulate(place, 0)
    wrong = (np.abs(ordered - place) > _CROSSING * side).any(0) | (spread > _SPREAD * side).any(0)
    # A surface that leaves the scan was not seen.
    wrong |= (place[0] < 1.0) | (place[-1] > side - 1.0)
    # Edges of pixels, not their middles, keep their place when the scan is scaled.
    across = (np.arange(width) + 0.5) * side / width - 0.5
    rows = np.stack([np.interp(across, np.arange(side), p) for p in ordered]) * height / side - 0.5
    bad = np.interp(across, np.arange(side), wrong.astype(np.float64)) > 0.5
    wet = cv2.resize(found[names.index("fluid")], (width, height), interpolation=cv2.INTER_LINEAR)
    wet = np.where(_between(rows, height), wet, np.float32(0)).astype(np.float32)
    return _without_drowned(rows, segmenter.facts["surfaces"], wet >= segmenter.thresholds["fluid"]), wet, bad


def _without_drowned(rows: Floats, names: Sequence[str], wet: npt.NDArray[np.bool_]) -> Floats:
    """Return surfaces in which the ellipsoid zone is not found where it would lie within fluid: fluid lies under it or, as cysts, above it.

    Example:
        >>> wet = np.zeros((9, 2), bool)
        >>> wet[3:8, 1] = True
        >>> _without_drowned(np.array([[5.0, 5.0]]), ["ellipsoid"], wet).tolist()
        [[5.0, nan]]
    """
    found = rows.copy()
    height = wet.shape[0]
    columns = np.arange(wet.shape[1])
    for k in (k for k, n in enumerate(names) if n == "ellipsoid"):
        # Two pixels to each side: a surface that only touches fluid is where it should be.
        above, below = (np.clip(np.rint(rows[k]) + d, 0, height - 1).astype(np.int64) for d in (-2, 2))
        found[k, wet[above, columns] & wet[below, columns]] = np.nan
    return found


def _places(below: Floats, near: int) -> Floats:
    """Return the row of every surface `(K, W)` in edges of pixels, from the probability that a pixel lies below it `(K, H, W)`.

    Only rows near the place where half of the probability is passed are summed: a network is never quite sure of all the others,
    and there are so many of them that they would move a surface by pixels.

    Example:
        >>> column = np.array([0.02, 0.02, 0.02, 0.02, 0.25, 0.99, 0.99, 0.99])
        >>> _places(column[None, :, None], 1).round(2).tolist()
        [[4.76]]
    """
    height = below.shape[1]
    rough = (below < 0.5).sum(1)
    rows = np.arange(height)[None, :, None]
    first, last = np.clip(rough - near, 0, height), np.clip(rough + near, 0, height)
    inside = (rows >= first[:, None]) & (rows < last[:, None])
    return np.asarray(first + np.where(inside, 1 - below, 0).sum(1), np.float64)


def _between(rows: Floats, height: int) -> npt.NDArray[np.bool_]:
    """Return the pixels between the innermost and the outermost surface: fluid elsewhere is no retinal fluid."""
    place = np.arange(height)[:, None]
    return (place >= rows[0]) & (place <= rows[-1])


__all__ = ["SURFACES", "Layers", "find_layers", "layer_scan"]
