"""A normalised retina -> its vessel detail, and 256 bits of it that survive re-encoding, rescaling and mirroring.

A retina is a bright disc with a brighter spot: an ordinary perceptual hash of the whole picture finds every pair of eyes
alike. Here the slow shading is taken away and the contrast made even first, so that the bits come from the vessels.

Source:
    The signs of low cosine coefficients as a hash: Zauner 2010, "Implementation and benchmarking of perceptual image hash
    functions". That a mirrored picture only changes the sign of the odd coefficients is a property of the cosine transform.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .picture import SIDE_PX, Pixels

Detail = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint64]

#: Words of 64 bits in a hash.
WORDS = 4
#: First cosine coefficient used in each direction, and how many: 1.5 to 9 waves over the field.
_FIRST, _COUNT = 3, 16
#: Scales that registration tries, the first first.
SCALES = (1.0, 0.96, 1.04, 0.92, 1.08)
#: How a copy may lie against its original; all four are looked for. A quarter turn is not.
VARIANTS = ("upright", "mirrored", "upside down", "turned by 180")


def detail_of(picture: Pixels, *, smooth_px: float = 12.0) -> Detail:
    """Return the picture without its shading, of even contrast, in about [-3, 3]; zero outside the retina.

    Args:
        picture: `(S, S, 3)` of `picture.normalise`.
        smooth_px: Structures wider than this are shading.
    """
    green = picture[..., 1].astype(np.float32)
    # Apertures and white paper around the field have edges that pictures of one camera share: a margin is left out.
    lit = ((picture.max(axis=2) > 12) & (picture.min(axis=2) < 245)).astype(np.uint8)
    solid = cv2.morphologyEx(lit, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_REPLICATE)
    inside = (cv2.erode(solid, np.ones((15, 15), np.uint8)) & _disc()).astype(np.float32)
    share = _blur(inside, smooth_px) + 1e-3
    apart = (green - _blur(green * inside, smooth_px) / share) * inside
    wide = 2 * smooth_px
    spread = _blur(apart * apart, wide) / (_blur(inside, wide) + 1e-3)
    # The floor keeps a picture without any detail from being noise of full contrast.
    even = np.clip(apart / np.sqrt(spread + 0.3), -3, 3) * inside
    return _blur(even, 1.0)


def bits_of(detail: Detail) -> Bits:
    """Return the hash of a detail: `(4,)` uint64."""
    small = cv2.resize(detail, (64, 64), interpolation=cv2.INTER_AREA)
    kept = cv2.dct(small.astype(np.float32))[_FIRST : _FIRST + _COUNT, _FIRST : _FIRST + _COUNT]
    return _pack(kept > 0)


@cache
def masks() -> dict[str, Bits]:
    """Return, for each variant, the bits that differ between a picture and that variant of it.

    Example:
        >>> [int(np.bitwise_count(m).sum()) for m in masks().values()]
        [0, 128, 128, 128]
    """
    odd = np.arange(_FIRST, _FIRST + _COUNT) % 2 == 1
    mirrored = np.broadcast_to(odd, (_COUNT, _COUNT))
    over = mirrored.T
    found = (np.zeros((_COUNT, _COUNT), np.bool_), mirrored, over, mirrored ^ over)
    return {name: _pack(mask) for name, mask in zip(VARIANTS, found, strict=True)}


def as_variant(picture: npt.NDArray[Any], variant: str) -> npt.NDArray[Any]:
    """Return the picture as the variant shows it."""
    rows = slice(None, None, -1 if variant in ("upside down", "turned by 180") else 1)
    columns = slice(None, None, -1 if variant in ("mirrored", "turned by 180") else 1)
    return np.ascontiguousarray(picture[rows, columns])


def similarity(first: Detail, second: Detail) -> float:
    """Return how alike two details are in [-1, 1]: after registration, the lesser of their correlation and its median by tile.

    Small shifts and a few percent of scale are searched. The median over tiles keeps one shared reflection or aperture from
    standing for the whole retina.

    Args:
        first: Detail of one picture.
        second: Detail of the other, of the same shape.
    """
    best = -1.0
    for scale in SCALES:
        best = max(best, _alike(first, second if scale == 1 else _scaled(second, scale)))
        if best >= 0.5:
            break
    return best


def _alike(first: Detail, second: Detail, *, shift_px: int = 10) -> float:
    inside = [(d != 0).astype(np.float32) for d in (first, second)]
    if min(float(m.mean()) for m in inside) < 0.1:
        return 0.0
    planes = (first, second, *inside, first * first, second * second)
    spectra = [cv2.dft(a, flags=cv2.DFT_COMPLEX_OUTPUT) for a in planes]

    def over(i: int, j: int) -> npt.NDArray[np.float32]:
        product = cv2.mulSpectrums(spectra[i], spectra[j], 0, conjB=True)
        whole = cv2.dft(product, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
        return np.roll(whole, (shift_px, shift_px), (0, 1))[: 2 * shift_px + 1, : 2 * shift_px + 1]

    together, left, right, count = over(0, 1), over(4, 3), over(2, 5), over(2, 3)
    enough = count > 0.1 * first.size
    if not enough.any():
        return 0.0
    power = np.sqrt(np.clip(left, 1e-6, None) * np.clip(right, 1e-6, None))
    level = np.where(enough, together / power, -1.0)
    row, column = np.unravel_index(int(level.argmax()), level.shape)
    moved = _moved(second, int(row) - shift_px, int(column) - shift_px)
    return float(np.clip(min(level.max(), _median_of_tiles(first, moved)), -1, 1))


def _median_of_tiles(first: Detail, second: Detail, *, count: int = 6) -> float:
    side = first.shape[0] // count
    both = (first != 0) & (second != 0)

    def tiles(plane: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        whole = np.asarray(plane, np.float64)[: side * count, : side * count]
        return whole.reshape(count, side, count, side).sum(axis=(1, 3))

    seen = tiles(both) > 0.6 * side * side
    if seen.sum() < 4:
        return 0.0
    power = np.sqrt(tiles(first * first * both) * tiles(second * second * both))
    return float(np.median((tiles(first * second * both) / np.maximum(power, 1e-6))[seen]))


def _moved(detail: Detail, rows: int, columns: int) -> Detail:
    matrix = np.array([[1.0, 0, columns], [0, 1.0, rows]])
    moved: Detail = cv2.warpAffine(detail, matrix, detail.shape[::-1], flags=cv2.INTER_NEAREST)
    return moved


def _scaled(detail: Detail, scale: float) -> Detail:
    middle = detail.shape[0] / 2 - 0.5
    matrix = np.array([[scale, 0, middle * (1 - scale)], [0, scale, middle * (1 - scale)]])
    scaled: Detail = cv2.warpAffine(detail, matrix, detail.shape[::-1], flags=cv2.INTER_LINEAR)
    return scaled


def distances(first: Bits, second: Bits, mask: Bits) -> npt.NDArray[np.int16]:
    """Return the number of different bits between `(n, 4)` and `(m, 4)` hashes under a variant, `(n, m)`."""
    apart = np.bitwise_count(first[:, None] ^ (second ^ mask)[None])
    counted: npt.NDArray[np.int16] = apart.sum(axis=2, dtype=np.int16)
    return counted


@cache
def _disc() -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    middle = SIDE_PX / 2 - 0.5
    # The rim itself is an edge that all pictures share.
    return (np.hypot(rows - middle, columns - middle) < 0.93 * SIDE_PX / 2).astype(np.uint8)


def _blur(values: npt.NDArray[Any], sigma: float) -> npt.NDArray[np.float32]:
    smooth: npt.NDArray[np.float32] = cv2.GaussianBlur(values, (0, 0), sigma)
    return smooth


def _pack(bits: npt.NDArray[np.bool_]) -> Bits:
    return np.packbits(np.ascontiguousarray(bits).ravel()).view(np.uint64)
