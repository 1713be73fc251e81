"""What goes wrong in front of and behind a fundus camera, drawn on a good photograph with a known severity.

Source: The kinds follow the degradation model of Shen et al. 2020, doi:10.1109/TMI.2020.3043495 (illumination, spots,
blur) and the failure list of Fleming et al. 2006, doi:10.1167/iovs.05-1155; the drawing and its amounts are our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from ..transforms.field_of_view import FieldOfView, find_field_of_view

Plane = npt.NDArray[np.float32]
_Draw = Callable[["_Scene", float, np.random.Generator], Plane]


class _Scene:
    """A picture in [0, 1] with the field it is drawn on; lengths are given in radii."""

    def __init__(self, pixels: npt.NDArray[np.uint8], field: FieldOfView) -> None:
        self.picture = pixels.astype(np.float32) / 255
        self.height, self.width = pixels.shape[:2]
        self.row, self.column = field.center
        self.radius = field.radius_px if field.is_round or field.kind == "wide" else min(pixels.shape[:2]) / 2
        mask = field.mask(pixels.shape) if field.kind != "none" else np.ones(pixels.shape[:2], np.bool_)
        self.inside = mask.astype(np.float32)[..., None]

    def blur(self, values: Plane, radii: float) -> Plane:
        sigma = max(radii * self.radius, 1e-3)
        # A wide blur is drawn small and enlarged: the result is the same and the time does not grow.
        step = max(1, int(sigma / 4))
        if step > 1:
            size = (max(1, self.width // step), max(1, self.height // step))
            values = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
        values = cv2.GaussianBlur(values, (0, 0), sigma / step, borderType=cv2.BORDER_REPLICATE)
        if step > 1:
            values = cv2.resize(values, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        return values if values.ndim == 3 else values[..., None]

    def field_blur(self, radii: float, kernel: Plane | None = None) -> Plane:
        """Return the picture blurred inside its field only: the black border is behind the optics and bleeds not in."""
        filtered = [
            cv2.filter2D(v, -1, kernel) if kernel is not None else self.blur(v, radii)
            for v in (self.picture * self.inside, self.inside)
        ]
        first, weight = (v if v.ndim == 3 else v[..., None] for v in filtered)
        return first / np.maximum(weight, 1e-3)

    def coordinates(self) -> tuple[Plane, Plane]:
        """Return (y, x) from the center in radii."""
        y = (np.arange(self.height, dtype=np.float32) - self.row) / self.radius
        x = (np.arange(self.width, dtype=np.float32) - self.column) / self.radius
        return np.broadcast_to(y[:, None], (self.height, self.width)), np.broadcast_to(x, (self.height, self.width))

    def clouds(self, radii: float, generator: np.random.Generator) -> Plane:
        """Return a smooth random field `(H, W, 1)` in [0, 1]."""
        grid = max(3, round(2 / radii))
        coarse = generator.random((grid, grid)).astype(np.float32)
        smooth = cv2.resize(coarse, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        return np.clip(smooth, 0, 1)[..., None]


def degrade(
    pixels: npt.NDArray[np.uint8],
    kind: str,
    severity: float,
    generator: np.random.Generator,
    *,
    field: FieldOfView | None = None,
) -> npt.NDArray[np.uint8]:
    """Return a photograph with one thing wrong with it.

    Args:
        pixels: `(H, W, C)` uint8.
        kind: One of `KINDS`.
        severity: 0 (unchanged) to 1 (nothing can be read); lengths scale with the field, so that the same severity
            looks the same at every resolution.
        generator: Draws where and in which direction.
        field: Field of view already found.

    Raises:
        InvalidInput: Unknown kind, severity outside [0, 1], or pixels of another shape or type.

    Example:
        >>> dark = degrade(np.full((64, 64, 3), 200, np.uint8), "underexposure", 1.0, np.random.default_rng(0))
        >>> bool(dark.mean() < 30)
        True
    """
    if kind not in _DRAW:
        raise InvalidInput(f"no degradation is called {kind!r}.", hint=f"Known: {', '.join(KINDS)}.")
    if not 0.0 <= severity <= 1.0:
        raise InvalidInput(f"severity must be in [0, 1], got {severity}.")
    found = field or find_field_of_view(pixels)
    if severity == 0:
        return pixels.copy()
    scene = _Scene(pixels, found)
    changed = _DRAW[kind](scene, float(severity), generator)
    mixed = changed * scene.inside + scene.picture * (1 - scene.inside)
    return np.clip(np.rint(mixed * 255), 0, 255).astype(np.uint8)


def _defocus(scene: _Scene, severity: float, generator: np.random.Generator) -> Plane:
    return scene.field_blur(0.045 * severity**1.3)


def _motion(scene: _Scene, severity: float, generator: np.random.Generator) -> Plane:
    length = max(1, round(0.22 * severity * scene.radius))
    angle = generator.uniform(0, math.pi)
    kernel = np.zeros((length | 1, length | 1), np.float32)
    half = length // 2
    end = (math.cos(angle) * half, math.sin(angle) * half)
    start, stop = (half - end[0], half - end[1]), (half + end[0], half + end[1])
    cv2.line(kernel, (round(start[0]), round(start[1])), (round(stop[0]), round(stop[1])), 1.0, 1, cv2.LINE_AA)
    return scene.field_blur(0.0, kernel / max(float(kernel.sum()), 1e-6))


def _underexposure(scene: _Scene, severity: float, generator: np.random.Generator) -> Plane:
    # Read noise stays when the light goes, so a dark photograph cannot be brought back by a factor.
    noise = generator.normal(0, 0.008 * severity, scene.picture.shape).astype(np.float32)
    return scene.picture * (1 - 0.93 * severity**0.7) + noise


def _overexposure(scene: _Scene, severity: float, generator: np.random.Generator) -> Plane:
    inside = scene.inside[..., 0] > 0.5
    green = scene.picture[..., min(1, scene.picture.shape[2] - 1)]
    # The dim part of this photograph decides how much light it takes to wash it out.
    dim = float(np.percentile(green[inside], 20)) if inside.any() else 0.3
    gain = 1 + severity**1.5 * max(1.3 / max(dim, 0.06) - 1, 0.5)
    return np.clip(scene.picture * gain, 0, 1)


def _uneven(scene: _Scene, severity: float, generator: np.random.Generator) -> Plane:
    y, x = scene.coordinates()
    angle = generator.uniform(0, 2 * math.pi)
    distance = (x * math.cos(angle) + y * math.sin(angle))[..., None]
    # A shadow whose edge moves over the field: at severity 1 about three quarters are dark.
    shadow = 1 / (1 + np.exp(-(distance - 1.05 + 1.55 * severity) * 5))
    return scene.picture * (1 - 0.95 * shadow * min(1.0, 0.4 + severity))


def _haze(scene: _Scene, severity: float, generator: np.random.Generator) -> Plane:
    veil = scene.blur(scene.picture * scene.inside, 0.5) * 0.55 + np.float32(0.25)
    if scene.picture.shape[2] == 3:
        veil = veil * np.array([1.0, 0.95, 0.75], np.float32)
    amount = np.clip(0.97 * severity**0.8 * (0.85 + 0.3 * scene.clouds(0.7, generator)), 0, 0.985)
    soft = scene.field_blur(0.025 * severity)
    return soft * (1 - amount) + veil * amount


def _low_contrast(scene: _Scene, severity: float, generator: np.random.Generator) -> Plane:
    inside = scene.inside[..., 0] > 0.5
    mean = scene.picture[inside].mean(axis=0) if inside.any() else scene.picture.mean(axis=(0, 1))
    return mean + (scene.picture - mean) * np.float32(1 - 0.95 * severity**0.8)


def _noise(scene: _Scene, severity: float, generator: np.random.Generator) -> Plane:
    # Grain is drawn at the scale of 1/200 of the field, so that it is not averaged away in a large picture.
    step = max(1.0, scene.radius / 100)
    size = (max(2, round(scene.height / step)), max(2, round(scene.width / step)), scene.picture.shape[2])
    grain = generator.normal(0, 0.35 * severity**1.3, size).astype(np.float32)
    grain = cv2.resize(grain, (scene.width, scene.height), interpolation=cv2.INTER_NEAREST)
    return scene.picture + grain.reshape(scene.picture.shape)


def _jpeg(scene: _Scene, severity: float, generator: np.random.Generator) -> Plane:
    side = round(300 - 200 * severity)
    scale = min(1.0, side / (2 * scene.radius))
    size = (max(8, round(scene.width * scale)), max(8, round(scene.height * scale)))
    whole = np.clip(scene.picture * 255, 0, 255).astype(np.uint8)
    small = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
    quality = int(np.clip(round(40 * (1 - severity) ** 2), 1, 95))
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
    flag = cv2.IMREAD_COLOR if scene.picture.shape[2] == 3 else cv2.IMREAD_GRAYSCALE
    coarse = cv2.resize(cv2.imdecode(data, flag), (scene.width, scene.height), interpolation=cv2.INTER_NEAREST)
    return coarse.reshape(scene.picture.shape).astype(np.float32) / 255


def _occlusion(scene: _Scene, severity: float, generator: np.random.Generator) -> Plane:
    """An eyelid with lashes from one side, or the bright crescent of scattered light."""
    y, x = scene.coordinates()
    side = generator.choice([-1.0, 1.0])
    bend = generator.uniform(-0.3, 0.3)
    edge = 1.05 - 1.75 * severity + bend * x * x + 0.15 * np.sin(generator.uniform(0, 6) + 3 * x)
    covered = 1 / (1 + np.exp(-(side * y - edge) * 18))
    covered = covered[..., None].astype(np.float32)
    if generator.random() < 0.5:
        color = np.array([0.30, 0.16, 0.10], np.float32) * np.float32(generator.uniform(0.1, 1.0))
    else:
        color = np.array([0.95, 0.85, 0.75], np.float32) * np.float32(generator.uniform(0.8, 1.05))
    color = color if scene.picture.shape[2] == 3 else color[:1]
    texture = 0.8 + 0.4 * scene.clouds(0.3, generator)
    drawn = scene.picture * (1 - covered) + covered * color * texture
    lashes = np.zeros((scene.height, scene.width), np.float32)
    for _ in range(int(12 * severity)):
        at = generator.uniform(-0.9, 0.9)
        foot = (scene.column + at * scene.radius, scene.row + side * 1.0 * scene.radius)
        tip = (foot[0] + generator.normal(0, 0.2) * scene.radius, foot[1] - side * severity * 1.6 * scene.radius)
        ends = [(round(p[0]), round(p[1])) for p in (foot, tip)]
        cv2.line(lashes, *ends, 1.0, max(1, round(0.02 * scene.radius)), cv2.LINE_AA)
    return drawn * (1 - 0.8 * scene.blur(lashes, 0.01))


def _color_cast(scene: _Scene, severity: float, generator: np.random.Generator) -> Plane:
    if scene.picture.shape[2] == 1:
        return scene.picture
    # Towards green, cyan, blue, violet or no colour: hues a retina never has; orange and red are ordinary.
    target = np.array(
        [[0.3, 1.0, 0.4], [0.2, 0.9, 1.0], [0.25, 0.4, 1.0], [0.8, 0.3, 1.0], [1.0, 1.0, 1.0]], np.float32
    )[generator.integers(5)]
    luma = (scene.picture @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    amount = np.float32(severity)
    return scene.picture * (1 - amount) + amount * luma * target * np.float32(1.2)


def _field_cut(scene: _Scene, severity: float, generator: np.random.Generator) -> Plane:
    y, x = scene.coordinates()
    angle = generator.uniform(0, 2 * math.pi)
    if generator.random() < 0.5:
        lost = x * math.cos(angle) + y * math.sin(angle) - (1.0 - 1.6 * severity)
    else:
        # A small pupil: only a disc around some point is lit.
        center = generator.uniform(0, 0.4) * np.array([math.cos(angle), math.sin(angle)])
        lost = np.hypot(x - center[0], y - center[1]) - (1.3 - 1.0 * severity)
    dark = 1 / (1 + np.exp(-np.clip(lost * 30, -40, 40)))
    # Scattered light still shows where the aperture of the camera is.
    return scene.picture * (1 - 0.86 * dark[..., None].astype(np.float32))


_DRAW: MappingProxyType[str, _Draw] = MappingProxyType(
    {
        "defocus": _defocus,
        "motion": _motion,
        "underexposure": _underexposure,
        "overexposure": _overexposure,
        "uneven": _uneven,
        "haze": _haze,
        "low_contrast": _low_contrast,
        "noise": _noise,
        "jpeg": _jpeg,
        "occlusion": _occlusion,
        "color_cast": _color_cast,
        "field_cut": _field_cut,
    }
)

#: Names of the degradations.
KINDS = tuple(_DRAW)

#: Severity from which a drawn photograph counts as not gradable: where third-order vessels or a quarter of the field
#: can no longer be read on most photographs, judged by eye on drawn series of the public sets.
UNGRADABLE_FROM = MappingProxyType(
    {
        "defocus": 0.45,
        "motion": 0.40,
        "underexposure": 0.65,
        "overexposure": 0.65,
        "uneven": 0.55,
        "haze": 0.55,
        "low_contrast": 0.60,
        "noise": 0.50,
        "jpeg": 0.35,
        "occlusion": 0.45,
        "color_cast": 0.60,
        "field_cut": 0.50,
    }
)
