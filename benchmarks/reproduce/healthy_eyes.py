"""What the shipped segmenters say about healthy eyes: lesions that are not there, and cups that are too wide.

    python benchmarks/reproduce/healthy_eyes.py --out benchmarks/results/healthy_eyes.json
    python benchmarks/reproduce/healthy_eyes.py --threshold --model lesions=runs/lesions

Lesions: share of eyes with any mark, before `analyze` takes specks and the rim away, among eyes of IDRiD without retinopathy that were not trained on, healthy and diabetic eyes of HRF
(another camera, never trained on), and the held-out pictures of IDRiD that have the lesion. `--threshold` prints, from the other half of those
healthy eyes of IDRiD, the least thresholds that mark at most one in ten of them. Cups: quartiles of the vertical cup-to-disc ratio in healthy
eyes of HRF and ODIR; those of ODIR are among the patients the shipped screening network saw, the segmenters saw none of them.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segmentation import height, held_out

from fundusion.core.durable import write_json
from fundusion.core.registry import datasets
from fundusion.core.study import StudyRecord
from fundusion.datasets._splits import position_of
from fundusion.readers import read_study
from fundusion.readers.mask import read_mask
from fundusion.segmenting import Segmenter, load_segmenter, segment_image
from fundusion.train.mask_data import records_of
from fundusion.train.segmentation import read_recipe

#: Greatest share of healthy eyes that may be marked when thresholds are chosen, and the least threshold.
ALARMS, LEAST = 0.1, 0.5


def healthy_halves(data: Path, recipe: Path) -> tuple[list[StudyRecord], list[StudyRecord]]:
    """Return eyes of IDRiD without retinopathy that the recipe does not read: half to choose by, half to measure on."""
    used = {r.study_id for s in read_recipe(recipe, data).sets if s.name == "idrid" for r in records_of(s)}
    every = [r for r in datasets.create("idrid", root=data / "idrid_grading") if r.labels.get("dr_grade") == 0]
    kept = sorted((r for r in every if r.study_id not in used), key=lambda r: position_of(f"idrid/{r.group}", seed=1))
    return kept[::2], kept[1::2]


def greatest(segmenter: Segmenter, records: list[StudyRecord]) -> dict[str, list[float]]:
    """Return the greatest probability of each lesion in each eye, as the threshold sees it."""
    found: dict[str, list[float]] = {c: [] for c in segmenter.classes}
    for record in records:
        masks = segment_image(segmenter, read_study(record).images["cfp"][0], calibrated=False)
        for name in segmenter.classes:
            found[name].append(float(masks.probabilities[name].max()))
    return found


def thresholds(segmenter: Segmenter, records: list[StudyRecord]) -> dict[str, float]:
    """Return the least threshold of each lesion, in steps of 0.01, that marks at most one in ten of healthy eyes."""
    chosen = {}
    for name, values in greatest(segmenter, records).items():
        grid = np.round(np.arange(LEAST, 1.0, 0.01), 2)
        marked = (np.asarray(values)[:, None] >= grid).mean(0)
        fitting = grid[marked <= ALARMS]
        chosen[name] = float(fitting[0]) if len(fitting) else float("nan")
    return chosen


def lesions(segmenter: Segmenter, data: Path, recipe: Path) -> dict[str, Any]:
    """Return how many eyes of each kind have a mark of each lesion, and how much of the lesions' area is marked."""
    hrf = list(datasets.create("hrf", root=data / "hrf"))
    kinds = {
        "idrid, no retinopathy": healthy_halves(data, recipe)[1],
        "hrf, healthy": [r for r in hrf if r.study_id.endswith("_h")],
        "hrf, diabetic retinopathy": [r for r in hrf if r.study_id.endswith("_dr")],
    }
    rows: dict[str, Any] = {}
    for kind, records in kinds.items():
        found = greatest(segmenter, records)
        rows[kind] = {c: [sum(v >= segmenter.thresholds[c] for v in found[c]), len(records)] for c in segmenter.classes}
        print(kind, rows[kind], flush=True)
    with_lesion: dict[str, list[float]] = {c: [] for c in segmenter.classes}
    for record in held_out("idrid.segmentation", data):
        masks = segment_image(segmenter, read_study(record).images["cfp"][0])
        for name in segmenter.classes:
            truth = np.zeros_like(masks.masks[name])
            for file in record.masks.get(name, ()):
                truth |= read_mask(file) > 0
            if truth.any():
                with_lesion[name].append(float(masks.masks[name][truth].mean()))
    rows["idrid, held out, with the lesion"] = {c: [sum(s > 0 for s in v), len(v)] for c, v in with_lesion.items()}
    rows["share of a lesion's area that is marked, mean"] = {
        c: round(float(np.mean(v)), 3) for c, v in with_lesion.items()
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
        "--model", action="append", default=[], help="KIND=FOLDER instead of the shipped one; only that kind."
    )
    parser.add_argument("--threshold", action="store_true", help="Only print the thresholds of lesions.")
    parser.add_argument("--odir", type=int, default=60, help="Healthy eyes of ODIR.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/healthy_eyes.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    given = dict(m.split("=", 1) for m in options.model)
    if options.threshold:
        chosen = thresholds(
            load_segmenter(given.get("lesions", "lesions")), healthy_halves(options.data, options.recipe)[0]
        )
        print("thresholds", chosen)
        return
    results: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
    if not given or "lesions" in given:
        results["lesions"] = lesions(load_segmenter(given.get("lesions", "lesions")), options.data, options.recipe)
    if not given or "disc_cup" in given:
        results["cups"] = cups(load_segmenter(given.get("disc_cup", "disc_cup")), options.data, options.odir)
    print(json.dumps(results, indent=1))
    write_json(options.out, results)


if __name__ == "__main__":
    main()
