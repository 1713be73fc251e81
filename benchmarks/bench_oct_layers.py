"""Error of the network of layers on drawn B-scans it has not seen, where the truth is known: rows of surfaces, fluid, ETDRS thickness.

    fundusion train-segmenter recipes/oct_layers.toml --out runs/oct_layers
    python benchmarks/bench_oct_layers.py --model runs/oct_layers        # writes benchmarks/results/oct_layers.json

Drawn eyes only: this says that surfaces, spacing and grid are handled rightly, and nothing of patients.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fundusion.biomarkers.oct_layers import SURFACES, LayerScan, measure_layers
from fundusion.core.durable import write_json
from fundusion.core.vocabulary import Laterality
from fundusion.datasets._drawn.bscan import draw_bscan_with_truth
from fundusion.layering import find_layers
from fundusion.segmenting import Segmenter, load_segmenter
from fundusion.train.oct_layers import draw_training_scan

#: Eyes of the recipe begin at 0.
UNSEEN = 777


def single_scans(segmenter: Segmenter, count: int, size: int) -> dict[str, Any]:
    """Return the mean absolute error of every surface, the share of lost columns, and Dice of fluid pooled over scans."""
    errors: dict[str, list[float]] = {n: [] for n in SURFACES}
    dry: dict[str, list[float]] = {n: [] for n in SURFACES}
    both = total = dry_wet = dry_count = 0
    lost, seconds = [], 0.0
    spacing = 0.0
    for number in range(count):
        pixels, truth = draw_training_scan(number, size=size, seed=UNSEEN)
        start = time.process_time()
        found = find_layers(segmenter, pixels, flips=2)
        seconds += time.process_time() - start
        spacing = truth.spacing_um[0]
        wet, real = found.fluid[0] >= found.threshold, truth.subretinal | truth.cysts
        both, total = both + 2 * int((wet & real).sum()), total + int(wet.sum()) + int(real.sum())
        if not real.any():
            dry_wet, dry_count = dry_wet + int(wet.sum()), dry_count + wet.size
        lost.append(found.lost)
        for name in SURFACES:
            error = float(np.nanmean(np.abs(found.surfaces[name][0] - truth.surfaces[name])))
            errors[name].append(error)
            if not real.any():
                dry[name].append(error)
    table = {
        n: {"px": round(float(np.mean(errors[n])), 3), "um": round(float(np.mean(errors[n])) * spacing, 2),
            "um_without_fluid": round(float(np.mean(dry[n])) * spacing, 2),
            "um_worst_scan": round(float(np.max(errors[n])) * spacing, 2)}
        for n in SURFACES
    }  # fmt: skip
    return {
        "scans": count, "side_px": size, "um_per_px": round(spacing, 3), "surfaces": table,
        "columns_lost": round(float(np.mean(lost)), 4), "fluid_dice": round(both / max(total, 1), 4),
        "fluid_false_share_where_none": round(dry_wet / max(dry_count, 1), 6), "ms_per_scan": round(seconds / count * 1e3, 1),
    }  # fmt: skip


def volumes(segmenter: Segmenter, count: int, size: int, scans: int = 25) -> dict[str, Any]:
    """Return the error of ETDRS thickness, volume and fluid of drawn volumes: found surfaces against drawn ones in the same formulas."""
    differences: dict[str, list[float]] = {}
    for eye in range(count):
        surfaces, fluid = ({n: [] for n in SURFACES} for _ in range(2)), ([], [])
        found_rows, true_rows = surfaces
        for at in np.linspace(-1, 1, scans):
            generator = np.random.default_rng(np.random.SeedSequence([UNSEEN, 1, eye]))
            pixels, truth = draw_bscan_with_truth(
                generator,
                size=size,
                laterality=Laterality.RIGHT,
                oedema=bool(eye % 2) and abs(at) < 0.5,
                offset=float(at),
            )
            found = find_layers(segmenter, pixels)
            for name in SURFACES:
                found_rows[name].append(found.surfaces[name][0])
                true_rows[name].append(truth.surfaces[name])
            fluid[0].append(found.fluid[0] >= found.threshold)
            fluid[1].append(truth.subretinal | truth.cysts)
        facts = {"spacing_um": (6000.0 / (scans - 1), *truth.spacing_um), "laterality": Laterality.RIGHT,
                 "fovea": ((scans - 1) / 2, (size - 1) / 2)}  # fmt: skip
        both = [
            {(m.name, m.region): m for m in measure_layers(LayerScan(surfaces={n: np.stack(v) for n, v in rows.items()},
                                                                     fluid=np.stack(wet), **facts))}
            for rows, wet in zip((found_rows, true_rows), fluid, strict=True)
        ]  # fmt: skip
        for key, true in both[1].items():
            mine = both[0][key]
            if true.value is not None and mine.value is not None:
                kind = (
                    "retina_sector_um" if key[0] == "retina_thickness" and key[1] != "scan" else f"{key[0]}_{true.unit}"
                )
                if kind in (
                    "retina_sector_um",
                    "central_subfield_thickness_um",
                    "macular_volume_mm^3",
                    "fluid_volume_mm^3",
                ):
                    differences.setdefault(kind, []).append(abs(mine.value - true.value))
    return {"volumes": count, "bscans": scans, "mean_absolute_error": {k: round(float(np.mean(v)), 4) for k, v in differences.items()},
            "greatest": {k: round(float(np.max(v)), 4) for k, v in differences.items()}}  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--scans", type=int, default=60)
    parser.add_argument("--volumes", type=int, default=4)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "oct_layers.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    segmenter = load_segmenter(options.model)
    result = {"date": date.today().isoformat(), "drawn_only": True, "sha256": segmenter.sha256,
              "single": single_scans(segmenter, options.scans, options.side),
              "volume": volumes(segmenter, options.volumes, options.side)}  # fmt: skip
    for name, row in result["single"]["surfaces"].items():
        sys.stdout.write(
            f"{name:10} {row['px']:6.3f} px {row['um']:6.2f} um  worst scan {row['um_worst_scan']:6.2f} um\n"
        )
    sys.stdout.write(json.dumps({k: v for k, v in result["single"].items() if k != "surfaces"}) + "\n")
    sys.stdout.write(json.dumps(result["volume"]) + "\n")
    write_json(options.out, result)


if __name__ == "__main__":
    main()
