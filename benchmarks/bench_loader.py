"""What a training loader costs beside decoding: time per picture from the cache, and memory over a million rows.

python benchmarks/bench_loader.py --out benchmarks/results/loader.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from fundusion.core.durable import write_json
from fundusion.train.pictures import CachedPictures
from fundusion.transforms.cache import PictureCache, cache_key

BATCH = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        result["224 px"] = speed(Path(folder) / "a", side=224, count=1500)
        result["64 px"] = speed(Path(folder) / "b", side=64, count=4000)
        result["million rows"] = memory(Path(folder) / "c", args.rows)
    for name, row in result.items():
        print(f"{name:14s} " + ", ".join(f"{k} {v}" for k, v in row.items()))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.out, {"date": datetime.now(UTC).isoformat(timespec="seconds"), "loader": result})


def filled(folder: Path, side: int, count: int) -> CachedPictures:
    """Return a cache of random pictures as an array."""
    cache = PictureCache(folder)
    generator = np.random.default_rng(0)
    keys = np.empty((count, 32), np.uint8)
    for start in range(0, count, 10_000):
        rows = range(start, min(count, start + 10_000))
        names = [cache_key(str(i), "bench") for i in rows]
        keys[rows.start : rows.stop] = np.frombuffer(b"".join(names), np.uint8).reshape(-1, 32)
        block = generator.integers(0, 256, (len(rows), side, side, 3), dtype=np.uint8)
        cache.put(dict(zip(names, block, strict=True)))
    # A fresh reader, as a training run has it.
    return CachedPictures(PictureCache(folder), keys, (side, side, 3), again=missing)


def missing(row: int) -> np.ndarray:
    """Nothing is missing here; a call would spoil the measurement."""
    raise RuntimeError(f"row {row} is not in the cache")


def speed(folder: Path, *, side: int, count: int) -> dict[str, Any]:
    """Return CPU microseconds per picture of the first and of later epochs, in shuffled batches."""
    pictures = filled(folder, side, count)
    generator = np.random.default_rng(1)
    epochs = []
    for _ in range(5):
        order = generator.permutation(count)
        start = time.process_time()
        for first in range(0, count, BATCH):
            pictures[order[first : first + BATCH]]
        epochs.append((time.process_time() - start) / count * 1e6)
    copy = np.empty((BATCH, side, side, 3), np.uint8)
    source = np.random.default_rng(2).integers(0, 256, copy.shape, dtype=np.uint8)
    start = time.process_time()
    for _ in range(200):
        for i in range(BATCH):
            copy[i] = source[i]
    return {
        "first epoch us": round(epochs[0], 1),
        "later epochs us": round(float(np.median(epochs[1:])), 1),
        "of which copying us": round((time.process_time() - start) / 200 / BATCH * 1e6, 1),
    }


def memory(folder: Path, rows: int) -> dict[str, Any]:
    """Return the growth of private memory while all rows are read, and the time per row."""
    pictures = filled(folder, 4, rows)
    process = psutil.Process()
    order = np.random.default_rng(3).permutation(rows)
    private = lambda: (lambda m: m.rss - m.shared)(process.memory_info())  # noqa: E731
    for first in range(0, 20_000, BATCH):
        pictures[order[first : first + BATCH]]
    before, start, most = private(), time.process_time(), 0
    for first in range(0, rows, BATCH):
        pictures[order[first : first + BATCH]]
        if first % (BATCH * 500) == 0:
            most = max(most, private())
    return {
        "rows": rows,
        "index and keys MB": round((pictures.keys.nbytes + rows * (56 + 16 + 2 + 16)) / 1e6),
        "growth while reading MB": round(max(0, most - before) / 1e6, 1),
        "us per row": round((time.process_time() - start) / rows * 1e6, 1),
    }


if __name__ == "__main__":
    main()
