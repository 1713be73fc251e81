"""Enhancements that readers of fundus photographs use: local contrast (CLAHE) and background removal after Ben Graham."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from ..core.registry import ENHANCEMENTS

_REDUCTION = 8


def enhance(pixels: npt.NDArray[np.uint8], method: str) -> npt.NDArray[np.uint8]:
    """Return a prepared picture enhanced by name.

    Args:
        pixels: `(H, W, 3)` uint8.
        method: "none", "clahe" (lightness), "clahe_green" (the green channel in all three) or "graham".

    Raises:
        InvalidInput: Another name, shape or type.

    Example:
        >>> enhance(np.full((64, 64, 3), 90, np.uint8), "graham")[32, 32].tolist()
        [128, 128, 128]
    """
    _check(pixels)
    if method == "none":
        return pixels
    if method == "clahe":
        return clahe_lightness(pixels)
    if method == "clahe_green":
        return np.repeat(clahe_green(pixels)[..., None], 3, axis=2)
    if method == "graham":
        return subtract_background(pixels)
    raise InvalidInput(f"enhancement {method!r} is not one of {ENHANCEMENTS}.", code="config.enhancement")


def clahe_lightness(pixels: npt.NDArray[np.uint8], *, clip: float = 2.0, tiles: int = 8) -> npt.NDArray[np.uint8]:
    """Return the picture with the lightness of CIELAB equalised by tiles and its colours kept.

    Source:
        Zuiderveld 1994, Contrast Limited Adaptive Histogram Equalization, Graphics Gems IV.

    Example:
        >>> clahe_lightness(np.full((64, 64, 3), 90, np.uint8)).shape
        (64, 64, 3)
    """
    _check(pixels)
    lab = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clipLimit=clip, tileGridSize=(tiles, tiles)).apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def clahe_green(pixels: npt.NDArray[np.uint8], *, clip: float = 2.0, tiles: int = 8) -> npt.NDArray[np.uint8]:
    """Return the green channel `(H, W)` equalised by tiles: vessels and haemorrhages are darkest there.

    Source:
        Zuiderveld 1994, Graphics Gems IV.

    Example:
        >>> clahe_green(np.full((64, 64, 3), 90, np.uint8)).shape
        (64, 64)
    """
    _check(pixels)
    return cv2.createCLAHE(clipLimit=clip, tileGridSize=(tiles, tiles)).apply(np.ascontiguousarray(pixels[..., 1]))


def subtract_background(
    pixels: npt.NDArray[np.uint8], *, sigma_share: float = 1 / 30, weight: float = 4.0
) -> npt.NDArray[np.uint8]:
    """Return `weight * (picture - its blur) + 128`, which takes away the slow changes of illumination.

    The blur is as wide as a part of the picture, so it is made on a picture an eighth as large and enlarged again.

    Args:
        pixels: `(H, W, 3)` uint8.
        sigma_share: Standard deviation of the blur as a share of the longer side.
        weight: How strongly what is left is stretched.

    Source:
        Graham 2015, Kaggle diabetic retinopathy detection, competition report (local average colour mapped to 50 % grey).

    Example:
        >>> int(subtract_background(np.full((64, 64, 3), 200, np.uint8)).max())
        128
    """
    _check(pixels)
    height, width = pixels.shape[:2]
    sigma = sigma_share * max(height, width)
    # The blur must still be wider than a pixel of the small picture.
    factor = max(1, min(_REDUCTION, int(sigma / 2)))
    blurred = _background(pixels, sigma, factor)
    return cv2.addWeighted(pixels, weight, blurred, -weight, 128.0)


def _background(pixels: npt.NDArray[np.uint8], sigma: float, factor: int) -> npt.NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    if factor == 1:
        return cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    missing = [-n % factor for n in (height, width)]
    whole = cv2.copyMakeBorder(pixels, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE) if any(missing) else pixels
    size = whole.shape[1] // factor, whole.shape[0] // factor
    small = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REPLICATE)
    large = cv2.resize(small, (whole.shape[1], whole.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(large[:height, :width])


def _check(pixels: npt.NDArray[np.uint8]) -> None:
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        found = getattr(pixels, "shape", type(pixels).__name__)
        raise InvalidInput(f"expected uint8 pixels of shape (H, W, 3), got {found}.", code="image.shape")
