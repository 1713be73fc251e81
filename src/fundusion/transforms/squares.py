"""One photograph as segmenters want it: the same cut at several scales, and the frame in which it is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..core.registry import ImageInput
from ..core.study import Image
from .field_of_view import FieldOfView
from .image import PreparedImage, prepare

#: Side of the square in which every eye is measured, px. One scale for all cameras: numbers that depend on the grain of a picture, such
#: as a fractal dimension, can then be compared.
FRAME_PX = 1024
#: Axes of pixels that differ by more than this share are no squares; then there is no one spacing.
_UNEQUAL = 0.02


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Squares:
    """A photograph cut to its field of view and scaled.

    Args:
        image: Which picture of the study, such as "cfp.0".
        pixels: Side to `(side, side, 3)` uint8; all of one cut.
        field: bool `(FRAME_PX, FRAME_PX)`: where the field of view lies in the frame.
        side_px: Side of the cut in pixels of the file.
        um_per_px: Micrometres per pixel of the frame; None where the file does not say.
    """

    image: str
    pixels: Mapping[int, npt.NDArray[np.uint8]]
    field: npt.NDArray[np.bool_]
    side_px: float
    um_per_px: float | None = None

    @property
    def frame(self) -> npt.NDArray[np.uint8]:
        """The photograph in the frame of measuring."""
        return self.pixels[FRAME_PX]


def cut_squares(image: Image, field: FieldOfView, sides: Sequence[int], *, name: str) -> Squares:
    """Return a photograph at several scales.

    Args:
        image: Colour photograph, perhaps reduced while it was decoded.
        field: Its field of view in coordinates of the full picture.
        sides: Of the squares; that of the frame is made too.
        name: Which picture of the study.

    Example:
        >>> field = FieldOfView(center=(49.5, 49.5), radius_px=50.0, box=(-0.5, -0.5, 99.5, 99.5), kind="circle", coverage=1.0, confidence=1.0)
        >>> cut = cut_squares(Image(pixels=np.zeros((100, 100, 3), np.uint8), modality="cfp"), field, [64], name="cfp.0")
        >>> sorted(cut.pixels), cut.side_px, round(float(cut.field.mean()), 2)
        ([64, 1024], 100.0, 0.79)
    """
    ready: dict[int, PreparedImage] = {
        side: prepare(
            image.pixels, ImageInput(size=side), field=field, reduction=image.reduction, full_shape=image.full_shape
        )
        for side in sorted({*sides, FRAME_PX})
    }
    to_original = ready[FRAME_PX].to_original
    # The field is drawn on the reduced picture: a mask of the full one is large and tells no more.
    here = field.scaled(1 / image.reduction).mask(image.pixels.shape)
    back = to_original / image.reduction
    back[:, 2] += (1 / image.reduction - 1) / 2
    inside = cv2.warpAffine(
        here.astype(np.float32), back, (FRAME_PX, FRAME_PX), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    step = float(to_original[0, 0])
    return Squares(
        image=name,
        pixels={side: made.pixels for side, made in ready.items()},
        field=inside >= 0.5,
        side_px=step * FRAME_PX,
        um_per_px=_spacing(image, step),
    )


def _spacing(image: Image, step: float) -> float | None:
    """Return micrometres per pixel of the frame; files that state a spacing are never reduced while they are read."""
    if image.spacing_um is None or len(image.spacing_um) != 2 or image.reduction > 1:
        return None
    rows, columns = image.spacing_um
    if abs(rows - columns) > _UNEQUAL * max(rows, columns):
        return None
    return float((rows * columns) ** 0.5 * step)
