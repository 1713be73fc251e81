"""Time of vessel segmentation in every precision, and whether the masks stay the same, in one run.

    python benchmarks/bench_segmentation.py --data ../shared/data        # writes benchmarks/results/segmentation_speed.json

Milliseconds are of the network alone on one picture of 512 px, the best of several rounds that alternate: processor time with one
thread, time on the clock with two (threads that wait use processor time). The reference is the network as it is in torch: eager float32. Dice compares the masks of `segment_image` in the pictures' own pixels with
those of float32, one image and four mirror images; the least over pictures counts.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fundusion.core.durable import write_json
from fundusion.core.registry import ImageInput, datasets
from fundusion.layers.fused_unet import PRECISIONS
from fundusion.layers.precision import bfloat16_is_emulated
from fundusion.readers import read_study
from fundusion.segmenting import Segmenter, Tiles, load_segmenter, segment_image
from fundusion.transforms.field_of_view import find_field_of_view
from fundusion.transforms.image import prepare

SETS = ("drive", "hrf")


def processor() -> str:
    """Return the name of the processor and what it computes in."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    return " ".join([name, *(f for f in flags if f.startswith("amx") or f in ("avx512_bf16", "avx512_fp16"))])


def interleaved_ms(ways: dict[str, Callable[[], Any]], rounds: int, threads: int) -> dict[str, float]:
    """Return the least time of each way, ms; rounds alternate, so that a busy machine is fair to all."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    best = dict.fromkeys(ways, float("inf"))
    with torch.inference_mode():
        for way in ways.values():
            way()
        for _ in range(rounds):
            for name, way in ways.items():
                start = clock()
                way()
                best[name] = min(best[name], (clock() - start) * 1e3)
    return best


def ways_of(segmenter: Segmenter, pixels: np.ndarray[Any, Any]) -> dict[str, Callable[[], Any]]:
    """Return the network's answer to one square picture in every way; the first is the reference."""
    model = segmenter.model
    images = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    last = images.contiguous(memory_format=torch.channels_last)
    ways: dict[str, Callable[[], Any]] = {
        "eager fp32": lambda: plain.segment(images),
        "channels last fp32": lambda: model.segment(last),
    }

    def cast() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return model.segment(last)

    if not bfloat16_is_emulated():
        ways["channels last bf16 autocast"] = cast
    for name, dtype in PRECISIONS.items():
        fused = model.fused(dtype)
        try:
            with torch.inference_mode():
                fused.segment(last)
        except RuntimeError as error:
            sys.stdout.write(f"left out: fused {name}: {str(error).splitlines()[0]}\n")
            continue
        ways[f"fused {name}"] = lambda fused=fused: fused.segment(last)
    return ways


def dice(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Return Dice of two masks."""
    return float(2 * (a & b).sum() / max(int(a.sum()) + int(b.sum()), 1))


def agreement(segmenter: Segmenter, data: Path, count: int) -> dict[str, Any]:
    """Return the least Dice with float32 over real pictures, by precision, number of mirror images, and with tiles."""
    found: dict[str, list[float]] = {}
    for name in SETS:
        for record in list(datasets.create(name, root=data / name))[:count]:
            image = read_study(record).images["cfp"][0]
            field = find_field_of_view(image.pixels)
            for flips in (1, 4):
                exact = segment_image(segmenter, image, field=field, flips=flips, precision="fp32")
                runs: dict[str, dict[str, Any]] = {
                    p: {"precision": p} for p in ("auto", "bf16") if p == "auto" or not bfloat16_is_emulated()
                } | {"tiles of 512 px": {"precision": "fp32", "tiles": Tiles()}}  # fmt: skip
                for title, options in runs.items():
                    other = segment_image(segmenter, image, field=field, flips=flips, **options)
                    key = f"{title}, {flips} image{'s' * (flips > 1)}"
                    found.setdefault(key, []).append(
                        min(dice(other.masks[c], exact.masks[c]) for c in segmenter.classes)
                    )
    return {
        k: {"least": round(min(v), 5), "mean": round(float(np.mean(v)), 5), "pictures": len(v)}
        for k, v in found.items()
    }


def main() -> None:
    """Measure, print a table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA", "../shared/data")))
    parser.add_argument("--segmenter", default="vessels")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--pictures", type=int, default=3, help="per set, for the comparison of masks")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "segmentation_speed.json")
    options = parser.parse_args()
    segmenter = load_segmenter(options.segmenter)
    record = next(iter(datasets.create("drive", root=options.data / "drive")))
    pixels = read_study(record).images["cfp"][0].pixels
    square = prepare(pixels, ImageInput(size=options.side), field=find_field_of_view(pixels)).pixels
    result: dict[str, Any] = {"machine": processor(), "date": date.today().isoformat(), "torch": torch.__version__,
                              "segmenter": options.segmenter, "side_px": options.side}  # fmt: skip
    for threads in (1, 2):
        times = interleaved_ms(ways_of(segmenter, square), options.rounds, threads)
        reference = times["eager fp32"]
        result[f"threads_{threads}"] = {
            k: {"ms": round(v, 1), "ratio": round(v / reference, 3)} for k, v in times.items()
        }
        for name, row in result[f"threads_{threads}"].items():
            sys.stdout.write(
                f"{threads} thread(s)  {name:30} {row['ms']:8.1f} ms  {row['ratio']:.3f} of eager float32\n"
            )
    torch.set_num_threads(1)
    result["dice_with_fp32"] = agreement(segmenter, options.data, options.pictures)
    for name, row in result["dice_with_fp32"].items():
        sys.stdout.write(
            f"Dice with float32  {name:30} least {row['least']:.5f}  mean {row['mean']:.5f}  n {row['pictures']}\n"
        )
    write_json(options.out, result)


if __name__ == "__main__":
    main()
