"""Time of all measurements of one eye, beside PVBM and VascX in the same run: processor time of one thread.

    python benchmarks/bench_biomarkers.py --pvbm-python VENV/bin/python --vascx-python VENV/bin/python --out benchmarks/results/biomarkers.json

PVBM and VascX are run by an interpreter of their own, on the same masks, between two of our own timings; give none and only ours are
timed. PVBM: `compute_geomVBMs`, `compute_multifractals` and `compute_central_retinal_equivalents`, for arteries and for veins. VascX: its feature set
"full", arteries and veins. Only the ratio inside one run counts: other work on the machine moves all times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SEEDS = (0, 1, 2)
ROUNDS = 5

#: What a peer does with the masks in a folder; prints the processor time of each eye, after one that is not timed.
PVBM = """
import sys, threading, time, json, warnings, numpy as np
warnings.filterwarnings("ignore")
from skimage.morphology import skeletonize
from PVBM.GeometryAnalysis import GeometricalVBMs
from PVBM.FractalAnalysis import MultifractalVBMs
from PVBM.CentralRetinalAnalysis import CREVBMs
def run():
    times = []
    for k, path in enumerate([sys.argv[1], *sys.argv[1:]]):
        a = np.load(path)
        xc, yc, radius = (int(v) for v in a["disc_xyr"])
        began = time.process_time()
        for kind in ("artery", "vein"):
            mask = a[kind].astype(float)
            line = skeletonize(mask).astype(float)
            GeometricalVBMs().compute_geomVBMs(mask, line, xc, yc, radius)
            MultifractalVBMs().compute_multifractals(mask)
            try:
                CREVBMs().compute_central_retinal_equivalents(mask, line, xc, yc, radius, artery=kind == "artery", Toplot=False)
            except Exception:
                pass
        if k:
            times.append(time.process_time() - began)
    print(json.dumps(times))
# It calls itself once for each pixel of a vessel.
sys.setrecursionlimit(1000000)
threading.stack_size(1 << 29)
job = threading.Thread(target=run)
job.start()
job.join()
"""
VASCX = """
import sys, time, json, warnings, numpy as np
warnings.filterwarnings("ignore")
from vascx.fundus.retina import Retina
from vascx.fundus.layer import VesselTreeLayer
from vascx.fundus.feature_sets.full import fs_full
times = []
for k, path in enumerate([sys.argv[1], *sys.argv[1:]]):
    a = np.load(path)
    began = time.process_time()
    layers = {n: VesselTreeLayer(n, a[m].astype(bool)) for n, m in (("arteries", "artery"), ("veins", "vein"))}
    eye = Retina(disc_path_or_mask=a["disc"].astype(np.uint8), fundus_path_or_mask=a["image"], layers=layers, fovea_location=tuple(a["fovea_xy"]))
    found = eye.calc_features(fs_full)
    if k:
        times.append(time.process_time() - began)
print(json.dumps(times))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pvbm-python", type=Path)
    parser.add_argument("--vascx-python", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cv2.setNumThreads(1)
    from fundusion.biomarkers.compiled import is_compiled
    from fundusion.biomarkers.eye import prepare

    kept = is_compiled()
    began = time.process_time()
    prepare()
    result: dict[str, Any] = {"prepare_s": time.process_time() - began, "prepared_before": kept}
    print(
        f"making the compiled functions ready: {result['prepare_s']:.1f} s of processor time ({'kept from before' if kept else 'compiled'})"
    )
    result |= ours(args.rounds)
    print(
        f"all measurements, one eye: 1024 px {result['ms_1024']:.1f} ms, 2048 px {result['ms_2048']:.1f} ms ({result['ratio_2048']:.2f} times)"
    )
    for name, python, code in (("PVBM", args.pvbm_python, PVBM), ("VascX", args.vascx_python, VASCX)):
        if python is not None:
            result[name] = peer(python, code)
            print(
                f"{name}: {result[name]['ms']:.0f} ms, {result[name]['times_ours']:.0f} times ours ({result[name]['ours_ms']:.1f} ms, before and after)"
            )
    if args.out:
        from fundusion.core.durable import write_json

        write_json(
            args.out,
            {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": platform.processor() or platform.machine(),
                **result,
            },
        )


def eyes(size: int) -> list[tuple[dict[str, np.ndarray], Any, np.ndarray]]:
    """Return masks, truth and photograph of drawn eyes."""
    from fundusion.datasets.synthetic import draw_photograph

    found = []
    for seed in SEEDS:
        pixels, truth = draw_photograph(np.random.default_rng(seed), size=size, laterality="OD")
        shape = truth.vessel_mask.shape
        masks = {
            **truth.vessel_masks,
            "disc": truth.disc.mask(shape),
            "cup": truth.cup.mask(shape),
            "field": truth.field.mask(shape),
        }
        found.append((masks, truth, pixels))
    return found


def timer(size: int) -> Callable[[], float]:
    """Return a function that gives the median processor time of one eye, ms."""
    from fundusion.biomarkers.eye import EyeFacts, measure_eye

    jobs = [(masks, EyeFacts(laterality="OD", fovea=truth.fovea.center)) for masks, truth, _ in eyes(size)]
    for masks, facts in jobs:
        measure_eye(masks, facts)

    def once() -> float:
        times = []
        for masks, facts in jobs:
            began = time.process_time()
            measure_eye(masks, facts)
            times.append(time.process_time() - began)
        return 1000 * statistics.median(times)

    return once


def ours(rounds: int) -> dict[str, float]:
    """Return our times at two sizes, in turn."""
    small, large = timer(1024), timer(2048)
    pairs = [(small(), large()) for _ in range(rounds)]
    one, two = (statistics.median(p) for p in zip(*pairs, strict=True))
    return {"ms_1024": one, "ms_2048": two, "ratio_2048": statistics.median(b / a for a, b in pairs)}


def peer(python: Path, code: str) -> dict[str, float]:
    """Return the time of a peer at 1024 px and ours just before and after it."""
    once = timer(1024)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for k, (masks, truth, pixels) in enumerate(eyes(1024)):
            (row, col), fovea = truth.disc.center, truth.fovea.center
            paths.append(f"{folder}/{k}.npz")
            np.savez(
                paths[-1], artery=masks["artery"], vein=masks["vein"], disc=masks["disc"], image=pixels,
                disc_xyr=[col, row, truth.disc.radius_px], fovea_xy=[fovea[1], fovea[0]],
            )  # fmt: skip
        before = [once() for _ in range(3)]
        env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        env.pop("PYTHONPATH", None)
        done = subprocess.run([str(python), "-c", code, *paths], capture_output=True, text=True, env=env, check=False)
        after = [once() for _ in range(3)]
    if done.returncode or not done.stdout.strip():
        raise SystemExit(f"the peer failed:\n{done.stderr[-2000:]}")
    ms = 1000 * statistics.median(json.loads(done.stdout.strip().splitlines()[-1]))
    own = statistics.median(before + after)
    return {"ms": ms, "ours_ms": own, "times_ours": ms / own}


if __name__ == "__main__":
    main()
