"""Order of the B-scans of a volume, judged by the lines they were taken along."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ReadError

#: Largest angle between a line and the mean direction that still counts as a raster, degrees.
_PARALLEL_DEG = 5.0


def check_raster(lines: npt.ArrayLike) -> tuple[str, ...]:
    """Return notes on the order of B-scans; a volume that is not in order is refused.

    A raster is checked for steps that change direction and for steps of a multiple of the usual one. Scans along lines
    that are not parallel (star, circle) have no such order and are noted only.

    Args:
        lines: One row per B-scan: row and column where its first A-scan lies on the localiser, row and column of its
            last; any unit.

    Returns:
        Notes among `volume.bottom_up`, `volume.not_raster`, `volume.repeats`, `volume.lines_unusable`.

    Raises:
        ReadError: `volume.order`, `volume.gap`.

    Example:
        >>> check_raster([[9, 0, 9, 5], [6, 0, 6, 5], [3, 0, 3, 5]])
        ('volume.bottom_up',)
        >>> check_raster([[0, 0, 0, 5], [2, 0, 2, 5], [1, 0, 1, 5]])
        Traceback (most recent call last):
        ...
        fundusion.core.errors.ReadError: the B-scans are not in the order of their places: B-scan 3 goes back. Export the volume again.
    """
    places: npt.NDArray[Any] = np.asarray(lines, np.float64)
    if places.ndim != 2 or places.shape[1] != 4 or not np.isfinite(places).all():
        return ("volume.lines_unusable",)
    if len(places) < 3:
        return ()
    direction = places[:, 2:] - places[:, :2]
    length = np.hypot(*direction.T)
    if not (length > 0).all():
        return ("volume.lines_unusable",)
    direction = direction / length[:, None]
    mean = direction.mean(0)
    if np.hypot(*mean) < 1e-9 or (direction @ (mean / np.hypot(*mean)) < np.cos(np.radians(_PARALLEL_DEG))).any():
        return ("volume.not_raster",)
    mean = mean / np.hypot(*mean)
    # Across the lines, downwards on the localiser for lines that run from left to right.
    across = (places[:, :2] + places[:, 2:]) / 2 @ np.array([mean[1], -mean[0]])
    steps = np.diff(across)
    if np.abs(steps).max() < 1e-6 * max(float(length.mean()), 1e-12):
        return ("volume.repeats",)
    sign = np.sign(np.median(steps))
    _check_steps(steps * (sign if sign else 1.0))
    return ("volume.bottom_up",) if sign < 0 else ()


def _check_steps(steps: npt.NDArray[Any]) -> None:
    back = np.flatnonzero(steps <= 0)
    if back.size:
        raise ReadError(
            f"the B-scans are not in the order of their places: B-scan {int(back[0]) + 2} goes back.",
            code="volume.order",
            hint="Export the volume again.",
        )
    relative = steps / np.median(steps)
    wide = relative > 1.5
    whole = np.abs(relative - np.rint(relative)) < 0.1
    if wide.any() and whole.all():
        missing = int((np.rint(relative[wide]) - 1).sum())
        raise ReadError(
            f"{missing} B-scans are missing, the first after B-scan {int(np.flatnonzero(wide)[0]) + 1}.",
            code="volume.gap",
            hint="Copy the whole volume; a gap would shift every slice after it.",
        )
