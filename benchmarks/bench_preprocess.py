"""CPU time and fidelity of preprocessing, from the bytes of a JPEG to the square a network reads, beside what others do.

All methods run in one process and one thread, taking turns, and the median of the rounds counts; only ratios inside one run mean
something. Photographs are real ones of public sets, enlarged to 3 to 10 megapixels and coded at the bit rate of cameras, and drawn
ones. Peers are written from their description: what they do, not their code.

    python benchmarks/bench_preprocess.py --out benchmarks/results/preprocess.json
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from PIL import Image as Pillow

from fundusion.core.durable import write_json
from fundusion.core.registry import ImageInput
from fundusion.intake import prepare_photograph
from fundusion.transforms.image import PreparedImage

SIZES = (224, 512, 1024)
#: File pattern, which of the sorted files, and the width it is enlarged to.
REAL = (
    ("hrf/images/*.jpg", 3, 2136),
    ("idrid_grading/train/*.jpg", 10, 2560),
    ("hrf/images/*.jpg", 11, 2896),
    ("idrid_grading/train/*.jpg", 100, 3216),
    ("idrid_grading/train/*.jpg", 200, 3504),
    ("hrf/images/*.jpg", 20, 3888),
)
DRAWN = ((2048, 1536), (3888, 2592))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA", "../shared/data")))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    pictures = photographs(args.data)
    rows = [measure(name, data, args.rounds) for name, data in pictures]
    summary = summarise(rows)
    show(rows, summary)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.out, {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": platform.processor() or platform.machine(),
                              "method": "CPU ms of one thread, methods in turn, median of rounds", "rounds": args.rounds,
                              "pictures": rows, "summary": summary})  # fmt: skip


def photographs(root: Path) -> list[tuple[str, bytes]]:
    """Return (name, JPEG) of enlarged real photographs and of drawn ones."""
    found = []
    for seed, (pattern, index, width) in enumerate(REAL):
        path = sorted(root.glob(pattern))[index]
        small = cv2.imread(str(path), cv2.IMREAD_COLOR)
        height = round(small.shape[0] * width / small.shape[1])
        large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        found.append((f"{pattern.split('/')[0]} {width}x{height}", coded(with_noise(large, seed))))
    for seed, (width, height) in enumerate(DRAWN):
        found.append((f"drawn {width}x{height}", coded(with_noise(drawn(width, height, seed), seed))))
    return found


def with_noise(picture: np.ndarray, seed: int) -> np.ndarray:
    """Return the picture with the noise of a sensor, which enlarging has smoothed away."""
    noise = np.random.default_rng(seed).normal(0, 2.0, (*picture.shape[:2], 1))
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def drawn(width: int, height: int, seed: int) -> np.ndarray:
    """Return a drawn fundus: dark border with a noise floor, field, disc, macula and branching vessels."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    radius, middle = 0.47 * height, (0.497 * height, 0.503 * width)
    distance = np.hypot(rows - middle[0], columns - middle[1])
    shade = 1 - 0.35 * (distance / radius) ** 2
    picture = np.stack([40 * shade, 80 * shade, 165 * shade], axis=-1)
    grain = cv2.resize(generator.normal(0, 4, (height // 8, width // 8)).astype(np.float32), (width, height))
    picture += cv2.GaussianBlur(grain, (0, 0), 3)[..., None]
    disc = (int(middle[1] + 0.45 * radius), int(middle[0]))
    vessels = np.zeros((height, width), np.float32)
    for start in range(24):
        angle, at, thick = start * np.pi / 12, np.array(disc, float), 0.016 * radius
        for _ in range(60):
            step = at + 0.03 * radius * np.array([np.cos(angle), np.sin(angle)])
            cv2.line(
                vessels, at.astype(int).tolist(), step.astype(int).tolist(), 1.0, max(1, round(thick)), cv2.LINE_AA
            )
            at, angle, thick = step, angle + generator.normal(0, 0.22), thick * 0.96
    picture *= (1 - 0.45 * cv2.GaussianBlur(vessels, (0, 0), 1.2))[..., None]
    cv2.circle(picture, disc, int(0.13 * radius), (120.0, 200.0, 240.0), -1, cv2.LINE_AA)
    edge = np.clip(radius - distance + 0.5, 0, 1)[..., None]
    return np.clip(picture * edge + 4 * (1 - edge), 0, 255)


def coded(picture: np.ndarray) -> bytes:
    """Return a 4:2:0 JPEG of 0.6 to 1.2 bits per pixel."""
    for quality in (95, 92, 90, 88, 85, 80, 75):
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) * 8 <= 1.2 * picture.shape[0] * picture.shape[1]:
            return data
    return data


def naive(data: bytes, size: int) -> np.ndarray:
    """Full decode, box of what is brighter than the border, bicubic."""
    picture = Pillow.open(io.BytesIO(data)).convert("RGB")
    pixels = np.asarray(picture)
    bright = pixels.mean(axis=2) > 10
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return np.asarray(picture.crop(box).resize((size, size), Pillow.Resampling.BICUBIC))


def masked_crop(data: bytes, size: int) -> np.ndarray:
    """Crop in the manner of EyeQ and AutoMorph, each step by the usual call of OpenCV or numpy: at full resolution a threshold from the
    mean of grey, the border flooded from two corners so that dark places inside stay, specks opened away, a circle from the extent,
    what is outside it blackened, the bounding box, a square, and one resize at the end."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    bright = cv2.threshold(grey, max(0.0, float(grey.mean()) / 3 - 5), 1, cv2.THRESH_BINARY)[1]
    dark = 1 - bright
    for corner in ((0, 0), (width - 1, height - 1)):
        if dark[corner[1], corner[0]]:
            cv2.floodFill(dark, np.zeros((height + 2, width + 2), np.uint8), corner, 0)
    kernel = np.ones((20, 20), np.uint8)
    bright = cv2.dilate(cv2.erode(bright + dark, kernel), kernel)
    rows, columns = np.flatnonzero(bright.sum(axis=1) > width // 50), np.flatnonzero(bright.sum(axis=0) > height // 50)
    top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
    radius = max(bottom - top, right - left) // 2
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (int(left + right) // 2, int(top + bottom) // 2), int(radius), 1, -1)
    pixels[mask == 0] = 0
    pixels = pixels[top : bottom + 1, left : right + 1]
    down, across = (max(0, 2 * radius - n) // 2 for n in pixels.shape[:2])
    square = np.zeros((pixels.shape[0] + 2 * down, pixels.shape[1] + 2 * across, 3), np.uint8)
    square[down : down + pixels.shape[0], across : across + pixels.shape[1]] = pixels
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)


def plain_transform(data: bytes, size: int) -> np.ndarray:
    """Evaluation transform in the manner of RETFound: bicubic to 8/7, middle, standardised; no field of view is looked for."""
    picture = Pillow.open(io.BytesIO(data)).convert("RGB")
    short, wanted = min(picture.size), round(size * 256 / 224)
    scaled = picture.resize(tuple(round(n * wanted / short) for n in picture.size), Pillow.Resampling.BICUBIC)
    left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
    pixels = np.asarray(scaled.crop((left, top, left + size, top + size)), np.float32) / 255
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return ((pixels - mean) / std).transpose(2, 0, 1)


def floor(data: bytes, size: int) -> np.ndarray:
    """Grey decode at 1/8: reading every code of the file and little else; nothing that looks at the whole file is faster."""
    del size
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    return simplejpeg.decode_jpeg(data, colorspace="GRAY", min_height=-(-height // 8), min_width=-(-width // 8))


def ours(data: bytes, size: int) -> PreparedImage:
    """What every command of fundusion does."""
    return prepare_photograph(data, ImageInput(size=size))


METHODS: dict[str, Callable[[bytes, int], Any]] = {
    "ours": ours, "naive": naive, "masked_crop": masked_crop, "plain_transform": plain_transform, "floor": floor,
}  # fmt: skip


def measure(name: str, data: bytes, rounds: int) -> dict[str, Any]:
    """Return CPU milliseconds of each method at each size, and the fidelity of ours."""
    full = simplejpeg.decode_jpeg(data)
    row: dict[str, Any] = {"picture": name, "bits_per_px": round(len(data) * 8 / full.shape[0] / full.shape[1], 2)}
    for size in SIZES:
        times: dict[str, list[float]] = {m: [] for m in METHODS}
        for round_ in range(rounds + 1):
            for method, run in METHODS.items():
                start = time.process_time()
                run(data, size)
                # The first round fills caches.
                if round_:
                    times[method].append((time.process_time() - start) * 1e3)
        row[str(size)] = {m: round(float(np.median(t)), 2) for m, t in times.items()}
        made = ours(data, size)
        row[str(size)]["psnr_db"] = round(psnr(made.pixels, area_average(full, made)), 1)
    return row


def area_average(full: np.ndarray, made: PreparedImage) -> np.ndarray:
    """Return the exact average of the full picture over each pixel of the same crop; black outside the frame."""
    size, step = made.pixels.shape[0], made.to_original[0, 0]
    corner = made.to_original[:, 2] - step / 2 + 0.5
    weights = []
    for axis, first in ((0, corner[1]), (1, corner[0])):
        edges = first + np.arange(size + 1) * step
        whole = np.clip(np.minimum.outer(edges[1:], np.arange(full.shape[axis]) + 1.0)
                        - np.maximum.outer(edges[:-1], np.arange(full.shape[axis]) * 1.0), 0, None)  # fmt: skip
        weights.append((whole / step).astype(np.float32))
    planes = [weights[0] @ full[..., c].astype(np.float32) @ weights[1].T for c in range(3)]
    return np.stack(planes, axis=-1)


def psnr(made: np.ndarray, wanted: np.ndarray) -> float:
    """Return the peak signal to noise ratio in dB."""
    return float(10 * np.log10(255**2 / np.mean((made.astype(np.float64) - wanted) ** 2)))


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return ratios of the summed times, the worst ratio of a single picture, and the least fidelity."""
    summary = {}
    for size in map(str, SIZES):
        total = {m: sum(r[size][m] for r in rows) for m in METHODS}
        summary[size] = {
            **{f"x_{m}": round(total[m] / total["ours"], 2) for m in METHODS if m not in ("ours", "floor")},
            "of_floor": round(total["ours"] / total["floor"], 2),
            "least_x_naive": round(min(r[size]["naive"] / r[size]["ours"] for r in rows), 2),
            "most_of_floor": round(max(r[size]["ours"] / r[size]["floor"] for r in rows), 2),
            "least_psnr_db": min(r[size]["psnr_db"] for r in rows),
            "median_psnr_db": round(float(np.median([r[size]["psnr_db"] for r in rows])), 1),
        }
    return summary


def show(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """Print the table."""
    for size in map(str, SIZES):
        print(f"to {size} px, CPU ms: {', '.join(METHODS)}, PSNR dB")
        for row in rows:
            values = " ".join(f"{row[size][m]:8.2f}" for m in METHODS)
            print(f"  {row['picture']:26s} {row['bits_per_px']:.2f} bit/px {values}  {row[size]['psnr_db']:5.1f}")
        print("  " + ", ".join(f"{k} {v}" for k, v in summary[size].items()))


if __name__ == "__main__":
    main()
