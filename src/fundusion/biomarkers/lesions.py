"""Number and area of lesions in the sectors of the ETDRS grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .compiled import kernel
from .outcome import Outcome, failed, finite

#: Radii of the grid, micrometres: 1, 3 and 6 mm across. Source: ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9.
ETDRS_UM = (500.0, 1500.0, 3000.0)
#: A lesion may be two where it is narrower than its narrower half by more than this to each side, px.
WAIST_PX = 0.75
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


@kernel
def _peaks(distance, order, width, least):  # type: ignore[no-untyped-def]
    """Return the number of round parts of a flat mask with an empty border: peaks of the distance to its edge that stand out by at least `least`.

    Args:
        order: Pixels of the mask, from the highest distance down.
    """
    root = np.full(len(distance), -1, np.int64)
    count = 0
    for i in range(len(order)):
        p = order[i]
        root[p] = p
        # A root is the highest pixel of its part, so that where two parts meet the lower peak ends.
        for dr in range(-width, width + 1, width):
            for dc in range(-1, 2):
                q = p + dr + dc
                if q == p or root[q] < 0:
                    continue
                a, b = p, q
                while root[a] != a:
                    root[a] = root[root[a]]
                    a = root[a]
                while root[b] != b:
                    root[b] = root[root[b]]
                    b = root[b]
                if a == b:
                    continue
                if distance[a] < distance[b]:
                    a, b = b, a
                root[b] = a
                if distance[b] - distance[p] >= least:
                    count += 1
    for i in range(len(order)):
        count += root[order[i]] == order[i]
    return count


def parts_at_waists(mask: npt.ArrayLike) -> int:
    """Return how many lesions there are if each is cut where it has a waist.

    Source:
        Peaks of the distance to the edge by their height over the saddle to a higher one (h-maxima): Soille 2003, Morphological Image Analysis,
        doi:10.1007/978-3-662-05088-0, chapter 6.

    Example:
        >>> rows, cols = np.mgrid[:20, :40]
        >>> two = (np.hypot(rows - 9, cols - 12) < 7) | (np.hypot(rows - 9, cols - 24) < 7)
        >>> parts_at_waists(two)
        2
    """
    inside = np.pad(np.asarray(mask) != 0, 1).view(np.uint8)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5).ravel()
    pixels = np.flatnonzero(inside)
    order = pixels[np.argsort(-distance[pixels], kind="stable")]
    return int(_peaks(distance, order, inside.shape[1], WAIST_PX)) if len(order) else 0


def _cut(labels: npt.NDArray[Any], number: int, box: list[int]) -> int:
    """Return the parts of one lesion; one that is narrower than two waists has none."""
    left, top, width, height, _ = box
    if max(width, height) < 6:
        return 1
    return parts_at_waists(labels[top : top + height, left : left + width] == number)


def count_lesions(mask: npt.ArrayLike, grid: Grid | None) -> dict[str, tuple[Outcome, Outcome]]:
    """Return number and area in pixels of the lesions in a mask, in all and by sector; a lesion belongs to the sector of its centroid.

    Args:
        mask: `(H, W)`; an empty one is no failure: there are none.
        grid: Where the sectors are, or None.

    Source:
        Connected parts (8 neighbours); sectors of ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9. Areas are cut along the sectors.
        Lesions that touch or overlap are one part. Where parts have waists, the number is remarked as a lower bound, and its error is how many more
        there would be if each were cut there; that number is not given itself, because ragged lesions have waists too.

    Example:
        >>> mask = np.zeros((9, 9)); mask[4, 4] = mask[1, 1] = mask[1, 2] = 1
        >>> {k: (n.value, a.value) for k, (n, a) in count_lesions(mask, None).items()}
        {'all': (2.0, 3.0)}
    """
    figure = np.asarray(mask)
    rows, cols = np.divmod(np.flatnonzero(figure if figure.dtype == np.bool_ else figure != 0), figure.shape[1])
    count, cut, area = 0, 0, len(rows)
    middles = np.zeros((0, 2))
    if area:
        # Only the box around the lesions is labelled.
        top, left = rows.min(), cols.min()
        inside = np.zeros((np.ptp(rows) + 1, np.ptp(cols) + 1), np.uint8)
        inside[rows - top, cols - left] = 1
        labelled = cv2.connectedComponentsWithStats(inside, connectivity=8)
        count, middles = labelled[0] - 1, labelled[3][1:] + np.array([left, top])
        cut = sum(_cut(labelled[1], k, labelled[2][k].tolist()) for k in range(1, labelled[0]))
    number = finite(float(count), count)
    if cut > count:
        number = finite(float(count), count, float(cut - count)).flagged("lesions.touching")
    found = {"all": (number, finite(float(area), count))}
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
