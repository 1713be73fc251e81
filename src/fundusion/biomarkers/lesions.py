"""Number and area of lesions in the sectors of the ETDRS grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .outcome import Outcome, failed, finite

#: Radii of the grid, micrometres: 1, 3 and 6 mm across. Source: ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9.
ETDRS_UM = (500.0, 1500.0, 3000.0)
_SIDES = ("superior", "nasal", "inferior", "temporal")
#: Sectors in the order of their numbers in `Grid.sectors`; 0 is outside of the grid.
SECTORS = ("outside", "centre", *(f"{ring} {side}" for ring in ("inner", "outer") for side in _SIDES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the ETDRS grid lies.

    Args:
        fovea: (row, col) of its centre.
        um_per_px: Spacing of the pixels.
        nasal: +1 where nasal is to the right, -1 to the left.
    """

    fovea: tuple[float, float]
    um_per_px: float
    nasal: float

    def sectors(self, rows: npt.NDArray[Any], cols: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the number of the sector of each place, an index of `SECTORS`.

        Source:
            ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9: rings of 1, 3 and 6 mm, quadrants cut along the diagonals.

        Example:
            >>> grid = Grid(fovea=(4.0, 4.0), um_per_px=500.0, nasal=1.0)
            >>> [SECTORS[k] for k in grid.sectors(np.array([4, 2, 4, 0]), np.array([4, 4, 8, 0]))]
            ['centre', 'inner superior', 'outer nasal', 'outer superior']
        """
        up, aside = self.fovea[0] - rows, (cols - self.fovea[1]) * self.nasal
        side = np.where(np.abs(up) >= np.abs(aside), np.where(up >= 0, 0, 2), np.where(aside >= 0, 1, 3))
        ring = np.digitize(np.hypot(up, aside) * self.um_per_px, ETDRS_UM, right=True)
        found: npt.NDArray[np.int64] = np.where(ring == 0, 1, np.where(ring == 3, 0, 2 + 4 * (ring - 1) + side))
        return found


def count_lesions(mask: npt.ArrayLike, grid: Grid | None) -> dict[str, tuple[Outcome, Outcome]]:
    """Return number and area in pixels of the lesions in a mask, in all and by sector; a lesion belongs to the sector of its centroid.

    Args:
        mask: `(H, W)`; an empty one is no failure: there are none.
        grid: Where the sectors are, or None.

    Source:
        Connected parts (8 neighbours); sectors of ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9. Areas are cut along the sectors.

    Example:
        >>> mask = np.zeros((9, 9)); mask[4, 4] = mask[1, 1] = mask[1, 2] = 1
        >>> {k: (n.value, a.value) for k, (n, a) in count_lesions(mask, None).items()}
        {'all': (2.0, 3.0)}
    """
    figure = np.asarray(mask)
    rows, cols = np.divmod(np.flatnonzero(figure if figure.dtype == np.bool_ else figure != 0), figure.shape[1])
    count, area = 0, len(rows)
    middles = np.zeros((0, 2))
    if area:
        # Only the box around the lesions is labelled.
        top, left = rows.min(), cols.min()
        inside = np.zeros((np.ptp(rows) + 1, np.ptp(cols) + 1), np.uint8)
        inside[rows - top, cols - left] = 1
        labelled = cv2.connectedComponentsWithStats(inside, connectivity=8)
        count, middles = labelled[0] - 1, labelled[3][1:] + np.array([left, top])
    found = {"all": (finite(float(count), count), finite(float(area), count))}
    if grid is None:
        return found
    numbers = np.bincount(grid.sectors(middles[:, 1], middles[:, 0]), minlength=len(SECTORS))
    areas = np.bincount(grid.sectors(rows, cols), minlength=len(SECTORS))
    for k, name in enumerate(SECTORS):
        found[name] = finite(float(numbers[k]), int(numbers[k])), finite(float(areas[k]), int(numbers[k]))
    return found


def no_sectors(code: str) -> dict[str, tuple[Outcome, Outcome]]:
    """Return the failure of every sector.

    Source:
        Names of ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9.

    Example:
        >>> no_sectors("fovea.absent")["centre"][0].failure
        'fovea.absent'
    """
    return {name: (failed(code), failed(code)) for name in SECTORS}
