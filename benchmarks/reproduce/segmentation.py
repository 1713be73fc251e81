"""Overlap of shipped segmenters with public truth, on pictures that were not trained on, in the pictures' own pixels.

    python benchmarks/reproduce/segmentation.py --out benchmarks/results/segmentation.json

Vessels: Dice inside the field of view at one threshold for all sets; beside it the second observer and, where their weights lie
in ../shared/weights, the published LW-Net. Disc and cup: Dice and the error of the vertical cup-to-disc ratio. Arteries and veins:
accuracy on vessel pixels. Lesions: area under the precision-recall curve. Intervals are 95 % from a bootstrap over patients.
Beside each the expected calibration error of its pixels, as they are and calibrated.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from fundusion.core.durable import write_json
from fundusion.core.errors import UnknownName
from fundusion.core.registry import datasets, models
from fundusion.core.study import StudyRecord
from fundusion.datasets._splits import position_of
from fundusion.decision.pixel_calibration import count_levels
from fundusion.readers import read_study
from fundusion.readers.mask import read_artery_vein, read_labels, read_mask
from fundusion.segmenting import (
    Masks,
    Segmenter,
    largest_region,
    load_segmenter,
    segment_image,
    surest_region,
    whole_frame,
)
from fundusion.shipped import resolve_segmenter
from fundusion.train.segment_calibration import left_out_error, pixel_error
from fundusion.transforms.field_of_view import FieldOfView, find_field_of_view

ROOTS = {"drive": "drive", "chase_db1": "chase_db1", "stare": "stare", "hrf": "hrf",
         "drishti_gs": "drishti_gs", "idrid.segmentation": "idrid_seg", "ffa": "ffa"}  # fmt: skip
#: Dice of the published LW-Net on the kept-back pictures of each set.
PUBLISHED = {"drive": 0.825, "chase_db1": 0.722, "stare": 0.769, "hrf": 0.708}
#: Levels of probability that are told apart.
_LEVELS = 4096


def held_out(name: str, data: Path, fraction: float = 0.15, seed: int = 0) -> list[StudyRecord]:
    """Return the pictures of a set that the recipes hold out: the same share of its patients."""
    records = [r for r in datasets.create(name, root=data / ROOTS[name]) if r.masks or name != "ffa"]
    places = {r.group: position_of(f"{name}/{r.group}", seed=seed) for r in records}
    first = sorted(places, key=lambda g: places[g])[: max(1, round(len(places) * fraction))]
    return [r for r in records if r.group in first]


def interval(values: list[float], groups: list[str], draws: int = 2000) -> list[float]:
    """Return the mean and its 95 % interval over patients."""
    kept = [(v, g) for v, g in zip(values, groups, strict=True) if np.isfinite(v)]
    by_group = {g: [v for v, h in kept if h == g] for _, g in kept}
    parts = [np.array(v) for v in by_group.values()]
    random = np.random.default_rng(0)
    means = []
    for _ in range(draws):
        chosen = random.integers(len(parts), size=len(parts))
        means.append(float(np.concatenate([parts[i] for i in chosen]).mean()))
    low, high = np.quantile(means, [0.025, 0.975])
    return [round(float(v), 4) for v in (np.concatenate(parts).mean(), low, high)]


def dice(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """Return Dice; two empty masks agree."""
    total = int(found.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2 * int((found & truth).sum()) / total


def visible(record: StudyRecord, field: FieldOfView, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return the published field of view, or ours where none is published."""
    if "fov" in record.masks:
        return read_mask(record.masks["fov"][0]) > 0
    return field.mask(shape)


def lwnet(weights: Path) -> Segmenter | None:
    """Return the published LW-Net as a segmenter at its own scale and threshold."""
    path = weights / "lwnet/wnet_drive/model_checkpoint.pth"
    if not path.is_file():
        return None
    model = models.create("unet.lwnet", weights=str(path)).eval().to(memory_format=torch.channels_last)
    return Segmenter(name="lwnet", model=model, classes=("vessel",), field_px=512, thresholds={"vessel": 0.42})


def each(segmenter: Segmenter, name: str, data: Path, score: Callable[[StudyRecord, Masks], float]) -> list[float]:
    """Return mean and interval of a score over the held-out pictures of a set."""
    values, groups = [], []
    for record in held_out(name, data):
        image = read_study(record).images["cfp"][0]
        values.append(score(record, segment_image(segmenter, image, field=find_field_of_view(image.pixels))))
        groups.append(record.group)
    return [*interval(values, groups), len(values)]


def vessel_score(record: StudyRecord, found: Masks) -> float:
    """Return Dice of vessels inside the field of view."""
    truth = read_mask(record.masks["vessels"][0]) > 0
    inside = visible(record, found.field, truth.shape)
    return dice(found.masks["vessel"] & inside, truth & inside)


def vessels(segmenter: Segmenter, data: Path, peer: Segmenter | None) -> dict[str, Any]:
    """Return Dice per set of ours, the peer and the second observer."""
    rows: dict[str, Any] = {}
    for name in PUBLISHED:
        row: dict[str, Any] = {"ours": each(segmenter, name, data, vessel_score), "lwnet_published": PUBLISHED[name]}
        if peer is not None:
            row["lwnet_here"] = each(peer, name, data, vessel_score)
        second = [r for r in datasets.create(name, root=data / ROOTS[name]) if "vessels_2nd" in r.masks]
        if second:
            scores = []
            for record in second:
                first, other = (read_mask(record.masks[k][0]) > 0 for k in ("vessels", "vessels_2nd"))
                inside = visible(record, find_field_of_view(read_study(record).images["cfp"][0].pixels), first.shape)
                scores.append(dice(other & inside, first & inside))
            row["second_observer"] = interval(scores, [r.group for r in second])
        rows[name] = row
        print("vessels", name, row, flush=True)
    return rows


def best_threshold(segmenter: Segmenter, data: Path) -> float:
    """Return the one threshold with the best mean Dice over sets, from pictures that were trained on: held-out ones decide nothing."""
    grid = np.round(np.arange(0.3, 0.66, 0.03), 2)
    scores = []
    for name in PUBLISHED:
        outside = {r.study_id for r in held_out(name, data)}
        records = [r for r in datasets.create(name, root=data / ROOTS[name]) if r.study_id not in outside][:4]
        for record in records:
            image = read_study(record).images["cfp"][0]
            found = segment_image(segmenter, image, calibrated=False)
            truth = read_mask(record.masks["vessels"][0]) > 0
            inside = visible(record, found.field, truth.shape)
            values = found.probabilities["vessel"]
            scores.append([dice((values >= t) & inside, truth & inside) for t in grid])
    return float(grid[int(np.argmax(np.mean(scores, 0)))])


def best_disc_threshold(segmenter: Segmenter, data: Path) -> float:
    """Return the threshold of the disc with the best mean Dice over sets, from every other picture that was trained on."""
    grid = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    means = []
    for name, truth in (("drishti_gs", 128), ("idrid.segmentation", 1)):
        scores = []
        for record in (r for r in _trained_on(name, data)[::2] if "disc" in r.masks):
            value = segment_image(segmenter, read_study(record).images["cfp"][0], calibrated=False).probabilities[
                "disc"
            ]
            wanted = read_mask(record.masks["disc"][0]) >= truth
            scores.append([dice(surest_region(value >= t, value), wanted) for t in grid])
        means.append(np.mean(scores, 0))
        print(name, dict(zip(grid, means[-1].round(4).tolist(), strict=True)), flush=True)
    return grid[int(np.argmax(np.mean(means, 0)))]


def best_cup_threshold(segmenter: Segmenter, data: Path) -> float:
    """Return the threshold of the cup with the least error of the cup-to-disc ratio, from the pictures that were trained on."""
    grid = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    errors = []
    for record in _trained_on("drishti_gs", data):
        found = segment_image(segmenter, read_study(record).images["cfp"][0], calibrated=False)
        disc = found.masks["disc"]
        cups = [height(largest_region((found.probabilities["cup"] >= t) & disc)) for t in grid]
        if disc.any():
            errors.append([abs(cup / height(disc) - float(record.labels["vcdr"])) for cup in cups])
    print("vCDR", dict(zip(grid, np.mean(errors, 0).round(4).tolist(), strict=True)), flush=True)
    return grid[int(np.argmin(np.mean(errors, 0)))]


def _trained_on(name: str, data: Path) -> list[StudyRecord]:
    outside = {r.study_id for r in held_out(name, data)}
    return [r for r in datasets.create(name, root=data / ROOTS[name]) if r.study_id not in outside]


def height(mask: npt.NDArray[np.bool_]) -> int:
    """Return the number of rows a region spans."""
    rows = np.flatnonzero(mask.any(1))
    return 0 if not len(rows) else int(rows[-1] - rows[0] + 1)


def disc_cup(segmenter: Segmenter, data: Path) -> dict[str, Any]:
    """Return Dice of disc and cup, and the error of the vertical cup-to-disc ratio against the mean of four experts."""
    rows: dict[str, Any] = {}

    def overlap(part: str) -> Callable[[StudyRecord, Masks], float]:
        return lambda r, m: dice(m.masks[part], read_mask(r.masks[part][0]) >= 128)

    def ratio(record: StudyRecord, found: Masks) -> float:
        disc, cup = height(found.masks["disc"]), height(found.masks["cup"])
        return float("nan") if disc == 0 else abs(cup / disc - float(record.labels["vcdr"]))

    rows["drishti_disc"] = each(segmenter, "drishti_gs", data, overlap("disc"))
    rows["drishti_cup"] = each(segmenter, "drishti_gs", data, overlap("cup"))
    rows["drishti_vcdr_error"] = each(segmenter, "drishti_gs", data, ratio)
    rows["idrid_disc"] = each(
        segmenter, "idrid.segmentation", data,
        lambda r, m: dice(m.masks["disc"], read_mask(r.masks["disc"][0]) > 0) if "disc" in r.masks else float("nan"),
    )  # fmt: skip
    return rows


def smaller_discs(segmenter: Segmenter, data: Path) -> None:
    """Print Dice of the disc, and the error of the cup-to-disc ratio, when held-out pictures are made smaller before they are segmented."""
    for side in (512, 384, 256, 192):
        row: dict[str, list[float]] = {}
        for name, level in (("drishti_gs", 128), ("idrid.segmentation", 1)):
            for record in (r for r in held_out(name, data) if "disc" in r.masks):
                pixels = read_study(record).images["cfp"][0].pixels
                top, left, bottom, right = find_field_of_view(pixels).box
                share = side / max(bottom - top, right - left)
                small = cv2.resize(pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
                found = segment_image(segmenter, np.asarray(small, np.uint8)).masks
                drawn = cv2.resize(
                    found["disc"].astype(np.float32), pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR
                )
                row.setdefault(name, []).append(dice(drawn >= 0.5, read_mask(record.masks["disc"][0]) >= level))
                if "cup" in record.masks and found["disc"].any():
                    ratio = height(found["cup"]) / height(found["disc"])
                    row.setdefault("vCDR error", []).append(abs(ratio - float(record.labels["vcdr"])))
        print(side, {k: round(float(np.mean(v)), 3) for k, v in row.items()}, flush=True)


def artery_vein(segmenter: Segmenter, data: Path) -> dict[str, Any]:
    """Return the share of vessel pixels of HRF whose more probable class is the right one."""

    def score(record: StudyRecord, found: Masks) -> float:
        artery, vein, uncertain = (m > 0 for m in read_artery_vein(record.masks["artery_vein"][0]))
        judged = (artery ^ vein) & ~uncertain
        says = found.probabilities["artery"] >= found.probabilities["vein"]
        return float((says == artery)[judged].mean())

    return {"hrf_accuracy_on_vessel_pixels": each(segmenter, "hrf", data, score)}


def lesions(segmenter: Segmenter, data: Path) -> dict[str, Any]:
    """Return the area under the precision-recall curve over all pixels of the held-out pictures, with an interval over pictures."""
    random = np.random.default_rng(0)
    rows = {}
    for name, counts in lesion_counts(segmenter, held_out("idrid.segmentation", data)).items():
        draws = [
            average_precision(sum(counts[i] for i in random.integers(len(counts), size=len(counts))))
            for _ in range(2000)
        ]
        low, high = np.nanquantile(draws, [0.025, 0.975])
        whole = average_precision(sum(counts))
        rows[name] = [round(float(v), 4) for v in (whole, low, high)] + [len(counts)]
    return rows


def lesion_scales(segmenter: Segmenter, data: Path) -> None:
    """Print the area under the curve when the field of view is brought to other sides, also of every fifth picture that was trained on."""
    for share in (1.0, 1.125, 1.25, 1.375, 1.5):
        side = round(segmenter.trained_px * share / 32) * 32
        one = replace(segmenter, field_px=side)
        for words, records in (
            ("trained on", _trained_on("idrid.segmentation", data)[::5]),
            ("held out", held_out("idrid.segmentation", data)),
        ):
            found = lesion_counts(one, records)
            print(side, words, {c: round(average_precision(sum(v)), 3) for c, v in found.items()}, flush=True)


def lesion_counts(segmenter: Segmenter, records: Sequence[StudyRecord]) -> dict[str, list[npt.NDArray[np.int64]]]:
    """Return pixels per level of probability of each lesion, absent and present `(2, levels)`, in each picture."""
    kept: dict[str, list[npt.NDArray[np.int64]]] = {c: [] for c in segmenter.classes}
    for record in records:
        image = read_study(record).images["cfp"][0]
        found = segment_image(segmenter, image)
        inside = found.field.mask(image.pixels.shape)
        for name in segmenter.classes:
            truth = np.zeros(inside.shape, bool)
            for file in record.masks.get(name, ()):
                truth |= read_mask(file) > 0
            values = np.rint(found.probabilities[name][inside] * (_LEVELS - 1)).astype(np.int64)
            counts = [np.bincount(values[truth[inside] == side], minlength=_LEVELS) for side in (False, True)]
            kept[name].append(np.stack(counts))
    return kept


def ffa_areas(segmenter: Segmenter, data: Path) -> dict[str, Any]:
    """Return Dice of areas on the held-out angiograms that have them, and how many there are."""
    rows: dict[str, Any] = {}
    for name, number in (("brvo", 1), ("non_perfusion", 2)):
        values, groups = [], []
        for record in held_out("ffa", data):
            image = next(iter(read_study(record).images.values()))[0]
            truth = read_labels(record.masks["non_perfusion"][0]) == number
            found = segment_image(segmenter, image, field=whole_frame(image.pixels.shape)).masks[name]
            values.append(dice(found, truth))
            groups.append(record.group)
        rows[name] = [*interval(values, groups), len(values)]
    return rows


def reliability(segmenter: Segmenter, kind: str, data: Path) -> dict[str, Any]:
    """Return the calibration error of pixels inside the field of view of held-out pictures, in their own size.

    The calibration that is stored was fitted on the same patients; `left_out` calibrates every patient by the others. `undecided` counts only
    pixels with a probability of 0.05 to 0.95, because clear background hides the rest.
    """
    rows: dict[str, Any] = {}
    for name, (sets, truth_of) in _TRUTHS[kind].items():
        if name not in segmenter.classes:
            continue
        counts, groups = [], []
        for source in sets:
            for record in held_out(source, data):
                truth = truth_of(record)
                if truth is None:
                    continue
                found = segment_image(segmenter, read_study(record).images["cfp"][0], calibrated=False)
                inside = visible(record, found.field, truth.shape)
                counts.append(count_levels(found.probabilities[name], truth, inside))
                groups.append(f"{source}/{record.group}")
        stored = segmenter.calibration.get(name)
        rows[name] = {
            "pictures": len(counts),
            "as_is": [round(pixel_error(counts, undecided=u), 4) for u in (False, True)],
            "stored": None
            if stored is None
            else [round(pixel_error(counts, stored, undecided=u), 4) for u in (False, True)],
            "left_out": [round(left_out_error(counts, groups, undecided=u), 4) for u in (False, True)],
        }
    return rows


def _file(key: str, level: int = 1) -> Callable[[StudyRecord], npt.NDArray[np.bool_] | None]:
    return lambda r: read_mask(r.masks[key][0]) >= level if key in r.masks else None


def _lesion(key: str) -> Callable[[StudyRecord], npt.NDArray[np.bool_] | None]:
    def truth(record: StudyRecord) -> npt.NDArray[np.bool_]:
        shape = read_study(record).images["cfp"][0].pixels.shape[:2]
        return np.logical_or.reduce([np.zeros(shape, bool), *(read_mask(f) > 0 for f in record.masks.get(key, ()))])

    return truth


_TRUTHS: dict[str, dict[str, Any]] = {
    "vessels": {"vessel": (tuple(PUBLISHED), _file("vessels"))},
    "disc_cup": {
        "disc": (("drishti_gs", "idrid.segmentation"), _file("disc", 128)),
        "cup": (("drishti_gs",), _file("cup", 128)),
    },
    "lesions": {c: (("idrid.segmentation",), _lesion(c)) for c in ("HE", "EX", "SE")},
    "microaneurysms": {"MA": (("idrid.segmentation",), _lesion("MA"))},
}


def average_precision(counts: Any) -> float:
    """Return the area under the precision-recall curve from pixels per level of probability: `(2, levels)`, absent and present.

    Example:
        >>> average_precision(np.array([[1, 0, 0], [0, 0, 1]]))
        1.0
    """
    absent, present = (np.cumsum(c[::-1]) for c in counts)
    if present[-1] == 0:
        return float("nan")
    precision = present / np.maximum(present + absent, 1)
    return float((np.diff(present, prepend=0) * precision).sum() / present[-1])


def main() -> None:
    """Measure every segmenter that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA", "../shared/data")))
    parser.add_argument("--weights", type=Path, default=None, help="Folder of published weights.")
    parser.add_argument("--model", action="append", default=[], help="KIND=FOLDER instead of the shipped one.")
    parser.add_argument(
        "--threshold", action="store_true", help="Only print the thresholds that training pictures ask for."
    )
    parser.add_argument(
        "--scales", action="store_true", help="Only print what lesions gain when pictures are enlarged."
    )
    parser.add_argument("--smaller", action="store_true", help="Only print what discs lose when pictures are small.")
    parser.add_argument("--reliability", action="store_true", help="Only the error of calibration; adds to the file.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/segmentation.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    given = dict(m.split("=", 1) for m in options.model)
    if options.smaller:
        smaller_discs(load_segmenter(given.get("disc_cup", "disc_cup")), options.data)
        return
    if options.scales:
        for kind in given or ("microaneurysms",):
            lesion_scales(load_segmenter(given.get(kind, kind)), options.data)
        return
    if options.threshold:
        if not given or "vessels" in given:
            print("vessel", best_threshold(load_segmenter(given.get("vessels", "vessels")), options.data))
        if not given or "disc_cup" in given:
            print("disc", best_disc_threshold(load_segmenter(given.get("disc_cup", "disc_cup")), options.data))
            print("cup", best_cup_threshold(load_segmenter(given.get("disc_cup", "disc_cup")), options.data))
        return
    results: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
    peer = lwnet(options.weights or options.data.parent / "weights")
    for kind, measure in (("vessels", lambda s, d: vessels(s, d, peer)), ("disc_cup", disc_cup),
                          ("artery_vein", artery_vein), ("lesions", lesions), ("microaneurysms", lesions), ("ffa_areas", ffa_areas)):  # fmt: skip
        name = given.get(kind, kind)
        if given and kind not in given:
            continue
        try:
            resolve_segmenter(name)
        except UnknownName:
            continue
        segmenter = load_segmenter(name)
        results[kind] = results.get(kind, {}) if options.reliability else measure(segmenter, options.data)
        if kind in _TRUTHS:
            results[kind]["calibration_error"] = reliability(segmenter, kind, options.data)
        print(kind, json.dumps(results[kind], indent=1), flush=True)
        write_json(options.out, results)


if __name__ == "__main__":
    main()
