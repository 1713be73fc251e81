"""Time and memory of `check`: reading pictures, and the search for pairs among many synthetic fingerprints.

python benchmarks/bench_check.py --rows 100000 --pictures 2000
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from fundusion.audit.cache import FingerprintCache
from fundusion.audit.fingerprint import VARIANTS, masks
from fundusion.audit.scan import scan
from fundusion.audit.twins import candidates


def peak_mb() -> float:
    """Return the greatest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def search(rows: int, planted: int) -> dict[str, float]:
    """Return how long the search takes, and how many of the planted copies (30 of 256 bits differ) it finds."""
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2**63, (rows, 4), dtype=np.uint64) * np.uint64(2) + generator.integers(
        0, 2, (rows, 4), dtype=np.uint64
    )
    order = generator.permutation(rows)[: 2 * planted].reshape(-1, 2)
    wanted = set()
    for k, (i, j) in enumerate(order):
        noise = np.zeros(256, np.uint8)
        noise[generator.choice(256, 30, replace=False)] = 1
        bits[j] = bits[i] ^ masks()[VARIANTS[k % 4]] ^ np.packbits(noise).view(np.uint64)
        wanted.add((min(i, j), max(i, j), VARIANTS[k % 4]))
    before, start = peak_mb(), time.perf_counter()
    last = [start]

    def show(done: int, total: int) -> None:
        if time.perf_counter() - last[0] > 10:
            last[0] = time.perf_counter()
            # Row i is compared with the rows after it only.
            share = 1 - (1 - done / total) ** 2
            left = (last[0] - start) * (1 - share) / share
            sys.stderr.write(f"search: {done} of {total} rows, about {left:.0f} s left\n")

    found = set(candidates(bits, bits, progress=show))
    return {
        "rows": rows,
        "seconds": round(time.perf_counter() - start, 1),
        "grown_mb": round(peak_mb() - before, 1),
        "planted": len(wanted),
        "planted_found": len(wanted & found),
        "others": len(found - wanted),
    }


def reading(pictures: Sequence[Path], count: int, workers: int) -> dict[str, float]:
    """Return pictures per second, first and from the cache; copies with another last byte stand for other pictures."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i in range(count):
            path = Path(folder) / f"{i}.jpg"
            path.write_bytes(pictures[i % len(pictures)].read_bytes() + i.to_bytes(4, "big"))
            files.append(("cfp", str(path)))
        sides = [cv2.imread(str(p)).shape[:2] for p in pictures[:20]]
        times = []
        for _ in range(2):
            start = time.perf_counter()
            with FingerprintCache(Path(folder) / "kept") as cache:
                found = scan(files, cache=cache, workers=workers)
            times.append(time.perf_counter() - start)
    return {
        "pictures": count,
        "megapixels": round(float(np.mean([h * w for h, w in sides])) / 1e6, 2),
        "rejected": len(found.rejected),
        "workers": workers,
        "per_second": round(count / times[0], 1),
        "per_second_from_cache": round(count / times[1], 1),
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA", "../shared/data")))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    answer: dict[str, object] = {"machine": f"{platform.machine()}, {os.cpu_count()} processors"}
    pictures = sorted((arguments.data / "idrid_grading" / "train").glob("*.jpg"))
    if pictures:
        answer["reading"] = reading(pictures, arguments.pictures, arguments.workers)
    else:
        sys.stderr.write(f"reading is left out: {arguments.data.name!r} holds no idrid_grading\n")
    answer["search"] = search(arguments.rows, min(1000, arguments.rows // 10))
    answer["peak_mb"] = round(peak_mb(), 1)
    sys.stdout.write(json.dumps(answer, indent=2) + "\n")


if __name__ == "__main__":
    main()
