"""B-mode ultrasound of a drawn eye: a fan seen from the cornea, the globe, the orbit behind, echoes inside."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from .anatomy import FloatArray, children
from .raster import blur, smooth_noise

#: Half the opening of the fan, rad.
_OPENING = 0.46
#: Depth of the picture and radius of a usual globe, mm.
_DEPTH_MM, _GLOBE_MM = 42.0, 12.0


def draw_ultrasound(
    generator: np.random.Generator,
    *,
    size: int = 512,
    detachment: bool = False,
    vitreous_haemorrhage: bool = False,
    myopia: bool = False,
) -> npt.NDArray[np.uint8]:
    """Return one frame `(S, S, 1)` uint8, the probe at the left, the optic nerve at the right.

    Args:
        generator: Source of chance.
        size: Side, px.
        detachment: A bright membrane that starts at the disc, V-shaped when total.
        vitreous_haemorrhage: Many faint moving echoes in the vitreous.
        myopia: A long globe with a staphyloma.
    """
    shaping, hurting, speckling = children(generator, 3)
    beams, depths = max(64, int(size * 0.6)), max(96, int(size * 0.95))
    angle = np.linspace(-_OPENING, _OPENING, beams, dtype=np.float32)[:, None]
    depth = np.linspace(0, _DEPTH_MM, depths, dtype=np.float32)[None]
    # The fan opens from a point behind the probe, so that a strip of the front is seen.
    along = (depth + 9) * np.cos(angle) - 9
    across = (depth + 9) * np.sin(angle)
    length = shaping.uniform(13.5, 15.5) if myopia else shaping.uniform(11.4, 12.4)
    center = 1.5 + length
    echo = _globe(shaping, along, across, center, length, myopia=myopia)
    if vitreous_haemorrhage:
        echo = np.maximum(echo, _clots(hurting, along, across, center, length))
    if detachment:
        echo = np.maximum(echo, _membrane(hurting, along, across, center, length))
    grain = speckling.standard_gamma(1.6, echo.shape, dtype=np.float32) / np.float32(1.6)
    # Echoes are wide across the beam and short along it, more so in depth.
    grain = cv2.GaussianBlur(grain, (0, 0), sigmaX=max(0.5, size / 700), sigmaY=max(0.6, size / 320))
    picture = np.clip(echo * (0.35 + 0.65 * grain), 0, 2.0)
    picture = np.log1p(9 * picture) / np.log(10)
    return _to_fan(picture.astype(np.float32), size)


def _globe(
    generator: np.random.Generator, along: FloatArray, across: FloatArray, center: float, length: float, *, myopia: bool
) -> FloatArray:
    """Return echo strength `(beams, depths)` of cornea, lens, wall, fat and nerve."""
    bulge = (1.8 * np.exp(-(((across - 2.0) / 3.5) ** 2)) * (along > center)) if myopia else 0.0
    wall = np.hypot((along - center) / (length + bulge), across / _GLOBE_MM)
    inside = wall < 1
    echo = np.where(inside, 0.004, 0.0).astype(np.float32)
    edge = np.exp(-(((wall - 1.03) / 0.035) ** 2)) * np.clip((along - center) / length + 0.45, 0.0, 1)
    tissue = smooth_noise(generator, along.shape, cells=22, octaves=3)
    depth_behind = np.clip(wall - 1.06, 0, None)
    fat = (wall > 1.06) * (0.42 + 0.2 * tissue) * np.exp(-depth_behind * 1.9) * (along > 0.4 * center)
    slope = generator.uniform(-0.08, 0.08)
    nerve = np.exp(-(((across - slope * (along - center) - 1.0) / 1.7) ** 4)) * (along > center + 0.8 * length)
    echo += 1.1 * edge + np.clip(fat, 0, None) * (1 - 0.9 * nerve)
    lens = np.exp(-(((np.hypot((along - 6.3) / 2.2, across / 4.4) - 1) / 0.11) ** 2))
    echo += 0.5 * lens * (0.35 + 0.65 * (np.abs(along - 6.3) > 1.2)) * (np.abs(across) < 3.8)
    return echo + (0.9 * np.exp(-np.clip(along, 0, None) / 0.8)).astype(np.float32)


def _clots(
    generator: np.random.Generator, along: FloatArray, across: FloatArray, center: float, length: float
) -> FloatArray:
    inside = np.hypot((along - center) / length, across / _GLOBE_MM) < 0.93
    fine = smooth_noise(generator, along.shape, cells=60)
    cloud = smooth_noise(generator, along.shape, cells=7, octaves=2)
    low = np.clip(0.6 + across / _GLOBE_MM, 0.2, 1.2)
    dots = np.clip(fine - 0.2, 0, None) * np.clip(cloud + 0.55, 0, None) * low
    return (0.20 * dots * inside * (along > 9.5)).astype(np.float32)


def _membrane(
    generator: np.random.Generator, along: FloatArray, across: FloatArray, center: float, length: float
) -> FloatArray:
    """Return the echo of detached retina: one or two leaves from the nerve head to the wall."""
    echo = np.zeros_like(along)
    leaves = (-1.0, 1.0) if generator.random() < 0.5 else (float(generator.choice([-1.0, 1.0])),)
    head = center + 0.97 * length
    for side in leaves:
        reach = generator.uniform(0.9, 1.5) * length
        share = np.clip((head - along) / reach, 0, 1)
        ripple = 0.5 * np.sin(share * generator.uniform(7, 13) + generator.uniform(0, 6.3)) * share * (1 - share) * 4
        spread = side * (0.6 + (_GLOBE_MM * generator.uniform(0.55, 0.85)) * share ** generator.uniform(0.55, 0.95))
        leaf = np.exp(-(((across - spread - ripple) / 0.34) ** 2)) * (along < head) * (share < 0.97)
        echo = np.maximum(echo, leaf)
    inside = np.hypot((along - center) / length, across / _GLOBE_MM) < 1.0
    return (0.85 * echo * inside).astype(np.float32)


def _to_fan(picture: FloatArray, size: int) -> npt.NDArray[np.uint8]:
    """Return the beams laid out as a fan on black."""
    beams, depths = picture.shape
    scale = (_DEPTH_MM + 1) / size
    col = np.arange(size, dtype=np.float32)[None] * scale
    row = (np.arange(size, dtype=np.float32)[:, None] - (size - 1) / 2) * scale
    distance = np.hypot(col + 9 * np.cos(_OPENING), row)
    angle = np.arctan2(row, col + 9 * np.cos(_OPENING))
    at_depth = (distance - 9) / _DEPTH_MM * (depths - 1)
    at_beam = (angle / (2 * _OPENING) + 0.5) * (beams - 1)
    fan = cv2.remap(picture, at_depth.astype(np.float32), at_beam.astype(np.float32), cv2.INTER_LINEAR, borderValue=0.0)
    return np.clip(blur(fan, min(0.5, size / 900)) * 235, 0, 255).astype(np.uint8)[..., None]
