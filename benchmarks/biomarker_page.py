"""The reference page of biomarkers: each with picture, formula, source and its error on drawn eyes. Called by `biomarker_truth.py --page`."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from fundusion.biomarkers.branching import bifurcations
from fundusion.biomarkers.catalogue import OF_EYE, OF_LESIONS, OF_VESSELS, Biomarker
from fundusion.biomarkers.drawing import draw_measured
from fundusion.biomarkers.eye import EyeFacts, measure_eye
from fundusion.biomarkers.idp import PHENOTYPES
from fundusion.biomarkers.outcome import REASONS
from fundusion.biomarkers.vessel_graph import vessel_graph
from fundusion.core.durable import write_bytes, write_text

#: Numbers of the authors' example beside ours.
PHENOTYPES_OF_DRIVE_17 = Path(__file__).parent / "results" / "phenotypes.json"
#: Title, picture, words, and the biomarkers of each part of the page.
PARTS = (
    ("Vessels: density, length, width", "graph", "Red arteries and blue veins of a drawn eye with their centre lines; green dots are bifurcations. White: the disc. "
     "Yellow: the rings of zones B (inner two) and C (outer). Pink: fovea and ETDRS grid.",
     ("density", "length", "length_density", "width", "width_variability")),
    ("Tortuosity", "tortuosity", "Length along the line (white) by the straight distance of its ends (yellow): 1.00, 1.15 and 1.57.",
     ("tortuosity", "tortuosity_weighted", "total_curvature", "curvature", "squared_curvature", "tortuosity_density", "inflections", "inflection_tortuosity")),
    ("Complexity", "boxes", "Boxes that hold a pixel of a figure whose dimension is known, the Sierpinski carpet (log 8 / log 3 = 1.893), at three sizes.",
     ("fractal_dimension", "fractal_dimension_skeleton", "lacunarity")),
    ("Bifurcations", "fork", "A fork of 70 degrees: directions of the three arms (yellow) are taken beyond the point where their walls part.",
     ("bifurcations", "bifurcation_angle", "branching_coefficient", "branching_asymmetry", "junction_exponent")),
    ("Calibre around the disc", "zones", "Zone B between the inner two rings, zone C out to the third; the six widest vessels on each of 11 (25) circles count.",
     tuple(n for n, f in OF_EYE.items() if f.group == "calibre")),
    ("Temporal arcades", "arcade", "The angle at the centre of the disc between the widest vessels above and below the line to the fovea.",
     tuple(n for n, f in OF_EYE.items() if f.group == "arcade")),
    ("Disc and cup", "disc", "Disc and cup with the rim in four quadrants.", tuple(n for n, f in OF_EYE.items() if f.group in ("disc", "cup"))),
    ("Disc and fovea", "fovea", "The line from the disc to the fovea. Where nobody states the fovea, `analyze`, and `measure` with `--images`, look for it: the darkest place with "
     "fewest vessels where foveas lie (Sinthanayothin et al. 1999, doi:10.1136/bjo.83.8.902), marked `fovea.found`. In 22 photographs whose foveas were put by eye after the "
     "search was finished, it lay within a quarter of a disc diameter in all, median 0.07 (`benchmarks/reproduce/foveas.py`). The errors below are those of a stated one.", tuple(n for n, f in OF_EYE.items() if f.group == "fovea")),
    ("Lesions", "lesions", "Drawn lesions in the sectors of the ETDRS grid (1, 3 and 6 mm).", tuple(OF_LESIONS)),
)  # fmt: skip

_WHITE, _YELLOW, _GREEN = (255, 255, 255), (255, 220, 90), (120, 255, 150)


def write_page(target: Path, stored: Mapping[str, Any]) -> None:
    """Write the page and its pictures."""
    folder = target.parent.parent / "images" / "biomarkers"
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures().items():
        stream = io.BytesIO()
        Image.fromarray(picture).quantize(64).save(stream, "PNG", optimize=True)
        write_bytes(folder / f"{name}.png", stream.getvalue())
    write_text(target, page(stored))


def page(stored: Mapping[str, Any]) -> str:
    """Return the page as Markdown."""
    lines = [
        "<!-- Made by benchmarks/biomarker_truth.py --page; change the catalogue or the script, not this file. -->",
        "# Biomarkers",
        "",
        _INTRODUCTION.format(eyes=stored["eyes"], size=stored["size"]),
    ]
    for title, picture, words, names in PARTS:
        lines += [f"## {title}", "", f"![{title}](../images/biomarkers/{picture}.png)", "", words, ""]
        lines += [
            "| name | unit | formula | source | mean truth | bias | median error | worst |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [_row(name, _fact(name), stored["errors"]) for name in names]
        lines.append("")
    example = json.loads(PHENOTYPES_OF_DRIVE_17.read_text("utf-8"))
    titles = list(next(iter(example.values())))
    lines += [
        _PHENOTYPES,
        "",
        f"| name | phenotype | unit | {' | '.join(titles)} |",
        "|---|---|---|" + "---|" * len(titles),
    ]
    for n, (title, unit) in PHENOTYPES.items():
        numbers = (example[n][t] for t in titles)
        lines.append(f"| `{n}` | {title} | {unit} | {' | '.join('' if v is None else f'{v:g}' for v in numbers)} |")
    lines += ["", "## Reasons and remarks", "", "| code | meaning |", "|---|---|"]
    lines += [f"| `{code}` | {text} |" for code, text in REASONS.items()]
    lines += ["", "## Time", "", _TIME, ""]
    return "\n".join(lines)


_INTRODUCTION = """Numbers of vessels, disc, cup and lesions, measured on masks: `fundusion measure`, or `fundusion.biomarkers.eye.measure_eye`. Each carries its
unit, region, number of vessels (or points, or circles) behind it, an uncertainty where one can be given, remarks, and where it has no meaning, a reason
instead of a number.

**Units.** Micrometres where the spacing of the pixels is stated, or else by the assumption that a disc is 1850 um wide (then marked `scale.estimated`), or with
`--no-estimate` disc diameters (DD). Without spacing and disc, lengths have no value. Curvatures are per millimetre.

**Names.** Of vessels, a name ends in `_artery`, `_vein` or `_vessels` (all of them). Where arteries and veins are told apart, segments of all
vessels are those of both, so that a crossing is no branching.

**Errors.** Means over {eyes} drawn eyes of {size} px, of which the centre lines and widths are known: the same formula on the mask and on the drawn lines. Bias is the mean error, by the
truth; worst is the greatest. Densities, dimensions and lacunarity have no value on lines and are compared with the same eye drawn at twice the size. Errors of `tortuosity` and
`tortuosity_weighted` are by what the truth is above 1: drawn vessels are nearly straight, so that 30 % is 0.002. Squared curvature doubles the noise of the steps of
pixels: compare it only between pictures of one size. `vessels` rows are shown.

**Beside branchings** the middle of the mask is not the middle of the vessel. Each arm is left out up to where its walls have parted from those of the others, on the mask and on the
drawn lines, and continued straight for smoothing. Curvature is that of parabolas over 41 points; a vessel that bends in less (a wave of 60 px) shows 80 % of it.
Two branchings whose arms go straight on are a crossing (right at 30 degrees and more; at 15 to 25 degrees some stay two branchings). A vessel that ends at the wall of another
cannot be told from a branching. The angle of a fork with straight arms of 140 px is within 2 degrees at widths of 2 to 9 px, mostly within 0.1; short and
bent arms leave more open (drawn eyes: median 0.7 degrees, one in ten more than 2.5).

**Lesions that touch or overlap** are counted as one. Where marks have waists, the number carries the remark `lesions.touching` and, as its uncertainty, how many more there would
be if each were cut there. On the drawn eyes connected parts miss 62 % of the exudates, which are drawn over each other, 3 % of the haemorrhages and 1 % of the microaneurysms; cut at
waists 48 %, 1 % and 0 %, and cotton-wool spots become 6 % too many. Neither is the number of exudates, and the outlines of real haemorrhages are more ragged than drawn ones, so that
connected parts stay the number.

**Invariance.** A mirror image or quarter turn gives the same numbers: the mask is turned into a position that depends on what it shows only.
"""

_PHENOTYPES = """## Phenotypes of UK Biobank

`vascular_idp.ukbb` (role `measure`) gives the 17 phenotypes of Ortín Vela et al. 2024, doi:10.1038/s41467-024-52334-1, under their own names. From the segments
that the authors publish for DRIVE 17 it gives their numbers (all within 1e-3). `vascular_idp.scaled` scales their pixel constants with the field of view.
Positive artery-vein scores are arteries, as in their data.

The last column is of our own centre lines, widths and branchings of the artery-vein map of that example (`benchmarks/reproduce/phenotypes.py`); the authors traced the
photograph. Angles agree within 2.1 degrees, the equivalents within 9 % (arteries) and 24 % (veins). Widths of all segments and bifurcations differ more: other segments are traced,
and the authors count ends of segments that meet, ours are places where three vessels do. Tortuosities are not among the published numbers of the example."""


_TIME = """Walking pixels is compiled on first use, about 15 s of processor time once for each version; the code is kept in `kernels` of `FUNDUSION_HOME` (by default
`~/.cache/fundusion`), never beside the sources. Where that folder cannot be written, every process compiles anew. Times beside other packages:
`benchmarks/bench_biomarkers.py`."""


def _fact(name: str) -> Biomarker:
    return OF_VESSELS.get(name) or OF_EYE.get(name) or OF_LESIONS[name]


def _row(name: str, fact: Biomarker, errors: Mapping[str, Mapping[str, float]]) -> str:
    key = f"{name}_vessels" if name in OF_VESSELS else {"count": "MA_count"}.get(name, name)
    shown = f"`<lesion>_{name}`" if name in OF_LESIONS else f"`{name}`"
    unit = {
        "length": "um or DD",
        "area": "um^2 or DD^2",
        "per length": "1/mm or 1/DD",
        "per length^2": "1/mm^2 or 1/DD^2",
    }.get(fact.unit, fact.unit)
    cells = ["", "", "", ""]
    if key in errors:
        e = errors[key]
        cells = [f"{e['truth']:.4g}", f"{e['bias']:+.1%}", f"{e['median']:.1%}", f"{e['worst']:.1%}"]
    formula = fact.formula.replace("|", "\\|")
    return "| " + " | ".join([f"{shown} {fact.title}", unit, formula, fact.source, *cells]) + " |"


def pictures() -> dict[str, np.ndarray]:
    """Return name to picture; drawn figures only."""
    from biomarker_truth import draw, masks_of

    truth = draw(3, 640)
    masks = masks_of(truth)
    facts = EyeFacts(laterality="OD", fovea=truth.fovea.center)
    eye = draw_measured(measure_eye(masks, facts), {k: masks[k] for k in ("artery", "vein")})
    row, col = (int(v) for v in truth.disc.center)
    reach = int(3.2 * truth.disc.radius_px)
    around = eye[max(0, row - reach) : row + reach, max(0, col - reach) : col + reach]
    return {
        "graph": cv2.resize(eye, (480, 480), interpolation=cv2.INTER_AREA),
        "zones": cv2.resize(
            around, (360, round(360 * around.shape[0] / around.shape[1])), interpolation=cv2.INTER_CUBIC
        ),
        "tortuosity": _tortuosity(),
        "boxes": _boxes(),
        "fork": _fork(),
        "arcade": _arcade(eye, truth),
        "disc": _disc(),
        "fovea": _to_fovea(eye, truth),
        "lesions": _lesions(truth, masks),
    }


def _place(point: Any) -> tuple[int, int]:
    return round(float(point[1])), round(float(point[0]))


def _tortuosity() -> np.ndarray:
    canvas = np.zeros((150, 480, 3), np.uint8)
    x = np.linspace(0, 120, 200)
    curves = (np.zeros(200), 15.8 * np.sin(2 * np.pi * x / 120), -np.sqrt(np.maximum(0, 60**2 - (x - 60) ** 2)))
    for k, y in enumerate(curves):
        points = np.stack([20 + 160 * k + x, 95 + y], -1)
        cv2.polylines(canvas, [np.rint(points).astype(np.int32)], False, _WHITE, 5, cv2.LINE_AA)
        cv2.line(canvas, (20 + 160 * k, 95), (140 + 160 * k, 95), _YELLOW, 1, cv2.LINE_AA)
        ratio = float(np.hypot(*np.diff(points, axis=0).T).sum()) / 120
        cv2.putText(canvas, f"{ratio:.2f}", (58 + 160 * k, 138), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _WHITE, 1, cv2.LINE_AA)
    return canvas


def _boxes() -> np.ndarray:
    figure = np.ones((1, 1), bool)
    for _ in range(4):
        figure = np.block([[figure] * 3, [figure, np.zeros_like(figure), figure], [figure] * 3])
    tiles = []
    for m in (9, 27, 81):
        step = 81 // m
        held = figure.reshape(m, step, m, step).any((1, 3))
        shown = np.where(np.repeat(np.repeat(figure, 2, 0), 2, 1)[..., None], 255, 0) * np.ones(3)
        big = np.repeat(np.repeat(held, 2 * step, 0), 2 * step, 1)
        shown[big & (shown[..., 0] == 0)] = (90, 80, 30)
        if step > 1:
            shown[:: 2 * step] = shown[:, :: 2 * step] = _YELLOW
        tiles.append(np.pad(shown.astype(np.uint8), ((4, 4), (4, 4), (0, 0))))
    return np.concatenate(tiles, axis=1)


def _fork() -> np.ndarray:
    mask = np.zeros((200, 240), np.uint8)
    middle = (110, 100)
    for degrees, width in ((180, 13), (35, 10), (-35, 9)):
        a = np.radians(degrees)
        cv2.line(mask, middle, (round(110 + 150 * np.cos(a)), round(100 - 150 * np.sin(a))), 255, width)
    graph = vessel_graph(mask)
    canvas = np.repeat((mask // 3)[..., None], 3, 2)
    for s in range(len(graph)):
        line = np.rint(graph.points[graph.starts[s] : graph.starts[s + 1], ::-1]).astype(np.int32)
        cv2.polylines(canvas, [line], False, _WHITE, 1, cv2.LINE_AA)
    found = bifurcations(graph)
    node = graph.nodes[found.node[0]]
    for way in found.directions[0]:
        cv2.arrowedLine(
            canvas, _place(node + 12 * way), _place(node + 60 * way), _YELLOW, 2, cv2.LINE_AA, tipLength=0.15
        )
    cv2.putText(
        canvas, f"{found.angle_deg[0]:.1f} deg", (150, 104), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _GREEN, 1, cv2.LINE_AA
    )
    return canvas


def _arcade(eye: np.ndarray, truth: Any) -> np.ndarray:
    from biomarker_truth import line_graph

    from fundusion.biomarkers.arcades import ARCADE_RADII
    from fundusion.biomarkers.caliber import crossings

    canvas = (eye * 0.6).astype(np.uint8)
    radius = ARCADE_RADII[6] * truth.disc.radius_px
    found = crossings(line_graph(truth, "vein"), truth.disc.center, np.array([radius, radius + 8]))
    here = (found.circle == 0) & (found.cosine > 0.5)
    towards = np.abs((found.angle_deg - 180 + 180) % 360 - 180)
    for sign in (1, -1):
        side = (
            here
            & (np.sign(found.angle_deg) == sign)
            & (towards > 20)
            & (towards < 180)
            & (np.abs(found.angle_deg) > 60)
        )
        a = np.radians(found.angle_deg[np.flatnonzero(side)[np.argmax(found.width_px[side])]])
        end = truth.disc.center[0] - radius * np.sin(a), truth.disc.center[1] + radius * np.cos(a)
        cv2.line(canvas, _place(truth.disc.center), _place(end), _GREEN, 3, cv2.LINE_AA)
    cv2.circle(canvas, _place(truth.disc.center), round(radius), _GREEN, 1, cv2.LINE_AA)
    return cv2.resize(canvas, (360, 360), interpolation=cv2.INTER_AREA)


def _disc() -> np.ndarray:
    canvas = np.zeros((240, 240, 3), np.uint8)
    cv2.ellipse(canvas, (120, 120), (85, 95), 0, 0, 360, (120, 90, 50), -1, cv2.LINE_AA)
    cv2.ellipse(canvas, (112, 116), (45, 48), 0, 0, 360, (230, 210, 160), -1, cv2.LINE_AA)
    for sign in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        cv2.line(canvas, (120, 120), (120 + 85 * sign[0], 120 + 85 * sign[1]), _YELLOW, 1, cv2.LINE_AA)
    for text, place in (("superior", (88, 14)), ("inferior", (92, 234)), ("N", (218, 124)), ("T", (10, 124))):
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _WHITE, 1, cv2.LINE_AA)
    return canvas


def _to_fovea(eye: np.ndarray, truth: Any) -> np.ndarray:
    canvas = (eye * 0.6).astype(np.uint8)
    cv2.line(canvas, _place(truth.disc.center), _place(truth.fovea.center), _GREEN, 3, cv2.LINE_AA)
    cv2.line(
        canvas, _place(truth.disc.center), _place((truth.disc.center[0], truth.fovea.center[1])), _WHITE, 1, cv2.LINE_AA
    )
    return cv2.resize(canvas, (360, 360), interpolation=cv2.INTER_AREA)


def _lesions(truth: Any, masks: Mapping[str, np.ndarray]) -> np.ndarray:
    from biomarker_truth import UM_PER_FIELD

    canvas = np.zeros((*masks["disc"].shape, 3), np.uint8)
    for name, color in (("MA", (255, 80, 80)), ("HE", (200, 40, 40)), ("EX", (255, 240, 120)), ("SE", (230, 230, 230))):
        canvas[cv2.dilate(masks[name].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = color
    scale = truth.field.radius_px / UM_PER_FIELD
    for um in (500, 1500, 3000):
        cv2.circle(canvas, _place(truth.fovea.center), round(um * scale), _WHITE, 1, cv2.LINE_AA)
    for a in np.radians((45, 135, 225, 315)):
        way = np.array([-np.sin(a), np.cos(a)])
        ends = [np.array(truth.fovea.center) + um * scale * way for um in (500, 3000)]
        cv2.line(canvas, _place(ends[0]), _place(ends[1]), _WHITE, 1, cv2.LINE_AA)
    cv2.circle(canvas, _place(truth.disc.center), round(truth.disc.radius_px), _YELLOW, 1, cv2.LINE_AA)
    return cv2.resize(canvas, (360, 360), interpolation=cv2.INTER_AREA)
