"""Outlines of structures on a photograph, in colours that people with red-green blindness tell apart."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput

#: Structure to colour (RGB). Arteries are red and veins blue, as everywhere in the field.
COLOURS: dict[str, tuple[int, int, int]] = {
    "vessel": (0, 200, 120),
    "artery": (230, 40, 40),
    "vein": (40, 90, 240),
    "disc": (255, 220, 0),
    "cup": (0, 220, 255),
    "MA": (255, 120, 0),
    "HE": (210, 0, 90),
    "EX": (255, 255, 120),
    "SE": (180, 130, 255),
    "brvo": (255, 120, 0),
    "non_perfusion": (0, 220, 255),
}
#: Structures that are drawn as areas; the others as outlines.
FILLED = ("vessel", "artery", "vein")
_OTHER = (255, 255, 255)


def draw_masks(
    pixels: npt.NDArray[np.uint8], masks: Mapping[str, npt.NDArray[np.bool_]], *, opacity: float = 0.55
) -> npt.NDArray[np.uint8]:
    """Return a photograph `(H, W, 3)` with structures drawn on it: vessels as tinted areas, discs and lesions as outlines.

    Args:
        pixels: `(H, W, C)` uint8, C 1 or 3.
        masks: Structure to bool `(H, W)`.
        opacity: Of areas, in [0, 1].

    Raises:
        InvalidInput: A mask has another size than the picture.
    """
    shown = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels.copy()
    width = max(1, round(max(shown.shape[:2]) / 700))
    for name, mask in masks.items():
        if mask.shape != shown.shape[:2]:
            raise InvalidInput(
                f"the mask of {name} is {mask.shape[1]} x {mask.shape[0]} px, the picture {shown.shape[1]} x {shown.shape[0]}.",
                code="mask.size",
            )
        colour = COLOURS.get(name, _OTHER)
        if name in FILLED:
            tint = np.array(colour, np.float32) * opacity
            shown[mask] = np.rint(shown[mask].astype(np.float32) * (1 - opacity) + tint).astype(np.uint8)
        else:
            outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(shown, outlines, -1, colour, width, cv2.LINE_AA)
    return shown


def artery_vein_map(artery: npt.NDArray[np.bool_], vein: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return the map of the field `(H, W, 3)`: red artery, blue vein, magenta where they cross.

    Example:
        >>> artery_vein_map(np.array([[True, False]]), np.array([[True, True]])).tolist()
        [[[255, 0, 255], [0, 0, 255]]]
    """
    picture = np.zeros((*artery.shape, 3), np.uint8)
    picture[artery, 0] = 255
    picture[vein, 2] = 255
    return picture
