"""Vessels in pictures of a hospital that was not trained on: each set left out in turn, Dice on all of its pictures.

    python benchmarks/reproduce/leave_one_set_out.py                  # the recipe as it is, four trainings of about an hour
    python benchmarks/reproduce/leave_one_set_out.py --half           # half of the epochs
    python benchmarks/reproduce/leave_one_set_out.py --light          # half the width, a quarter of the epochs: a quarter of an hour each

Dice is taken inside the field of view, in the pictures' own pixels, at the threshold of the recipe, and beside it that of the published
LW-Net (trained on DRIVE only) on the same pictures where its weights lie in ../shared/weights. Runs that are complete in `--work` are not repeated.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from segmentation import PUBLISHED, ROOTS, interval, lwnet, vessel_score

from fundusion.core.durable import write_json, write_text
from fundusion.core.registry import datasets
from fundusion.readers import read_study
from fundusion.segmenting import Segmenter, load_segmenter, segment_image
from fundusion.transforms.field_of_view import find_field_of_view


def main() -> None:
    """Train what is missing, score, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA", "../shared/data")))
    parser.add_argument("--recipe", type=Path, default=Path("recipes/vessels.toml"))
    parser.add_argument("--work", type=Path, default=Path("../runs/leave_one_set_out"))
    shorter = parser.add_mutually_exclusive_group()
    shorter.add_argument("--half", action="store_true", help="The network of the recipe, trained half as long.")
    shorter.add_argument("--light", action="store_true", help="A smaller network, trained shorter.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/leave_one_set_out.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    recipe = options.work / "recipe.toml"
    text = options.recipe.read_text("utf-8")
    if options.light:
        text = lighter(lighter(text, "width", 2), "epochs", 4)
    if options.half:
        text = lighter(text, "epochs", 2)
    write_text(recipe, text)
    peer = lwnet(options.data.parent / "weights")
    found: dict = {"light": options.light, "half": options.half, "sets": {}}
    for name in PUBLISHED:
        run = options.work / name
        if not (run / "segmenter.json").is_file():
            command = ["train-segmenter", recipe, "--data", options.data, "--out", run, "--without", name]
            subprocess.run([sys.executable, "-m", "fundusion", *map(str, command)], check=True)
        found["sets"][name] = scores(name, options.data, load_segmenter(run), peer)
        print(name, found["sets"][name], flush=True)
        write_json(options.out, found)


def lighter(text: str, key: str, factor: int) -> str:
    """Return a recipe with one number divided.

    Example:
        >>> lighter("epochs = 28", "epochs", 4)
        'epochs = 7'
    """
    changed, times = re.subn(rf"\b{key} = (\d+)", lambda m: f"{key} = {int(m[1]) // factor}", text)
    if times != 1:
        raise SystemExit(f"the recipe says {key} {times} times; it must say it once.")
    return changed


def scores(name: str, data: Path, segmenter: Segmenter, peer: Segmenter | None) -> dict[str, list[float]]:
    """Return mean Dice with its interval over patients, and the number of pictures, of both segmenters."""
    ways = {"left out": segmenter} | ({"lwnet, published": peer} if peer is not None else {})
    values: dict[str, list[float]] = {way: [] for way in ways}
    groups = []
    for record in datasets.create(name, root=data / ROOTS[name]):
        image = read_study(record).images["cfp"][0]
        field = find_field_of_view(image.pixels)
        groups.append(record.group)
        for way, one in ways.items():
            values[way].append(vessel_score(record, segment_image(one, image, field=field)))
    return {way: [*interval(v, groups), int(np.isfinite(v).sum())] for way, v in values.items()}


if __name__ == "__main__":
    main()
