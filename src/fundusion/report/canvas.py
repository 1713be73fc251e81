"""A sheet to draw on that becomes pixels or vectors: one drawing, a PNG and an SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

Color = tuple[int, int, int]
Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[Any]
#: Pixels are drawn this many times as large and averaged, so that lines are smooth.
_FINE = 2


class Canvas(Protocol):
    """What a drawing needs; all places are (x, y) in units of the sheet, from its upper left corner."""

    def picture(self, pixels: Pixels, place: tuple[float, float], size: float) -> None:
        """Put a square picture."""
        ...

    def area(self, mask: npt.NDArray[np.bool_], place: tuple[float, float], size: float, color: Color) -> None:
        """Tint where a square mask is set."""
        ...

    def line(self, points: Points, color: Color, width: float, dash: bool = False) -> None:
        """Draw a line through points `(N, 2)`."""
        ...

    def polygon(self, points: Points, color: Color, opacity: float) -> None:
        """Fill a polygon `(N, 2)`."""
        ...

    def circle(self, center: tuple[float, float], radius: float, color: Color, width: float = 0.0) -> None:
        """Draw a circle; without a width it is filled."""
        ...

    def text(self, place: tuple[float, float], words: str, size: float, color: Color, *, anchor: str = "start") -> None:
        """Write words on a base line; anchor is "start", "middle" or "end"."""
        ...


class VectorCanvas:
    """A sheet that becomes an SVG.

    Args:
        width: Of the sheet.
        height: Of the sheet.
        background: Colour.

    Example:
        >>> sheet = VectorCanvas(40, 20, (255, 255, 255))
        >>> sheet.text((2, 12), "a < b", 8, (0, 0, 0))
        >>> b"a &lt; b" in sheet.encoded()
        True
    """

    def __init__(self, width: int, height: int, background: Color) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="DejaVu Sans, Verdana, sans-serif">',
            f'<rect width="{width}" height="{height}" fill="{_hex(background)}"/>',
        ]

    def picture(self, pixels: Pixels, place: tuple[float, float], size: float) -> None:
        """Put a square picture."""
        _, coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
        data = base64.b64encode(coded.tobytes()).decode("ascii")
        self._parts.append(
            f'<image x="{place[0]:g}" y="{place[1]:g}" width="{size:g}" height="{size:g}" href="data:image/jpeg;base64,{data}"/>'
        )

    def area(self, mask: npt.NDArray[np.bool_], place: tuple[float, float], size: float, color: Color) -> None:
        """Tint where a square mask is set."""
        found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        scale = size / mask.shape[1]
        paths = [
            "M"
            + "L".join(f"{place[0] + x * scale:.1f} {place[1] + y * scale:.1f}" for x, y in outline[:, 0] + 0.5)
            + "Z"
            for outline in found
        ]
        if paths:
            # Outlines run through the centres of pixels; half a pixel all around is added by the stroke.
            self._parts.append(
                f'<path d="{"".join(paths)}" fill="{_hex(color)}" fill-rule="evenodd" stroke="{_hex(color)}" stroke-width="{scale:.2f}" opacity="0.6"/>'
            )

    def line(self, points: Points, color: Color, width: float, dash: bool = False) -> None:
        """Draw a line through points `(N, 2)`."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{3 * width:g} {2 * width:g}"' if dash else ""
        self._parts.append(
            f'<polyline points="{places}" fill="none" stroke="{_hex(color)}" stroke-width="{width:g}" stroke-linejoin="round"{dashed}/>'
        )

    def polygon(self, points: Points, color: Color, opacity: float) -> None:
        """Fill a polygon `(N, 2)`."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polygon points="{places}" fill="{_hex(color)}" opacity="{opacity:g}"/>')

    def circle(self, center: tuple[float, float], radius: float, color: Color, width: float = 0.0) -> None:
        """Draw a circle; without a width it is filled."""
        look = f'fill="none" stroke="{_hex(color)}" stroke-width="{width:g}"' if width else f'fill="{_hex(color)}"'
        self._parts.append(f'<circle cx="{center[0]:.1f}" cy="{center[1]:.1f}" r="{radius:.1f}" {look}/>')

    def text(self, place: tuple[float, float], words: str, size: float, color: Color, *, anchor: str = "start") -> None:
        """Write words on a base line; anchor is "start", "middle" or "end"."""
        self._parts.append(
            f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" font-size="{size:g}" fill="{_hex(color)}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def encoded(self) -> bytes:
        """Return the file."""
        return ("\n".join([*self._parts, "</svg>"]) + "\n").encode("utf-8")


#: What the font that comes with Pillow has no glyph for; it would draw a box.
_NO_GLYPH = str.maketrans({"µ": "u", "²": "^2"})


class PixelCanvas:
    """A sheet that becomes a picture.

    Args:
        width: Of the sheet, px.
        height: Of the sheet, px.
        background: Colour.

    Example:
        >>> sheet = PixelCanvas(8, 8, (255, 255, 255))
        >>> sheet.circle((4.0, 4.0), 3.0, (255, 0, 0))
        >>> sheet.pixels()[4, 4].tolist(), sheet.pixels()[0, 0].tolist()
        ([255, 0, 0], [255, 255, 255])
    """

    def __init__(self, width: int, height: int, background: Color) -> None:
        from PIL import Image as Pillow
        from PIL import ImageDraw

        self._sheet = Pillow.new("RGB", (width * _FINE, height * _FINE), background)
        self._pen = ImageDraw.Draw(self._sheet, "RGBA")

    def picture(self, pixels: Pixels, place: tuple[float, float], size: float) -> None:
        """Put a square picture."""
        from PIL import Image as Pillow

        side = round(size * _FINE)
        scaled = Pillow.fromarray(pixels).resize((side, side), Pillow.Resampling.BICUBIC)
        self._sheet.paste(scaled, (round(place[0] * _FINE), round(place[1] * _FINE)))

    def area(self, mask: npt.NDArray[np.bool_], place: tuple[float, float], size: float, color: Color) -> None:
        """Tint where a square mask is set."""
        from PIL import Image as Pillow

        side = round(size * _FINE)
        alpha = Pillow.fromarray(mask.astype(np.uint8) * 153).resize((side, side), Pillow.Resampling.BILINEAR)
        self._sheet.paste(
            Pillow.new("RGB", (side, side), color), (round(place[0] * _FINE), round(place[1] * _FINE)), alpha
        )

    def line(self, points: Points, color: Color, width: float, dash: bool = False) -> None:
        """Draw a line through points `(N, 2)`."""
        places = np.asarray(points, np.float64) * _FINE
        thick = max(1, round(width * _FINE))
        for part in _dashes(places, 3.0 * thick, 2.0 * thick) if dash else [places]:
            self._pen.line([(float(x), float(y)) for x, y in part], fill=color, width=thick, joint="curve")

    def polygon(self, points: Points, color: Color, opacity: float) -> None:
        """Fill a polygon `(N, 2)`."""
        places = [(float(x), float(y)) for x, y in np.asarray(points, np.float64) * _FINE]
        self._pen.polygon(places, fill=(*color, round(255 * opacity)))

    def circle(self, center: tuple[float, float], radius: float, color: Color, width: float = 0.0) -> None:
        """Draw a circle; without a width it is filled."""
        # The line lies half inside and half outside of the circle, as in vectors.
        x, y, r = center[0] * _FINE, center[1] * _FINE, (radius + width / 2) * _FINE
        box = (x - r, y - r, x + r, y + r)
        if width:
            self._pen.ellipse(box, outline=color, width=max(1, round(width * _FINE)))
        else:
            self._pen.ellipse(box, fill=color)

    def text(self, place: tuple[float, float], words: str, size: float, color: Color, *, anchor: str = "start") -> None:
        """Write words on a base line; anchor is "start", "middle" or "end"."""
        from PIL import ImageFont

        font = ImageFont.load_default(size * _FINE)
        words = words.translate(_NO_GLYPH)
        spot = (place[0] * _FINE, place[1] * _FINE)
        self._pen.text(spot, words, fill=color, font=font, anchor={"start": "ls", "middle": "ms", "end": "rs"}[anchor])

    def pixels(self) -> Pixels:
        """Return the picture `(H, W, 3)`."""
        made: Pixels = np.asarray(self._sheet.reduce(_FINE))
        return made

    def encoded(self) -> bytes:
        """Return the PNG."""
        stream = io.BytesIO()
        self._sheet.reduce(_FINE).save(stream, "PNG")
        return stream.getvalue()


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _dashes(points: Points, on: float, off: float) -> Sequence[Points]:
    """Return the pieces of a dashed line."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    pieces = []
    for start in np.arange(0.0, along[-1], on + off):
        at = np.linspace(start, min(start + on, along[-1]), 4)
        pieces.append(np.stack([np.interp(at, along, points[:, k]) for k in range(2)], 1))
    return pieces
