"""Colour photograph of a drawn eye: light that returns from the fundus, dimmed by pigment, blood and lens."""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt

from ...core.errors import InvalidInput
from ...core.vocabulary import Laterality
from .anatomy import FloatArray, Frame, Layout, Truth, children, draw_layout
from .lesions import LESIONS, Lesion, draw_lesions, lesion_mask, paint_lesions
from .raster import blur, cover_line, sample_line, smooth_noise
from .vessels import Vessel, grow_vessels, segments_in_pixels

#: How strongly a layer of blood dims red, green and blue.
_BLOOD = np.array([0.46, 1.0, 0.72], np.float32)
#: The same for melanin.
_MELANIN = np.array([0.55, 1.0, 1.35], np.float32)

#: Cameras: colour balance, share of the frame the field fills, rows cut off (share of the radius kept), notch, hot rim.
CAMERAS: dict[str, tuple[tuple[float, float, float], float, float, bool, float]] = {
    "warm": ((1.00, 0.90, 0.62), 0.97, 1.0, False, 0.0),
    "pink": ((1.02, 0.92, 1.18), 0.98, 1.0, False, 0.1),
    "amber": ((1.08, 0.93, 0.36), 0.96, 0.84, True, 0.0),
    "plain": ((1.00, 1.00, 0.85), 0.98, 1.0, False, 0.25),
    "notch": ((0.98, 0.94, 0.75), 0.92, 1.0, True, 0.05),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotographStyle:
    """How one photograph is taken and what its eye looks like, apart from disease. All in [0, 1] unless said.

    Args:
        pigment: Melanin: 0 blond fundus, 1 dark.
        tessellation: How much of the choroidal vessels shows.
        sheen: Reflections of the nerve fibre layer in the young.
        haze: Cataract: scattered light and blur.
        blur: Defocus; 1 is a deviation of 2 % of the radius.
        noise: Grain; 1 is a deviation of 8 % of full scale.
        exposure: Factor on the light, about 1.
        uneven: How much the light falls off to one side.
        camera: One of `CAMERAS`.
    """

    pigment: float = 0.4
    tessellation: float = 0.3
    sheen: float = 0.2
    haze: float = 0.0
    blur: float = 0.08
    noise: float = 0.12
    exposure: float = 1.0
    uneven: float = 0.3
    camera: str = "warm"

    def __post_init__(self) -> None:
        if self.camera not in CAMERAS:
            raise InvalidInput(f"camera {self.camera!r} is not one of {sorted(CAMERAS)}.", code="synthetic.camera")
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "camera" and not (
                np.isfinite(value) and 0 <= value <= (3 if item.name == "exposure" else 1)
            ):
                raise InvalidInput(f"{item.name} is {value}; needed is a number in [0, 1].", code="synthetic.style")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fundus:
    """One fundus in field radii: what photograph and angiogram of the eye share.

    Args:
        layout: Disc, cup, fovea.
        vessels: The tree.
        lesions: What lies on it.
        grade: ICDR grade.
        atrophy: Width of the crescent beside the disc in disc radii; 0 is none, myopic eyes have about 0.5.
    """

    layout: Layout
    vessels: list[Vessel]
    lesions: list[Lesion]
    grade: int
    atrophy: float = 0.0


def draw_fundus(
    generator: np.random.Generator,
    *,
    grade: int,
    cup_to_disc: float = 0.35,
    drusen: bool = False,
    hypertensive: bool = False,
    myopic: bool = False,
) -> Fundus:
    """Return a fundus with its vessels and lesions. Disc, vessels and lesions each have their own chance."""
    placing, growing, hurting, bending = children(generator, 4)
    layout = draw_layout(placing, cup_to_disc=cup_to_disc)
    vessels = grow_vessels(
        growing,
        layout,
        narrowing=float(bending.uniform(0.3, 0.42)) if hypertensive else 0.0,
        tortuosity=float(bending.uniform(0.7, 1.4)) * (1.2 if hypertensive else 1.0),
    )
    lesions = draw_lesions(hurting, layout, vessels, grade=grade, drusen=drusen, hypertensive=hypertensive)
    atrophy = float(bending.uniform(0.4, 0.9)) if myopic else 0.0
    return Fundus(layout=layout, vessels=vessels, lesions=lesions, grade=grade, atrophy=atrophy)


def place_frame(
    generator: np.random.Generator, *, size: int, laterality: Laterality, style: PhotographStyle | None = None
) -> Frame:
    """Return where the field lies in the picture."""
    fill = CAMERAS[style.camera][1] if style else 0.97
    shift = generator.uniform(-1, 1, 2) * (1 - fill) * size * 0.15
    center = (size - 1) / 2 + shift[0], (size - 1) / 2 + shift[1]
    kept = CAMERAS[style.camera][2] if style else 1.0
    return Frame(size=size, center=center, radius_px=fill * size / 2, laterality=laterality, kept=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """Truth of one fundus in one frame, with what pictures are mixed from: density of blood, coverage by lesions."""

    truth: Truth
    arteries: FloatArray
    veins: FloatArray
    reflex: FloatArray
    lesions: dict[str, FloatArray]


def render_truth(fundus: Fundus, frame: Frame) -> Rendering:
    """Return the truth of a fundus in pixels."""
    layout, shape = fundus.layout, (frame.size, frame.size)
    segments = segments_in_pixels(fundus.vessels, frame)
    covered, dense = {}, {}
    for kind in ("artery", "vein"):
        lines = [sample_line(s.points, s.widths_px) for s in segments if s.kind == kind]
        lines = lines or [(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))]
        points, widths = (np.concatenate(part) for part in zip(*lines, strict=True))
        # Less blood lies in the way of the light in a thin vessel.
        strengths = np.clip(0.42 + 0.58 * widths / (0.016 * frame.radius_px), 0, 1).astype(np.float32)
        covered[kind], dense[kind] = cover_line(points, widths, shape, strengths=strengths)
        if kind == "artery":
            wide = widths > 2.2
            reflex = cover_line(points[wide], 0.28 * widths[wide], shape)[0]
    vessel_mask = np.where(covered["vein"] >= 0.5, 2, np.where(covered["artery"] >= 0.5, 1, 0)).astype(np.uint8)
    x, y = frame.grid()
    visible = (x**2 + y**2 <= 1) & (np.abs(y) <= frame.kept)
    vessel_mask[~visible] = 0
    shown = [s for s in fundus.lesions if frame.shows(s.place)]
    lesions = {name: paint_lesions(shown, name, frame) for name in LESIONS}
    truth = Truth(
        vessels=segments,
        vessel_mask=vessel_mask,
        vessel_masks={kind: (covered[kind] >= 0.5) & visible for kind in covered},
        disc=frame.spot(layout.disc, layout.disc_radius, layout.disc_aspect),
        cup=frame.spot(layout.cup, layout.cup_radius, layout.disc_aspect),
        fovea=frame.spot(layout.fovea, layout.fovea_radius),
        field=frame.spot((0.0, 0.0), 1.0),
        lesions={name: lesion_mask(lesions[name], shown, name, frame) & visible for name in LESIONS},
        counts={name: sum(s.name == name for s in shown) for name in LESIONS},
        grade=fundus.grade,
    )
    return Rendering(truth=truth, arteries=dense["artery"], veins=dense["vein"], reflex=reflex, lesions=lesions)


def photograph(
    generator: np.random.Generator, fundus: Fundus, frame: Frame, *, style: PhotographStyle, rendering: Rendering
) -> npt.NDArray[np.uint8]:
    """Return the colour photograph `(S, S, 3)` uint8 of a fundus."""
    light, ground, grain = children(generator, 3)
    x, y = frame.grid()
    density = _ground(ground, fundus.layout, frame, style)
    base = np.array([0.86, 0.50, 0.27], np.float32)
    color = base * np.exp(-density)
    _add_disc(color, fundus, frame, rendering)
    _add_vessels(color, fundus, frame, rendering)
    _add_lesions(color, rendering)
    if style.sheen > 0.02:
        _add_sheen(ground, color, fundus.layout, frame, style.sheen)
    color *= _illumination(light, x, y, style)[..., None]
    color = _through_lens(light, color, frame, style, x, y)
    balance, _, _, _, rim = CAMERAS[style.camera]
    color *= np.array(balance, np.float32) * np.float32(style.exposure)
    radius = np.sqrt(x**2 + y**2)
    if rim:
        side = 0.55 + 0.45 * np.cos(np.arctan2(y, x) - light.uniform(0, 2 * np.pi))
        glow = np.float32(rim) * np.clip((radius - 0.8) / 0.2, 0, 1) ** 2 * side
        color += glow[..., None] * np.array([0.75, 0.72, 0.45], np.float32)
    color = blur(color, style.blur * 0.02 * frame.radius_px + min(0.5, frame.radius_px / 600))
    deviation = np.float32(style.noise * 0.08) * min(1.0, frame.radius_px / 250) ** 0.5
    color += deviation * blur(grain.standard_normal(color.shape, dtype=np.float32), min(0.6, frame.radius_px / 500))
    # A film-like shoulder: bright discs keep their colour instead of turning white at once.
    color = 1 - np.exp(-np.clip(color, 0, None) * 1.32)
    color *= _field_mask(frame, style, radius, y)[..., None]
    return np.clip(color * 255 + 0.5, 0, 255).astype(np.uint8)


def _gauss(x: FloatArray, y: FloatArray, place: tuple[float, float], radius: float) -> FloatArray:
    return np.exp(-((x - place[0]) ** 2) / (2 * radius**2)) * np.exp(-((y - place[1]) ** 2) / (2 * radius**2))


def _ground(generator: np.random.Generator, layout: Layout, frame: Frame, style: PhotographStyle) -> FloatArray:
    """Return optical density `(S, S, 3)` of the empty fundus: pigment, macula, choroid."""
    x, y = frame.grid()
    shape = (frame.size, frame.size)
    cloud = smooth_noise(generator, shape, cells=4, octaves=3)
    mottle = smooth_noise(generator, shape, cells=min(90.0, frame.size / 4), octaves=1)
    macula = _gauss(x, y, layout.fovea, 0.2) * generator.uniform(0.22, 0.4)
    core = _gauss(x, y, layout.fovea, 0.06) * generator.uniform(0.22, 0.42)
    pigment = 0.05 + 0.85 * style.pigment + 0.05 * cloud + 0.022 * mottle + macula + core
    pigment = pigment + 0.12 * _gauss(x, y, layout.fovea, 0.45)
    density = pigment[..., None] * _MELANIN
    if style.tessellation > 0.02:
        away = 1 - 0.9 * _gauss(x, y, layout.fovea, 0.22)
        streaks = _choroid(generator, frame, layout) * away * np.float32(style.tessellation)
        density -= streaks[..., None] * np.array([0.16, 0.20, 0.08], np.float32)
    return density


def _choroid(generator: np.random.Generator, frame: Frame, layout: Layout) -> FloatArray:
    """Return a web of choroidal vessels `(S, S)`, about zero mean: ridges of noise stretched away from the disc."""
    side = min(frame.size, 320)
    x, y = Frame(
        size=side,
        center=tuple(c * side / frame.size for c in frame.center),  # type: ignore[arg-type]
        radius_px=frame.radius_px * side / frame.size,
        laterality=frame.laterality,
    ).grid()
    warp = smooth_noise(generator, (side, side), cells=5, octaves=2)
    dx, dy = x - layout.disc[0], y - layout.disc[1]
    distance = np.sqrt(dx**2 + dy**2)
    angle = np.arctan2(dy, dx) + 0.07 * warp / (0.35 + distance)
    web = np.zeros((side, side), np.float32)
    for turns, reach in ((64, 4.2), (110, 6.5)):
        table = generator.standard_normal((18, turns), dtype=np.float32)
        table = np.concatenate([table, table[:, :8]], axis=1)
        table = cv2.resize(table, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
        across = ((angle / (2 * np.pi)) % 1.0 * turns + 2) * 8
        along = np.clip((distance + 0.05 * warp) * reach + 1, 0.5, 17) * 8
        noise = cv2.remap(table, across.astype(np.float32), along.astype(np.float32), cv2.INTER_LINEAR)
        web += np.tanh(1.5 * noise) * 0.6
    web = np.clip(web, -1, 1)
    return cv2.resize(web.astype(np.float32), (frame.size, frame.size), interpolation=cv2.INTER_LINEAR)


def _mix(color: FloatArray, share: FloatArray, other: tuple[float, float, float] | FloatArray) -> None:
    color += share[..., None] * (np.asarray(other, np.float32) - color)


def _disc_distance(fundus: Fundus, frame: Frame, place: tuple[float, float]) -> FloatArray:
    """Distance `(S, S)` from a place in the metric of the oval disc, field radii."""
    x, y = frame.grid()
    aspect = np.float32(fundus.layout.disc_aspect)
    return np.sqrt((x - place[0]) ** 2 * aspect + (y - place[1]) ** 2 / aspect).astype(np.float32)


def _add_disc(color: FloatArray, fundus: Fundus, frame: Frame, rendering: Rendering) -> None:
    layout = fundus.layout
    pixel = 1 / frame.radius_px
    distance = _disc_distance(fundus, frame, layout.disc)
    if fundus.atrophy:
        aside = layout.disc[0] - 0.45 * fundus.atrophy * layout.disc_radius, layout.disc[1]
        crescent = _disc_distance(fundus, frame, aside)
        reach = layout.disc_radius * (1 + 0.55 * fundus.atrophy)
        _mix(color, 0.75 * np.clip((reach - crescent) / 0.03 + 0.5, 0, 1), (1.05, 0.74, 0.46))
    halo = np.exp(-(np.clip(distance / layout.disc_radius - 1, 0, None) ** 2) / 0.09)
    color *= 1 + 0.10 * halo[..., None]
    soft = max(pixel, 0.011)
    inside = np.clip((layout.disc_radius - distance) / (2 * soft) + 0.5, 0, 1)
    x, _ = frame.grid()
    # The nasal rim is fuller and redder, the temporal one paler.
    nasal = np.clip((x - layout.disc[0]) / layout.disc_radius * 0.5 + 0.5, 0, 1)[..., None]
    rim = (1 - nasal) * np.array([1.28, 0.86, 0.48], np.float32) + nasal * np.array([1.22, 0.70, 0.40], np.float32)
    _mix(color, 0.94 * inside, rim)
    cup = _disc_distance(fundus, frame, layout.cup)
    soft = max(pixel, 0.016)
    pale = np.clip((layout.cup_radius - cup) / (2 * soft) + 0.5, 0, 1) * inside
    _mix(color, 0.85 * pale, (1.7, 1.45, 0.98))


def _add_vessels(color: FloatArray, fundus: Fundus, frame: Frame, rendering: Rendering) -> None:
    soft = min(0.7, frame.radius_px / 500)
    density = 0.50 * blur(rendering.arteries, soft)[..., None] * (_BLOOD * np.array([0.75, 1, 1], np.float32))
    veins = blur(rendering.veins, soft)
    density += 0.84 * veins[..., None] * _BLOOD
    color *= np.exp(-density)
    _mix(color, 0.30 * blur(rendering.reflex, soft) * (1 - veins), (1.15, 0.72, 0.45))


def _add_lesions(color: FloatArray, rendering: Rendering) -> None:
    painted = rendering.lesions
    if painted["drusen"].any():
        _mix(color, 0.5 * painted["drusen"], (1.05, 0.82, 0.42))
    if painted["SE"].any():
        _mix(color, 0.72 * painted["SE"], (1.1, 0.92, 0.66))
    red = np.maximum(0.85 * painted["HE"], 0.75 * painted["MA"])
    if red.any():
        color *= np.exp(-1.25 * red[..., None] * _BLOOD)
    if painted["NV"].any():
        color *= np.exp(-0.8 * painted["NV"][..., None] * _BLOOD)
    if painted["EX"].any():
        _mix(color, 0.88 * painted["EX"], (1.45, 1.2, 0.5))


def _add_sheen(
    generator: np.random.Generator, color: FloatArray, layout: Layout, frame: Frame, strength: float
) -> None:
    """Add the silky reflections of young eyes along the arcades, and the ring and dot of the fovea."""
    x, y = frame.grid()
    dx, dy = x - layout.disc[0], y - layout.disc[1]
    arc = dx + 2.0 * dy**2
    band = np.exp(-((arc - 0.02) ** 2) / 0.06) * (np.sqrt(dx**2 + dy**2) > layout.disc_radius)
    small = generator.standard_normal(180, dtype=np.float32)
    fine = np.interp(np.clip((arc + 1.5) * 55, 0, 179), np.arange(180), small).astype(np.float32)
    patchy = np.clip(smooth_noise(generator, (frame.size, frame.size), cells=7), 0, None)
    glint = np.clip(0.5 + 0.5 * fine, 0, 1.5) * band * patchy * np.float32(0.16 * strength)
    distance = np.sqrt((x - layout.fovea[0]) ** 2 + ((y - layout.fovea[1]) * 1.15) ** 2)
    ring = np.exp(-((distance - 0.15) ** 2) / 0.0006) * np.clip(patchy, 0, 1) * np.float32(0.10 * strength)
    dot = np.exp(-(distance**2) / 0.00018) * np.float32(0.45 * strength)
    color += (glint + ring + dot).astype(np.float32)[..., None] * np.array([1.0, 0.95, 0.8], np.float32)


def _illumination(generator: np.random.Generator, x: FloatArray, y: FloatArray, style: PhotographStyle) -> FloatArray:
    angle = generator.uniform(0, 2 * np.pi)
    tilt = style.uneven * generator.uniform(0.2, 0.7)
    aside = x * np.cos(angle) + y * np.sin(angle)
    falloff = 1.20 - (0.34 + 0.35 * style.uneven) * (x**2 + y**2)
    return np.clip(falloff + tilt * aside, 0.12, 1.6).astype(np.float32)


def _through_lens(
    generator: np.random.Generator,
    color: FloatArray,
    frame: Frame,
    style: PhotographStyle,
    x: FloatArray,
    y: FloatArray,
) -> FloatArray:
    """Scatter light in a cloudy lens: blur, a veil with its own shape, yellowing."""
    if style.haze < 0.01:
        return color
    color = blur(color, style.haze * 0.022 * frame.radius_px)
    place = tuple(generator.uniform(-0.4, 0.4, 2))
    veil = (0.55 + 0.45 * _gauss(x, y, place, 0.7)) * np.float32(0.72 * style.haze)
    veil = np.clip(veil * (1 + 0.12 * smooth_noise(generator, (frame.size, frame.size), cells=3)), 0, 0.92)
    mean = color[:: max(1, frame.size // 32), :: max(1, frame.size // 32)].mean(axis=(0, 1))
    milk = 0.55 * mean + np.array([0.26, 0.26, 0.17], np.float32)
    _mix(color, veil.astype(np.float32), milk)
    return color


def _field_mask(frame: Frame, style: PhotographStyle, radius: FloatArray, y: FloatArray) -> FloatArray:
    """Return the share `(S, S)` of each pixel inside the field: circle, flat edges, notch."""
    notch = CAMERAS[style.camera][3]
    inside = np.clip((1 - radius) * frame.radius_px + 0.5, 0, 1)
    if notch:
        x, _ = frame.grid()
        angle = np.arctan2(y, np.broadcast_to(x, radius.shape) * frame.sign)
        tab = (np.abs(angle + 0.62) < 0.035) & (radius < 1.035)
        inside = np.maximum(inside, tab.astype(np.float32))
    if frame.kept < 1:
        inside = inside * np.clip((frame.kept - np.abs(y)) * frame.radius_px + 0.5, 0, 1)
    return inside.astype(np.float32)
