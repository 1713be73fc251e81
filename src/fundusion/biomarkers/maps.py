"""Masks out of what other tools write: black and white, probabilities, label numbers, or a map of red arteries and blue veins."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput

#: What green may mean in an artery-vein map: a vessel of unknown kind (HRF), or a crossing of both (RITE).
GREEN = ("uncertain", "crossing")


def split_map(
    pixels: npt.NDArray[np.uint8], *, green: str = "uncertain", labels: Mapping[str, int] | None = None
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the masks in a picture: "vessels", and "artery" and "vein" where it tells them apart.

    Args:
        pixels: `(H, W)` or `(H, W, 3)`. In colours red is an artery, blue a vein, magenta both, white a vessel of unknown kind.
        green: What green means, "uncertain" or "crossing".
        labels: Numbers of "artery", "vein", "vessels" in a picture that holds numbers of classes.

    Raises:
        InvalidInput: `mask.labels`: a few small numbers, and nothing says what they mean; `mask.colors`: other colours.

    Source:
        Colours of the artery-vein maps of RITE, Hu et al. 2013, doi:10.1007/978-3-642-40763-5_54, and of HRF.

    Example:
        >>> found = split_map(np.array([[[255, 0, 0], [0, 0, 255], [0, 0, 0]]], np.uint8))
        >>> {k: v.astype(int).tolist() for k, v in found.items()}
        {'artery': [[1, 0, 0]], 'vein': [[0, 1, 0]], 'vessels': [[1, 1, 0]]}
    """
    if green not in GREEN:
        raise InvalidInput(f"green is {green!r}; needed is one of {GREEN}.", code="config.green")
    if pixels.ndim == 3:
        return _colors(pixels, green)
    if labels:
        masks = {name: pixels == number for name, number in labels.items()}
        if "vessels" not in masks:
            masks["vessels"] = np.any(list(masks.values()), axis=0)
        return masks
    top = int(pixels.max(initial=0))
    if top == 1:
        return {"vessels": pixels > 0}
    if 1 < top <= 10:
        raise InvalidInput(
            f"the mask holds the numbers 0 to {top}.",
            code="mask.labels",
            hint="Say what they mean, as in --labels artery=1,vein=2, or save it as black and white.",
        )
    return {"vessels": pixels > 127}


def _colors(pixels: npt.NDArray[np.uint8], green: str) -> dict[str, npt.NDArray[np.bool_]]:
    red, leaf, blue = (pixels[..., k] > 127 for k in range(3))
    lit = red | leaf | blue
    other = red & leaf & ~blue | leaf & blue & ~red
    if 20 * int(np.count_nonzero(other)) > max(1, int(np.count_nonzero(lit))):
        raise InvalidInput(
            "the map holds yellow or cyan, which have no meaning here.",
            code="mask.colors",
            hint="Red is an artery, blue a vein, magenta both, white a vessel of unknown kind; see --green.",
        )
    both = (leaf & ~red & ~blue) if green == "crossing" else np.zeros_like(red)
    artery, vein = (red & ~leaf) | both, (blue & ~leaf) | both
    return {"artery": artery, "vein": vein, "vessels": lit & ~other}
