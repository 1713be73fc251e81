"""Time and memory of `check`: reading pictures, and the search for pairs among many synthetic fingerprints.

python benchmarks/bench_check.py --rows 100000 --pictures 2000
python benchmarks/bench_check.py --rows 0 --pictures 0 --whole 5000

The second runs `check` from end to end on drawn pictures and prints how much memory each thousand of them takes.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import psutil

from fundusion.audit.cache import FingerprintCache
from fundusion.audit.check import check
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


def resident_mb() -> float:
    """Return the memory of this process that no other shares, which is what grows with the number of files."""
    return psutil.Process().memory_full_info().uss / (1 << 20)


def drawn_eye(generator: np.random.Generator) -> np.ndarray:
    """Return a small drawn eye that is like no other: a field with a disc and random vessels."""
    picture = np.zeros((192, 256, 3), np.uint8)
    middle = 128 + int(generator.integers(-8, 9)), 96 + int(generator.integers(-4, 5))
    cv2.circle(picture, middle, 84, tuple(generator.integers((20, 60, 130), (50, 100, 200)).tolist()), -1, cv2.LINE_AA)
    disc = middle[0] + int(generator.choice([-36, 36])), middle[1] + int(generator.integers(-8, 9))
    cv2.circle(picture, disc, 11, (120, 190, 235), -1, cv2.LINE_AA)
    for _ in range(14):
        points = np.cumsum(np.vstack([disc, generator.normal(0, 14, (7, 2))]), axis=0).astype(np.int32)
        cv2.polylines(picture, [points], False, (15, 30, 90), int(generator.integers(1, 4)), cv2.LINE_AA)
    field = np.zeros((192, 256, 1), np.uint8)
    cv2.circle(field, middle, 84, 1, -1)
    return np.clip(picture * field + generator.normal(2, 1.5, picture.shape), 0, 255).astype(np.uint8)


def whole(count: int, workers: int) -> dict[str, object]:
    """Return memory along a whole `check` of drawn pictures, each hundredth a copy that was coded again.

    The first fifth is left out of the slope: libraries are loaded and buffers find their size there.
    """
    generator, seen = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as folder:
        last = None
        for i in range(count):
            picture = last if i % 100 == 99 and last is not None else drawn_eye(generator)
            quality = 80 if picture is last else 92
            data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            (Path(folder) / f"{i:06d}_{'OD' if i % 2 else 'OS'}.jpg").write_bytes(data.tobytes())
            last = picture

        @contextmanager
        def steps(name: str) -> Iterator[Callable[[int, int], None]]:
            def show(done: int, total: int) -> None:
                if name == "pictures" and done * 10 // total > len(seen):
                    seen.append((done, resident_mb()))

            yield show

        start = time.perf_counter()
        found = check([folder], workers=workers, steps=steps)
        seconds = time.perf_counter() - start
    later = [(done, mb) for done, mb in seen if done >= count / 5]
    slope = float(np.polyfit(*zip(*later, strict=True), 1)[0]) * 1e3 if len(later) > 2 else float("nan")
    answer = found.to_dict()["pictures"]
    return {
        "pictures": count,
        "seconds": round(seconds, 1),
        "compared": answer["compared"],
        "planted_copies": count // 100,
        "pairs_found": answer["copies"] + answer["alike"],
        "resident_mb_by_tenths": [round(mb, 1) for _, mb in seen],
        "resident_mb_at_the_end": round(resident_mb(), 1),
        "mb_per_thousand_while_reading": round(slope, 2),
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--whole", type=int, default=0, help="drawn pictures for a check from end to end")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA", "../shared/data")))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    answer: dict[str, object] = {"machine": f"{platform.machine()}, {os.cpu_count()} processors"}
    pictures = sorted((arguments.data / "idrid_grading" / "train").glob("*.jpg"))
    if pictures and arguments.pictures:
        answer["reading"] = reading(pictures, arguments.pictures, arguments.workers)
    elif arguments.pictures:
        sys.stderr.write(f"reading is left out: {arguments.data.name!r} holds no idrid_grading\n")
    if arguments.rows:
        answer["search"] = search(arguments.rows, min(1000, arguments.rows // 10))
    if arguments.whole:
        answer["whole"] = whole(arguments.whole, arguments.workers)
    answer["peak_mb"] = round(peak_mb(), 1)
    sys.stdout.write(json.dumps(answer, indent=2) + "\n")


if __name__ == "__main__":
    main()
