"""A circle through an outline that may be cut, dim or marked, and its rim measured to a fraction of a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_ANGLES = np.arange(180) * (2 * math.pi / 180)
_DOWN, _RIGHT = np.sin(_ANGLES), np.cos(_ANGLES)
#: A circle through all of an outline on which this share of it lies, to so many pixels, is taken without a vote.
_CLEAR_SHARE, _CLEAR_PX = 0.85, 2.0


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

    A fit to the whole outline is taken where most of it agrees. Otherwise triples of outline points at several distances are tried in
    a fixed order (no random numbers) and the circle with most points near it wins. It is fitted again to them.

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
    least, most = 0.12 * max(frame[:2]), 1.0 * max(frame[:2])
    # Little of the outline of most fields is off their circle: a fit to all of it is near enough to see what is on it.
    row, column, radius = _algebraic(points)
    if least < radius < most:
        near = np.count_nonzero(np.abs(_distances(points, row, column) - radius) < _CLEAR_PX)
        if near >= _CLEAR_SHARE * len(points):
            return _refined(points, start=(row, column, radius))
    centers, radii = _through_triples(points)
    sensible = (radii > least) & (radii < most)
    centers, radii = centers[sensible], radii[sensible]
    if not len(radii):
        return None
    best = _most_voted(points[:: max(1, len(points) // 200)], centers, radii)
    return _refined(points, start=(float(centers[best, 0]), float(centers[best, 1]), float(radii[best])))


def _algebraic(points: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the circle of least squared difference of squared distances, which needs no start; the radius is 0 where there is none.

    Source:
        Kasa 1976, A circle fitting procedure and its error analysis, IEEE Transactions on Instrumentation and Measurement 25.
    """
    middle = points.mean(axis=0)
    away = (points - middle).T
    # Coordinates of about one, so that the grain which keeps lines solvable has its size.
    scale = float(np.abs(away).max()) or 1.0
    design = np.ones((4, len(points)))
    design[:2] = away / scale
    design[3] = design[0] * design[0] + design[1] * design[1]
    down, right, rest = _solve(design[:3] @ design.T, len(points))
    squared = rest + (down * down + right * right) / 4
    center = middle + np.array([down, right]) * (scale / 2)
    return float(center[0]), float(center[1]), math.sqrt(max(squared, 0.0)) * scale


def _refined(points: npt.NDArray[np.float64], *, start: tuple[float, float, float]) -> Circle | None:
    """Return the circle fitted to the points that lie near a first one, None where there are too few."""
    row, column, radius = start
    for tolerance in (2.0, 1.5, 1.25):
        near = points[np.abs(_distances(points, row, column) - radius) < tolerance]
        if len(near) < 12:
            return None
        row, column, radius = _least_squares(near, start=(row, column, radius), steps=3)
    near_share = float((np.abs(_distances(points, row, column) - radius) < 1.5).mean())
    # Outline pixels are centres of the outermost pixels inside; the rim itself is half a pixel further out.
    return Circle(row=row, column=column, radius=radius + 0.5, support=near_share)


def polish_circle(
    pixels: npt.NDArray[np.uint8], circle: Circle, *, corner: Corner, reach_px: float, settled_px: float = 0.02
) -> Circle:
    """Return the circle moved onto the rim in the full-resolution picture, with the share of rays that agree.

    Along each ray across the rim, brightness falls from the inner to the outer level; the edge is where the area under
    that step ends, which needs no derivative and holds with noise.

    Args:
        pixels: `(H, W, C)` uint8.
        circle: First guess.
        corner: Colour and noise of the border.
        reach_px: How far from the guess the rim may lie.
        settled_px: A circle that a look at the picture moved by less is not looked at again.
    """
    reach = max(reach_px, 3.0)
    for round_ in range(3):
        points, directions, visible = _edges_on_rays(pixels, circle, corner=corner, reach_px=reach)
        if len(points) < 12 or visible < 12:
            return Circle(row=circle.row, column=circle.column, radius=circle.radius, support=0.0)
        row, column, radius = _robust_fit(points, directions, start=(circle.row, circle.column, circle.radius))
        if not (math.isfinite(radius) and radius > 4):
            return Circle(row=circle.row, column=circle.column, radius=circle.radius, support=0.0)
        error = np.abs(_distances(points, row, column) - radius)
        agree = float(np.count_nonzero(error <= max(1.5, 0.01 * radius))) / visible
        moved = max(abs(row - circle.row), abs(column - circle.column), abs(radius - circle.radius))
        circle = Circle(row=row, column=column, radius=radius, support=min(1.0, agree))
        if moved < settled_px:
            break
        if round_ == 0:
            reach = max(3.0, 0.75 * reach)
    return circle


def _distances(points: npt.NDArray[np.float64], row: float, column: float) -> npt.NDArray[np.float64]:
    down, right = points[:, 0] - row, points[:, 1] - column
    return np.sqrt(down * down + right * right)


def _most_voted(
    voters: npt.NDArray[np.float64], centers: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]
) -> int:
    """Return which circle has most points within 1.25 px of its rim."""
    # |p - c|^2 - r^2 - 1.25^2 as one product of matrices; the origin is moved to the middle so that single precision is enough. Within
    # a width w of the rim it is at most 2 w r on either side.
    origin = voters.mean(axis=0)
    points, middles = voters - origin, centers - origin
    rows = np.ones((len(middles), 4), np.float32)
    rows[:, :2], rows[:, 2] = -2 * middles, (middles * middles).sum(axis=1) - radii * radii - 1.25**2
    columns = np.ones((4, len(points)), np.float32)
    columns[:2], columns[3] = points.T, (points * points).sum(axis=1)
    apart = rows @ columns
    np.abs(apart, out=apart)
    near = apart < (2 * 1.25 * radii).astype(np.float32)[:, None]
    return int(np.argmax(np.count_nonzero(near, axis=1)))


def _through_triples(
    points: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return centres `(N, 2)` and radii of circles through triples of points at several distances along the outline."""
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
    points: npt.NDArray[np.float64], *, start: tuple[float, float, float], steps: int
) -> tuple[float, float, float]:
    """Return the circle of least squared distance (Gauss-Newton on the normal equations)."""
    row, column, radius = start
    design = np.ones((4, len(points)))
    for _ in range(steps):
        down, right = points[:, 0] - row, points[:, 1] - column
        distance = np.maximum(np.sqrt(down * down + right * right), 1e-9)
        design[0], design[1], design[3] = down / distance, right / distance, distance - radius
        step = _solve(design[:3] @ design.T, len(points))
        row, column, radius = row + step[0], column + step[1], radius + step[2]
        if max(map(abs, step)) < 1e-3:
            break
    return row, column, radius


def _solve(system: npt.NDArray[np.float64], count: int) -> tuple[float, float, float]:
    """Return the solution of normal equations `(3, 4)`, in plain numbers: a call of a library costs several times as much."""
    (a, b, c, x), (_, d, e, y), (_, _, f, z) = system.tolist()
    # Points on a short arc leave the system nearly singular; a grain on its diagonal keeps the step finite.
    grain = 1e-9 * count
    a, d, f = a + grain, d + grain, f + grain
    p, q = b / a, c / a
    d, e, f, y, z = d - p * b, e - p * c, f - q * c, y - p * x, z - q * x
    q = e / d
    third = (z - q * y) / (f - q * e)
    second = (y - e * third) / d
    return (x - b * second - c * third) / a, second, third


def _robust_fit(
    points: npt.NDArray[np.float64], directions: npt.NDArray[np.float64], *, start: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Return the circle fitted with Tukey weights, so that a mark, a cut or dim stretches do not pull it.

    Args:
        points: `(N, 2)`.
        directions: `(2, N)` unit vectors to them from near the centre. The steps of the fit are taken along these; distances are exact,
            so that where it comes to rest does not depend on them.
        start: First guess.
    """
    state = start
    design = np.ones((4, len(points)))
    design[:2] = directions
    for round_ in range(10):
        residual = _distances(points, state[0], state[1]) - state[2]
        design[3] = residual
        if round_ == 0:
            residual = residual - median(residual)
        spread = max(1.4826 * median(np.abs(residual)), 0.15)
        scaled = residual * (1 / (4.685 * spread))
        weights = np.maximum(1 - scaled * scaled, 0)
        weights *= weights
        if np.count_nonzero(weights) < 12:
            return state
        weights += 1e-9
        step = _solve((design[:3] * weights) @ design.T, len(points))
        state = (state[0] + step[0], state[1] + step[1], state[2] + step[2])
        if round_ > 1 and max(map(abs, step)) < 5e-3:
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
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], int]:
    """Return the `(N, 2)` edge points on rays across the rim, the `(2, N)` rays, and how many rays cross it inside the frame."""
    samples = max(17, 2 * math.ceil(reach_px) + 1)
    offset = np.linspace(-reach_px, reach_px, samples, dtype=np.float32)
    height, width = pixels.shape[:2]
    margin = min(1.5, reach_px / 2)
    kept = np.ones(len(_ANGLES), np.bool_)
    # The inner end must lie in the frame, and the guessed rim too, with a little room.
    for radius, room in ((circle.radius - reach_px, 0.0), (circle.radius, margin)):
        rows, columns = circle.row + _DOWN * radius, circle.column + _RIGHT * radius
        kept &= (rows >= room) & (rows <= height - 1 - room) & (columns >= room) & (columns <= width - 1 - room)
    if not kept.any():
        return np.zeros((0, 2)), np.zeros((2, 0)), 0
    down, right = _DOWN[kept], _RIGHT[kept]
    radii = offset + np.float32(circle.radius)
    profile = cv2.remap(
        pixels,
        np.outer(right.astype(np.float32), radii) + np.float32(circle.column),
        np.outer(down.astype(np.float32), radii) + np.float32(circle.row),
        interpolation=cv2.INTER_LINEAR,
        # Beyond the frame there is border: a rim that touches the frame is still an edge.
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=[*corner.color, 0, 0][:4] if pixels.shape[2] == 1 else [*corner.color, 0],
    ).reshape(len(down), samples, pixels.shape[2])
    white = min(corner.color) > 200
    level = reduce(np.maximum, (_above(profile[..., c], corner.color[c], white) for c in range(profile.shape[2])))
    edge = max(2, samples // 6)
    inner, outer = (_middle(level[:, :edge]), _middle(level[:, -edge:]))
    step = inner - outer
    clear = step > max(5.0, 4 * corner.noise)
    level -= outer[:, None]
    level /= np.where(clear, step, np.float32(1))[:, None]
    share = np.minimum(np.maximum(level, 0, out=level), 1, out=level)
    spacing = 2 * reach_px / (samples - 1)
    where = share.sum(axis=1, dtype=np.float64) * spacing - (reach_px + spacing / 2)
    found, rays = circle.radius + where[clear], np.stack([down[clear], right[clear]])
    points = np.stack([circle.row + rays[0] * found, circle.column + rays[1] * found], axis=1)
    return points, rays, len(level)


def _above(plane: npt.NDArray[np.uint8], color: float, white: bool) -> npt.NDArray[np.float32]:
    level = plane.astype(np.float32)
    return np.float32(color) - level if white else level - np.float32(color)


def _middle(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the median of each short row; of two it is the mean."""
    if values.shape[1] == 2:
        return (values[:, 0] + values[:, 1]) * np.float32(0.5)
    if values.shape[1] == 3:
        one, two, three = values.T
        return np.maximum(np.minimum(one, two), np.minimum(np.maximum(one, two), three))
    return np.asarray(np.median(values, axis=1))
