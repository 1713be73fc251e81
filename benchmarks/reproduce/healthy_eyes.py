"""What the shipped segmenters say about healthy eyes: lesions that are not there, and cups that are too wide.

    python benchmarks/reproduce/healthy_eyes.py --out benchmarks/results/healthy_eyes.json
    python benchmarks/reproduce/healthy_eyes.py --threshold --lesions runs/lesions

Lesions are counted as `measure` counts them, without specks, the rim of the field and bright marks on the disc: eyes with any mark and quartiles of the number of
marks, among eyes of IDRiD without retinopathy that were not trained on, healthy and diabetic eyes of HRF (another camera, never trained on), and the held-out
pictures of IDRiD that have the lesion. `AUROC` tells how well the number of marks tells diabetic from healthy eyes of HRF. `--threshold` prints, from the other
half of those healthy eyes of IDRiD, the least thresholds that mark at most one in ten of them. Cups: quartiles of the vertical cup-to-disc ratio in healthy
eyes of HRF and ODIR; those of ODIR are among the patients the shipped screening network saw, the segmenters saw none of them.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from segmentation import height, held_out

from fundusion.core.durable import write_json
from fundusion.core.registry import datasets
from fundusion.core.study import StudyRecord
from fundusion.datasets._splits import position_of
from fundusion.measuring import clean_lesions
from fundusion.readers import read_study
from fundusion.segmenting import Segmenter, load_segmenter, segment_image, square_probabilities, surest_region
from fundusion.shipped import segmenter_facts, shipped_segmenters
from fundusion.train.mask_data import records_of
from fundusion.train.segmentation import read_recipe
from fundusion.transforms.field_of_view import find_field_of_view
from fundusion.transforms.squares import cut_squares

#: Greatest share of healthy eyes that may be marked when thresholds are chosen, and the thresholds that are tried.
ALARMS, GRID = 0.1, (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99)
LESIONS = ("MA", "HE", "EX", "SE")


def healthy_halves(data: Path, recipe: Path) -> tuple[list[StudyRecord], list[StudyRecord]]:
    """Return eyes of IDRiD without retinopathy that the recipe does not read: half to choose by, half to measure on."""
    used = {r.study_id for s in read_recipe(recipe, data).sets if s.name == "idrid" for r in records_of(s)}
    every = [r for r in datasets.create("idrid", root=data / "idrid_grading") if r.labels.get("dr_grade") == 0]
    kept = sorted((r for r in every if r.study_id not in used), key=lambda r: position_of(f"idrid/{r.group}", seed=1))
    return kept[::2], kept[1::2]


def marks(segmenters: list[Segmenter], record: StudyRecord, grid: tuple[float, ...]) -> dict[str, list[int]]:
    """Return the number of marks of each lesion in an eye at thresholds; an empty grid takes the segmenters' own."""
    image = read_study(record).images["cfp"][0]
    sides = sorted({s.field_px for s in segmenters})
    squares = cut_squares(image, find_field_of_view(image.pixels), sides, name="cfp.0")
    found: dict[str, tuple[np.ndarray, float]] = {}
    for segmenter in segmenters:
        for name, value in zip(
            segmenter.classes, square_probabilities(segmenter, squares.pixels[segmenter.field_px], flips=1), strict=True
        ):
            # As in `measure`, a segmenter of one lesion alone is preferred.
            if name not in found or len(segmenter.classes) == 1:
                seen = cv2.resize(value, squares.field.shape, interpolation=cv2.INTER_LINEAR)
                found[name] = np.where(squares.field, seen, np.float32(0)), segmenter.thresholds[name]
    disc = surest_region(found["disc"][0] >= found["disc"][1], found["disc"][0])
    counts: dict[str, list[int]] = {}
    for name, (value, own) in found.items():
        if name in LESIONS:
            counts[name] = []
            for threshold in grid or (own,):
                masks = {"disc": disc, name: value >= threshold}
                clean_lesions(masks, {"disc": value, name: value}, squares.field)
                counts[name].append(cv2.connectedComponents(masks[name].astype(np.uint8), connectivity=8)[0] - 1)
    return counts


def counted(
    segmenters: list[Segmenter], records: list[StudyRecord], grid: tuple[float, ...] = ()
) -> dict[str, np.ndarray]:
    """Return numbers of marks `(eyes, thresholds)` of each lesion."""
    rows = [marks(segmenters, r, grid) for r in records]
    return {name: np.array([r[name] for r in rows]) for name in rows[0]}


def thresholds(segmenters: list[Segmenter], records: list[StudyRecord]) -> dict[str, float]:
    """Return the least threshold of each lesion that marks at most one in ten of healthy eyes, and print how many each marks."""
    chosen = {}
    for name, counts in counted(segmenters, records, GRID).items():
        marked = (counts > 0).mean(0)
        print(name, {t: round(float(m), 3) for t, m in zip(GRID, marked, strict=True)}, flush=True)
        fitting = [t for t, m in zip(GRID, marked, strict=True) if m <= ALARMS]
        chosen[name] = fitting[0] if fitting else float("nan")
    return chosen


def lesions(segmenters: list[Segmenter], data: Path, recipe: Path) -> dict[str, Any]:
    """Return how many eyes of each kind have a mark of each lesion, and how many marks."""
    hrf = list(datasets.create("hrf", root=data / "hrf"))
    kinds = {
        "idrid, no retinopathy": healthy_halves(data, recipe)[1],
        "hrf, healthy": [r for r in hrf if r.study_id.endswith("_h")],
        "hrf, diabetic retinopathy": [r for r in hrf if r.study_id.endswith("_dr")],
    }
    rows: dict[str, Any] = {}
    seen = {kind: counted(segmenters, records) for kind, records in kinds.items()}
    own = held_out("idrid.segmentation", data)
    every = counted(segmenters, own)
    seen["idrid, held out, with the lesion"] = {c: values[[c in r.masks for r in own]] for c, values in every.items()}
    for kind, found in seen.items():
        rows[kind] = {
            c: {"eyes": len(v), "marked": int((v > 0).sum()), "marks": np.quantile(v, [0.25, 0.5, 0.75]).tolist()}
            for c, v in found.items()
        }
        print(kind, rows[kind], flush=True)
    healthy, ill = seen["hrf, healthy"], seen["hrf, diabetic retinopathy"]
    rows["AUROC of the number of marks, hrf"] = {
        c: round(float((np.sign(ill[c] - healthy[c].T) / 2 + 0.5).mean()), 3) for c in healthy
    }
    return rows


def cups(segmenter: Segmenter, data: Path, count: int) -> dict[str, Any]:
    """Return quartiles of the vertical cup-to-disc ratio in healthy eyes."""
    odir = [r for r in datasets.create("odir", root=data / "odir")
            if (r.labels.get("disease") or {}).get("N") == 1 and position_of(f"odir/{r.patient_id}", seed=0) >= 0.2]  # fmt: skip
    sets = {
        "hrf": [r for r in datasets.create("hrf", root=data / "hrf") if r.study_id.endswith("_h")],
        "odir": odir[:: max(1, len(odir) // count)][:count],
    }
    rows = {}
    for name, records in sets.items():
        ratios = []
        for record in records:
            masks = segment_image(segmenter, read_study(record).images["cfp"][0]).masks
            disc = height(masks["disc"])
            ratios += [height(masks["cup"]) / disc] if disc else []
        quartiles = np.quantile(ratios, [0.25, 0.5, 0.75])
        rows[name] = {"eyes": len(ratios), "vcdr_quartiles": [round(float(v), 3) for v in quartiles]}
    return rows


def main() -> None:
    """Look at healthy eyes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA", "../shared/data")))
    parser.add_argument(
        "--recipe", type=Path, default=Path("recipes/lesions.toml"), help="It says which eyes were trained on."
    )
    parser.add_argument(
        "--lesions", nargs="+", default=[], help="Segmenters of lesions instead of the shipped ones; only lesions."
    )
    parser.add_argument("--disc-cup", help="Segmenter of disc and cup instead of the shipped one; only cups.")
    parser.add_argument("--threshold", action="store_true", help="Only print the thresholds of lesions.")
    parser.add_argument("--odir", type=int, default=60, help="Healthy eyes of ODIR.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/healthy_eyes.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.lesions or [n for n in shipped_segmenters() if set(segmenter_facts(n)["classes"]) & set(LESIONS)]
    if options.threshold:
        found = [load_segmenter(n) for n in (*names, "disc_cup")]
        print("thresholds", thresholds(found, healthy_halves(options.data, options.recipe)[0]))
        return
    results: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
    if not options.disc_cup:
        found = [load_segmenter(n) for n in (*names, "disc_cup")]
        results["lesions"] = lesions(found, options.data, options.recipe)
    if not options.lesions:
        results["cups"] = cups(load_segmenter(options.disc_cup or "disc_cup"), options.data, options.odir)
    print(json.dumps(results, indent=1))
    write_json(options.out, results)


if __name__ == "__main__":
    main()
