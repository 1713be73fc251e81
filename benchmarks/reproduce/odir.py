"""ODIR-5K per eye, eight labels: table alone, photograph alone, both fused, on patients the training left out.

    python benchmarks/reproduce/odir.py [--model runs/screen]

Nothing in the row "fused" was fitted on the eye it is measured on: the reliabilities of the fusion are fitted again on four
fifths of the held-out patients and used on the last fifth. The interval of the gain is a paired bootstrap over patients.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from pathlib import Path

import numpy as np
import torch

from fundusion.core.durable import write_json
from fundusion.core.interfaces import Features
from fundusion.datasets._splits import position_of
from fundusion.datasets.odir import odir
from fundusion.metrics.classification import Undefined
from fundusion.metrics.statistics import SortedAuroc, bootstrap, paired_bootstrap
from fundusion.network import load_network
from fundusion.shipped import resolve_model
from fundusion.train.calibrate import fit_reliability
from fundusion.train.data import prepare_set
from fundusion.train.evaluation import Encoded, encode_rows, fuse_subset

TASK = "disease"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="screen", help="shipped model or run folder")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA") or "../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/odir.json"))
    parser.add_argument("--resamples", type=int, default=2000)
    arguments = parser.parse_args()
    folder, _ = resolve_model(arguments.model)
    network, facts = load_network(folder)
    records = list(odir(arguments.data / "odir"))
    rule = facts["split"]
    outside = np.asarray(
        [position_of(f"odir/{r.patient_id}", seed=rule["seed"]) < rule["validation_fraction"] for r in records]
    )
    tested = [r for r, o in zip(records, outside, strict=True) if o]
    data = prepare_set(tested, network.spec.inputs, tasks=network.spec.tasks, schema=network.spec.table)
    encoded = encode_rows(network, data, np.arange(len(data)))
    y = np.asarray(data.targets[TASK], np.float64)
    scores = {
        "table": fuse_subset(network, encoded, ["table"])[TASK],
        "photograph": fuse_subset(network, encoded, ["cfp"])[TASK],
        "fused": cross_fitted(
            network, encoded, {n: np.asarray(t, np.float64) for n, t in data.targets.items()}, data.groups
        ),
    }
    # One scale per modality and a bias per label were fitted on these very patients: a little flattering.
    scores["fused, as shipped"] = fuse_subset(network, encoded, network.modalities)[TASK]
    trees = gradient_boosting([r for r, o in zip(records, outside, strict=True) if not o], tested, y.shape[1])
    scores["table, gradient boosting"] = trees
    scores["probabilities multiplied"] = np.log(np.clip(trees, 1e-4, 1)) - np.logaddexp(0, -scores["photograph"])
    report(arguments, network, facts, data, y, scores)


def cross_fitted(network, encoded: Encoded, targets: dict, groups: tuple[str, ...], folds: int = 5) -> np.ndarray:
    """Return fused logits; the reliabilities used on a patient were fitted on others."""
    fold = np.asarray([int(position_of(g, seed=99) * folds) for g in groups])
    answer = np.full((len(encoded), network.spec.tasks[TASK].outputs), np.nan)
    for k in range(folds):
        fitted = copy.deepcopy(network)
        if hasattr(fitted.fusion, "reliability"):
            inside = np.flatnonzero(fold != k)
            fit_reliability(fitted, rows_of(encoded, inside), {n: y[inside] for n, y in targets.items()})
        test = np.flatnonzero(fold == k)
        # Folds differ in bias and scale, which is no ranking; each is standardised over all eyes, without labels.
        everyone = fuse_subset(fitted, encoded, fitted.modalities)[TASK]
        answer[test] = ((everyone - everyone.mean(0)) / everyone.std(0))[test]
    return answer


def rows_of(encoded: Encoded, rows: np.ndarray) -> Encoded:
    index = torch.from_numpy(rows)
    features = {
        m: Features(
            pooled=f.pooled[index],
            tokens=None if f.tokens is None else f.tokens[index],
            token_mask=None if f.token_mask is None else f.token_mask[index],
        )
        for m, f in encoded.features.items()
    }
    return Encoded(features=features, presence={m: p[index] for m, p in encoded.presence.items()})


def gradient_boosting(training: list, tested: list, labels: int) -> np.ndarray:
    """Return probabilities from age and sex by the usual trees, as a peer for the table."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    def rows(records: list) -> np.ndarray:
        sexes = {"female": 0.0, "male": 1.0}
        cells = [(r.metadata.get("age"), sexes.get(r.metadata.get("sex"))) for r in records]
        return np.asarray([[np.nan if c is None else float(c) for c in row] for row in cells])

    letters = "NDGCAHMO"
    y = np.asarray([[r.labels[TASK][k] for k in letters] for r in training], float)
    out = np.zeros((len(tested), labels))
    for k in range(labels):
        model = HistGradientBoostingClassifier(max_depth=3, max_iter=60, learning_rate=0.05, random_state=0)
        out[:, k] = model.fit(rows(training), y[:, k]).predict_proba(rows(tested))[:, 1]
    return out


def report(arguments, network, facts, data, y, scores) -> None:
    letters = network.spec.tasks[TASK].labels

    def macro(name: str):
        curves = [SortedAuroc(y[:, k], scores[name][:, k]) for k in range(len(letters))]

        def metric(weight):
            values = [c(weight) for c in curves]
            bad = [v for v in values if isinstance(v, Undefined)]
            return bad[0] if bad else float(np.mean(values))

        return metric

    answer = {"model": arguments.model, "weights_sha256": facts["weights_sha256"], "eyes": len(data),
              "patients": len(set(data.groups)), "macro_auroc": {}, "auroc": {}}  # fmt: skip
    for name in scores:
        found = bootstrap(macro(name), data.groups, generator=np.random.default_rng(0), n_resamples=arguments.resamples)
        answer["macro_auroc"][name] = {"value": found.value, "low": found.low, "high": found.high}
        ones = np.ones(len(y))
        answer["auroc"][name] = {k: SortedAuroc(y[:, i], scores[name][:, i])(ones) for i, k in enumerate(letters)}
    better = max(("table", "photograph"), key=lambda n: answer["macro_auroc"][n]["value"])
    pairs = [("fused", better), ("fused, as shipped", better), ("fused", "probabilities multiplied")]
    for ours, rival in pairs:
        gain = paired_bootstrap(
            macro(ours), macro(rival), data.groups, generator=np.random.default_rng(1),
            n_resamples=arguments.resamples,
        )  # fmt: skip
        answer[f"gain of {ours} over {rival}"] = {"value": gain.value, "low": gain.low, "high": gain.high}
    write_json(arguments.out, json.loads(json.dumps(answer)))
    print(f"{len(data)} eyes of {answer['patients']} held-out patients; macro AUROC over {' '.join(letters)}")
    for name, v in answer["macro_auroc"].items():
        by_label = "  ".join(f"{k} {answer['auroc'][name][k]:.3f}" for k in letters)
        print(f"  {name:26s} {v['value']:.4f} ({v['low']:.4f} to {v['high']:.4f})   {by_label}")
    for key in [k for k in answer if k.startswith("gain")]:
        v = answer[key]
        print(f"  {key}: {v['value']:+.4f} ({v['low']:+.4f} to {v['high']:+.4f})")
    print(f"Written: {arguments.out}")


if __name__ == "__main__":
    main()
