"""Where things are in a drawn eye: places in units of the field radius, and what is known of them in pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ...core.vocabulary import Laterality

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A round structure in pixels.

    Args:
        center: (row, col) of the centre; the centre of the first pixel is (0, 0).
        radius_px: Radius of the circle of the same area.
        aspect: Height by width; 1 is a circle.
    """

    center: tuple[float, float]
    radius_px: float
    aspect: float = 1.0

    def mask(self, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Return the pixels `(H, W)` whose centre lies inside."""
        rows = (np.arange(shape[0], dtype=np.float32)[:, None] - self.center[0]) / np.sqrt(self.aspect)
        cols = (np.arange(shape[1], dtype=np.float32)[None] - self.center[1]) * np.sqrt(self.aspect)
        return rows**2 + cols**2 <= self.radius_px**2


@dataclass(frozen=True, slots=True, kw_only=True)
class VesselSegment:
    """A vessel between two branching points.

    Args:
        points: `(N, 2)` float32 centre line (row, col), from the disc outwards.
        widths_px: `(N,)` float32 full width at each point.
        length_px: Length of the centre line.
        kind: "artery" or "vein".
        order: 0 for vessels that leave the disc, 1 for their branches, and so on.
        parent: Index of the segment it comes from; None at the disc.
        angle_deg: Angle between its first direction and the direction its parent arrives in; None at the disc.
    """

    points: FloatArray
    widths_px: FloatArray
    length_px: float
    kind: str
    order: int
    parent: int | None = None
    angle_deg: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is known of a drawn photograph.

    Args:
        vessels: Segments inside the field that are at least half a pixel wide; parents come before children.
        vessel_mask: `(H, W)` uint8: 0 none, 1 artery, 2 vein (at a crossing, the vein).
        vessel_masks: "artery" and "vein" to `(H, W)` bool, each whole, so that both are set at a crossing.
        disc: Optic disc.
        cup: Optic cup; its `radius_px` by that of the disc is the cup-to-disc ratio.
        fovea: Centre of the macula; the radius is that of its avascular zone.
        field: Circle of the photograph, before anything of it is cut off.
        lesions: Name to `(H, W)` bool: "MA" microaneurysms, "HE" haemorrhages, "EX" hard exudates, "SE" cotton-wool
            spots, "NV" new vessels, "drusen". Every name is there; an absent kind is all False.
        counts: Name to number of lesions drawn (a lesion smaller than a pixel keeps one pixel of the mask).
        grade: ICDR grade 0-4.
    """

    vessels: tuple[VesselSegment, ...]
    vessel_mask: npt.NDArray[np.uint8]
    vessel_masks: Mapping[str, npt.NDArray[np.bool_]]
    disc: Spot
    cup: Spot
    fovea: Spot
    field: Spot
    lesions: Mapping[str, npt.NDArray[np.bool_]]
    counts: Mapping[str, int]
    grade: int

    @property
    def cup_to_disc(self) -> float:
        """Ratio of the radii of cup and disc."""
        return self.cup.radius_px / self.disc.radius_px


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """From places (x to the nasal side, y down, in field radii) to pixels of one photograph.

    Args:
        size: Side of the picture, px.
        center: (row, col) of the centre of the field.
        radius_px: Radius of the field.
        laterality: Which eye; decides where nasal is.
        kept: Rows further than this from the centre, in field radii, are cut off by the camera.
    """

    size: int
    center: tuple[float, float]
    radius_px: float
    laterality: Laterality
    kept: float = 1.0

    @property
    def sign(self) -> float:
        """Direction of the nasal side: to the right in a photograph of a right eye."""
        return 1.0 if self.laterality is Laterality.RIGHT else -1.0

    def shows(self, places: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return whether places `(..., 2)` lie inside the field and what the camera keeps of it."""
        xy = np.asarray(places)
        return (np.hypot(xy[..., 0], xy[..., 1]) <= 1) & (np.abs(xy[..., 1]) <= self.kept)

    def to_pixels(self, places: npt.ArrayLike) -> FloatArray:
        """Return (row, col) of places `(..., 2)`.

        Example:
            >>> frame = Frame(size=101, center=(50.0, 50.0), radius_px=50.0, laterality=Laterality.LEFT)
            >>> frame.to_pixels([[0.5, -0.2]]).tolist()
            [[40.0, 25.0]]
        """
        xy = np.asarray(places, np.float32)
        rows = self.center[0] + xy[..., 1] * self.radius_px
        cols = self.center[1] + self.sign * xy[..., 0] * self.radius_px
        return np.stack([rows, cols], -1).astype(np.float32)

    def grid(self) -> tuple[FloatArray, FloatArray]:
        """Return the places (x, y) of all pixels as arrays that broadcast to `(H, W)`."""
        steps = np.arange(self.size, dtype=np.float32)
        x = self.sign * (steps[None] - np.float32(self.center[1])) / np.float32(self.radius_px)
        y = (steps[:, None] - np.float32(self.center[0])) / np.float32(self.radius_px)
        return x.astype(np.float32), y.astype(np.float32)

    def spot(self, place: tuple[float, float], radius: float, aspect: float = 1.0) -> Spot:
        """Return a structure of the eye in pixels."""
        row, col = self.to_pixels(place)
        return Spot(center=(float(row), float(col)), radius_px=radius * self.radius_px, aspect=aspect)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Places of disc, cup and fovea in field radii, as in a right eye (nasal is +x)."""

    disc: tuple[float, float]
    disc_radius: float
    disc_aspect: float
    cup: tuple[float, float]
    cup_radius: float
    fovea: tuple[float, float]
    fovea_radius: float = field(default=0.055)


def draw_layout(generator: np.random.Generator, *, cup_to_disc: float) -> Layout:
    """Return where disc, cup and fovea lie: 2.2-2.6 disc diameters apart, the disc a little above the fovea."""
    middle = generator.uniform(0.22, 0.36), generator.uniform(-0.08, 0.08)
    distance, tilt = generator.uniform(0.66, 0.76), generator.uniform(0.03, 0.16)
    radius = generator.uniform(0.148, 0.172)
    disc = middle[0] + distance / 2 * np.cos(tilt), middle[1] - distance / 2 * np.sin(tilt)
    fovea = middle[0] - distance / 2 * np.cos(tilt), middle[1] + distance / 2 * np.sin(tilt)
    spare = radius * (1 - cup_to_disc)
    cup = disc[0] - spare * generator.uniform(0.05, 0.25), disc[1] + spare * generator.uniform(-0.15, 0.15)
    return Layout(
        disc=(float(disc[0]), float(disc[1])),
        disc_radius=float(radius),
        disc_aspect=float(generator.uniform(1.02, 1.14)),
        cup=(float(cup[0]), float(cup[1])),
        cup_radius=float(radius * cup_to_disc),
        fovea=(float(fovea[0]), float(fovea[1])),
    )


def children(generator: np.random.Generator, count: int) -> list[np.random.Generator]:
    """Return independent generators, so that one part drawn differently leaves the others as they were."""
    return [np.random.default_rng(int(s)) for s in generator.integers(0, 2**63, size=count)]
