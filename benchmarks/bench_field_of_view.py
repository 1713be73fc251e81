"""Overlap of the found field of view with published masks and with drawn fields.

    python benchmarks/bench_field_of_view.py --out benchmarks/results/field_of_view.json

For a set with masks two numbers are printed: the overlap of the mask as published with the field that was found, and the overlap with the
best circle (cut by the frame) that can be put on the published mask at all. Where the second is below 0.98, no circle can reach it.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fundusion.core.durable import write_json
from fundusion.intake import field_of
from fundusion.readers.image import read_image
from fundusion.readers.mask import read_mask
from fundusion.transforms.field_of_view import find_field_of_view

SETS = {
    "drive": ("drive/*/mask/*.png", "_mask"),
    "chase_db1": ("chase_db1/fov/*.png", ""),
    "stare": ("stare/fov/*.png", ""),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    result: dict[str, Any] = {name: published(args.data, *how) for name, how in SETS.items()}
    result["drawn whole"] = drawn(lambda seed: {})
    result["drawn notched"] = drawn(lambda seed: {"notch": True})
    result["drawn clipped above and below"] = drawn(lambda seed: {"cut": True})
    result["drawn clipped by the frame"] = drawn(lambda seed: {"share": 0.62})
    for name, row in result.items():
        limit = f", best circle min {row['best_min']:.3f} median {row['best_median']:.3f}" if "best_min" in row else ""
        print(f"{name:32s} n {row['n']:3d}  IoU min {row['min']:.4f} median {row['median']:.4f}{limit}")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.out, {"date": datetime.now(UTC).isoformat(timespec="seconds"), "sets": result})


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return intersection over union."""
    return float((a & b).sum() / (a | b).sum())


def published(root: Path, pattern: str, suffix: str) -> dict[str, Any]:
    """Return overlaps with the masks of a set."""
    scores, best, worst = [], [], ("", 1.0)
    for path in sorted(root.glob(pattern)):
        stem = path.stem.removesuffix(suffix) if suffix else path.stem
        image = read_image(next((path.parent.parent / "images").glob(f"{stem}.*")))
        truth = read_mask(path) > 127
        field = field_of(image)
        scores.append(overlap(field.mask(truth.shape), truth))
        best.append(overlap(best_circle(truth), truth))
        worst = min(worst, (stem, scores[-1]), key=lambda w: w[1])
    return {"n": len(scores), "min": min(scores), "median": float(np.median(scores)), "worst": worst[0],
            "best_min": min(best), "best_median": float(np.median(best))}  # fmt: skip


def best_circle(truth: np.ndarray) -> np.ndarray:
    """Return the circle, inside the rows and columns the mask spans, that overlaps a mask most; found by descent on three numbers."""
    rows, columns = np.nonzero(truth)
    box = rows.min(), rows.max(), columns.min(), columns.max()
    grid = np.mgrid[: truth.shape[0], : truth.shape[1]].astype(np.float32)
    inside = (grid[0] >= box[0]) & (grid[0] <= box[1]) & (grid[1] >= box[2]) & (grid[1] <= box[3])
    make = lambda s: inside & ((grid[0] - s[0]) ** 2 + (grid[1] - s[1]) ** 2 <= s[2] ** 2)  # noqa: E731
    state = np.array([(box[0] + box[1]) / 2, (box[2] + box[3]) / 2, max(box[1] - box[0], box[3] - box[2]) / 2], float)
    score, step = overlap(make(state), truth), 8.0
    while step > 0.2:
        trials = [state + step * np.eye(3)[k] * sign for k in range(3) for sign in (1, -1)]
        scores = [overlap(make(t), truth) for t in trials]
        if max(scores) > score:
            state, score = trials[int(np.argmax(scores))], max(scores)
        else:
            step /= 2
    return make(state)


def drawn(options: Any, count: int = 24) -> dict[str, Any]:
    """Return overlaps on drawn fields of random geometry."""
    scores = []
    for seed in range(count):
        generator = np.random.default_rng(seed)
        chosen = options(seed)
        height, width = int(generator.integers(500, 1400)), int(generator.integers(700, 1800))
        radius = chosen.get("share", generator.uniform(0.36, 0.47)) * min(height, width)
        center = generator.uniform(0.47, 0.53, 2) * (height, width)
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        circle = np.clip(radius - np.hypot(rows - center[0], columns - center[1]) + 0.5, 0, 1)
        truth = circle >= 0.5
        if chosen.get("cut"):
            kept = np.abs(rows - center[0]) <= generator.uniform(0.75, 0.9) * radius
            circle, truth = circle * kept, truth & kept
        if chosen.get("notch"):
            angle = np.deg2rad(generator.uniform(-50, 50))
            at = center + radius * np.array([np.sin(angle), np.cos(angle)])
            circle = np.maximum(circle, np.hypot(rows - at[0], columns - at[1]) <= 0.05 * radius)
        grain = cv2.resize(generator.normal(0, 1, (height // 16, width // 16)).astype(np.float32), (width, height))
        picture = circle[..., None] * (1 + 0.15 * grain[..., None]) * np.array([150, 90, 45]) + generator.uniform(0, 12)
        picture = np.clip(picture + generator.normal(0, 2.5, picture.shape), 0, 255).astype(np.uint8)
        scores.append(overlap(find_field_of_view(picture).mask(truth.shape), truth))
    return {"n": count, "min": min(scores), "median": float(np.median(scores))}


if __name__ == "__main__":
    main()
