"""Fluorescein angiogram of a drawn fundus: bright vessels on a grey ground, leaks and blocked light."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...core.errors import InvalidInput
from .anatomy import FloatArray, Frame, children
from .photograph import Fundus, Rendering
from .raster import blur, smooth_noise

#: Brightness of arteries, veins, ground and disc by phase.
PHASES: dict[str, tuple[float, float, float, float]] = {
    "arterial": (0.85, 0.16, 0.14, 0.20),
    "venous": (0.74, 0.82, 0.20, 0.30),
    "late": (0.40, 0.44, 0.23, 0.62),
}


def draw_angiogram(
    generator: np.random.Generator,
    fundus: Fundus,
    frame: Frame,
    *,
    rendering: Rendering,
    phase: str = "venous",
    leakage: bool = False,
) -> npt.NDArray[np.uint8]:
    """Return a fluorescein angiogram `(S, S, 1)` uint8 of the same fundus in the same frame.

    Args:
        generator: Source of chance.
        fundus: Vessels and lesions.
        frame: Where the field lies.
        rendering: Coverages in that frame.
        phase: "arterial", "venous" or "late".
        leakage: Dye leaves new vessels, or a spot in the macula where there are none; strongest in the late phase.

    Raises:
        InvalidInput: Unknown phase.
    """
    if phase not in PHASES:
        raise InvalidInput(f"phase {phase!r} is not one of {sorted(PHASES)}.", code="synthetic.phase")
    ground, leaking, grain = children(generator, 3)
    artery, vein, base, disc = PHASES[phase]
    layout, shape = fundus.layout, (frame.size, frame.size)
    x, y = frame.grid()
    radius = np.sqrt(x**2 + y**2)
    from_fovea = np.sqrt((x - layout.fovea[0]) ** 2 + (y - layout.fovea[1]) ** 2)
    from_disc = np.sqrt((x - layout.disc[0]) ** 2 + (y - layout.disc[1]) ** 2)
    cloud = smooth_noise(ground, shape, cells=5, octaves=3)
    web = np.clip(1 - np.abs(smooth_noise(ground, shape, cells=min(70.0, frame.size / 5))) * 1.3, 0, 1)
    picture = base * (1 + 0.18 * cloud) * (1.15 - 0.35 * radius**2) + 0.09 * web * (from_fovea > layout.fovea_radius)
    picture *= 1 - 0.55 * np.exp(-(from_fovea**2) / 0.045) - 0.25 * np.exp(-(from_fovea**2) / 0.006)
    if fundus.grade >= 3:
        picture *= 1 - 0.6 * _without_perfusion(ground, frame, layout.fovea)
    picture += np.clip((layout.disc_radius - from_disc) / 0.05, 0, 1) * (disc - 0.6 * base)
    painted = rendering.lesions
    blocked = np.maximum(painted["HE"], 0.25 * painted["EX"])
    picture *= 1 - 0.8 * blocked
    soft = min(0.6, frame.radius_px / 500)
    for bright, cover in sorted(((artery, rendering.arteries), (vein, rendering.veins)), key=lambda pair: pair[0]):
        share = blur(cover, soft) * (1 - 0.75 * painted["HE"])
        picture += share * (bright - picture)
    picture += 0.6 * painted["MA"] * (1 - picture) + 0.15 * painted["drusen"]
    picture += 0.7 * painted["NV"] * (1 - picture)
    if leakage:
        picture += _leak(leaking, fundus, frame, rendering, late=phase == "late") * (1 - np.clip(picture, 0, 1))
    picture = blur(picture.astype(np.float32), min(0.7, frame.radius_px / 500))
    picture += blur(grain.standard_normal(shape, dtype=np.float32), min(0.5, frame.radius_px / 600)) * np.float32(0.025)
    picture *= np.clip((1 - radius) * frame.radius_px + 0.5, 0, 1) * (np.abs(y) <= frame.kept)
    return np.clip(picture * 255, 0, 255).astype(np.uint8)[..., None]


def _without_perfusion(generator: np.random.Generator, frame: Frame, fovea: tuple[float, float]) -> FloatArray:
    """Return dark areas `(S, S)` where capillaries are closed, away from the fovea."""
    x, y = frame.grid()
    away = np.clip(np.sqrt((x - fovea[0]) ** 2 + (y - fovea[1]) ** 2) / 0.5 - 0.4, 0, 1)
    patches = smooth_noise(generator, (frame.size, frame.size), cells=5)
    return (np.clip((patches - 0.5) * 4, 0, 1) * away).astype(np.float32)


def _leak(
    generator: np.random.Generator, fundus: Fundus, frame: Frame, rendering: Rendering, *, late: bool
) -> FloatArray:
    """Return the brightness `(S, S)` of dye outside the vessels."""
    wide = (0.055 if late else 0.025) * frame.radius_px
    cloud = blur(rendering.lesions["NV"], max(wide, 1.0)) * 3.0
    if not rendering.lesions["NV"].any():
        x, y = frame.grid()
        place = np.asarray(fundus.layout.fovea) + generator.uniform(-0.12, 0.12, 2)
        size = generator.uniform(0.05, 0.10) * (1.5 if late else 1.0)
        distance = np.sqrt((x - place[0]) ** 2 + (y - place[1]) ** 2)
        cloud = np.exp(-((distance / size) ** 4))
    return np.clip(cloud, 0, 0.92 if late else 0.6).astype(np.float32)
