"""Pictures of what was measured: centre lines by kind, branchings, zones around the disc, the grid around the fovea."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from .caliber import ZONES
from .eye import EyeMeasurements
from .lesions import ETDRS_UM

#: Colours (R, G, B) of lines; told apart by brightness too.
COLORS = {"artery": (255, 90, 70), "vein": (90, 150, 255), "vessels": (240, 240, 240)}
_ZONE, _NODE, _DISC, _FOVEA = (255, 220, 90), (120, 255, 150), (255, 255, 255), (255, 150, 255)
#: Places are drawn to a sixteenth of a pixel.
_SHIFT = 4


def draw_measured(
    found: EyeMeasurements, masks: Mapping[str, npt.ArrayLike], *, background: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.uint8]:
    """Return a picture `(H, W, 3)` of the graph and the zones of an eye.

    Args:
        found: Of `measure_eye`.
        masks: The masks that were measured; drawn dimly where there is no photograph.
        background: Photograph of the same size.

    Source:
        Zones of Hubbard et al. 1999, doi:10.1016/S0161-6420(99)90525-0; grid of ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9.
    """
    shape = np.shape(next(iter(masks.values())))
    if background is not None and background.shape[:2] == shape:
        canvas = np.ascontiguousarray(background[..., :3] * 0.6).astype(np.uint8)
    else:
        canvas = np.zeros((*shape, 3), np.uint8)
        for name in ("vessels", "vein", "artery"):
            mask = masks.get(name)
            if mask is not None and np.shape(mask) == shape:
                canvas[np.asarray(mask) != 0] = np.multiply(COLORS[name], 0.35).astype(np.uint8)
    thick = max(1, round(max(shape) / 900))
    if found.disc is not None:
        radius = found.disc.diameter_px / 2
        _circle(canvas, found.disc.center, radius, _DISC, thick)
        # Zone B and the outer edge of zone C; the inner edge is the same.
        for r in sorted({r for zone in ZONES.values() for r in zone}):
            _circle(canvas, found.disc.center, r * radius, _ZONE, thick)
    if found.fovea is not None:
        _circle(canvas, found.fovea, 3.0 * thick, _FOVEA, -1)
        if found.scale.um_per_px is not None:
            for um in ETDRS_UM:
                _circle(canvas, found.fovea, um / found.scale.um_per_px, _FOVEA, thick)
    for name, graph in found.graphs.items():
        # Where kinds are told apart, lines of all vessels would hide them.
        if name == "vessels" and len(found.graphs) > 1:
            continue
        for s in range(len(graph)):
            line = graph.points[graph.starts[s] : graph.starts[s + 1], ::-1]
            places = np.rint(line * 2**_SHIFT).astype(np.int32)[:, None]
            cv2.polylines(canvas, [places], False, COLORS[name], thick, cv2.LINE_AA, _SHIFT)
        for k in np.flatnonzero(graph.arms == 3):
            _circle(canvas, tuple(graph.nodes[k]), 1.5 + thick, _NODE, -1)
    return canvas


def _circle(
    canvas: npt.NDArray[np.uint8], center: tuple[float, ...], radius: float, color: tuple[int, int, int], thick: int
) -> None:
    row, col = (round(float(v) * 2**_SHIFT) for v in center)
    cv2.circle(canvas, (col, row), round(radius * 2**_SHIFT), color, thick, cv2.LINE_AA, _SHIFT)
