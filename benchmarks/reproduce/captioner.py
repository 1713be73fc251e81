"""The shipped captioner on held-out eyes: findings of its captions against keywords, and questions on drawn eyes.

    python benchmarks/reproduce/captioner.py [--weights shipped --page captions.html]

1. Captions of the ODIR patients that the training left out, those that the screening model, whose image encoder it is, left out too.
   A caption is read by the report reader; so are the keywords of the eye. Rivals: the keywords of the nearest training eye, by the
   cosine of the same encoder's pooled features (mean of picture and mirror image), and the same captioner shown the picture of another
   held-out eye (a permutation without fixed patients). "macro F1" is the mean over (finding, status) named on either side, as in
   `metrics.language.finding_scores`; "macro F1, usual findings" over those that at least five held-out eyes have.
   Intervals are 95 % bootstraps over patients; gains are paired. Head, cuts and settings were decided on training patients.
2. Questions on drawn eyes that no training saw: modality, eye (photographs and angiograms), retinopathy present or absent
   (photographs; half of the eyes have none, the others each grade as often), in English and Chinese.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

from fundusion.core.durable import write_json, write_text
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models
from fundusion.datasets._splits import position_of
from fundusion.datasets.odir import odir
from fundusion.layers.eye_words import question
from fundusion.metrics.statistics import bootstrap, paired_bootstrap
from fundusion.narrative.comparison import Pair, compare_texts, comparison_page, plain, statements_in
from fundusion.report.figures import data_uri
from fundusion.train.caption_data import (
    DRAWN_PX,
    drawn_eye,
    drawn_grades,
    drawn_pixels,
    questions_about,
    see,
    told_of_drawn,
)
from fundusion.train.data import prepare_set
from fundusion.transforms.collate import normalise_images

#: Notes on the picture, which are no findings.
NOTES = ("lens dust", "low image quality")
KINDS = ("modality", "laterality", "retinopathy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA") or "../shared/data"))
    parser.add_argument("--weights", default="shipped")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/captioner.json"))
    parser.add_argument(
        "--page", type=Path, help="Also write a page of captions beside the truth; it holds photographs."
    )
    parser.add_argument("--drawn", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=2000)
    arguments = parser.parse_args()
    model = models.create("captioner.small", weights=arguments.weights).eval()
    answer = {
        "odir": on_odir(arguments, model),
        "drawn": on_drawn(arguments, model) if arguments.drawn else {},
        "weights_sha256": model.facts["sha256"],
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
    }
    write_json(arguments.out, json.loads(json.dumps(answer)))
    show(answer)
    print(f"Written: {arguments.out}")


def on_odir(arguments: argparse.Namespace, model) -> dict:
    """Return scores of captions of held-out eyes and of both rivals, and of the gains."""
    eyes = read_eyes(arguments, model)
    captions, shuffled = {}, None
    for language in ("en", "zh"):
        captions[language] = caption(model, eyes["cells"], question("caption", language))
    other = other_patients(eyes["groups"])
    shuffled = caption(model, eyes["cells"][other], question("caption"))
    nearest = [eyes["training_words"][i] for i in nearest_of(eyes)]
    truth = [statements_in(w, e) for w, e in zip(eyes["words"], eyes["eyes"], strict=True)]
    said = {
        "captioner": [statements_in(t) for t in captions["en"]],
        "captioner, Chinese": [statements_in(t) for t in captions["zh"]],
        "nearest training eye": [statements_in(t) for t in nearest],
        "captioner, picture of another eye": [statements_in(t) for t in shuffled],
    }
    pairs = [
        Pair(study_id=s, text=t, reference=w, laterality=e)
        for s, t, w, e in zip(eyes["ids"], captions["en"], eyes["words"], eyes["eyes"], strict=True)
    ]
    compared = compare_texts(pairs)
    if arguments.page:
        shown = np.random.default_rng(0).permutation(len(pairs))[:40]
        pictured = [pairs[i] for i in shown]
        pictured = [
            Pair(study_id=p.study_id, text=p.text, reference=p.reference, laterality=p.laterality,
                 picture=data_uri(eyes["pictures"][i], max_px=224))
            for p, i in zip(pictured, shown, strict=True)
        ]  # fmt: skip
        write_text(
            arguments.page,
            comparison_page(pictured, compare_texts(pictured), title="Captions beside keywords",
                            note="40 held-out eyes drawn by chance; scores of these 40"),
        )  # fmt: skip
    return {
        "eyes": len(pairs), "patients": len(set(eyes["groups"])),
        "usual_findings": {" ".join(k): n for k, n in usual(truth).items()},
        **scored(arguments, said, truth, eyes["groups"]),
        "text": compared.to_dict()["descriptions"],
        "laterality_accuracy_of_picture": side_accuracy(captions["en"], eyes["eyes"]),
        "distinct_captions": len(set(captions["en"])),
        "by_finding": by_finding(said, truth),
    }  # fmt: skip


def read_eyes(arguments: argparse.Namespace, model) -> dict:
    """Return held-out eyes with what the model sees of them, and pooled features of these and of all training eyes."""
    wanted = models.card("captioner.small").input
    rule = model.facts["split"]
    records = [r for r in odir(arguments.data / "odir") if words_of(r)]
    data = prepare_set(records, {"cfp": wanted}, side=256, cache=arguments.cache)
    by_id = {r.study_id: r for r in records}
    kept = [by_id[s] for s in data.study_ids]
    tested = np.asarray(
        [position_of(f"odir/{r.patient_id}", seed=rule["seed"]) < rule["validation_fraction"] for r in kept]
    )
    pictures = data.images["cfp"]
    keys = [hashlib.sha256(np.ascontiguousarray(pictures[i : i + 1]).tobytes()).hexdigest() for i in range(len(kept))]
    seen = see(
        model, keys, lambda i: np.asarray(pictures[i : i + 1])[0], wanted=wanted, small=False, cache=arguments.cache
    )
    # The mean of the cells is the pooled vector of the encoder.
    pooled = seen[:, :, : -model.fine_rows].astype(np.float32).mean((1, 2))
    rows = np.flatnonzero(tested)
    return {
        "ids": [kept[i].study_id for i in rows], "words": [words_of(kept[i]) for i in rows],
        "eyes": [kept[i].laterality.value for i in rows], "groups": [data.groups[i] for i in rows],
        "pictures": [np.asarray(data.images["cfp"][i : i + 1])[0] for i in rows] if arguments.page else None,
        "cells": torch.from_numpy(seen[tested, 0]).float(), "tested": tested, "pooled": pooled,
        "training_words": [words_of(kept[i]) for i in np.flatnonzero(~tested)],
    }  # fmt: skip


def words_of(record) -> str:
    """Return the keywords of an eye as a text, a full stop between them; empty when it has none but notes."""
    return ". ".join(w for w in record.labels.get("findings", ()) if w not in NOTES)


@torch.inference_mode()
def caption(model, cells: torch.Tensor, asked: str) -> list[str]:
    """Return the answers of the model from what it saw of each picture."""
    said = []
    for part in cells.split(64):
        said += model.answers_from(part, [[Turn(role="user", text=asked)]] * len(part))
    return said


def nearest_of(eyes: dict) -> np.ndarray:
    """Return for each held-out eye the place of the nearest training eye among the training eyes."""
    unit = eyes["pooled"] / np.linalg.norm(eyes["pooled"], axis=1, keepdims=True)
    return (unit[eyes["tested"]] @ unit[~eyes["tested"]].T).argmax(1)


def other_patients(groups: list[str]) -> np.ndarray:
    """Return an order in which no eye gets the picture of its own patient."""
    generator = np.random.default_rng(0)
    order = generator.permutation(len(groups))
    while any(bad := [i for i, j in enumerate(order) if groups[i] == groups[j]]):
        for i in bad:
            j = int(generator.integers(len(order)))
            order[[i, j]] = order[[j, i]]
    return order


def usual(truth: list) -> dict:
    """Return (finding, status) to the number of eyes, for those of at least five eyes."""
    counts: dict = {}
    for statements in truth:
        for s in {s[:2] for s in statements}:
            counts[s] = counts.get(s, 0) + 1
    return {k: n for k, n in sorted(counts.items()) if n >= 5}


def tables(said: list, truth: list) -> tuple[list, np.ndarray, np.ndarray]:
    """Return all (finding, status), and bool `(eyes, findings)` of what was said and of what is so."""
    names = sorted({s[:2] for row in (*said, *truth) for s in row})
    place = {n: i for i, n in enumerate(names)}
    made = []
    for rows in (said, truth):
        table = np.zeros((len(rows), len(names)))
        for i, row in enumerate(rows):
            table[i, [place[s[:2]] for s in row]] = 1
        made.append(table)
    return names, *made


def macro_f1(said: list, truth: list, only=None):
    """Return weights of eyes -> mean F1 over (finding, status) that occur on either side, or over some."""
    names, a, b = tables(said, truth)
    columns = [i for i, n in enumerate(names) if only is None or n in only]
    a, b = a[:, columns], b[:, columns]

    def metric(weight):
        both, either = weight @ (a * b), weight @ a + weight @ b
        there = either > 0
        return float(np.mean(2 * both[there] / either[there]))

    return metric


def micro_f1(said: list, truth: list):
    """Return weights of eyes -> F1 over all statements."""
    _, a, b = tables(said, truth)
    both, either = (a * b).sum(1), a.sum(1) + b.sum(1)
    return lambda weight: float(2 * (weight @ both) / (weight @ either))


def scored(arguments: argparse.Namespace, said: dict, truth: list, groups: list[str]) -> dict:
    """Return F1 of every text and the gains of the captioner, with intervals over patients."""
    common = usual(truth)
    metrics = {
        "macro_f1": lambda s: macro_f1(s, truth),
        "macro_f1_usual_findings": lambda s: macro_f1(s, truth, common),
        "micro_f1": lambda s: micro_f1(s, truth),
    }
    n, own = arguments.resamples, said["captioner"]
    answer: dict = {}
    for name, metric in metrics.items():
        values = {
            k: bootstrap(metric(s), groups, generator=np.random.default_rng(0), n_resamples=n) for k, s in said.items()
        }
        gains = {
            k: paired_bootstrap(metric(own), metric(s), groups, generator=np.random.default_rng(1), n_resamples=n)
            for k, s in said.items() if not k.startswith("captioner") or "another" in k
        }  # fmt: skip
        answer[name] = {k: {"value": v.value, "low": v.low, "high": v.high} for k, v in values.items()}
        answer[f"{name}_gain_over"] = {k: {"value": v.value, "low": v.low, "high": v.high} for k, v in gains.items()}
    return answer


def by_finding(said: dict, truth: list) -> dict:
    """Return F1 of each usual finding, how many eyes have it, and how many the captioner names."""
    answer = {}
    for one, eyes in usual(truth).items():
        answer[" ".join(one)] = {
            "eyes": eyes, "named": sum(one in {s[:2] for s in row} for row in said["captioner"]),
            **{k: macro_f1(s, truth, {one})(np.ones(len(truth))) for k, s in said.items()},
        }  # fmt: skip
    return answer


def side_accuracy(captions: list[str], eyes: list[str]) -> float:
    """Return the share of captions that name the right eye."""
    names = {"OD": "right eye", "OS": "left eye"}
    return float(np.mean([names[e] in c for c, e in zip(captions, eyes, strict=True)]))


@torch.inference_mode()
def on_drawn(arguments: argparse.Namespace, model) -> dict:
    """Return the share of right answers by type of question on drawn eyes of another seed, with intervals, and by grade."""
    wanted, seed = models.card("captioner.small").input, 2
    began = time.process_time()
    hits: dict[str, list[bool]] = {}
    owners: dict[str, list[str]] = {}
    for number, grade in enumerate(drawn_grades(arguments.drawn)):
        eye, modality = drawn_eye(number, seed, grade, size=DRAWN_PX, picture=False)
        told = told_of_drawn(eye, modality)
        pixels = torch.from_numpy(drawn_pixels(number, seed, grade, wanted, size=DRAWN_PX).copy())[None]
        images = normalise_images(pixels, wanted)
        asked = [q for q in questions_about(told) if q[0] in KINDS]
        chats = [[Turn(role="user", text=text)] for _, text, _ in asked]
        # `generate` would look at the same picture once per question.
        cells = model.cells(images).expand(len(asked), -1, -1)
        answers = model.answers_from(cells, chats, max_tokens=6)
        for (kind, text, right), said in zip(asked, answers, strict=True):
            good = plain(said) == plain(right)
            language = "en" if text.isascii() else "zh"
            names = [kind, f"{kind}, {language}"]
            names += [f"retinopathy, grade {eye.facts.grade}"] if kind == "retinopathy" else []
            for name in names:
                hits.setdefault(name, []).append(good)
                owners.setdefault(name, []).append(told.group)
        if number % 100 == 99:
            print(f"  {number + 1} drawn eyes, {time.process_time() - began:.0f} s", flush=True)
    answer = {}
    for name, values in sorted(hits.items()):
        found = bootstrap(
            mean_over(np.asarray(values, float)), owners[name], generator=np.random.default_rng(0), n_resamples=1000
        )
        answer[name] = {"accuracy": found.value, "low": found.low, "high": found.high, "answers": len(values)}
    return answer


def mean_over(values: np.ndarray):
    """Return weights -> weighted mean."""
    return lambda weight: float((values * weight).sum() / weight.sum())


def show(answer: dict) -> None:
    found = answer["odir"]
    print(f"{found['eyes']} eyes of {found['patients']} held-out ODIR patients")
    for name in ("macro_f1", "macro_f1_usual_findings", "micro_f1"):
        print(f" {name.replace('_', ' ')}")
        for k, v in found[name].items():
            print(f"  {k:36s} {v['value']:.4f} ({v['low']:.4f} to {v['high']:.4f})")
        for k, v in found[f"{name}_gain_over"].items():
            print(f"  gain over {k:26s} {v['value']:+.4f} ({v['low']:+.4f} to {v['high']:+.4f})")
    for k, v in found["by_finding"].items():
        cells = "  ".join(f"{n} {x:.2f}" for n, x in v.items() if isinstance(x, float))
        print(f"  {k:44s} {v['eyes']:4d} eyes, named {v['named']:4d}  {cells}")
    print(
        f" captions: {found['distinct_captions']} different; right eye named {found['laterality_accuracy_of_picture']:.3f}"
    )
    print(f" text: {json.dumps(found['text'])}")
    print("questions on drawn eyes")
    for k, v in answer["drawn"].items():
        print(f"  {k:24s} {v['accuracy']:.3f} ({v['low']:.3f} to {v['high']:.3f}) of {v['answers']}")


if __name__ == "__main__":
    main()
