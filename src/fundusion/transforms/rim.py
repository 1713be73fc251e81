"""A circle through an outline that may be cut, dim or marked, and its rim measured to a fraction of a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_RAYS = 180
_ANGLES = np.arange(_RAYS) * (2 * math.pi / _RAYS)
_DOWN, _RIGHT = np.sin(_ANGLES), np.cos(_ANGLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """A circle in pixel-centre coordinates, and the share in [0, 1] of its visible rim that was found in the picture."""

    row: float
    column: float
    radius: float
    support: float = 0.0

    def scaled(self, factor: float) -> Circle:
        """Return the same circle in a picture whose pixels are smaller by a factor."""
        return Circle(
            row=(self.row + 0.5) * factor - 0.5,
            column=(self.column + 0.5) * factor - 0.5,
            radius=self.radius * factor,
            support=self.support,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Corner:
    """Colour of the border of a picture, and its noise, in grey levels."""

    color: tuple[float, ...]
    noise: float


def fit_circle(outline: npt.NDArray[np.float64], *, frame: tuple[int, ...]) -> Circle | None:
    """Return the circle that most of an outline lies on, or None when there is none of sensible size.

    Triples of outline points at several distances are tried in a fixed order (no random numbers), the circle with most
    points within one pixel wins and is fitted again to them.

    Args:
        outline: `(N, 2)` (row, column) of an ordered outline.
        frame: `(H, W)`; points on the frame's edge are no rim and are left out.

    Example:
        >>> angle = np.linspace(0.0, 2 * np.pi, 200)
        >>> circle = fit_circle(np.stack([50 + 30 * np.sin(angle), 60 + 30 * np.cos(angle)], 1), frame=(100, 120))
        >>> round(circle.row, 2), round(circle.column, 2), round(circle.radius, 2)   # half a pixel beyond the outline
        (50.0, 60.0, 30.5)
    """
    last = np.array(frame[:2]) - 1
    points = outline[((outline > 1.5) & (outline < last - 1.5)).all(axis=1)]
    if len(points) < 24:
        return None
    centers, radii = _through_triples(points)
    longest = max(frame[:2])
    sensible = (radii > 0.12 * longest) & (radii < 1.0 * longest)
    centers, radii = centers[sensible], radii[sensible]
    if not len(radii):
        return None
    best = _most_voted(points[:: max(1, len(points) // 200)], centers, radii)
    row, column, radius = float(centers[best, 0]), float(centers[best, 1]), float(radii[best])
    for tolerance in (2.0, 1.5, 1.25):
        near = points[np.abs(_distances(points, row, column) - radius) < tolerance]
        if len(near) < 12:
            return None
        row, column, radius = _least_squares(near, start=(row, column, radius), steps=3)
    near_share = float((np.abs(_distances(points, row, column) - radius) < 1.5).mean())
    # Outline pixels are centres of the outermost pixels inside; the rim itself is half a pixel further out.
    return Circle(row=float(row), column=float(column), radius=float(radius) + 0.5, support=near_share)


def polish_circle(pixels: npt.NDArray[np.uint8], circle: Circle, *, corner: Corner, reach_px: float) -> Circle:
    """Return the circle moved onto the rim in the full-resolution picture, with the share of rays that agree.

    Along each ray across the rim, brightness falls from the inner to the outer level; the edge is where the area under
    that step ends, which needs no derivative and holds with noise.

    Args:
        pixels: `(H, W, C)` uint8.
        circle: First guess.
        corner: Colour and noise of the border.
        reach_px: How far from the guess the rim may lie.
    """
    reach = max(reach_px, 3.0)
    for round_ in range(3):
        points, visible = _edges_on_rays(pixels, circle, corner=corner, reach_px=reach)
        if len(points) < 12 or visible < 12:
            return Circle(row=circle.row, column=circle.column, radius=circle.radius, support=0.0)
        row, column, radius = _robust_fit(points, start=(circle.row, circle.column, circle.radius))
        if not (math.isfinite(radius) and radius > 4):
            return Circle(row=circle.row, column=circle.column, radius=circle.radius, support=0.0)
        error = np.abs(_distances(points, row, column) - radius)
        agree = float(np.count_nonzero(error <= max(1.5, 0.01 * radius))) / visible
        moved = max(abs(row - circle.row), abs(column - circle.column), abs(radius - circle.radius))
        circle = Circle(row=row, column=column, radius=radius, support=min(1.0, agree))
        if round_ == 0:
            reach = max(3.0, 0.75 * reach)
        elif moved < 0.02:
            break
    return circle


def _distances(points: npt.NDArray[np.float64], row: float, column: float) -> npt.NDArray[np.float64]:
    down, right = points[:, 0] - row, points[:, 1] - column
    return np.sqrt(down * down + right * right)


def _most_voted(
    voters: npt.NDArray[np.float64], centers: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]
) -> int:
    """Return which circle has most points within 1.25 px of its rim."""
    # |p - c|^2 as one product of matrices; the origin is moved to the middle so that single precision is enough.
    origin = voters.mean(axis=0)
    points, middles = (voters - origin).astype(np.float32), (centers - origin).astype(np.float32)
    squares = (middles * middles).sum(axis=1)[:, None] + (points * points).sum(axis=1)[None, :]
    squares -= 2 * (middles @ points.T)
    rim = radii.astype(np.float32)[:, None]
    near = (squares > np.maximum(rim - 1.25, 0) ** 2) & (squares < (rim + 1.25) ** 2)
    return int(np.argmax(np.count_nonzero(near, axis=1)))


def _through_triples(points: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    count = len(points)
    starts = np.unique(np.linspace(0, count - 1, min(count, 72)).astype(int))
    triples = [
        (starts, (starts + int(count * a)) % count, (starts + int(count * b)) % count)
        for a, b in ((1 / 3, 2 / 3), (0.25, 0.5), (0.2, 0.45), (1 / 6, 1 / 3), (0.1, 0.5), (0.08, 0.16))
    ]
    first, second, third = (points[np.concatenate([t[k] for t in triples])] for k in range(3))
    u, v = second - first, third - first
    cross = 2 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    good = np.abs(cross) > 1e-6
    first, u, v, cross = first[good], u[good], v[good], cross[good]
    uu, vv = (u**2).sum(1), (v**2).sum(1)
    offset = np.stack([v[:, 1] * uu - u[:, 1] * vv, u[:, 0] * vv - v[:, 0] * uu], axis=1) / cross[:, None]
    return first + offset, np.hypot(offset[:, 0], offset[:, 1])


def _least_squares(
    points: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64] | None = None,
    *,
    start: tuple[float, float, float],
    steps: int = 8,
) -> tuple[float, float, float]:
    """Return the circle of least squared distance (Gauss-Newton on the normal equations)."""
    row, column, radius = start
    design = np.ones((3, len(points)))
    for _ in range(steps):
        down, right = points[:, 0] - row, points[:, 1] - column
        distance = np.maximum(np.sqrt(down * down + right * right), 1e-9)
        design[0], design[1] = down / distance, right / distance
        weighted = design if weights is None else design * weights
        system = weighted @ design.T
        # Points on a short arc leave the system nearly singular; a grain on its diagonal keeps the step finite.
        system.flat[::4] += 1e-9 * len(points)
        step = np.linalg.solve(system, weighted @ (distance - radius))
        row, column, radius = row + float(step[0]), column + float(step[1]), radius + float(step[2])
        if np.abs(step).max() < 1e-3:
            break
    return row, column, radius


def _robust_fit(points: npt.NDArray[np.float64], *, start: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the circle fitted with Tukey weights, so that a mark, a cut or dim stretches do not pull it."""
    state = start
    for round_ in range(5):
        residual = _distances(points, state[0], state[1]) - state[2]
        if round_ == 0:
            residual = residual - median(residual)
        spread = max(1.4826 * median(np.abs(residual)), 0.15)
        scaled = residual * (1 / (4.685 * spread))
        weights = np.maximum(1 - scaled * scaled, 0)
        weights *= weights
        if np.count_nonzero(weights) < 12:
            return state
        before = state
        state = _least_squares(points, weights + 1e-9, start=state, steps=2)
        if round_ > 1 and max(abs(a - b) for a, b in zip(before, state, strict=True)) < 5e-3:
            break
    return state


def median(values: npt.NDArray[Any]) -> float:
    """Return the median of a few hundred values, on which `np.median` costs several times as much.

    Example:
        >>> median(np.array([3, 1, 2])), median(np.array([4, 1, 2, 3]))
        (2.0, 2.5)
    """
    ordered = np.sort(values)
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else 0.5 * (float(ordered[middle - 1]) + float(ordered[middle]))


def _edges_on_rays(
    pixels: npt.NDArray[np.uint8], circle: Circle, *, corner: Corner, reach_px: float
) -> tuple[npt.NDArray[np.float64], int]:
    """Return the `(N, 2)` edge points on rays across the rim and how many rays cross it inside the frame."""
    samples = max(17, 2 * math.ceil(reach_px) + 1)
    offset = np.linspace(-reach_px, reach_px, samples)
    height, width = pixels.shape[:2]
    margin = min(1.5, reach_px / 2)
    kept = np.ones(_RAYS, np.bool_)
    # The inner end must lie in the frame, and the guessed rim too, with a little room.
    for radius, room in ((circle.radius - reach_px, 0.0), (circle.radius, margin)):
        rows, columns = circle.row + _DOWN * radius, circle.column + _RIGHT * radius
        kept &= (rows >= room) & (rows <= height - 1 - room) & (columns >= room) & (columns <= width - 1 - room)
    if not kept.any():
        return np.zeros((0, 2)), 0
    down, right = _DOWN[kept], _RIGHT[kept]
    radii = (circle.radius + offset)[None, :]
    profile = cv2.remap(
        pixels,
        (circle.column + right[:, None] * radii).astype(np.float32),
        (circle.row + down[:, None] * radii).astype(np.float32),
        interpolation=cv2.INTER_LINEAR,
        # Beyond the frame there is border: a rim that touches the frame is still an edge.
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=[*corner.color, 0, 0][:4] if pixels.shape[2] == 1 else [*corner.color, 0],
    ).reshape(int(np.count_nonzero(kept)), samples, pixels.shape[2])
    white = min(corner.color) > 200
    level = reduce(np.maximum, (_above(profile[..., c], corner.color[c], white) for c in range(profile.shape[2])))
    edge = max(2, samples // 6)
    inner, outer = (_middle(level[:, :edge]), _middle(level[:, -edge:]))
    step = inner - outer
    clear = step > max(5.0, 4 * corner.noise)
    share = np.clip((level - outer[:, None]) / np.where(clear, step, 1.0)[:, None], 0, 1)
    spacing = offset[1] - offset[0]
    where = offset[0] - spacing / 2 + share.sum(axis=1, dtype=np.float64) * spacing
    found = circle.radius + where[clear]
    points = np.stack([circle.row + down[clear] * found, circle.column + right[clear] * found], axis=1)
    return points, len(level)


def _above(plane: npt.NDArray[np.uint8], color: float, white: bool) -> npt.NDArray[np.float32]:
    level = plane.astype(np.float32)
    return np.float32(color) - level if white else level - np.float32(color)


def _middle(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the median of each short row; of two it is the mean."""
    if values.shape[1] == 2:
        return (values[:, 0] + values[:, 1]) * np.float32(0.5)
    return np.asarray(np.median(values, axis=1))
