"""Numbers that describe how well a colour fundus photograph shows the retina, at one scale for all cameras."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
import numpy.typing as npt

from ..core.registry import ImageInput
from ..transforms.field_of_view import FieldOfView
from ..transforms.image import prepare

#: Side of the square on which everything is measured, px. The longer side of the field fills it.
WORK_PX = 256

#: Names of the measures, in the order of a vector.
MEASURES = (
    "brightness", "dark_share", "bright_share", "clipped_red", "unevenness", "focus_fine", "focus_middle",
    "focus_coarse", "contrast", "noise", "vessels", "vessel_length", "direction", "axis_share", "dead_share",
    "coverage", "roundness", "redness", "yellowness", "color_spread", "warm_share", "grey_share", "slope", "kurtosis",
    "red_detail", "red_agreement", "focus_least",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Planes:
    """The prepared picture as float32 planes in [0, 255], its mask, and a mask without the rim."""

    red: npt.NDArray[np.float32]
    green: npt.NDArray[np.float32]
    blue: npt.NDArray[np.float32]
    inside: npt.NDArray[np.bool_]
    core: npt.NDArray[np.bool_]


def measure(pixels: npt.NDArray[np.uint8], field: FieldOfView) -> dict[str, float]:
    """Return the measures of a colour photograph, all finite; keys as in `MEASURES`.

    Args:
        pixels: `(H, W, C)` uint8, C 1 or 3.
        field: Field of view of the picture.

    Units:
        Shares lie in [0, 1]; focus, contrast and noise are log10 of an amplitude relative to the local brightness.

    Source:
        Multi-scale gradient (band-pass) energy as focus follows the survey of Pertuz et al. 2013,
        doi:10.1016/j.patcog.2012.11.011; noise by the Laplacian difference of Immerkaer 1996,
        doi:10.1006/cviu.1996.0060; tubular structures by eigenvalues of the Hessian after Frangi et al. 1998,
        doi:10.1007/BFb0056195; detail in the weakest direction from the
        structure tensor of Bigun and Granlund 1987; the choice of illumination, contrast, colour and field of view as gradability follows
        Fleming et al. 2006, doi:10.1167/iovs.05-1155. Taken at one scale, without the weights of those papers.
    """
    planes = _planes(pixels, field)
    values = {
        **_illumination(planes),
        **_color(planes),
        **_detail(planes),
        **_vessels(planes),
        "coverage": field.coverage * float(_lit_share(planes)),
        "roundness": field.confidence if field.is_round else 0.5 if field.kind == "wide" else 0.0,
    }
    return {name: float(np.nan_to_num(values[name], nan=0.0, posinf=0.0, neginf=0.0)) for name in MEASURES}


def _planes(pixels: npt.NDArray[np.uint8], field: FieldOfView) -> _Planes:
    ready = prepare(pixels, ImageInput(size=WORK_PX), field=field)
    scale = ready.to_original[0, 0]
    rows, columns = (np.arange(WORK_PX) * scale + ready.to_original[i, 2] for i in (1, 0))
    top, left, bottom, right = field.box
    seen = ((rows >= top) & (rows <= bottom))[:, None] & ((columns >= left) & (columns <= right))[None, :]
    if field.is_round:
        distance = (rows - field.center[0])[:, None] ** 2 + (columns - field.center[1])[None, :] ** 2
        seen &= distance <= (0.985 * field.radius_px) ** 2
    elif field.kind == "wide":
        half = (bottom - top) / 2, (right - left) / 2
        seen &= (((rows - field.center[0]) / half[0]) ** 2)[:, None] + (((columns - field.center[1]) / half[1]) ** 2)[
            None, :
        ] <= 0.97
    inside = seen.astype(np.uint8)
    core = cv2.erode(inside, np.ones((15, 15), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if core.sum() < 400:
        core = inside if inside.any() else np.ones_like(inside)
    red, green, blue = (ready.pixels[..., i].astype(np.float32) for i in range(3))
    return _Planes(red, green, blue, inside.astype(bool) if inside.any() else core.astype(bool), core.astype(bool))


def _luma(planes: _Planes) -> npt.NDArray[np.float32]:
    return 0.299 * planes.red + 0.587 * planes.green + 0.114 * planes.blue


def _lit_share(planes: _Planes) -> float:
    brightest = reduce(np.maximum, (planes.red, planes.green, planes.blue))[planes.inside]
    return float((brightest > 0.22 * np.percentile(brightest, 90)).mean())


def _illumination(planes: _Planes) -> dict[str, float]:
    luma = _luma(planes)
    inside = planes.inside
    values = luma[inside]
    weight = inside.astype(np.float32)
    smooth = cv2.blur(luma * weight, (33, 33)) / np.maximum(cv2.blur(weight, (33, 33)), 1e-3)
    broad = smooth[inside]
    squared = (values - values.mean()) ** 2
    spread = max(float(values.std()), 1e-3)
    return {
        "brightness": float(np.median(values)) / 255,
        "dark_share": float((values < 26).mean()),
        "bright_share": float((planes.green[inside] > 235).mean()),
        "clipped_red": float((planes.red[inside] > 252).mean()),
        "unevenness": float(broad.std() / max(broad.mean(), 4.0)),
        "kurtosis": float(np.clip((squared * squared).mean() / spread**4, 1, 30)) ** 0.5,
    }


def _color(planes: _Planes) -> dict[str, float]:
    inside = planes.inside
    red, green, blue = planes.red[inside], planes.green[inside], planes.blue[inside]
    total = np.maximum(red + green + blue, 12.0)
    first, second = (red - green) / total, (green - blue) / total
    lit = (red + green + blue) > 36
    warm = (red > green - 4) & (green > blue - 12) & (red > 1.08 * blue) & lit
    grey = (np.abs(red - green) < 8) & (np.abs(green - blue) < 8)
    return {
        "redness": float(first.mean()),
        "yellowness": float(second.mean()),
        "color_spread": float(math.hypot(first.std(), second.std())),
        "warm_share": float(warm.sum() / max(int(lit.sum()), 1)) if lit.any() else 0.0,
        "grey_share": float(grey.mean()),
    }


def _detail(planes: _Planes) -> dict[str, float]:
    green, core = planes.green, planes.core
    # A dim picture keeps its relative detail but not less than what 8 bits can hold.
    local = np.maximum(cv2.GaussianBlur(_luma(planes), (0, 0), 12), 10.0)
    blurred = [cv2.GaussianBlur(green, (0, 0), s) for s in (0.7, 1.4, 2.8, 5.6, 11.2)]
    bands = [(a - b) / local for a, b in itertools.pairwise(blurred)]
    # The median over cells of the energy: an edge of an eyelid or a bright spot is not focus.
    cells = [_by_cell(np.abs(b), core) for b in bands]
    energy = [math.log10(float(np.median(c)) + 1e-4) for c in cells]
    rough = cv2.filter2D(green, -1, np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)) / local
    noise = math.sqrt(math.pi / 2) / 6 * _by_cell(np.abs(rough), core)
    gx, gy = cv2.Sobel(blurred[0], cv2.CV_32F, 1, 0)[core], cv2.Sobel(blurred[0], cv2.CV_32F, 0, 1)[core]
    xx, yy, xy = float((gx * gx).mean()), float((gy * gy).mean()), float((gx * gy).mean())
    magnitude = np.abs(gx) + np.abs(gy)
    on_axis = np.minimum(np.abs(gx), np.abs(gy)) < 0.13 * np.maximum(np.abs(gx), np.abs(gy))
    middle = cells[1]
    # Motion keeps detail across its direction, so the weakest direction is what tells it; single strong edges are held.
    relative = blurred[0] / local
    along, across = (
        np.clip(cv2.Sobel(relative, cv2.CV_32F, i, 1 - i)[core], -0.25, 0.25).astype(np.float64) for i in (1, 0)
    )
    tensor = np.array([[(along**2).mean(), (along * across).mean()], [(along * across).mean(), (across**2).mean()]])
    return {
        "focus_fine": energy[0],
        "focus_middle": energy[1],
        "focus_coarse": energy[2],
        "contrast": energy[3],
        "noise": math.log10(float(np.percentile(noise, 30)) + 1e-5),
        "direction": math.hypot(xx - yy, 2 * xy) / max(xx + yy, 1e-6),
        "axis_share": float(magnitude[on_axis].sum() / max(float(magnitude.sum()), 1e-6)),
        "dead_share": float((middle < 0.35 * np.median(middle)).mean()),
        "slope": energy[0] - energy[2],
        "focus_least": 0.5 * math.log10(max(float(np.linalg.eigvalsh(tensor)[0]), 1e-9)),
        **_red_detail(planes, bands[1] * local),
    }


def _red_detail(planes: _Planes, green_band: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return how strong detail is in red against green, and how far the two agree.

    Blood absorbs green and lets red pass, so vessels nearly vanish in red; in pictures of other things, and in grey ones
    that were tinted, both channels carry the same detail.
    """
    red_band = cv2.GaussianBlur(planes.red, (0, 0), 1.4) - cv2.GaussianBlur(planes.red, (0, 0), 2.8)
    usable = planes.core & (planes.red < 250)
    if int(usable.sum()) < 200:
        return {"red_detail": 0.0, "red_agreement": 0.0}
    red, green = red_band[usable], green_band[usable]
    means = max(float(planes.red[usable].mean()), 8.0), max(float(planes.green[usable].mean()), 8.0)
    rms = float(np.sqrt((red * red).mean())), float(np.sqrt((green * green).mean()))
    return {
        "red_detail": math.log10((rms[0] / means[0] + 1e-4) / (rms[1] / means[1] + 1e-4)),
        "red_agreement": float((red * green).mean()) / max(rms[0] * rms[1], 1e-6),
    }


def _by_cell(values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the mean of each 16 px cell that lies mostly in the mask."""
    side = 16
    weight = mask.astype(np.float32)
    size = (values.shape[1] // side, values.shape[0] // side)
    share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(values * weight, size, interpolation=cv2.INTER_AREA)
    kept = share > 0.5
    if not kept.any():
        kept = share > 0
    return (total[kept] / share[kept]).astype(np.float64)


def _vessels(planes: _Planes) -> dict[str, float]:
    """Return the share of the field on dark line-like structures and the length of the longer ones."""
    local = np.maximum(cv2.GaussianBlur(planes.green, (0, 0), 10), 8.0)
    flat = planes.green / local
    ridge = np.zeros_like(flat)
    for sigma in (1.5, 2.8):
        smooth = cv2.GaussianBlur(flat, (0, 0), sigma)
        xx = cv2.Sobel(smooth, cv2.CV_32F, 2, 0, ksize=3) * sigma**2
        yy = cv2.Sobel(smooth, cv2.CV_32F, 0, 2, ksize=3) * sigma**2
        xy = cv2.Sobel(smooth, cv2.CV_32F, 1, 1, ksize=3) * sigma**2
        half = cv2.sqrt((xx - yy) ** 2 / 4 + xy * xy)
        large, small = (xx + yy) / 2 + half, (xx + yy) / 2 - half
        ridge = np.maximum(ridge, np.where(np.abs(small) < 0.6 * large, large, 0))
    strong = ((ridge > 0.10) & planes.core).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(strong, connectivity=8)
    extent = np.hypot(stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT])
    area = stats[1:, cv2.CC_STAT_AREA]
    # Noise makes many short pieces, vessels make few long and thin ones.
    long = (extent > 18) & (area < 0.45 * extent**2)
    size = max(int(planes.core.sum()), 1)
    return {
        "vessels": math.log10(float(area[long].sum()) / size + 1e-3),
        "vessel_length": math.log10(float(extent[long].sum()) / math.sqrt(size) + 0.1),
    }
