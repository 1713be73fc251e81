"""Coverage of pixels by thin lines and small blobs, by distance and not by polygon, so that widths come out true."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from .anatomy import FloatArray


def sample_line(points: FloatArray, widths: FloatArray, *, step: float = 0.5) -> tuple[FloatArray, FloatArray]:
    """Return points `(N, 2)` and widths `(N,)` along a polyline, no more than `step` pixels apart."""
    lengths = np.hypot(*np.diff(points, axis=0).T)
    position = np.concatenate([[0.0], np.cumsum(lengths)])
    count = max(2, int(np.ceil(position[-1] / step)) + 1)
    where = np.linspace(0.0, position[-1], count)
    dense = np.stack([np.interp(where, position, points[:, i]) for i in (0, 1)], -1)
    return dense.astype(np.float32), np.interp(where, position, widths).astype(np.float32)


def cover_line(
    points: FloatArray, widths: FloatArray, shape: tuple[int, int], *, strengths: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return the share `(H, W)` of each pixel that lines of given full width cover, in [0, 1], and that times strength.

    A line thinner than a pixel covers it by its width, so faint vessels fade instead of growing to one pixel.

    Args:
        points: `(N, 2)` (row, col), dense along the lines.
        widths: `(N,)` full widths in pixels.
        shape: (H, W).
        strengths: `(N,)` how dense the line is at each point; None is 1 everywhere.
    """
    half = widths / 2
    reach = np.ceil(half + 0.5).astype(np.int64)
    border = int(reach.max(initial=1)) + 1
    near = np.rint(points).astype(np.int64)
    inside = np.all((near >= 0) & (near < np.asarray(shape)), axis=1)
    points, half, reach, near = points[inside], half[inside], reach[inside], near[inside]
    strengths = None if strengths is None else strengths[inside]
    stride = shape[1] + 2 * border
    canvas = np.zeros((shape[0] + 2 * border) * stride, np.float32)
    dense = canvas if strengths is None else canvas.copy()
    for k in np.unique(reach):
        chosen = reach == k
        row, col = (points[chosen] - near[chosen]).T
        start = (near[chosen, 0] + border) * stride + near[chosen, 1] + border
        radius = half[chosen]
        for i in range(-k, k + 1):
            for j in range(-k, k + 1):
                if (abs(i) - 0.5) ** 2 + (abs(j) - 0.5) ** 2 > (k + 0.5) ** 2 and i and j:
                    continue
                distance = np.hypot(i - row, j - col)
                share = np.minimum(distance + 0.5, radius) - np.maximum(distance - 0.5, -radius)
                np.maximum.at(canvas, start + i * stride + j, share)
                if strengths is not None:
                    np.maximum.at(dense, start + i * stride + j, share * strengths[chosen])
    kept = (slice(border, -border), slice(border, -border))
    cover, weighted = (np.clip(c.reshape(-1, stride)[kept], 0, 1) for c in (canvas, dense))
    return cover, weighted


def add_blob(
    canvas: FloatArray,
    center: tuple[float, float],
    radius: float,
    *,
    wobble: npt.NDArray[np.float64] | None = None,
    stretch: float = 1.0,
    angle: float = 0.0,
    soft: float = 0.5,
) -> None:
    """Raise a canvas `(H, W)` to the coverage of one irregular blob, in place.

    Args:
        canvas: Coverage in [0, 1].
        center: (row, col).
        radius: Mean radius, px. Below 0.6 px the blob keeps its size and loses strength.
        wobble: `(K, 2)` amplitude and phase of the K harmonics of its outline.
        stretch: Length by width.
        angle: Direction of the length, rad from the columns to the rows.
        soft: Half-width of the edge, px.
    """
    strength = min(1.0, (radius / 0.6) ** 2)
    radius = max(radius, 0.6)
    reach = radius * (1.4 if wobble is not None else 1.0) * max(stretch, 1 / stretch) ** 0.5 + soft + 1
    height, width = canvas.shape
    top, bottom = max(0, int(center[0] - reach)), min(height, int(center[0] + reach) + 2)
    left, right = max(0, int(center[1] - reach)), min(width, int(center[1] + reach) + 2)
    if top >= bottom or left >= right:
        return
    rows = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(center[0])
    cols = np.arange(left, right, dtype=np.float32)[None] - np.float32(center[1])
    along = cols * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - cols * np.sin(angle)
    along, across = along / stretch**0.5, across * stretch**0.5
    distance = np.hypot(along, across)
    outline = np.full_like(distance, radius)
    if wobble is not None and radius > 1:
        theta = np.arctan2(across, along)
        for k, (amplitude, phase) in enumerate(wobble, 2):
            outline += radius * amplitude * np.cos(k * theta + phase)
    share = np.clip((outline - distance) / (2 * soft) + 0.5, 0, 1) * strength
    patch = canvas[top:bottom, left:right]
    np.maximum(patch, share, out=patch)


def smooth_noise(
    generator: np.random.Generator, shape: tuple[int, int], *, cells: float, octaves: int = 1
) -> FloatArray:
    """Return smooth noise `(H, W)` of about unit deviation with `cells` bumps across the width."""
    total = np.zeros(shape, np.float32)
    weight, power = 1.0, 0.0
    for _ in range(octaves):
        grid = tuple(max(4, int(np.ceil(cells * s / shape[1])) + 3) for s in shape)
        small = generator.standard_normal(grid, dtype=np.float32)
        total += np.float32(weight) * cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC)
        power += weight**2
        weight, cells = weight * 0.55, cells * 2
    return total * np.float32(1.3 / np.sqrt(power))


def blur(picture: FloatArray, sigma: float) -> FloatArray:
    """Return a picture blurred by a Gaussian of `sigma` pixels; below 0.25 it is returned as it is."""
    if sigma < 0.25:
        return picture
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), float(sigma), borderType=cv2.BORDER_REPLICATE), np.float32)
