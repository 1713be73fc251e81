"""Fit the shipped calibration of the quality gate: `python recipes/fit_quality.py [--write]`.

Real photographs are gradable as they are (a few are not; that is part of the error that is printed), drawn
degradations at a random severity are gradable below `UNGRADABLE_FROM`, and pictures that show no fundus are foreign.
A third of the patients never takes part in the fit. Its numbers were seen while the measures, the ridge and the share to
refuse were chosen (twelve settings of the last two), so they flatter; the numbers to quote are those of the ODIR patients
that come last, who were in neither part.

Needs the folder `FUNDUSION_DATA` (or `../shared/data`), scikit-image, scikit-learn and matplotlib for pictures of
other things. Takes about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import os
import zlib
from collections import defaultdict
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from fundusion.core.study import Image
from fundusion.quality.calibration import QualityModel, fit_model, shipped_model
from fundusion.quality.degradations import KINDS, UNGRADABLE_FROM, degrade
from fundusion.quality.gradability import REASON_OF_KIND, assess
from fundusion.quality.measures import measure
from fundusion.transforms.field_of_view import find_field_of_view

TARGET = Path(__file__).resolve().parent.parent / "src" / "fundusion" / "quality" / "calibration.json"
#: Pictures of other things that the fit never sees.
KEPT_BACK = ("chelsea", "astronaut", "coffee", "rocket", "text", "moon", "hubble", "color", "clock", "motorcycle_right")
#: Readers wrote in ODIR that these show no fundus or cannot be read.
UNREADABLE = ("low image quality", "anterior segment image", "no fundus image", "optic disk photographically invisible")
SIDE = 512


@dataclass
class Sample:
    """One measured picture and what is known about it."""

    values: dict[str, float]
    origin: str
    kind: str
    severity: float
    held_out: bool

    @property
    def gradable(self) -> float:
        """1, 0, or NaN in the band around the limit, where readers would not agree."""
        if self.kind == "foreign":
            return np.nan
        if self.kind == "original":
            return 1.0
        limit = UNGRADABLE_FROM[self.kind]
        return np.nan if abs(self.severity - limit) < 0.08 else float(self.severity < limit)

    @property
    def fundus(self) -> float:
        """1, 0, or NaN where so little of the fundus is left that either answer is right."""
        if self.kind == "foreign":
            return 0.0
        return 1.0 if self.kind == "original" or self.severity < 0.7 else np.nan


def held_out(group: str) -> bool:
    return zlib.crc32(group.encode()) % 3 == 0


def read(path: Path, side: int = SIDE) -> np.ndarray:
    pixels = np.asarray(PIL.Image.open(path).convert("RGB"))
    scale = side / max(pixels.shape[:2])
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(pixels)


def photographs(root: Path, limit: int) -> list[tuple[Path, str, str]]:
    """Return (path, set, patient) of real fundus photographs."""
    found = []
    with open(root / "odir" / "labels.csv", encoding="utf-8-sig") as stream:
        rows = [r for r in csv.DictReader(stream) if not any(w in r["keywords"] for w in UNREADABLE)]
    rows.sort(key=lambda r: zlib.crc32(r["image"].encode()))
    for row in rows[:limit]:
        path = root / "odir" / "images" / row["image"]
        path = path if path.suffix else path.with_suffix(".jpg")
        found.append((path, "odir", f"odir/{row['patient_id']}"))
    patterns = {
        "idrid": "idrid_grading/train/*.jpg", "drive": "drive/*/images/*", "chase": "chase_db1/images/*",
        "stare": "stare/images/*", "hrf": "hrf/images/*", "drishti": "drishti_gs/*/images/*",
        "rfmid": "rfmid_samples/images/*",
    }  # fmt: skip
    for name, pattern in patterns.items():
        for path in sorted(root.glob(pattern)):
            patient = path.stem[:8] if name == "chase" else path.stem.split("_")[0] if name == "hrf" else path.stem
            found.append((path, name, f"{name}/{patient}"))
    return found


def other_pictures(root: Path) -> list[tuple[str, np.ndarray]]:
    """Return (name, picture) of real things that are no colour fundus photograph."""
    found = []
    for package, folder in (
        ("skimage", "data"),
        ("sklearn", "datasets/images"),
        ("matplotlib", "mpl-data/sample_data"),
    ):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{package} is needed for pictures of other things")
        for path in sorted((Path(spec.origin).parent / folder).glob("*.[jp][pn]g")):
            if path.stem not in ("retina", "microaneurysms") and min(PIL.Image.open(path).size) >= 100:
                found.append((path.stem, read(path)))
    for pattern in ("oct_srf/labelled/*", "oct_kermany_samples/*.jpeg", "ffa/**/*.jpg"):
        paths = [p for p in sorted(root.glob(pattern)) if "mask" not in str(p)]
        found += [(f"{pattern[:3]}-{p.stem}", read(p)) for p in paths[:60]]
    return found


def variants(picture: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """Return a picture as it is, a part of it, in other colours, and behind a round aperture."""
    height, width = picture.shape[:2]
    share = generator.uniform(0.4, 0.9)
    top, left = (int(generator.uniform(0, (1 - share) * n)) for n in (height, width))
    part = picture[top : top + int(share * height), left : left + int(share * width)]
    part = part[:, ::-1] if generator.random() < 0.5 else part
    found = [picture, np.ascontiguousarray(part)]
    luma = cv2.cvtColor(found[1], cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    warm = np.array([generator.uniform(0.6, 1.0), generator.uniform(0.3, 0.6), generator.uniform(0.1, 0.3)])
    tinted = np.clip((0.25 + 0.75 * luma[..., None]) * warm * 255, 0, 255).astype(np.uint8)
    toned = np.clip(found[1] * generator.uniform(0.5, 1.2, 3) * np.array([1.2, 0.9, 0.6]), 0, 255).astype(np.uint8)
    found += [tinted, toned, aperture(found[1], generator), aperture(tinted, generator), aperture(toned, generator)]
    return found


def aperture(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    radius = generator.uniform(0.42, 0.5) * min(height, width)
    inside = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2) <= radius
    return np.ascontiguousarray(picture * inside[..., None].astype(np.uint8))


def drawn_things(generator: np.random.Generator) -> list[np.ndarray]:
    """Return one drawing of each kind of nonsense a folder may hold."""
    side = int(generator.integers(200, 500))
    shape = (side, int(side * generator.uniform(0.8, 1.4)), 3)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    color = generator.integers(20, 256, 3)
    warm = np.array([generator.integers(120, 256), generator.integers(50, 140), generator.integers(10, 70)])
    smooth = [
        cv2.resize(generator.random((n, n, 3)).astype(np.float32), shape[1::-1], interpolation=cv2.INTER_CUBIC)
        for n in (4, 12, 40)
    ]
    page = np.full(shape, 245, np.uint8)
    for y in range(20, shape[0], 18):
        cv2.putText(page, "the quick brown fox 0123456789 report", (8, y), 0, 0.4, (20, 20, 30), 1)
    wave = 0.5 + 0.5 * np.sin((rows * generator.normal() + columns * generator.normal()) * generator.uniform(0.05, 0.5))
    ramp = (columns / shape[1])[..., None] * color
    plain = [
        generator.integers(0, 256, shape), generator.normal(128, generator.uniform(5, 60), shape),
        np.zeros(shape) + warm, np.zeros(shape) + color, ramp, (rows / shape[0])[..., None] * warm,
        smooth[0] * 255, smooth[1] * 255, smooth[2] * 255, smooth[0][..., :1] * warm, smooth[1][..., :1] * warm,
        smooth[2][..., :1] * warm, page, 255 - page, wave[..., None] * color, wave[..., None] * warm,
        ((rows // 20 + columns // 20) % 2)[..., None] * color, warm + generator.normal(0, 15, shape),
        grain(shape, warm, generator), grain(shape, warm, generator), grain(shape, color, generator),
        outer_eye(shape, generator), outer_eye(shape, generator), outer_eye(shape, generator),
    ]  # fmt: skip
    flat = [np.clip(p, 0, 255).astype(np.uint8) for p in plain]
    return flat + [aperture(p, generator) for p in flat]


def grain(shape: tuple[int, ...], color: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return noise of one colour: any strength, fine or coarse, each channel its own or all the same."""
    channels = 3 if generator.random() < 0.5 else 1
    size = [max(4, int(n / generator.uniform(1, 4))) for n in shape[:2]]
    drawn = generator.normal(0, generator.uniform(4, 45), (*size, channels)).astype(np.float32)
    return color + cv2.resize(drawn, shape[1::-1]).reshape(*shape[:2], channels)


def outer_eye(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Return a drawn photograph of an eye from outside: skin, sclera, iris, pupil, lids and lashes."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    y, x = (rows / shape[0] - 0.5) * 2, (columns / shape[1] - 0.5) * 2
    skin = np.array([215, 165, 135]) * generator.uniform(0.4, 1.1)
    grain = cv2.resize(generator.normal(0, 8, (60, 60)).astype(np.float32), shape[1::-1])
    picture = skin + grain[..., None] - 25 * np.abs(y)[..., None]
    opening = np.abs(y) < generator.uniform(0.35, 0.7) * np.sqrt(np.clip(1 - (x / 0.85) ** 2, 0, 1))
    picture = np.where(opening[..., None], np.array([225, 212, 205]) + grain[..., None] / 2, picture)
    distance = np.hypot(y * shape[0] / shape[1], x - generator.uniform(-0.2, 0.2))
    rays = 1 + 0.2 * np.sin(40 * np.arctan2(y, x))
    iris = np.array([[95, 60, 35], [70, 95, 120], [80, 105, 70]])[generator.integers(3)]
    picture = np.where((opening & (distance < 0.33))[..., None], iris * rays[..., None], picture)
    picture = np.where((opening & (distance < 0.13))[..., None], 12.0, picture)
    picture = np.clip(picture, 0, 255).astype(np.uint8).copy()
    for _ in range(25):
        at = (int(generator.uniform(0.1, 0.9) * shape[1]), int(0.3 * shape[0]))
        cv2.line(picture, at, (at[0] + int(generator.normal(0, 10)), at[1] - int(shape[0] * 0.12)), (30, 22, 20), 2)
    return picture


def ordinary_changes(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return a photograph after what clinics do to good ones: margins, cutting to the middle, mild gain, re-coding."""
    draw = generator.random()
    field = find_field_of_view(pixels)
    if draw < 0.25:
        pad = [int(generator.uniform(0, 0.5) * n) for n in (*pixels.shape[:2], *pixels.shape[:2])]
        pixels = cv2.copyMakeBorder(pixels, pad[0], pad[2], pad[1], pad[3], cv2.BORDER_CONSTANT, value=(0, 0, 0))
    elif draw < 0.40 and field.is_round:
        half = field.radius_px * generator.uniform(0.5, 0.68)
        top, left = (max(0, int(c - half)) for c in field.center)
        pixels = pixels[top : int(field.center[0] + half), left : int(field.center[1] + half)]
    if generator.random() < 0.5:
        gain = generator.uniform(0.8, 1.15) * generator.uniform(0.93, 1.07, 3)
        pixels = np.clip(pixels * gain, 0, 255).astype(np.uint8)
    if generator.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(70, 96))]
        _, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels), quality)
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(pixels)


def sample(pixels: np.ndarray, **facts: object) -> Sample:
    return Sample(values=measure(pixels, find_field_of_view(pixels)), **facts)  # type: ignore[arg-type]


def collect(root: Path, limit: int, generator: np.random.Generator) -> list[Sample]:
    samples = []
    for count, (path, origin, patient) in enumerate(photographs(root, limit)):
        pixels = read(path)
        facts = {"origin": origin, "held_out": held_out(patient)}
        samples.append(sample(pixels, kind="original", severity=0.0, **facts))
        if not facts["held_out"]:
            changed = ordinary_changes(pixels, generator)
            if min(changed.shape[:2]) >= 64:
                samples.append(sample(changed, kind="original", severity=0.0, **{**facts, "origin": "changed"}))
        rare = origin != "odir"
        for kind in generator.permutation(KINDS)[: 4 if rare else 3]:
            severity = float(generator.uniform(0.05, 1.0))
            bad = degrade(pixels, str(kind), severity, generator)
            samples.append(sample(bad, kind=str(kind), severity=severity, **facts))
        if count % 200 == 0:
            print(f"{count} photographs measured", flush=True)
    for name, picture in other_pictures(root):
        back = name.startswith(KEPT_BACK) if "-" not in name else held_out(name)
        for _ in range(1 if "-" in name else 4 if back else 10):
            for variant in variants(picture, generator):
                samples.append(sample(variant, kind="foreign", origin=name, severity=1.0, held_out=back))
    for seed in range(30):
        for index, drawing in enumerate(drawn_things(np.random.default_rng(seed))):
            samples.append(
                sample(drawing, kind="foreign", origin=f"drawn-{index}", severity=1.0, held_out=seed % 3 == 0)
            )
    return samples


def fresh(root: Path, limit: int, count: int, generator: np.random.Generator) -> list[Sample]:
    """Return originals and degradations of ODIR patients of whom no photograph was fitted or held out."""
    listed = photographs(root, 10**6)
    seen = {patient for _, _, patient in photographs(root, limit)}
    samples = []
    for path, origin, _ in [p for p in listed if p[2] not in seen][:count]:
        pixels = read(path)
        facts = {"origin": origin, "held_out": True}
        samples.append(sample(pixels, kind="original", severity=0.0, **facts))
        kind, severity = str(generator.choice(KINDS)), float(generator.uniform(0.05, 1.0))
        samples.append(sample(degrade(pixels, kind, severity, generator), kind=kind, severity=severity, **facts))
        kind, severity = str(generator.choice(KINDS)), float(generator.uniform(0.8, 1.0))
        samples.append(sample(degrade(pixels, kind, severity, generator), kind=kind, severity=severity, **facts))
    return samples


def fit(samples: list[Sample]) -> QualityModel:
    used = [s for s in samples if not s.held_out]
    answers: dict[str, list[float]] = {
        "gradable": [s.gradable for s in used],
        "fundus": [s.fundus for s in used],
    }
    for kind, code in REASON_OF_KIND.items():
        answers[code] = [
            np.nan
            if s.kind == "foreign" or (s.kind == kind and s.severity < UNGRADABLE_FROM[kind])
            else float(s.kind == kind)
            for s in used
        ]
    real = sum(s.kind == "original" for s in used)
    note = (
        f"Fitted on {len(used)} pictures ({real} photographs as taken) of public sets and drawn degradations of them."
    )
    return fit_model([s.values for s in used], answers, ridge=1.0, notes=note)


def scores(model: QualityModel, samples: list[Sample]) -> tuple[np.ndarray, np.ndarray]:
    rows = [s.values for s in samples]
    fundus, gradable = (1 / (1 + np.exp(-model.logits(a, rows))) for a in ("fundus", "gradable"))
    return fundus, fundus * gradable


def with_thresholds(model: QualityModel, samples: list[Sample], *, refuse: float) -> QualityModel:
    """Return the model with thresholds that refuse this share of the original photographs of the fit."""
    originals = [s for s in samples if not s.held_out and s.kind == "original" and s.origin != "changed"]
    fundus, score = scores(model, originals)
    return replace(
        model,
        fundus_threshold=float(np.clip(np.quantile(fundus, refuse / 4), 0.02, 0.75)),
        threshold=float(np.clip(np.quantile(score, refuse), 0.02, 0.6)),
    )


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    order = np.argsort(np.argsort(np.concatenate([positive, negative]), kind="stable"), kind="stable") + 1
    return float(
        (order[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))
    )


def show(model: QualityModel, test: list[Sample], *, title: str) -> None:
    fundus, score = scores(model, test)
    accepted = (fundus >= model.fundus_threshold) & (score >= model.threshold)
    label = np.array([s.gradable for s in test])
    kinds = np.array([s.kind for s in test])
    severity = np.array([s.severity for s in test])
    print(f"\n{title}: {len(test)} pictures; thresholds {model.threshold:.3f}, {model.fundus_threshold:.3f}")
    print(f"AUROC gradable, originals and drawn degradations: {auroc(score[label == 1], score[label == 0]):.4f}")
    original = kinds == "original"
    if (kinds == "foreign").any():
        print(f"AUROC fundus: {auroc(fundus[original], fundus[kinds == 'foreign']):.4f}")
    by_origin: dict[str, list[bool]] = defaultdict(list)
    for s, ok in zip(test, accepted, strict=True):
        if s.kind == "original":
            by_origin[s.origin].append(bool(ok))
    for name, oks in [*by_origin.items(), ("all", [o for v in by_origin.values() for o in v])]:
        print(f"  originals refused, {name:8s} {100 - 100 * np.mean(oks):5.2f} % of {len(oks)}")
    for kind in KINDS:
        hard, easy = (kinds == kind) & (severity >= 0.8), (kinds == kind) & (severity <= 0.2)
        codes = np.array(
            [[model.probabilities(test[i].values)[c] for c in REASON_OF_KIND.values()] for i in np.where(hard)[0]]
        )
        named = np.mean(codes.argmax(axis=1) == list(KINDS).index(kind)) if len(codes) else np.nan
        print(
            f"  {kind:14s} refused at severity >= 0.8: {100 - 100 * accepted[hard].mean():5.1f} % of {hard.sum()};"
            f" at <= 0.2: {100 - 100 * accepted[easy].mean():5.1f} % of {easy.sum()}; named first: {100 * named:.0f} %"
        )
    bad = np.isin(kinds, KINDS) & (severity >= 0.8)
    print(f"  all kinds refused at severity >= 0.8: {100 - 100 * accepted[bad].mean():.1f} % of {bad.sum()}")
    foreign = kinds == "foreign"
    if not foreign.any():
        return
    wrong = sorted({s.origin for s, ok in zip(test, accepted, strict=True) if ok and s.kind == "foreign"})
    print(f"  foreign refused: {100 - 100 * accepted[foreign].mean():.2f} % of {foreign.sum()}; accepted: {wrong}")
    called = fundus[foreign] < model.fundus_threshold
    print(f"  foreign called not a fundus: {100 * called.mean():.2f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="replace the shipped calibration")
    parser.add_argument("--limit", type=int, default=1300, help="ODIR photographs to use")
    parser.add_argument("--confirm", type=int, default=700, help="untouched ODIR photographs to report on")
    parser.add_argument("--only-confirm", action="store_true", help="report on the shipped calibration, fit nothing")
    parser.add_argument("--refuse", type=float, default=0.007, help="share of original photographs to refuse")
    options = parser.parse_args()
    root = Path(os.environ.get("FUNDUSION_DATA") or TARGET.parents[3].parent / "shared" / "data")
    if not root.is_dir():
        raise SystemExit(f"no data folder at {root}; set FUNDUSION_DATA")
    if options.only_confirm:
        test = fresh(root, options.limit, options.confirm, np.random.default_rng(21))
        show(shipped_model(), test, title="shipped calibration, untouched ODIR patients")
        return
    samples = collect(root, options.limit, np.random.default_rng(20))
    model = with_thresholds(fit(samples), samples, refuse=options.refuse)
    # The held-out third was looked at while the measures and the share to refuse were chosen; the last part was not.
    show(model, [s for s in samples if s.held_out], title="held-out third, looked at during development")
    show(model, fresh(root, options.limit, options.confirm, np.random.default_rng(21)), title="untouched ODIR patients")
    if options.write:
        model.save(TARGET)
        print(f"written: {TARGET.name}")
        cat = next(p for n, p in other_pictures(root) if n == "chelsea")
        print("a cat:", assess(Image(pixels=cat, modality="cfp")).reasons)


if __name__ == "__main__":
    main()
