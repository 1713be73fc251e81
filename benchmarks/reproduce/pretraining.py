"""An encoder trained without labels: is a linear probe on it better than on the same architecture with random weights?

    python benchmarks/reproduce/pretraining.py table
    for s in 0 1 2; do fundusion pretrain --recipe recipes/pretrain.toml --seed $s --root / \\
        --data ../runs/pretraining/studies.csv --out ../runs/pretraining/mae-$s; done
    python benchmarks/reproduce/pretraining.py scratch
    python benchmarks/reproduce/pretraining.py measure

Measured are ODIR's eight labels on the patients the shipped model held out (learned from four fifths of the others), and IDRiD's
grades in five folds; pretraining saw none of these patients, nobody whose eye is among them, and no picture of IDRiD. A seed is
another random network, other patients to learn from, other folds, and another run of pretraining where there is one: with `mae-0`
alone it stands for all. `scratch` trains the same architecture with labels, from random weights and from
the encoder, for the same number of steps. `measure --probe-px 512 --tiles --tasks idrid
--out benchmarks/results/pretraining_tiles.json` probes tiles of the size that was pretrained on: their mean, maximum and deviation stand for the picture, so that a lesion of a few pixels is not resampled away.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fundusion.core.durable import write_bytes, write_json, write_text
from fundusion.core.registry import ImageInput, datasets, models
from fundusion.core.study import StudyRecord
from fundusion.core.vocabulary import ODIR_LABELS
from fundusion.datasets._splits import position_of
from fundusion.layers.precision import plain_attention
from fundusion.metrics.classification import Undefined, macro, quadratic_kappa
from fundusion.metrics.statistics import SortedAuroc, bootstrap, mean_interval
from fundusion.train.data import prepare_set
from fundusion.train.embeddings import digest_of_module, resized
from fundusion.train.protocols import linear_logits
from fundusion.transforms.augment import augment
from fundusion.transforms.collate import normalise_images

#: Folder below the data and the set it holds. Of IDRiD's segmentation part most pictures are in its grading part too.
SETS = {
    "odir": "odir", "idrid_grading": "idrid", "drive": "drive", "chase_db1": "chase_db1", "stare": "stare", "hrf": "hrf",
    "drishti_gs": "drishti_gs", "rfmid_samples": "rfmid",
}  # fmt: skip
COLUMNS = ("study_id", "patient_id", "laterality", "cfp", "split", "label.disease", "label.dr_grade")
DRAWN = 400
MODEL = "vit.tiny_16"
#: Side of the pictures of the probes, the same for all encoders, and of training with labels.
PROBE_PX, TRAIN_PX = 160, 128
SEEDS = (0, 1, 2)
FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("table", "scratch", "measure"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA") or "../shared/data"))
    parser.add_argument(
        "--work", type=Path, default=Path("../runs/pretraining"), help="table, drawn eyes, runs, vectors"
    )
    parser.add_argument("--cache", type=Path, default=Path("../runs/cache"), help="prepared pictures")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pretraining.json"))
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument(
        "--steps", type=int, default=535, help="of training with labels on ODIR; a fifth in each fold of IDRiD"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    parser.add_argument("--probe-px", type=int, default=PROBE_PX, help="side of the pictures of the probes")
    parser.add_argument("--tiles", action="store_true", help=f"probe tiles of {TRAIN_PX} px of those pictures")
    parser.add_argument("--tasks", nargs="+", choices=("odir", "idrid"), default=["odir", "idrid"])
    arguments = parser.parse_args()
    if arguments.tiles and arguments.probe_px % TRAIN_PX:
        parser.error(
            f"--tiles needs --probe-px in multiples of {TRAIN_PX}, got {arguments.probe_px}: the rest would be cut off"
        )
    arguments.work.mkdir(parents=True, exist_ok=True)
    {"table": table, "scratch": scratch, "measure": measure}[arguments.part](arguments)


def table(arguments) -> None:
    """Write `studies.csv`: who is measured later is in the part "test", and so is nobody whose eye is also in "train"."""
    work = arguments.work.absolute()
    rows = [
        row(r, folder) for folder, name in SETS.items() for r in datasets.create(name, root=arguments.data / folder)
    ]
    write_rows(work / "real.csv", rows)
    call(
        "check",
        work / "real.csv",
        "--root",
        "/",
        "--out",
        work / "checked",
        "--cache",
        work / "fingerprints",
        fine=(0, 3),
    )
    found = json.loads((work / "checked" / "check.json").read_text("utf-8"))["findings"]
    patient = {r["study_id"]: r["patient_id"] or r["study_id"] for r in rows}
    split = {r["study_id"]: r["split"] for r in rows}
    leaking = {patient[s] for f in found if f["code"] == "split.leak" for s in f["studies"] if split[s] == "train"}
    kept = [r for r in rows if patient[r["study_id"]] not in leaking]
    call("draw", "--out", work / "drawn", "--count", DRAWN, "--size", 256)
    with (work / "drawn" / "manifest.csv").open(encoding="utf-8") as file:
        for drawn in csv.DictReader(file):
            found_at = str(work / "drawn" / drawn["cfp"])
            kept.append({"study_id": f"drawn/{drawn['study_id']}", "patient_id": f"drawn/{drawn['patient_id']}",
                         "laterality": drawn["laterality"], "cfp": found_at, "split": "train"})  # fmt: skip
    write_rows(work / "studies.csv", kept)
    print(
        f"{len(kept)} studies; {len(rows) + DRAWN - len(kept)} left out, whose eye is also among those measured later."
    )


def row(record: StudyRecord, folder: str) -> dict[str, object]:
    """Return the row of a study. Tested are the ODIR patients that the shipped model held out, and all of IDRiD."""
    patient = f"{folder}/{record.patient_id}" if record.patient_id else ""
    tested = folder == "idrid_grading" or (folder == "odir" and position_of(patient, seed=0) < 0.2)
    disease, grade = record.labels.get("disease") or {}, record.labels.get("dr_grade")
    return {
        "study_id": f"{folder}/{record.study_id}",
        "patient_id": patient,
        "laterality": record.laterality.value if record.laterality else "",
        "cfp": record.images["cfp"][0],
        "split": "test" if tested else "train",
        "label.disease": "|".join(k for k, v in disease.items() if v == 1),
        "label.dr_grade": "" if grade is None else int(grade),
    }


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())


def call(*words: object, fine: tuple[int, ...] = (0,)) -> None:
    """Run a command of fundusion."""
    code = subprocess.run([sys.executable, "-m", "fundusion", *map(str, words)], check=False).returncode
    if code not in fine:
        raise SystemExit(code)


@dataclass
class Task:
    """Pictures of a set, what is asked of them, and who may be learned from."""

    name: str
    pictures: object
    events: np.ndarray
    groups: np.ndarray
    tested: np.ndarray

    def parts(self, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return rows to learn from and rows to answer; every row of the test is answered once."""
        if self.name == "odir":
            # Four fifths of those that may be learned from, others for each seed.
            drawn = np.random.default_rng([seed, 3]).random(self.groups.max() + 1)[self.groups] < 0.8
            return [(np.flatnonzero(~self.tested & drawn), np.flatnonzero(self.tested))]
        fold = np.random.default_rng(seed).permutation(self.groups.max() + 1)[self.groups] % FOLDS
        return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]


def tasks(arguments) -> list[Task]:
    """Return both sets, their pictures prepared once."""
    found = json.loads((arguments.work / "checked" / "check.json").read_text("utf-8"))["findings"]
    twins = [f["studies"] for f in found if f.get("pair")]
    with (arguments.work / "studies.csv").open(encoding="utf-8") as file:
        split = {r["study_id"]: r["split"] for r in csv.DictReader(file)}
    answer = []
    side = arguments.probe_px if arguments.tiles else 256
    for folder, name in (("odir", "odir"), ("idrid_grading", "idrid")):
        if name not in arguments.tasks:
            continue
        records = [r for r in datasets.create(name, root=arguments.data / folder) if f"{folder}/{r.study_id}" in split]
        data = prepare_set(records, {"cfp": ImageInput()}, side=side, cache=arguments.cache)
        assert len(data) == len(records)
        ids = [f"{folder}/{r.study_id}" for r in records]
        if name == "odir":
            events = np.asarray([[r.labels["disease"].get(k, np.nan) for k in ODIR_LABELS] for r in records], float)
        else:
            events = (np.asarray([int(r.labels["dr_grade"]) for r in records])[:, None] == np.arange(5)).astype(float)
        # Pictures of one eye are one patient.
        group = dict(zip(ids, data.groups, strict=True))
        for one, *others in twins:
            for other in others:
                if one in group and other in group:
                    group = {i: group[one] if g == group[other] else g for i, g in group.items()}
        answer.append(Task(
            name=name, pictures=data.images["cfp"], events=events,
            groups=np.unique([group[i] for i in ids], return_inverse=True)[1],
            tested=np.asarray([split[i] == "test" for i in ids]),
        ))  # fmt: skip
    return answer


def run_of(arguments, seed: int) -> Path:
    """Return the pretraining run of a seed; where only one was made, that."""
    own = arguments.work / f"mae-{seed}"
    return own if (own / "encoder.json").is_file() else arguments.work / "mae-0"


def encoder_of(arguments, kind: str, seed: int, size: int) -> nn.Module:
    """Return the network with random weights of a seed (those pretraining began with), or what pretraining made of it."""
    torch.manual_seed(seed)
    options = {} if kind == "random" else {"weights": str(run_of(arguments, seed) / "encoder.safetensors")}
    return models.create(MODEL, image_size=size, **options)


@torch.inference_mode()
def vectors(arguments, task: Task, kind: str, seed: int) -> np.ndarray:
    """Return `(T, E)`, or `(T, 3 * E)` of tiles, computed once."""
    size = TRAIN_PX if arguments.tiles else arguments.probe_px
    encoder = encoder_of(arguments, kind, seed, size).eval()
    how = f"{arguments.probe_px}{'-tiles' if arguments.tiles else ''}"
    path = arguments.work / f"vectors-{task.name}-{how}-{digest_of_module(encoder)[:16]}.npy"
    if path.is_file():
        return np.load(path, allow_pickle=False)
    wanted, rows = input_of(size), []
    step = 4 if arguments.tiles else 64
    for start in range(0, len(task.pictures), step):
        stored = torch.from_numpy(np.ascontiguousarray(task.pictures[start : start + step]))
        count = len(stored)
        stored = tiles_of(stored, size) if arguments.tiles else resized(stored, size)
        with torch.autocast("cpu", torch.bfloat16):
            found = encoder.encode(normalise_images(stored, wanted)).pooled.float()
        if arguments.tiles:
            each = found.view(count, -1, found.shape[1])
            found = torch.cat([each.mean(1), each.amax(1), each.std(1)], 1)
        rows.append(found)
    stream = io.BytesIO()
    np.save(stream, torch.cat(rows).numpy())
    write_bytes(path, stream.getvalue())
    return np.load(path, allow_pickle=False)


def tiles_of(stored: torch.Tensor, size: int) -> torch.Tensor:
    """Return `(N, H, W, 3)` as tiles `(N * K, size, size, 3)`, the K of one picture together."""
    tiles = stored.unfold(1, size, size).unfold(2, size, size)
    return tiles.permute(0, 1, 2, 4, 5, 3).reshape(-1, size, size, 3)


def input_of(size: int) -> ImageInput:
    wanted = models.card(MODEL).input
    return ImageInput(size=size, mean=wanted.mean, std=wanted.std)


def scratch(arguments) -> None:
    """Train with labels: the architecture from random weights, and from what pretraining made of them."""
    sets = tasks(arguments)
    jobs = [(k, t, s) for k in ("random", "mae") for t in sets for s in arguments.seeds]
    for kind, task, seed in jobs:
        path = arguments.work / f"labels-{task.name}-{kind}-{seed}.npy"
        if path.is_file():
            continue
        logits = np.full(task.events.shape, np.nan)
        steps = arguments.steps if task.name == "odir" else arguments.steps // FOLDS
        for learn, ask in task.parts(seed):
            logits[ask] = trained(task, encoder_of(arguments, kind, seed, TRAIN_PX), seed, learn, ask, steps)
        stream = io.BytesIO()
        np.save(stream, logits)
        write_bytes(path, stream.getvalue())
        print(f"{task.name} {kind} {seed}: {steps} steps", flush=True)


def trained(task: Task, encoder: nn.Module, seed: int, learn, ask, steps: int, batch: int = 32) -> np.ndarray:
    """Return logits after training every weight."""
    torch.manual_seed(1000 + seed)
    model = nn.Sequential(nn.LayerNorm(encoder.embed_dim), nn.Linear(encoder.embed_dim, task.events.shape[1]))
    plain_attention(encoder)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *model.parameters()], lr=5e-4, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-4, total_steps=steps, pct_start=0.1)
    wanted, draw = input_of(TRAIN_PX), np.random.default_rng(seed)
    order = np.concatenate([draw.permutation(learn) for _ in range(steps * batch // len(learn) + 1)])
    for step in range(steps):
        rows = order[step * batch : (step + 1) * batch]
        stored = torch.from_numpy(np.ascontiguousarray(task.pictures[rows]))
        generator = torch.Generator().manual_seed(seed * 100003 + step)
        images = normalise_images(augment(stored, TRAIN_PX, generator=generator), wanted)
        y = torch.from_numpy(task.events[rows]).float()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(encoder.encode(images).pooled).float()
        known = ~y.isnan()
        loss = (
            nn.functional.binary_cross_entropy_with_logits(logits[known], y[known])
            if task.name == "odir"
            else nn.functional.cross_entropy(logits, y)
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([*encoder.parameters(), *model.parameters()], 1.0)
        optimizer.step()
        schedule.step()
    encoder.eval()
    parts = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(ask), 64):
            stored = torch.from_numpy(np.ascontiguousarray(task.pictures[ask[start : start + 64]]))
            images = normalise_images(resized(stored, TRAIN_PX), wanted)
            parts.append((model(encoder.encode(images).pooled) + model(encoder.encode(images.flip(3)).pooled)).float())
    return torch.cat(parts).numpy()


def probe(arguments, task: Task, kind: str, seed: int) -> np.ndarray:
    """Return logits of linear probes, NaN where nothing was asked."""
    x = vectors(arguments, task, kind, seed)
    logits = np.full(task.events.shape, np.nan)
    for learn, ask in task.parts(seed):
        logits[ask] = linear_logits(x, task.events, task.groups, learn=learn, ask=ask)
    return logits


def metrics_of(task: Task, logits: np.ndarray) -> dict[str, object]:
    """Return functions of weights over the answered rows."""
    rows = np.flatnonzero(~np.isnan(logits[:, 0]))
    y, z = task.events[rows], logits[rows]
    curves = [SortedAuroc(y[:, k], z[:, k]) for k in range(y.shape[1])]
    found = {"macro AUROC": lambda w: macro([c(w) for c in curves])}
    if task.name == "idrid":
        truth, said = y.argmax(1), z.argmax(1)
        found["quadratic kappa"] = lambda w: quadratic_kappa(truth, said, classes=5, weight=w)
    return found


def mean_of(functions: list) -> object:
    """Return the mean of metrics over the seeds, as a function of weights."""

    def metric(w):
        values = [f(w) for f in functions]
        bad = [v for v in values if isinstance(v, Undefined)]
        return bad[0] if bad else float(np.mean(values))

    return metric


def measure(arguments) -> None:
    answer: dict = {"seeds": arguments.seeds, "model": MODEL, "probe_px": arguments.probe_px, "train_px": TRAIN_PX, "tiles": arguments.tiles,
                    "steps_with_labels": arguments.steps, "tasks": {}}  # fmt: skip
    runs = sorted({run_of(arguments, s) for s in arguments.seeds})
    answer["run_of_seed"] = {str(s): run_of(arguments, s).name for s in arguments.seeds}
    answer["pretraining"] = [json.loads((r / "encoder.json").read_text("utf-8")) for r in runs]
    for task in tasks(arguments):
        rows = {"linear probe, random weights": [probe(arguments, task, "random", s) for s in arguments.seeds],
                "linear probe, pretrained": [probe(arguments, task, "mae", s) for s in arguments.seeds]}  # fmt: skip
        for kind, words in (
            ("random", "all weights trained, from random"),
            ("mae", "all weights trained, from pretrained"),
        ):
            paths = [arguments.work / f"labels-{task.name}-{kind}-{s}.npy" for s in arguments.seeds]
            if all(p.is_file() for p in paths):
                rows[words] = [np.load(p, allow_pickle=False) for p in paths]
        asked = np.flatnonzero(~np.isnan(rows["linear probe, pretrained"][0][:, 0]))
        groups = [str(g) for g in task.groups[asked]]
        part: dict = {"pictures": len(asked), "patients": len(set(groups)), "rows": {}, "gains": {}}
        functions = {name: [metrics_of(task, z) for z in logits] for name, logits in rows.items()}
        for name, found in functions.items():
            part["rows"][name] = {m: summary(arguments, [f[m] for f in found], groups) for m in found[0]}
        for one, other in (("linear probe, pretrained", "linear probe, random weights"),
                           ("linear probe, pretrained", "all weights trained, from random"),
                           ("all weights trained, from pretrained", "all weights trained, from random")):  # fmt: skip
            if one in functions and other in functions:
                part["gains"][f"{one} over {other}"] = {
                    m: gain(arguments, [f[m] for f in functions[one]], [f[m] for f in functions[other]], groups)
                    for m in functions[one][0]
                }
        answer["tasks"][task.name] = part
    write_json(arguments.out, json.loads(json.dumps(answer)))
    for name, part in answer["tasks"].items():
        print(f"{name}: {part['pictures']} pictures of {part['patients']} patients")
        for words, found in {**part["rows"], **part["gains"]}.items():
            for m, v in found.items():
                over = v["over seeds"]
                print(f"  {words}: {m} {over['mean']:.3f} ({over['low']:.3f} to {over['high']:.3f} over seeds; "
                      f"{v['over patients']['low']:.3f} to {v['over patients']['high']:.3f} over patients) {v['values']}")  # fmt: skip
    print(f"Written: {arguments.out}")


def summary(arguments, functions: list, groups: list[str]) -> dict:
    ones = np.ones(len(groups))
    values = [round(float(f(ones)), 4) for f in functions]
    by_seed = [interval(arguments, f, groups) for f in functions]
    return {"values": values, "over seeds": mean_interval(values), "per seed, over patients": by_seed,
            "over patients": interval(arguments, mean_of(functions), groups)}  # fmt: skip


def gain(arguments, ours: list, theirs: list, groups: list[str]) -> dict:
    def difference(a, b):
        def metric(w):
            x, y = a(w), b(w)
            return x if isinstance(x, Undefined) else y if isinstance(y, Undefined) else x - y

        return metric

    return summary(arguments, [difference(a, b) for a, b in zip(ours, theirs, strict=True)], groups)


def interval(arguments, function, groups: list[str]) -> dict:
    found = bootstrap(function, groups, generator=np.random.default_rng(0), n_resamples=arguments.resamples)
    return {"value": round(found.value, 4), "low": round(found.low, 4), "high": round(found.high, 4)}


if __name__ == "__main__":
    main()
