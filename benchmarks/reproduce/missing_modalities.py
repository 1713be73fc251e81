"""Fusion when modalities are missing: AUROC against the rate, every method on the same features of the same drawn eyes.

    python benchmarks/reproduce/missing_modalities.py [--eyes 4000]

1. Eyes are drawn with photograph, B-scan, report (history) and table; six labels, of which four show in one modality only
   and two need two of them (`fundusion.datasets.synthetic`). 70 / 15 / 15 % of patients train / validate / test.
2. One encoder per modality is trained on complete eyes and frozen. All methods read the same features.
3. Every method is trained by the same loop on training eyes of which 30 % of the modalities are hidden, for the same
   number of steps; the house hides more of them at random, as it does by default. `zero imputation` is what AutoGluon-MM does: an absent modality is a vector of zeros that the network
   takes for real. `best single` answers each label from the modality that was best on validation among those present.
4. Test eyes lose each modality with the stated probability and keep at least one.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fundusion.core.durable import write_json
from fundusion.core.interfaces import Features
from fundusion.datasets.folder import discover
from fundusion.datasets.synthetic import TASKS, write_cohort
from fundusion.metrics.classification import Undefined, auroc
from fundusion.metrics.statistics import SortedAuroc, bootstrap, paired_bootstrap
from fundusion.network import build_network, drop_modalities, load_network
from fundusion.objectives.classification import multilabel
from fundusion.train import train
from fundusion.train.calibrate import fit_reliability
from fundusion.train.config import NetworkConfig, parse_config
from fundusion.train.data import prepare_set
from fundusion.train.evaluation import Encoded, encode_rows

TASK = "systemic"
MODALITIES = ("cfp", "oct", "text", "table")
METHODS = ("concat", "gated", "cross_attention", "bottleneck", "late", "evidential")
RATES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
TRAIN_RATE = 0.3
MODALITY_DROPOUT = NetworkConfig.model_fields["modality_dropout"].default
EXPERTS = {
    "data": {"side": 64},
    "network": {
        "encoders": {"cfp": "contrast_resnet.small", "oct": "contrast_resnet.small", "text": "hashing.small",
                     "table": "tabular.mlp"},
        "fusion": "late",
        "modality_dropout": 0.0,
        "head_dropout": 0.2,
    },
    "tasks": {TASK: {"kind": "multilabel", "labels": list(TASKS[TASK].labels)}},
    "augment": {"strength": 0.5, "flip": False},
    "train": {"sizes": [[64, 14]], "batch_size": 48, "learning_rate": 1.5e-3, "fused": 0.0, "precision": "bf16",
              "warmup_steps": 60, "evaluate_every": 7},
}  # fmt: skip


class ZeroImputed(nn.Module):
    """Features side by side, zeros for what is absent, no mask."""

    def __init__(self, dims: dict[str, int], width: int, labels: int) -> None:
        super().__init__()
        self.names = sorted(dims)
        total = sum(dims.values())
        self.mix = nn.Sequential(
            nn.LayerNorm(total), nn.Linear(total, width), nn.GELU(), nn.Dropout(0.1), nn.Linear(width, width)
        )
        self.head = nn.Linear(width, labels)

    def forward(self, features: dict[str, Features], presence: dict[str, torch.Tensor]) -> torch.Tensor:
        parts = [torch.where(presence[m][:, None], features[m].pooled, 0.0) for m in self.names]
        return self.head(self.mix(torch.cat(parts, 1)))


class Fused(nn.Module):
    """A fusion of the house with its heads; the encoders stay outside."""

    def __init__(self, method: str, experts, width: int) -> None:
        super().__init__()
        options = (experts.spec.encoders, method, {TASK: TASKS[TASK]})
        self.network = build_network(*options, table=experts.spec.table, embed_dim=width, seed=1)
        if self.network.decision_level:
            self.network.heads.load_state_dict(experts.heads.state_dict())
        self.network.encoders = nn.ModuleDict({m: nn.Identity() for m in self.network.encoders})
        self.network.pools = nn.ModuleDict()

    def forward(self, features: dict[str, Features], presence: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.network.fuse(features, presence).logits[TASK]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eyes", type=int, default=4000)
    parser.add_argument("--work", type=Path, default=Path("runs/drawn"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/missing_modalities.json"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=4)
    arguments = parser.parse_args()
    records = drawn(arguments.work / "eyes", arguments.eyes)
    experts, parts = encoded(records, arguments.work / "experts")
    torch.manual_seed(0)
    models = {}
    for name in (*METHODS, "zero imputation"):
        began = time.monotonic()
        models[name] = [fit(name, experts, parts, arguments.steps, seed) for seed in range(arguments.seeds)]
        print(f"trained {name}: {time.monotonic() - began:.0f} s", flush=True)
    scores, y, groups = measure(models, experts, parts)
    report(scores, y, groups, arguments)


def drawn(folder: Path, count: int) -> list:
    if not (folder / "manifest.csv").is_file():
        print(f"drawing {count} eyes", flush=True)
        write_cohort(folder, count, seed=11, size=64, modalities=MODALITIES)
    return list(discover([folder / "manifest.csv"]))


def encoded(records: list, folder: Path):
    """Return the experts and (features, presence, targets, groups) of the three parts."""
    result = train(records, folder, config=parse_config(EXPERTS), reporter=lines)
    experts, _ = load_network(result.folder / "model")
    parts = {}
    for split in ("train", "val", "test"):
        chosen = [r for r in records if r.split == split]
        data = prepare_set(chosen, experts.spec.inputs, tasks={TASK: TASKS[TASK]}, schema=experts.spec.table)
        found = encode_rows(experts, data, np.arange(len(data)), size=64)
        parts[split] = (found, torch.from_numpy(data.targets[TASK]), data.groups)
        print(f"{split}: {len(data)} eyes", flush=True)
    return experts, parts


@contextmanager
def lines(title: str):
    last = [0.0]

    def show(done, total, counts=None) -> None:
        if time.monotonic() - last[0] > 20:
            last[0] = time.monotonic()
            print(f"{title}: {done} of {total}", flush=True)

    yield show


def hidden(presence: dict, rate: float, seed: int) -> dict:
    return drop_modalities(presence, rate, generator=torch.Generator().manual_seed(seed)) if rate else dict(presence)


def rows_of(features: dict, presence: dict, index: torch.Tensor):
    def take(value):
        return None if value is None else value[index]

    picked = {
        m: Features(pooled=f.pooled[index], tokens=take(f.tokens), token_mask=take(f.token_mask))
        for m, f in features.items()
    }
    return picked, {m: p[index] for m, p in presence.items()}


def fit(name: str, experts, parts: dict, steps: int, seed: int) -> nn.Module:
    found, y, _ = parts["train"]
    presence = hidden(dict(found.presence), TRAIN_RATE, 123)
    dims = {m: f.pooled.shape[1] for m, f in found.features.items()}
    torch.manual_seed(seed)
    model = ZeroImputed(dims, 128, y.shape[1]) if name == "zero imputation" else Fused(name, experts, 128)
    if name == "late":
        # Its experts are trained; only their reliability is fitted, on the validation eyes.
        seen = hidden(dict(parts["val"][0].presence), TRAIN_RATE, 5)
        fit_reliability(
            model.network,
            Encoded(features=parts["val"][0].features, presence=seen),
            {TASK: parts["val"][1].double().numpy()},
        )
        return model.eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    best, best_score = copy.deepcopy(model.state_dict()), -1.0
    for step in range(steps):
        index = torch.randint(len(y), (128,), generator=generator)
        features, seen = rows_of(found.features, presence, index)
        if name != "zero imputation":
            # Modality dropout is on by default in the house; the peer has none.
            seen = drop_modalities(seen, MODALITY_DROPOUT, vary=True, generator=generator)
        loss = multilabel(model.train()(features, seen), y[index])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            score = macro_auroc(parts["val"][1].numpy(), scores_of(model, parts["val"][0], TRAIN_RATE, 5))
            if score > best_score:
                best, best_score = copy.deepcopy(model.state_dict()), score
    model.load_state_dict(best)
    return model.eval()


@torch.no_grad()
def scores_of(model: nn.Module, part: Encoded, rate: float, seed: int) -> np.ndarray:
    return model.eval()(dict(part.features), hidden(dict(part.presence), rate, seed)).double().numpy()


def macro_auroc(y: np.ndarray, scores: np.ndarray) -> float:
    values = [auroc(y[:, k], scores[:, k]) for k in range(y.shape[1])]
    return float(np.mean([v for v in values if not isinstance(v, Undefined)]))


@torch.no_grad()
def single_logits(experts, part: Encoded) -> dict[str, np.ndarray]:
    return {m: experts.heads[TASK][m](part.features[m].pooled).double().numpy() for m in MODALITIES}


def measure(models: dict, experts, parts: dict):
    test, y, groups = parts["test"]
    validation = single_logits(experts, parts["val"][0])
    ranks = [
        sorted(MODALITIES, key=lambda m, k=k: -float(auroc(parts["val"][1].numpy()[:, k], validation[m][:, k])))
        for k in range(y.shape[1])
    ]
    single = single_logits(experts, test)
    answer: dict[str, dict[float, np.ndarray]] = {}
    for i, rate in enumerate(RATES):
        seen = {m: p.numpy() for m, p in hidden(dict(test.presence), rate, 1000 + i).items()}
        fallback = np.zeros(tuple(y.shape))
        for k, order in enumerate(ranks):
            for m in reversed(order):
                fallback[seen[m], k] = single[m][seen[m], k]
        answer.setdefault("best single", {})[rate] = fallback
        for name, trained in models.items():
            answer.setdefault(name, {})[rate] = np.mean([scores_of(t, test, rate, 1000 + i) for t in trained], axis=0)
    return answer, y.numpy().astype(np.float64), groups


def report(scores: dict, y: np.ndarray, groups: tuple[str, ...], arguments) -> None:
    def macro(values: np.ndarray):
        curves = [SortedAuroc(y[:, k], values[:, k]) for k in range(y.shape[1])]
        return lambda w: float(np.mean([v for c in curves if not isinstance(v := c(w), Undefined)]))

    answer: dict = {"test eyes": len(y), "patients": len(set(groups)), "train rate": TRAIN_RATE, "auroc": {}}
    print(f"\nmacro AUROC on {len(y)} test eyes by rate of missing modalities")
    print("  " + " " * 16 + "".join(f"{r:>8.0%}" for r in RATES))
    for name, by_rate in scores.items():
        values = {
            r: bootstrap(macro(s), groups, generator=np.random.default_rng(0), n_resamples=500)
            for r, s in by_rate.items()
        }
        answer["auroc"][name] = {str(r): [v.value, v.low, v.high] for r, v in values.items()}
        print(f"  {name:16s}" + "".join(f"{v.value:8.3f}" for v in values.values()))
    for rival in ("zero imputation", "best single"):
        print(f"\ngain over {rival} (95 % interval, paired bootstrap over patients)")
        for name in METHODS:
            gains = {
                r: paired_bootstrap(
                    macro(scores[name][r]),
                    macro(scores[rival][r]),
                    groups,
                    generator=np.random.default_rng(1),
                    n_resamples=500,
                )
                for r in RATES
            }
            answer.setdefault(f"gain over {rival}", {})[name] = {
                str(r): [g.value, g.low, g.high] for r, g in gains.items()
            }
            print(f"  {name:16s}" + "".join(f"  {g.value:+.3f} ({g.low:+.3f},{g.high:+.3f})" for g in gains.values()))
    write_json(arguments.out, json.loads(json.dumps(answer)))
    print(f"\nWritten: {arguments.out}")


if __name__ == "__main__":
    main()
