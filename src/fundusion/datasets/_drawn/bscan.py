"""B-scan of a drawn macula: layers of the retina with their brightness, speckle, shadows, fluid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...core.vocabulary import Laterality
from .anatomy import FloatArray, children
from .raster import add_blob, blur, smooth_noise

#: Brightness from the vitreous to the choroid, in [0, 1]: vitreous, nerve fibres, ganglion cells, inner nuclear, outer
#: plexiform, outer nuclear, limiting membrane, myoid, ellipsoid, outer segments, pigment epithelium, choroid.
_BRIGHTNESS = (0.035, 0.66, 0.43, 0.27, 0.40, 0.20, 0.34, 0.24, 0.74, 0.38, 0.86, 0.36)
#: Thickness of the layers away from the fovea, share of the height: nerve fibres ... pigment epithelium.
_THICKNESS = (0.020, 0.042, 0.020, 0.018, 0.040, 0.006, 0.010, 0.011, 0.011, 0.015)

#: What a drawn scan covers, micrometres: width and depth.
WIDTH_UM, DEPTH_UM = 6000.0, 2000.0
#: Row of `_boundaries` by the surface a clinician names; the pigment epithelium is the floor of fluid and has no row.
_SURFACES = {"ilm": 0, "nfl_gcl": 1, "ipl_inl": 2, "inl_opl": 3, "opl_onl": 4, "ellipsoid": 7, "rpe": None, "bruch": 10}


@dataclass(frozen=True, slots=True, kw_only=True)
class BscanTruth:
    """What is drawn in a B-scan.

    Args:
        surfaces: Name to row `(W,)` of the surface in every column, px: pixel i reaches from i - 0.5 to i + 0.5.
        subretinal: bool `(H, W)`: fluid under the retina.
        cysts: bool `(H, W)`: cystoid spaces in it.
        spacing_um: Micrometres per pixel down and across.
    """

    surfaces: Mapping[str, npt.NDArray[np.float64]]
    subretinal: npt.NDArray[np.bool_]
    cysts: npt.NDArray[np.bool_]
    spacing_um: tuple[float, float]


def draw_bscan(
    generator: np.random.Generator,
    *,
    size: int = 512,
    laterality: Laterality = Laterality.RIGHT,
    fluid: bool = False,
    oedema: bool = False,
    drusen: bool = False,
    offset: float = 0.0,
) -> npt.NDArray[np.uint8]:
    """Return one horizontal B-scan `(S, S, 1)` uint8 through the macula, 6 mm wide and 2 mm deep.

    Args:
        generator: Source of chance; two scans of one eye need two states of it.
        size: Side, px.
        laterality: Nasal nerve fibres are thicker: to the right in a right eye.
        fluid: Subretinal fluid.
        oedema: Cystoid spaces in the inner and outer nuclear layers.
        drusen: Bumps of the pigment epithelium.
        offset: Distance of the scan from the fovea in [-1, 1]; the pit is deepest at 0.
    """
    return draw_bscan_with_truth(
        generator, size=size, laterality=laterality, fluid=fluid, oedema=oedema, drusen=drusen, offset=offset
    )[0]


def draw_bscan_with_truth(
    generator: np.random.Generator,
    *,
    size: int = 512,
    laterality: Laterality = Laterality.RIGHT,
    fluid: bool = False,
    oedema: bool = False,
    drusen: bool = False,
    offset: float = 0.0,
) -> tuple[npt.NDArray[np.uint8], BscanTruth]:
    """Return what `draw_bscan` returns, and what is drawn in it."""
    shaping, speckling, hurting = children(generator, 3)
    x = np.linspace(-1, 1, size, dtype=np.float32) * (1 if laterality is Laterality.RIGHT else -1)
    bounds, floor, lifted = _boundaries(shaping, hurting, x, fluid=fluid, oedema=oedema, drusen=drusen, offset=offset)
    y = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    soft = np.float32(max(1.0 / size, 0.0022))
    picture = np.full((size, size), _BRIGHTNESS[0], np.float32)
    for k, bound in enumerate(bounds):
        step = np.clip((y - bound) / (2 * soft) + 0.5, 0, 1)
        picture += np.float32(_BRIGHTNESS[k + 1] - _BRIGHTNESS[k]) * step
    picture += 0.25 * np.exp(-(((y - bounds[0] - 0.004) / 0.004) ** 2))
    subretinal = cysts = np.zeros((size, size), np.bool_)
    if fluid:
        top, bottom = bounds[9], floor
        subretinal = (y >= top) & (y < bottom) & (lifted > 0.004)
        gap = np.clip((y - top) / (2 * soft), 0, 1) * np.clip((bottom - y) / (2 * soft), 0, 1) * (lifted > 0.004)
        picture += gap * (0.05 - picture)
    if oedema:
        spaces = _cysts(hurting, bounds, size, x)
        cysts = spaces > 0.5
        picture *= 1 - 0.85 * spaces
    picture = _choroid(speckling, picture, y, bounds[-1])
    picture *= _shadows(shaping, picture.shape, y, bounds[1])
    rows = {n: np.asarray((floor if k is None else bounds[k]) * (size - 1), np.float64) for n, k in _SURFACES.items()}
    truth = BscanTruth(
        surfaces=rows,
        subretinal=subretinal,
        cysts=cysts,
        spacing_um=(DEPTH_UM / (size - 1), WIDTH_UM / (size - 1)),
    )
    return _speckle(speckling, picture), truth


def _boundaries(
    generator: np.random.Generator,
    hurting: np.random.Generator,
    x: FloatArray,
    *,
    fluid: bool,
    oedema: bool,
    drusen: bool,
    offset: float,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return eleven boundaries `(11, W)` from the vitreous down, the floor of the fluid, and the height it lifts."""
    middle = generator.uniform(0.47, 0.58)
    epithelium = middle - generator.uniform(-0.01, 0.06) * x**2 + generator.uniform(-0.05, 0.05) * x
    epithelium = epithelium + 0.004 * smooth_noise(generator, (4, len(x)), cells=6)[0]
    pit_at, pit_width = generator.uniform(-0.12, 0.12), generator.uniform(0.16, 0.22)
    depth = np.exp(-((offset / 0.28) ** 2))
    pit = depth * np.exp(-(((x - pit_at) / pit_width) ** 2))
    hill = np.exp(-(((np.abs(x - pit_at) - 0.38) / 0.24) ** 2))
    scale = generator.uniform(0.92, 1.12, len(_THICKNESS)) * generator.uniform(0.95, 1.08)
    layers = np.array(_THICKNESS)[:, None] * scale[:, None] * np.ones((1, len(x)))
    layers[0] *= (0.75 + 0.75 * np.clip(x - pit_at + 0.15, 0, 1) + 0.2 * hill) * (1 - 0.97 * pit)
    layers[1] *= (0.8 + 0.55 * hill) * (1 - 0.97 * pit)
    layers[2] *= 1 - 0.93 * pit
    layers[3] *= 1 - 0.75 * pit
    layers[4] *= 1 + 0.75 * pit
    layers[8] *= 1 + 0.35 * pit
    if oedema:
        swelling = np.exp(-(((x - pit_at - hurting.uniform(-0.15, 0.15)) / hurting.uniform(0.28, 0.45)) ** 2))
        layers[2] *= 1 + 1.2 * swelling
        layers[4] *= 1 + hurting.uniform(1.0, 2.2) * swelling
    if drusen:
        for _ in range(int(hurting.integers(4, 11))):
            width = hurting.uniform(0.025, 0.07)
            bump = hurting.uniform(0.012, 0.034) * np.exp(-(((x - hurting.uniform(-0.7, 0.7)) / width) ** 2))
            epithelium = epithelium - bump
    lifted = np.zeros(len(x))
    if fluid:
        at, width = hurting.uniform(-0.3, 0.3), hurting.uniform(0.16, 0.42)
        lifted = hurting.uniform(0.035, 0.10) * np.clip(1 - ((x - at) / width) ** 2, 0, None)
    # Ten layers from the epithelium up; fluid lies between the outer segments and the epithelium.
    upward = np.concatenate([np.zeros((1, len(x))), np.cumsum(layers[::-1], axis=0)])[::-1]
    lift = np.where(np.arange(11)[:, None] <= 8, lifted, 0)
    bounds = epithelium - upward + layers[-1] - lift
    # Row 9 is the top of the pigment epithelium; with fluid, the top of the fluid.
    bounds[9] = epithelium - lifted
    return bounds.astype(np.float32), epithelium.astype(np.float32), lifted.astype(np.float32)


def _cysts(generator: np.random.Generator, bounds: FloatArray, size: int, x: FloatArray) -> FloatArray:
    canvas = np.zeros((size, size), np.float32)
    center = generator.uniform(-0.15, 0.15)
    for _ in range(int(generator.integers(5, 16))):
        col = int(np.clip(np.argmin(np.abs(x - center - generator.normal(0, 0.17))), 0, size - 1))
        layer = 4 if generator.random() < 0.65 else 2
        top, bottom = float(bounds[layer, col]) * (size - 1), float(bounds[layer + 1, col]) * (size - 1)
        radius = min(generator.uniform(0.008, 0.03) * size, 0.55 * (bottom - top))
        row = generator.uniform(top + 0.4 * radius, max(bottom - 0.4 * radius, top + 0.5 * radius))
        add_blob(canvas, (row, col), radius, stretch=generator.uniform(1, 1.8), angle=np.pi / 2, soft=0.7)
    return canvas


def _choroid(generator: np.random.Generator, picture: FloatArray, y: FloatArray, top: FloatArray) -> FloatArray:
    below = y - top
    inside = below > 0
    vessels = smooth_noise(generator, picture.shape, cells=26, octaves=2)
    structure = 1 + np.clip(below / 0.03, 0, 1) * np.clip(1 - below / 0.2, 0, 1) * 0.42 * np.tanh(1.4 * vessels)
    fading = np.exp(-np.clip(below, 0, None) / 0.13) + 0.05
    return np.where(inside, picture * structure * fading, picture).astype(np.float32)


def _shadows(generator: np.random.Generator, shape: tuple[int, int], y: FloatArray, top: FloatArray) -> FloatArray:
    """Return what retinal vessels and the lens leave of the light `(H, W)`."""
    columns = np.arange(shape[1], dtype=np.float32) / shape[1]
    shadow = np.zeros(shape[1], np.float32)
    for _ in range(int(generator.integers(3, 8))):
        at, width = generator.random(), generator.uniform(0.004, 0.010)
        if abs(at - 0.5) > 0.12:
            shadow += generator.uniform(0.25, 0.6) * np.exp(-(((columns - at) / width) ** 2))
    lens = 1 + 0.09 * smooth_noise(generator, (4, shape[1]), cells=5)[0]
    return (lens * (1 - np.clip(shadow, 0, 0.8) * np.clip((y - top) / 0.01, 0, 1))).astype(np.float32)


def _speckle(generator: np.random.Generator, picture: FloatArray) -> npt.NDArray[np.uint8]:
    """Multiply by the speckle of a few averaged frames, add the noise of the detector."""
    size = picture.shape[0]
    grain = generator.standard_gamma(7.0, picture.shape, dtype=np.float32) / np.float32(7)
    sharp = min(0.65, size / 700)
    picture = picture * blur(grain, sharp)
    floor = np.abs(generator.standard_normal(picture.shape, dtype=np.float32)) * np.float32(0.05)
    picture = blur(picture + floor, sharp) * np.float32(generator.uniform(0.85, 1.1))
    return np.clip(np.clip(picture, 0, 1) ** np.float32(0.9) * 255, 0, 255).astype(np.uint8)[..., None]
