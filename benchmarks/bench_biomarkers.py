"""Time of all measurements of one eye, beside PVBM, VascX and AutoMorph in the same run: processor time of one thread.

    python benchmarks/bench_biomarkers.py --pvbm-python VENV/bin/python --vascx-python VENV/bin/python --automorph CLONE --out benchmarks/results/biomarkers.json

PVBM and VascX are run by an interpreter of their own, on the same masks, between two of our own timings; give none and only ours are
timed. PVBM: `compute_geomVBMs`, `compute_multifractals` and `compute_central_retinal_equivalents`, for arteries and for veins. VascX: its feature set
"full", arteries and veins. AutoMorph: its modules M3 (features of the whole picture, of zone B and of zone C, each of arteries, veins and all vessels) from a clone
of its repository, unchanged, at its own 912 px and from its own layout of files, with the skeletons by scikit-image as its M2 makes them; `np.trapz`, which
numpy 2 no longer has, is given back under its name. Give it an interpreter with scikit-image, scipy, pandas and matplotlib by --automorph-python. Only the ratio inside one run counts: other work on the machine moves all times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
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
AUTOMORPH = """
import sys, os, time, json, tempfile, importlib, warnings, numpy as np
warnings.filterwarnings("ignore")
os.environ["MPLBACKEND"] = "Agg"
np.trapz = getattr(np, "trapz", None) or np.trapezoid
import cv2
from skimage.morphology import skeletonize
cv2.setNumThreads(1)
clone = sys.argv[1]
def modules(part):
    for name in [n for n in sys.modules if n.split(".")[0] in ("retipy", "function_")]:
        del sys.modules[name]
    sys.path.insert(0, f"{clone}/{part}/retipy")
    found = [importlib.import_module(f"retipy.{n}") for n in ("retina", "tortuosity_measures")]
    sys.path.pop(0)
    return found
parts = {"whole": modules("M3_feature_whole_pic"), "B": modules("M3_feature_zone")}
parts["C"] = parts["B"]
root = tempfile.mkdtemp() + "/"
os.makedirs(root + "M0")
open(root + "M0/crop_info.csv", "w").write("Name,Scale_resolution\\neye.png,1.0\\n")
times = []
for k, path in enumerate([sys.argv[2], *sys.argv[2:]]):
    a = np.load(path)
    size = a["artery"].shape[0]
    col, row, radius = a["disc_xyr"]
    away = np.hypot(*(np.mgrid[:size, :size] - np.array([row, col])[:, None, None])) / radius
    rings = {"whole": away >= 0, "B": (away >= 2) & (away <= 3), "C": (away >= 2) & (away <= 5)}
    kinds = {"artery": a["artery"] > 0, "vein": a["vein"] > 0, "binary": (a["artery"] > 0) | (a["vein"] > 0)}
    places = {}
    for zone, ring in rings.items():
        for kind, mask in kinds.items():
            base = f"{root}M2/{zone}_{kind}"
            for end in ("_process", "_skeleton"):
                os.makedirs(base + end, exist_ok=True)
            shown = cv2.resize((mask & ring).astype(np.uint8), (912, 912), interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(base + "_process/eye.png", shown * 255)
            places[zone, kind] = base, shown
    began = time.process_time()
    for (zone, kind), (base, shown) in places.items():
        cv2.imwrite(base + "_skeleton/eye.png", skeletonize(shown).astype(np.uint8))
        retina, measures = parts[zone]
        picture = retina.Retina(None, base + "_skeleton/eye.png", store_path=base + "_process")
        window = retina.Window(picture, 912, min_pixels=15)
        measures.evaluate_window(window, 15, 6, 0.96, store_path=base + "_process/")
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
    parser.add_argument("--automorph", type=Path, help="clone of its repository")
    parser.add_argument("--automorph-python", type=Path, default=Path(sys.executable))
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
    automorph = args.automorph_python if args.automorph else None
    for name, python, code in (
        ("PVBM", args.pvbm_python, PVBM),
        ("VascX", args.vascx_python, VASCX),
        ("AutoMorph", automorph, AUTOMORPH),
    ):
        if python is not None:
            result[name] = peer(python, code, [str(args.automorph.resolve())] if name == "AutoMorph" else [])
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


def peer(python: Path, code: str, arguments: list[str]) -> dict[str, float]:
    """Return the time of a peer at 1024 px and ours just before and after it; the peer gets the arguments and one file for each eye."""
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
        done = subprocess.run(
            [str(python), "-c", code, *arguments, *paths], capture_output=True, text=True, env=env, check=False
        )
        after = [once() for _ in range(3)]
    if done.returncode or not done.stdout.strip():
        raise SystemExit(f"the peer failed:\n{done.stderr[-2000:]}")
    ms = 1000 * statistics.median(json.loads(done.stdout.strip().splitlines()[-1]))
    own = statistics.median(before + after)
    return {"ms": ms, "ours_ms": own, "times_ours": ms / own}


if __name__ == "__main__":
    main()
