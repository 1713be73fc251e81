"""Geometry of optic disc and cup, their ratio, the rim in four quadrants, and the way to the fovea."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .outcome import Outcome, failed, finite

#: Assumed diameter of an optic disc. Source: Hubbard et al. 1999, doi:10.1016/S0161-6420(99)90525-0.
DISC_UM = 1850.0
#: Order of the quadrants: inferior, superior, nasal, temporal.
QUADRANTS = ("inferior", "superior", "nasal", "temporal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disc:
    """An optic disc in pixels.

    Args:
        center: (row, col) of the centroid.
        diameter_px: Of the circle of the same area.
        height_px: Extent from top to bottom.
        width_px: Extent from left to right.
        long_px: Longest axis of the ellipse with the same second moments.
        short_px: Shortest axis of it.
        tilt_deg: Direction of the longest axis, counter-clockwise from the vertical, in (-90, 90].
        area_px: Number of pixels.
    """

    center: tuple[float, float]
    diameter_px: float
    height_px: float
    width_px: float
    long_px: float
    short_px: float
    tilt_deg: float
    area_px: int


def _box(mask: npt.NDArray[np.bool_], margin: int = 3) -> tuple[slice, slice]:
    """Return the rows and columns a mask spans, and some more."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (
        slice(max(top - margin, 0), min(top + height + margin, mask.shape[0])),
        slice(max(left - margin, 0), min(left + width + margin, mask.shape[1])),
    )


def _largest(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], float]:
    """Return the largest connected part and the area of the second by that of the first."""
    mask = np.ascontiguousarray(mask)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if count < 2:
        return mask, 0.0
    areas = stats[1:, cv2.CC_STAT_AREA]
    order = np.argsort(areas)[::-1]
    part: npt.NDArray[np.bool_] = labels == 1 + order[0]
    return part, float(areas[order[1]] / areas[order[0]]) if count > 2 else 0.0


def disc_of(mask: npt.ArrayLike, field: npt.NDArray[np.bool_] | None = None) -> Disc | str:
    """Return the disc in a mask `(H, W)`, or the code of the reason why there is none.

    Args:
        mask: Not zero inside.
        field: `(H, W)` what the camera shows; a disc that is cut by its rim is no whole disc.

    Source:
        Ellipse by second moments: Hu 1962, doi:10.1109/TIT.1962.1057692.

    Example:
        >>> rows, cols = np.ogrid[:99, :99]
        >>> disc = disc_of((rows - 50) ** 2 + (cols - 40) ** 2 <= 20**2)
        >>> disc.center, round(disc.diameter_px), round(disc.short_px / disc.long_px, 2)
        ((50.0, 40.0), 40, 1.0)
    """
    inside = np.ascontiguousarray(np.asarray(mask) != 0)
    if not inside.any():
        return "disc.absent"
    box = _box(inside)
    part, second = _largest(inside[box])
    if second > 0.1:
        return "disc.several"
    rows, cols = (k + b.start for k, b in zip(np.nonzero(part), box, strict=True))
    area = len(rows)
    height, width = int(rows.max() - rows.min()) + 1, int(cols.max() - cols.min()) + 1
    if min(height, width) < 8 or max(height, width) > max(inside.shape) / 2:
        return "disc.size"
    if rows.min() == 0 or cols.min() == 0 or rows.max() == inside.shape[0] - 1 or cols.max() == inside.shape[1] - 1:
        return "disc.clipped"
    if field is not None and _cut_by(part, field[box]):
        return "disc.clipped"
    middle = float(rows.mean()), float(cols.mean())
    # A pixel is a square: its own second moment is a twelfth.
    moments = np.cov(np.stack([rows, cols]).astype(np.float64), bias=True) + np.eye(2) / 12
    values, vectors = np.linalg.eigh(moments)
    short, long = 4 * np.sqrt(values)
    if area < 0.6 * math.pi * short * long / 4:
        return "disc.shape"
    row, col = vectors[:, 1]
    # Counter-clockwise as seen: up is -row, right is +col; the axis has no direction.
    tilt = math.degrees(math.atan2(-col, -row))
    tilt = (tilt + 90) % 180 - 90
    return Disc(
        center=middle,
        diameter_px=2 * math.sqrt(area / math.pi),
        height_px=float(height),
        width_px=float(width),
        long_px=float(long),
        short_px=float(short),
        tilt_deg=90.0 if tilt == -90 else tilt,
        area_px=area,
    )


def _cut_by(part: npt.NDArray[np.bool_], field: npt.NDArray[np.bool_]) -> bool:
    """Return whether a disc touches the rim of the field along more than a twentieth of its outline."""
    outline = part & ~cv2.erode(part.view(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    near = cv2.erode(np.ascontiguousarray(field).view(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    return bool((outline & ~near).sum() > 0.05 * outline.sum())


def disc_measures(disc: Disc) -> dict[str, Outcome]:
    """Return height, width and area in pixels, ovality and tilt.

    Source:
        Ovality index, shortest by longest diameter: Tay et al. 2005, Am J Ophthalmol 139:247.

    Example:
        >>> rows, cols = np.ogrid[:150, :150]
        >>> disc = disc_of(((rows - 50) / 1.5) ** 2 + (cols - 40) ** 2 <= 20**2)
        >>> round(disc_measures(disc)["disc_ovality"].value, 2), abs(round(disc.tilt_deg))
        (0.66, 0)
    """
    n = disc.area_px
    return {
        "disc_height": finite(disc.height_px, n, 0.5),
        "disc_width": finite(disc.width_px, n, 0.5),
        "disc_area": finite(n, n, math.sqrt(math.pi * disc.diameter_px) / 2),
        "disc_ovality": finite(disc.short_px / disc.long_px, n),
        "disc_tilt": finite(disc.tilt_deg, n),
    }


def cup_measures(
    disc_mask: npt.ArrayLike, cup_mask: npt.ArrayLike, disc: Disc, nasal: float | None
) -> dict[str, Outcome]:
    """Return vertical, horizontal and area cup-to-disc ratio, the rim by quadrant (in disc diameters) and the ISNT rule.

    Args:
        disc_mask: `(H, W)`.
        cup_mask: `(H, W)`; only what lies in the disc counts.
        disc: Geometry of the disc.
        nasal: +1 where nasal is to the right, -1 to the left, None where it is not known.

    Source:
        Rim in quadrants and the ISNT rule (inferior >= superior >= nasal >= temporal): Jonas et al. 1988, Invest Ophthalmol Vis Sci 29:1151; Harizman et al. 2006,
        doi:10.1001/archopht.124.11.1579. The rim of a quadrant is the mean over its 90 degrees of the distance between both outlines.

    Example:
        >>> rows, cols = np.ogrid[:150, :150]
        >>> r2 = (rows - 50) ** 2 + (cols - 50) ** 2
        >>> found = cup_measures(r2 <= 900, r2 <= 225, disc_of(r2 <= 900), 1.0)
        >>> round(found["vcdr"].value, 2), round(found["acdr"].value, 2)
        (0.51, 0.25)
    """
    names = ("vcdr", "hcdr", "acdr", *(f"rim_{q}" for q in QUADRANTS), "isnt")
    inside, cup = (np.ascontiguousarray(np.asarray(m) != 0) for m in (disc_mask, cup_mask))
    if not cup.any():
        return {n: failed("cup.absent") for n in names}
    box = _box(inside | cup)
    inside, (part, _) = inside[box], _largest(cup[box])
    if (part & inside).sum() < 0.8 * part.sum():
        return {n: failed("cup.outside") for n in names}
    rows, cols = np.nonzero(part & inside)
    height, width = float(np.ptp(rows)) + 1, float(np.ptp(cols)) + 1
    n = len(rows)
    # Half a pixel at each end of both extents.
    vcdr, hcdr = height / disc.height_px, width / disc.width_px
    found = {
        "vcdr": finite(vcdr, n, 0.5 * math.hypot(1, vcdr) / disc.height_px),
        "hcdr": finite(hcdr, n, 0.5 * math.hypot(1, hcdr) / disc.width_px),
        "acdr": finite(n / disc.area_px, n),
    }
    middle = disc.center[0] - box[0].start, disc.center[1] - box[1].start
    rim = _rim(inside, part, middle, disc.long_px) / disc.diameter_px
    means = {q: float(rim[k].mean()) for q, k in _quadrants(nasal or 1.0).items()}
    for quadrant in QUADRANTS:
        sided = quadrant in ("nasal", "temporal") and nasal is None
        found[f"rim_{quadrant}"] = failed("laterality.absent") if sided else finite(means[quadrant], 90)
    order = [means[q] for q in QUADRANTS]
    obeyed = all(a >= b for a, b in itertools.pairwise(order))
    found["isnt"] = failed("laterality.absent") if nasal is None else finite(float(obeyed), 360)
    return found


def _rim(
    disc: npt.NDArray[np.bool_], cup: npt.NDArray[np.bool_], center: tuple[float, float], reach: float
) -> npt.NDArray[np.float64]:
    """Return the distance from the outline of the cup to that of the disc on 360 rays from the centre of the disc."""
    # Half degrees: the four quadrants then have 90 rays each, also in the mirror image.
    angles = np.radians(np.arange(360) + 0.5)
    t = np.arange(0, reach, 0.25)
    rows = center[0] - np.sin(angles)[:, None] * t
    cols = center[1] + np.cos(angles)[:, None] * t
    places = (cols.astype(np.float32), rows.astype(np.float32))

    def along(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        values = cv2.remap(mask.astype(np.float32), *places, cv2.INTER_LINEAR, borderValue=0)
        hit = values >= 0.5
        return np.where(hit.any(1), t[len(t) - 1 - np.argmax(hit[:, ::-1], axis=1)], 0.0)

    return np.maximum(along(disc) - along(cup), 0.0)


def _quadrants(nasal: float) -> dict[str, npt.NDArray[np.int64]]:
    degrees = np.arange(360)
    right = (degrees < 45) | (degrees >= 315)
    left = (degrees >= 135) & (degrees < 225)
    masks = {
        "superior": (degrees >= 45) & (degrees < 135),
        "inferior": (degrees >= 225) & (degrees < 315),
        "nasal": right if nasal > 0 else left,
        "temporal": left if nasal > 0 else right,
    }
    return {name: np.flatnonzero(m) for name, m in masks.items()}


def to_fovea(
    disc: Disc, fovea: tuple[float, float], nasal: float | None, error_px: float | None = None
) -> dict[str, Outcome]:
    """Return the distance from the centre of the disc to the fovea, px, and the angle of that line below the horizontal.

    Args:
        disc: Optic disc.
        fovea: (row, col).
        nasal: Unused where None; else a fovea on the nasal side is a contradiction.
        error_px: One standard error of the place of the fovea along each axis; None where it is not known.

    Source:
        Disc-fovea distance 4.76 +- 0.34 mm: Jonas et al. 2015, doi:10.1371/journal.pone.0138701; disc-fovea angle 7.8 +- 3.6 degrees, the fovea below the disc:
        Jonas et al. 2015, doi:10.1371/journal.pone.0141771.

    Example:
        >>> rows, cols = np.ogrid[:99, :299]
        >>> disc = disc_of((rows - 50) ** 2 + (cols - 50) ** 2 <= 400)
        >>> {k: round(v.value, 1) for k, v in to_fovea(disc, (60.0, 150.0), None).items()}
        {'disc_fovea_distance': 100.5, 'disc_fovea_angle': 5.7}
    """
    names = ("disc_fovea_distance", "disc_fovea_angle")
    down, aside = fovea[0] - disc.center[0], fovea[1] - disc.center[1]
    distance = math.hypot(down, aside)
    if not disc.diameter_px <= distance <= 5 * disc.diameter_px:
        return {n: failed("fovea.distance") for n in names}
    if nasal is not None and aside * nasal > 0:
        return {n: failed("laterality.contradiction") for n in names}
    turn = None if error_px is None else math.degrees(error_px / distance)
    return {
        names[0]: finite(distance, 1, error_px),
        names[1]: finite(math.degrees(math.atan2(down, abs(aside))), 1, turn),
    }
