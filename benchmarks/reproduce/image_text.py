"""A small image-text model of real eyes against the same model trained with shuffled texts, on patients the training left out.

    python benchmarks/reproduce/image_text.py [--work runs/image_text --seeds 2]

1. `recipes/image_text.toml` is trained per seed, and again with the texts of the training studies dealt out by chance: same seed, same
   start, same pictures, same texts, only not of the eye they belong to. Both start from the image tower of the shipped screening model,
   which stays as it is and saw the labels of the same training patients, and of none of the held-out ones. Runs that are finished are
   not repeated.
2. Zero-shot on ODIR: a label's vector is the mean over its wordings below; the score of an eye is the softmax over the eight labels
   of its similarities. Nothing is fitted on the held-out patients, and the recipe was not chosen by them.
3. Retrieval: of an eye's keywords, how many are among the ten nearest of all keywords of the training part; against ten drawn by
   chance, and against always naming the ten most frequent ones. Half of the eyes are normal, so the mean over eyes flatters the
   frequent; the mean over keywords (of at least five eyes) counts each keyword alike.
Intervals are bootstraps over patients. The number reported for several seeds is their mean; the gain is paired.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

from fundusion.core.durable import write_json
from fundusion.core.registry import ImageInput, models
from fundusion.core.vocabulary import ODIR_LABELS
from fundusion.datasets._splits import position_of
from fundusion.datasets.odir import odir
from fundusion.metrics.classification import Undefined
from fundusion.metrics.statistics import SortedAuroc, bootstrap, paired_bootstrap
from fundusion.train.data import prepare_set
from fundusion.train.embeddings import digest_of_module, resized
from fundusion.train.pair_config import load_pair_config, pair_config
from fundusion.train.pretrain_pairs import pretrain_pairs
from fundusion.train.study_texts import StudyTexts
from fundusion.transforms.collate import normalise_images

#: What each label is called; written before any run, from the titles of the labels and common names.
WORDINGS = {
    "N": ["normal", "normal fundus", "healthy"],
    "D": ["diabetic retinopathy", "mild diabetic retinopathy", "moderate diabetic retinopathy",
          "severe diabetic retinopathy", "proliferative diabetic retinopathy"],
    "G": ["glaucoma", "suspected glaucoma"],
    "C": ["cataract"],
    "A": ["age related macular degeneration", "dry age-related macular degeneration", "wet age-related macular degeneration"],
    "H": ["hypertensive retinopathy"],
    "M": ["pathologic myopia", "pathological myopia", "myopic maculopathy"],
    "O": ["epiretinal membrane", "drusen", "myelinated nerve fibers", "branch retinal vein occlusion", "laser scar",
          "vitreous degeneration", "maculopathy"],
}  # fmt: skip
TEMPLATES = ("{}", "a fundus photograph of {}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA") or "../shared/data"))
    parser.add_argument("--recipe", type=Path, default=Path("recipes/image_text.toml"))
    parser.add_argument("--work", type=Path, default=Path("runs/image_text"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/image_text.json"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--resamples", type=int, default=2000)
    arguments = parser.parse_args()
    runs = [train(arguments, seed, shuffled) for seed in range(arguments.seeds) for shuffled in (False, True)]
    eyes = held_out(arguments, runs[0])
    answer = measure(arguments, runs, eyes)
    write_json(arguments.out, json.loads(json.dumps(answer)))
    show(answer)
    print(f"Written: {arguments.out}")


def train(arguments: argparse.Namespace, seed: int, shuffled: bool) -> Path:
    """Train a run unless it is finished and return its folder."""
    folder = arguments.work / (f"seed-{seed}" + ("-shuffled" if shuffled else ""))
    if not (folder / "encoder.json").is_file():
        value = load_pair_config(arguments.recipe).model_dump(mode="json")
        value["shuffled"], value["train"]["seed"] = shuffled, seed
        began, used = time.monotonic(), time.process_time()
        pretrain_pairs(None, folder, config=pair_config(value))
        print(
            f"{folder.name}: {time.monotonic() - began:.0f} s, {time.process_time() - used:.0f} s of one core",
            flush=True,
        )
    return folder


def held_out(arguments: argparse.Namespace, run: Path) -> dict:
    """Return pictures, labels and findings of the ODIR patients that no run was trained on."""
    facts = json.loads((run / "encoder.json").read_text())
    config = load_pair_config(arguments.recipe)
    records = list(odir(arguments.data / "odir"))
    rule = facts["split"]
    tested = [
        r for r in records if position_of(f"odir/{r.patient_id}", seed=rule["seed"]) < rule["validation_fraction"]
    ]
    wanted = models.card(facts["model"]).input or ImageInput()
    wanted = ImageInput(
        size=int(config.options.get("image_size", wanted.size)), mean=wanted.mean, std=wanted.std, crop=wanted.crop
    )
    data = prepare_set(tested, {"cfp": wanted}, side=config.data.side)
    by_id = {r.study_id: r for r in tested}
    kept = [by_id[s] for s in data.study_ids]
    # One photograph per eye in this set.
    assert len(data.images["cfp"]) == len(kept)
    source = StudyTexts(aliases=config.aliases)
    keywords = training_keywords(records, tested, source)
    findings = [[keywords.index(f) for f in source.findings_of(r) if f in keywords] for r in kept]
    pictures = normalise_images(resized(torch.from_numpy(np.asarray(data.images["cfp"])), wanted.size), wanted)
    return {
        "labels": np.asarray([[r.labels["disease"][k] for k in ODIR_LABELS] for r in kept], float),
        "findings": findings, "keywords": keywords, "groups": data.groups, "pictures": pictures,
        "vectors": {},
        "frequent": most_frequent(records, tested, source, keywords),
    }  # fmt: skip


def training_keywords(records: list, tested: list, source: StudyTexts) -> list[str]:
    outside = {r.study_id for r in tested}
    return sorted({f for r in records if r.study_id not in outside for f in source.findings_of(r)})


def most_frequent(records: list, tested: list, source: StudyTexts, keywords: list[str]) -> list[int]:
    outside = {r.study_id for r in tested}
    counts = np.zeros(len(keywords))
    for record in records:
        if record.study_id not in outside:
            for finding in source.findings_of(record):
                counts[keywords.index(finding)] += 1
    return [int(i) for i in np.argsort(-counts, kind="stable")[:10]]


@torch.inference_mode()
def vectors_of(run: Path, eyes: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return vectors of eyes, of labels and of keywords, and the factor of similarities."""
    facts = json.loads((run / "encoder.json").read_text())
    network = models.create(facts["model"], **facts["options"], weights=str(run / "encoder.safetensors")).eval()
    # A tower that was kept as it is gives every run the same vectors.
    tower = network.image_tower()
    key = digest_of_module(tower)
    if key not in eyes["vectors"]:
        eyes["vectors"][key] = torch.cat([tower.encode(part).pooled for part in eyes["pictures"].split(32)])
    images = network.align_images(eyes["vectors"][key])

    def of(wordings: list[str]) -> torch.Tensor:
        made = network.align_texts(*network.tokenize([t.format(w) for w in wordings for t in TEMPLATES]))
        return torch.nn.functional.normalize(made.mean(0), dim=0)

    labels = torch.stack([of(WORDINGS[k]) for k in ODIR_LABELS])
    keywords = torch.stack([of([k]) for k in eyes["keywords"]])
    return images.numpy(), labels.numpy(), keywords.numpy(), float(network.scale())


def measure(arguments: argparse.Namespace, runs: list[Path], eyes: dict) -> dict:
    y, groups = eyes["labels"], eyes["groups"]
    scores, nearest_of = {}, {}
    for run in runs:
        images, labels, keywords, scale = vectors_of(run, eyes)
        logits = scale * images @ labels.T
        scores[run.name] = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        nearest = np.argsort(-(images @ keywords.T), axis=1, kind="stable")[:, :10]
        nearest_of[run.name] = nearest
    nearest_of["most frequent ten"] = np.tile(eyes["frequent"], (len(y), 1))
    hits = {name: shares(eyes["findings"], nearest) for name, nearest in nearest_of.items()}
    real = [r.name for r in runs if not r.name.endswith("-shuffled")]
    control = [r.name for r in runs if r.name.endswith("-shuffled")]
    facts = json.loads((runs[0] / "encoder.json").read_text())
    n = arguments.resamples

    def interval(metric) -> dict:
        found = bootstrap(metric, groups, generator=np.random.default_rng(0), n_resamples=n)
        return {"value": found.value, "low": found.low, "high": found.high}

    def gain(metric, rival) -> dict:
        found = paired_bootstrap(metric, rival, groups, generator=np.random.default_rng(1), n_resamples=n)
        return {"value": found.value, "low": found.low, "high": found.high}

    ones = np.ones(len(y))
    return {
        "eyes": len(y), "patients": len(set(groups)), "pictures_trained_on": facts["pictures"], "seeds": len(real),
        "keywords": len(eyes["keywords"]), "chance_recall_at_10": 10 / len(eyes["keywords"]),
        "macro_auroc": {name: interval(macro(y, [s])) for name, s in scores.items()},
        "macro_auroc_mean": interval(macro(y, [scores[r] for r in real])),
        "macro_auroc_mean_shuffled": interval(macro(y, [scores[r] for r in control])),
        "gain_over_shuffled": gain(macro(y, [scores[r] for r in real]), macro(y, [scores[r] for r in control])),
        "auroc": {r: {k: SortedAuroc(y[:, i], scores[r][:, i])(ones) for i, k in enumerate(ODIR_LABELS)} for r in scores},
        "recall_at_10": {name: interval(mean_of([h])) for name, h in hits.items()},
        "recall_at_10_mean": interval(mean_of([hits[r] for r in real])),
        "recall_gain_over_most_frequent": gain(mean_of([hits[r] for r in real]), mean_of([hits["most frequent ten"]])),
        "recall_gain_over_shuffled": gain(mean_of([hits[r] for r in real]), mean_of([hits[r] for r in control])),
        "by_keyword_eyes": {eyes["keywords"][k]: len(e) for k, e in frequent_enough(eyes).items()},
        "recall_at_10_by_keyword": {name: interval(by_keyword(eyes, [h])) for name, h in nearest_of.items()},
        "recall_at_10_by_keyword_mean": interval(by_keyword(eyes, [nearest_of[r] for r in real])),
        "by_keyword_gain_over_most_frequent": gain(
            by_keyword(eyes, [nearest_of[r] for r in real]), by_keyword(eyes, [nearest_of["most frequent ten"]])
        ),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "weights_sha256": {r.name: json.loads((r / "encoder.json").read_text())["sha256"] for r in runs},
    }  # fmt: skip


def shares(findings: list[list[int]], nearest: np.ndarray) -> np.ndarray:
    """Return per eye the share of its keywords that are among the nearest; NaN for an eye without known keywords."""
    return np.asarray([np.isin(f, row).mean() if f else np.nan for f, row in zip(findings, nearest, strict=True)])


def frequent_enough(eyes: dict) -> dict[int, list[int]]:
    """Return keyword to the eyes that have it, for keywords of at least five eyes."""
    having: dict[int, list[int]] = {}
    for eye, found in enumerate(eyes["findings"]):
        for keyword in found:
            having.setdefault(keyword, []).append(eye)
    return {k: e for k, e in sorted(having.items()) if len(e) >= 5}


def by_keyword(eyes: dict, nearest: list[np.ndarray]):
    """Return weights of eyes -> mean over keywords, and over the seeds, of how many eyes of a keyword have it among the nearest."""
    having = frequent_enough(eyes)
    hit = {k: np.mean([(rows[e] == k).any(1) for rows in nearest], 0) for k, e in having.items()}

    def metric(weight):
        sums = [(hit[k] @ weight[e], weight[e].sum()) for k, e in having.items()]
        # A resample may lack a keyword; the others are counted.
        return float(np.mean([found / total for found, total in sums if total > 0]))

    return metric


def macro(y: np.ndarray, scores: list[np.ndarray]):
    """Return weights of eyes -> macro AUROC, mean over the seeds."""
    curves = [[SortedAuroc(y[:, k], s[:, k]) for k in range(y.shape[1])] for s in scores]

    def metric(weight):
        values = [c(weight) for one in curves for c in one]
        bad = [v for v in values if isinstance(v, Undefined)]
        return bad[0] if bad else float(np.mean(values))

    return metric


def mean_of(values: list[np.ndarray]):
    """Return weights of eyes -> mean over eyes and seeds."""
    known = np.isfinite(values[0])
    table = np.stack(values)[:, known].mean(0)

    def metric(weight):
        share = weight[known].sum()
        return float((table * weight[known]).sum() / share) if share > 0 else Undefined("no eye with a keyword")

    return metric


def show(answer: dict) -> None:
    print(
        f"{answer['eyes']} eyes of {answer['patients']} held-out ODIR patients, zero-shot macro AUROC over eight labels"
    )
    for name, v in answer["macro_auroc"].items():
        by_label = "  ".join(f"{k} {a:.3f}" for k, a in answer["auroc"][name].items())
        print(f"  {name:18s} {v['value']:.4f} ({v['low']:.4f} to {v['high']:.4f})   {by_label}")
    for key in ("macro_auroc_mean", "macro_auroc_mean_shuffled", "gain_over_shuffled"):
        v = answer[key]
        print(f"  {key}: {v['value']:+.4f} ({v['low']:+.4f} to {v['high']:+.4f})")
    print(f"keywords among the ten nearest of {answer['keywords']}; by chance {answer['chance_recall_at_10']:.3f}")
    for name, v in answer["recall_at_10"].items():
        print(f"  {name:18s} {v['value']:.4f} ({v['low']:.4f} to {v['high']:.4f})")
    print(f"the same, mean over {len(answer['by_keyword_eyes'])} keywords")
    for name, v in answer["recall_at_10_by_keyword"].items():
        print(f"  {name:18s} {v['value']:.4f} ({v['low']:.4f} to {v['high']:.4f})")
    for key in ("recall_gain_over_most_frequent", "recall_gain_over_shuffled", "by_keyword_gain_over_most_frequent"):
        v = answer[key]
        print(f"  {key}: {v['value']:+.4f} ({v['low']:+.4f} to {v['high']:+.4f})")


if __name__ == "__main__":
    main()
