"""Pictures of a report as data URIs, and small bars as SVG. Re-encoding drops every trace of metadata."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]

MAX_PX = 760
THUMBNAIL_PX = 96


def data_uri(pixels: Pixels, *, max_px: int = MAX_PX, quality: int = 85) -> str:
    """Return a picture as a JPEG data URI, its longest side at most `max_px`."""
    picture = _rgb(pixels)
    scale = max_px / max(picture.shape[:2])
    if scale < 1:
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")


def thumbnail(pixels: Pixels) -> str:
    """Return a small picture for a table."""
    return data_uri(pixels, max_px=THUMBNAIL_PX, quality=70)


def overlay(pixels: Pixels, heat: npt.NDArray[np.float32], *, strength: float = 0.6) -> Pixels:
    """Return the picture with a map over it: opaque where the map is high, clear where it is zero.

    Args:
        pixels: uint8 `(H, W, C)`.
        heat: `(H, W)` in [0, 1].
        strength: Opacity at one.
    """
    picture = _rgb(pixels).astype(np.float32)
    level = np.clip(np.nan_to_num(heat), 0, 1)
    colour = cv2.applyColorMap(np.rint(level * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1].astype(
        np.float32
    )
    # Weak evidence stays invisible: it is noise as often as not.
    alpha = (strength * np.clip((level - 0.15) / 0.6, 0, 1))[..., None]
    mixed: Pixels = np.rint(picture * (1 - alpha) + colour * alpha).astype(np.uint8)
    return mixed


def _rgb(pixels: Pixels) -> Pixels:
    picture = pixels if pixels.ndim == 3 else pixels[..., None]
    return np.ascontiguousarray(np.repeat(picture, 3, 2) if picture.shape[2] == 1 else picture)


def probability_bar(probability: float, *, threshold: float | None = None, state: str = "absent") -> str:
    """Return an SVG bar of a probability with a tick at the threshold."""
    width = 100 * min(max(probability, 0.0), 1.0)
    tick = "" if threshold is None else f'<rect class="tick" x="{100 * threshold:.1f}" y="0" width="0.8" height="10"/>'
    label = f"probability {probability:.0%}" + ("" if threshold is None else f", threshold {threshold:.0%}")
    return (
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'<rect class="track" x="0" y="3" width="100" height="4" rx="2"/>'
        f'<rect class="fill {state}" x="0" y="3" width="{width:.1f}" height="4" rx="2"/>{tick}</svg>'
    )


def signed_bar(value: float, *, scale: float) -> str:
    """Return an SVG bar to the right for positive and to the left for negative values."""
    half = 50 * min(abs(value) / scale, 1.0) if scale > 0 else 0.0
    start = 50.0 if value >= 0 else 50.0 - half
    state = "present" if value >= 0 else "absent"
    return (
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{value:+.3f}">'
        f'<rect class="track" x="0" y="4.4" width="100" height="1.2"/>'
        f'<rect class="fill {state}" x="{start:.1f}" y="2" width="{half:.1f}" height="6"/>'
        f'<rect class="tick" x="49.7" y="0" width="0.6" height="10"/></svg>'
    )
