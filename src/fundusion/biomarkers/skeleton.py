"""The line in the middle of a mask, one pixel wide.

Source: Guo, Hall 1989, doi:10.1145/62065.62074, algorithm A1, visiting only pixels whose neighbourhood changed; then the corners of the stairs that
this thinning leaves are taken off (simple points by the Yokoi number, Yokoi et al. 1975, Computer Graphics and Image Processing 4:63).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from .compiled import kernel

Mask = npt.NDArray[np.uint8]


def _tables() -> npt.NDArray[np.uint8]:
    """Return `(4, 256)`: deletable in the first and second half step, corner that may go, number of neighbours.

    Bit k of the index is the neighbour k: north, then clockwise.
    """
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    count = bits.sum(1)
    n, ne, e, se, s, sw, w, nw = bits.T
    pieces = (1 - n) * (ne | e) + (1 - e) * (se | s) + (1 - s) * (sw | w) + (1 - w) * (nw | n)
    pairs = np.minimum((nw | n) + (ne | e) + (se | s) + (sw | w), (n | ne) + (e | se) + (s | sw) + (w | nw))
    usual = (pieces == 1) & (pairs >= 2) & (pairs <= 3)
    first = usual & (((n | ne | (1 - se)) & e) == 0)
    second = usual & (((s | sw | (1 - nw)) & w) == 0)
    empty = 1 - bits
    yokoi = sum(empty[:, k] - empty[:, k] * empty[:, (k + 1) % 8] * empty[:, (k + 2) % 8] for k in (0, 2, 4, 6))
    # Two neighbours at a right angle make a corner; the last pixel of a slanting line has none and must stay.
    corner = (n | s) & (e | w)
    simple = (yokoi == 1) & (corner == 1)
    return np.stack([first, second, simple, count]).astype(np.uint8)


TABLES = _tables()


@kernel
def _code(m, p, stride):  # type: ignore[no-untyped-def]
    """Return the eight neighbours of pixel p as bits."""
    return (
        m[p - stride]
        | m[p - stride + 1] << 1
        | m[p + 1] << 2
        | m[p + stride + 1] << 3
        | m[p + stride] << 4
        | m[p + stride - 1] << 5
        | m[p - 1] << 6
        | m[p - stride - 1] << 7
    )


@kernel
def _thin(m, width, total, frontier, tables):  # type: ignore[no-untyped-def]
    """Thin a flat mask with an empty border in place.

    `frontier` are the pixels at its edge, `total` is the number of all.
    """
    offsets = np.array([-width, -width + 1, 1, width + 1, width, width - 1, -1, -width - 1])
    waiting = np.zeros(len(m), np.uint8)
    lists = np.empty((2, total), np.int64)
    sizes = np.array([len(frontier), len(frontier)])
    for k in range(2):
        lists[k, : len(frontier)] = frontier
    waiting[frontier] = 3
    gone = np.empty(total, np.int64)
    idle = 0
    half = 0
    while idle < 2:
        n = 0
        here = lists[half]
        bit = np.uint8(1 << half)
        for i in range(sizes[half]):
            p = here[i]
            waiting[p] &= np.uint8(~bit)
            if m[p] and tables[half, _code(m, p, width)]:
                gone[n] = p
                n += 1
        sizes[half] = 0
        for i in range(n):
            m[gone[i]] = 0
        for i in range(n):
            for k in range(8):
                q = gone[i] + offsets[k]
                if m[q] and waiting[q] != 3:
                    if waiting[q] & 1 == 0:
                        lists[0, sizes[0]] = q
                        sizes[0] += 1
                    if waiting[q] & 2 == 0:
                        lists[1, sizes[1]] = q
                        sizes[1] += 1
                    waiting[q] = 3
        idle = 0 if n else idle + 1
        half = 1 - half


@kernel
def tidy(m, kept, width, tables):  # type: ignore[no-untyped-def]
    """Take off, in place, the pixels that are no ends and whose loss breaks nothing; return those that stay."""
    n = 0
    left = np.empty(len(kept), np.int64)
    for i in range(len(kept)):
        p = kept[i]
        if m[p] and tables[2, _code(m, p, width)]:
            m[p] = 0
    for i in range(len(kept)):
        if m[kept[i]]:
            left[n] = kept[i]
            n += 1
    return left[:n].copy()


def thin(mask: npt.ArrayLike) -> tuple[Mask, npt.NDArray[np.int64]]:
    """Return the skeleton `(H + 2, W + 2)` with an empty border, and the flat indices of its pixels in it.

    Args:
        mask: `(H, W)`; what is not zero is inside.

    Source:
        Guo, Hall 1989, doi:10.1145/62065.62074.

    Example:
        >>> skeleton, pixels = thin(np.ones((5, 9)))
        >>> len(pixels), int(skeleton[3].sum())
        (5, 5)
    """
    inside = np.pad(np.asarray(mask) != 0, 1).view(np.uint8)
    flat = inside.ravel()
    edge = inside - cv2.erode(inside, np.ones((3, 3), np.uint8))
    _thin(flat, inside.shape[1], int(np.count_nonzero(inside)), np.flatnonzero(edge.view(np.bool_)), TABLES)
    return inside, tidy(flat, np.flatnonzero(flat.view(np.bool_)), inside.shape[1], TABLES)


def skeletonize(mask: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return the skeleton `(H, W)` of a mask `(H, W)`.

    Source:
        Guo, Hall 1989, doi:10.1145/62065.62074.

    Example:
        >>> skeletonize([[0, 0, 0], [1, 1, 1], [0, 0, 0]]).astype(int).tolist()
        [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    """
    skeleton, _ = thin(mask)
    return skeleton[1:-1, 1:-1].astype(bool)
