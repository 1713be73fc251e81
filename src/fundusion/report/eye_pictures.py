"""Pictures of one measured eye: the structures that were found, and where the numbers were taken; with legend and side."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from ..biomarkers.caliber import ZONES
from ..biomarkers.eye import EyeMeasurements
from ..biomarkers.lesions import ETDRS_UM
from .canvas import Canvas, Color, PixelCanvas, VectorCanvas
from .overlays import COLOURS

#: Side of the photograph on the sheet, and heights of the words above and below.
_SIDE, _HEAD, _ROW = 900, 44, 30
WIDTH = _SIDE
_INK, _SOFT, _PAPER = (20, 26, 30), (96, 108, 116), (255, 255, 255)
_ZONE_COLORS: Mapping[str, Color] = {"A": (255, 255, 255), "B": (255, 150, 215), "C": (190, 165, 255)}
_NODE: Color = (140, 255, 120)
_GRID: Color = (150, 255, 215)
_GRAPH: Mapping[str, Color] = {"artery": (255, 96, 80), "vein": (110, 160, 255), "vessels": (255, 150, 60)}
#: Structure to its words in a legend.
WORDS = {
    "vessels": "vessels",
    "artery": "arteries",
    "vein": "veins",
    "disc": "optic disc",
    "cup": "optic cup",
    "MA": "microaneurysms",
    "HE": "haemorrhages",
    "EX": "hard exudates",
    "SE": "cotton-wool spots",
}
SIDES = {"OD": "Right eye (OD)", "OS": "Left eye (OS)"}
_Masks = Mapping[str, npt.NDArray[np.bool_]]
_Pixels = npt.NDArray[np.uint8]


class _Sheet:
    """A photograph with a headline above, and rows of a legend below."""

    def __init__(self, canvas: Canvas, pixels: _Pixels, laterality: str | None, title: str) -> None:
        self.canvas, self.scale = canvas, _SIDE / pixels.shape[1]
        canvas.picture(pixels, (0, _HEAD), _SIDE)
        canvas.text((10, 30), f"{SIDES.get(str(laterality), 'Eye not stated')}: {title}", 21, _INK)
        if laterality in SIDES:
            # Nasal is to the right in a photograph of a right eye.
            left, right = ("temporal", "nasal") if laterality == "OD" else ("nasal", "temporal")
            for x, words, anchor in ((12, left, "start"), (_SIDE - 12, right, "end")):
                canvas.text((x, _HEAD + _SIDE - 14), words, 20, (255, 255, 255), anchor=anchor)
        self._at = [10.0, _HEAD + _SIDE + 22.0]

    def place(self, row: float, col: float) -> tuple[float, float]:
        """Return where a pixel centre of the photograph lies on the sheet."""
        return (col + 0.5) * self.scale, _HEAD + (row + 0.5) * self.scale

    def outline(self, mask: npt.NDArray[np.bool_], color: Color, width: float) -> None:
        """Draw the margin of a mask."""
        found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for one in found:
            closed = np.concatenate([one[:, 0], one[:1, 0]]).astype(np.float64) + 0.5
            self.canvas.line(closed * self.scale + (0, _HEAD), color, width)

    def ring(self, center: tuple[float, float], radius: float, color: Color, width: float) -> None:
        """Draw the part of a circle that lies on the photograph; radius in its pixels."""
        x, y = self.place(*center)
        turn = np.radians(np.arange(0, 361))
        points = np.stack([x + radius * self.scale * np.cos(turn), y + radius * self.scale * np.sin(turn)], 1)
        inside = np.all((points >= (0, _HEAD)) & (points <= (_SIDE, _HEAD + _SIDE)), axis=1)
        for part in np.split(np.arange(361), np.flatnonzero(np.diff(inside.astype(np.int8))) + 1):
            if inside[part[0]] and len(part) > 1:
                self.canvas.line(points[part], color, width)

    def legend(self, color: Color, words: str, kind: str = "line") -> None:
        """Write one entry; a new row begins where it has no room."""
        wide = 44 + 10.5 * len(words)
        if self._at[0] + wide > _SIDE - 4:
            self._at = [10.0, self._at[1] + _ROW]
        x, y = self._at
        if kind == "dot":
            self.canvas.circle((x + 12, y - 6), 5, _INK)
            self.canvas.circle((x + 12, y - 6), 4, color)
        else:
            self.canvas.line(np.array([[x, y - 6], [x + 26, y - 6]]), _INK, 9 if kind == "area" else 5)
            self.canvas.line(np.array([[x + 1, y - 6], [x + 25, y - 6]]), color, 7 if kind == "area" else 3)
        self.canvas.text((x + 34, y), words, 18, _INK)
        self._at[0] += wide


def draw_structures(canvas: Canvas, pixels: _Pixels, masks: _Masks, *, laterality: str | None = None) -> None:
    """Draw what was found: vessels tinted, disc, cup and lesions outlined."""
    sheet = _Sheet(canvas, pixels, laterality, "what was marked")
    told_apart = "artery" in masks and "vein" in masks
    kinds = ("artery", "vein") if told_apart else ("vessels",)
    for name in (k for k in kinds if k in masks):
        color = COLOURS["vessel" if name == "vessels" else name]
        canvas.area(masks[name], (0, _HEAD), _SIDE, color)
        sheet.legend(color, WORDS[name], "area")
    for name, mask in masks.items():
        if name in ("vessels", "artery", "vein", "field"):
            continue
        color = COLOURS.get(name, (255, 255, 255))
        sheet.outline(mask, color, 2.4)
        number = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
        words = WORDS.get(name, name)
        sheet.legend(color, words if name in ("disc", "cup") and number else f"possible {words}: {number or 'none'}")


def draw_zones(
    canvas: Canvas, pixels: _Pixels, found: EyeMeasurements, masks: _Masks, *, laterality: str | None = None
) -> None:
    """Draw where numbers were taken: centre lines and branchings, zones A, B and C around the disc, the grid around the fovea.

    Source:
        Zones: Hubbard et al. 1999, doi:10.1016/S0161-6420(99)90525-0; C: Cheung et al. 2010, Microcirculation 17:495.
    """
    dim = np.rint(pixels.astype(np.float32) * 0.62).astype(np.uint8)
    sheet = _Sheet(canvas, dim, laterality, "what was measured")
    graphs = {k: g for k, g in found.graphs.items() if not (k == "vessels" and len(found.graphs) > 1)}
    for name, graph in graphs.items():
        for s in range(len(graph)):
            line = graph.points[graph.starts[s] : graph.starts[s + 1], ::-1]
            canvas.line((line + 0.5) * sheet.scale + (0, _HEAD), _GRAPH[name], 1.6)
        sheet.legend(_GRAPH[name], f"centre lines of {WORDS[name]}")
    for graph in graphs.values():
        for k in np.flatnonzero(graph.arms == 3):
            canvas.circle(sheet.place(*graph.nodes[k]), 3.2, _NODE)
    if graphs:
        sheet.legend(_NODE, "branchings", "dot")
    if "disc" in masks:
        sheet.outline(masks["disc"], COLOURS["disc"], 2.4)
        sheet.legend(COLOURS["disc"], "optic disc")
    if "cup" in masks:
        sheet.outline(masks["cup"], COLOURS["cup"], 2.0)
        sheet.legend(COLOURS["cup"], "optic cup")
    if found.disc is not None:
        _rings(sheet, found, pixels.shape[0])
    else:
        sheet.legend(_SOFT, "no usable optic disc: no zones")
    if found.fovea is not None and found.scale.um_per_px is not None:
        for um in ETDRS_UM:
            sheet.ring(found.fovea, um / found.scale.um_per_px, _GRID, 1.6)
        sheet.legend(_GRID, "ETDRS rings of 1, 3, 6 mm")


def _rings(sheet: _Sheet, found: EyeMeasurements, side: int) -> None:
    disc = found.disc
    if disc is None:
        return
    center, radius = disc.center, disc.diameter_px / 2
    for zone, outer in (("C", ZONES["C"][1]), ("B", ZONES["B"][1]), ("A", ZONES["B"][0])):
        sheet.ring(center, outer * radius, _ZONE_COLORS[zone], 2.4)
        # The letter stands inside its ring, on the side with more room.
        right = center[1] < side / 2
        inner = {"C": ZONES["B"][1], "B": ZONES["B"][0], "A": 1.0}[zone]
        away = (inner + outer) / 2 * radius * 0.94
        x, y = sheet.place(center[0] + 8, center[1] + (away if right else -away))
        sheet.canvas.text((x + 1.5, y + 1.5), zone, 26, (0, 0, 0), anchor="middle")
        sheet.canvas.text((x, y), zone, 26, _ZONE_COLORS[zone], anchor="middle")
    words = {"A": "zone A: up to 0.5 disc diameters", "B": "B: 0.5-1", "C": "C: 0.5-2, from the disc margin"}
    for zone, text in words.items():
        sheet.legend(_ZONE_COLORS[zone], text)


def sheet_size(masks: _Masks) -> tuple[int, int]:
    """Return width and height of the sheet.

    Example:
        >>> sheet_size({"disc": np.zeros((4, 4), bool)})
        (900, 1040)
    """
    return _SIDE, _HEAD + _SIDE + 3 * _ROW + 6


def structures_pixels(pixels: _Pixels, masks: _Masks, *, laterality: str | None = None) -> _Pixels:
    """Return the picture of what was found as pixels."""
    canvas = PixelCanvas(*sheet_size(masks), _PAPER)
    draw_structures(canvas, pixels, masks, laterality=laterality)
    return canvas.pixels()


def zones_pixels(pixels: _Pixels, found: EyeMeasurements, masks: _Masks, *, laterality: str | None = None) -> _Pixels:
    """Return the picture of where numbers were taken as pixels."""
    canvas = PixelCanvas(*sheet_size(masks), _PAPER)
    draw_zones(canvas, pixels, found, masks, laterality=laterality)
    return canvas.pixels()


def eye_picture_files(
    image: str, pixels: _Pixels, masks: _Masks, found: EyeMeasurements, *, laterality: str | None = None
) -> dict[str, bytes]:
    """Return the two pictures as PNG and SVG, by the end of their file names.

    Args:
        image: Which picture of the study, such as "cfp.0".
        pixels: The photograph, a square.
        masks: Of the same size.
        found: Of `measure_eye`.
        laterality: "OD", "OS" or None.
    """
    files = {}
    for suffix, kind in ((".png", PixelCanvas), (".svg", VectorCanvas)):
        found_sheet, zone_sheet = (kind(*sheet_size(masks), _PAPER) for _ in range(2))
        draw_structures(found_sheet, pixels, masks, laterality=laterality)
        draw_zones(zone_sheet, pixels, found, masks, laterality=laterality)
        files[f"{image}.structures{suffix}"] = found_sheet.encoded()
        files[f"{image}.zones{suffix}"] = zone_sheet.encoded()
    return files


def zone_files(
    pixels: _Pixels | None, found: EyeMeasurements, masks: _Masks, *, laterality: str | None = None
) -> dict[str, bytes]:
    """Return the picture of where numbers were taken in masks of any shape as PNG and SVG, by the end of their file names.

    Args:
        pixels: Photograph of the size of the masks; without one the masks are drawn dimly.
        found: Of `measure_eye`.
        masks: What was measured.
        laterality: "OD", "OS" or None.
    """
    height, width = next(iter(masks.values())).shape
    side = max(height, width)
    sheet = np.zeros((side, side, 3), np.uint8)
    if pixels is not None:
        sheet[:height, :width] = pixels
    else:
        for name in (n for n in ("vessels", "vein", "artery") if n in masks):
            sheet[:height, :width][masks[name]] = np.multiply(_GRAPH[name], 0.55).astype(np.uint8)
    padded = {k: np.pad(m, ((0, side - height), (0, side - width))) for k, m in masks.items()}
    files = {}
    for suffix, kind in ((".png", PixelCanvas), (".svg", VectorCanvas)):
        canvas = kind(*sheet_size(masks), _PAPER)
        draw_zones(canvas, sheet, found, padded, laterality=laterality)
        files[suffix] = canvas.encoded()
    return files
