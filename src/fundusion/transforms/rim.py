"""A circle through an outline that may be cut, dim or marked, and its rim measured to a fraction of a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

_RAYS = 180


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
    voters = points[:: max(1, len(points) // 200)].astype(np.float32)
    apart = [voters[None, :, i] - centers[:, None, i].astype(np.float32) for i in range(2)]
    distance = np.sqrt(apart[0] * apart[0] + apart[1] * apart[1])
    votes = (np.abs(distance - radii[:, None].astype(np.float32)) < 1.25).sum(axis=1)
    best = int(np.argmax(votes))
    row, column, radius = float(centers[best, 0]), float(centers[best, 1]), float(radii[best])
    for tolerance in (2.0, 1.5, 1.25):
        near = points[np.abs(np.hypot(points[:, 0] - row, points[:, 1] - column) - radius) < tolerance]
        if len(near) < 12:
            return None
        row, column, radius = _least_squares(near, np.ones(len(near)), start=(row, column, radius))
    near_share = float((np.abs(np.hypot(points[:, 0] - row, points[:, 1] - column) - radius) < 1.5).mean())
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
        error = np.abs(np.hypot(points[:, 0] - row, points[:, 1] - column) - radius)
        agree = float((error <= max(1.5, 0.01 * radius)).sum()) / visible
        circle = Circle(row=row, column=column, radius=radius, support=min(1.0, agree))
        if round_ == 0:
            reach = max(3.0, 0.75 * reach)
    return circle


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
    points: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], *, start: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Return the circle of least squared distance (Gauss-Newton)."""
    state = np.array(start, float)
    for _ in range(8):
        delta = points - state[:2]
        distance = np.maximum(np.hypot(delta[:, 0], delta[:, 1]), 1e-9)
        jacobian = np.column_stack([-delta[:, 0] / distance, -delta[:, 1] / distance, -np.ones(len(points))])
        residual = distance - state[2]
        root = np.sqrt(weights)
        step = np.linalg.lstsq(jacobian * root[:, None], -residual * root, rcond=None)[0]
        state = state + step
        if np.abs(step).max() < 1e-4:
            break
    return float(state[0]), float(state[1]), float(state[2])


def _robust_fit(points: npt.NDArray[np.float64], *, start: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the circle fitted with Tukey weights, so that a mark, a cut or dim stretches do not pull it."""
    state = start
    for _ in range(4):
        residual = np.hypot(points[:, 0] - state[0], points[:, 1] - state[1]) - state[2]
        residual = residual - np.median(residual) if _ == 0 else residual
        spread = max(1.4826 * float(np.median(np.abs(residual))), 0.15)
        weights = np.clip(1 - (residual / (4.685 * spread)) ** 2, 0, None) ** 2
        if (weights > 0).sum() < 12:
            return state
        state = _least_squares(points, weights + 1e-9, start=state)
    return state


def _edges_on_rays(
    pixels: npt.NDArray[np.uint8], circle: Circle, *, corner: Corner, reach_px: float
) -> tuple[npt.NDArray[np.float64], int]:
    """Return the `(N, 2)` edge points on rays across the rim and how many rays cross it inside the frame."""
    angle = np.arange(_RAYS) * (2 * math.pi / _RAYS)
    samples = max(17, 2 * math.ceil(reach_px) + 1)
    offset = np.linspace(-reach_px, reach_px, samples)
    radius = circle.radius + offset[None, :]
    rows = circle.row + np.sin(angle)[:, None] * radius
    columns = circle.column + np.cos(angle)[:, None] * radius
    height, width = pixels.shape[:2]
    margin = min(1.5, reach_px / 2)
    kept = (
        (rows[:, 0] >= 0) & (rows[:, 0] <= height - 1) & (columns[:, 0] >= 0) & (columns[:, 0] <= width - 1)
        & (rows[:, samples // 2] >= margin) & (rows[:, samples // 2] <= height - 1 - margin)
        & (columns[:, samples // 2] >= margin) & (columns[:, samples // 2] <= width - 1 - margin)
    )  # fmt: skip
    if not kept.any():
        return np.zeros((0, 2)), 0
    profile = cv2.remap(
        pixels,
        columns[kept].astype(np.float32),
        rows[kept].astype(np.float32),
        interpolation=cv2.INTER_LINEAR,
        # Beyond the frame there is border: a rim that touches the frame is still an edge.
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=[*corner.color, 0, 0][:4] if pixels.shape[2] == 1 else [*corner.color, 0],
    ).reshape(int(kept.sum()), samples, -1)
    difference = profile.astype(np.float64) - np.array(corner.color)
    white = min(corner.color) > 200
    level = (-difference if white else difference).max(axis=2)
    edge = max(2, samples // 6)
    inner, outer = np.median(level[:, :edge], axis=1), np.median(level[:, -edge:], axis=1)
    step = inner - outer
    clear = step > max(5.0, 4 * corner.noise)
    share = np.clip((level - outer[:, None]) / np.where(clear, step, 1.0)[:, None], 0, 1)
    spacing = offset[1] - offset[0]
    where = offset[0] - spacing / 2 + share.sum(axis=1) * spacing
    found = circle.radius + where[clear]
    angle = angle[kept][clear]
    points = np.stack([circle.row + np.sin(angle) * found, circle.column + np.cos(angle) * found], axis=1)
    return points, int(kept.sum())
