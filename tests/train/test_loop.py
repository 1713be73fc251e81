"""A run that was killed goes on exactly; early stopping keeps the best; what cannot be trained is said."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from fundusion.core.errors import FundusionError, IncompatibleWeights, InvalidInput
from fundusion.datasets.folder import discover
from fundusion.datasets.synthetic import TASKS
from fundusion.layers.weights import load_state
from fundusion.network import load_network
from fundusion.train import TrainConfig, loop, train
from fundusion.train import run as run_module
from fundusion.train.checkpoint import load_checkpoint
from fundusion.train.config import parse_config
from fundusion.train.run import prepare_run

PROGRAM = """
import sys, torch
torch.set_num_threads(1)
from fundusion.datasets.folder import discover
from fundusion.train import train
from fundusion.train.config import load_config
train(list(discover([sys.argv[2]])), sys.argv[3], config=load_config(sys.argv[1]))
"""


def config_of(**changes) -> TrainConfig:
    value = {
        "data": {"side": 40, "max_rejected": 0.0, "validation_fraction": 0.35},
        "network": {
            "encoders": {"cfp": "contrast_resnet.test", "table": "tabular.test"},
            "fusion": "gated",
            "embed_dim": 8,
            "modality_dropout": 0.3,
            "head_dropout": 0.2,
        },
        "tasks": {"systemic": {"kind": "multilabel", "labels": list(TASKS["systemic"].labels)}},
        "augment": {"mixup": 0.2, "mixup_rate": 0.5},
        "train": {"sizes": [[32, 3]], "batch_size": 4, "warmup_steps": 2, "checkpoint_every": 1, "ema": 0.9},
    }
    for path, new in changes.items():
        section, _, key = path.partition("__")
        value[section] = {**value[section], key: new} if key else new
    return parse_config(value)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    from fundusion.datasets.synthetic import write_cohort

    manifest = write_cohort(tmp_path_factory.mktemp("eyes"), 28, seed=1, size=64, modalities=("cfp", "table"))
    found = list(discover([manifest]))
    # The split of the table is not used here: the configuration divides the patients.
    from dataclasses import replace

    return manifest, [replace(r, split=None) for r in found]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_state(folder / "model" / "weights.safetensors")


def test_a_stopped_run_goes_on_bit_for_bit(records, tmp_path, monkeypatch):
    config = config_of()
    whole = train(records[1], tmp_path / "whole", config=config)
    assert whole.epochs == 3
    original, calls = loop._one, []

    def dies(run, state, rows, total):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(run, state, rows, total)

    monkeypatch.setattr(loop, "_one", dies)
    with pytest.raises(KeyboardInterrupt):
        train(records[1], tmp_path / "torn", config=config)
    monkeypatch.setattr(loop, "_one", original)
    assert load_checkpoint(tmp_path / "torn")[0]["step"] == 5
    train(records[1], tmp_path / "torn", config=config)
    one, two = weights_of(tmp_path / "whole"), weights_of(tmp_path / "torn")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)
    drop = ("seconds",)
    rows = [
        [
            {k: v for k, v in json.loads(line).items() if k not in drop}
            for line in (tmp_path / d / "metrics.jsonl").open()
        ]
        for d in ("whole", "torn")
    ]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_kill_minus_nine_at_a_random_step_changes_no_bit(records, tmp_path):
    from fundusion.train.config import to_toml

    manifest = records[0]
    toml = tmp_path / "config.toml"
    toml.write_text(to_toml(config_of(train__sizes=[[32, 6]])))

    def start(folder):
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(toml), str(manifest), str(folder)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    assert start(tmp_path / "whole").wait() == 0
    chance = np.random.default_rng()
    kills = 0
    for _ in range(12):
        process = start(tmp_path / "torn")
        wanted = (load_checkpoint(tmp_path / "torn") or ({"step": 0}, {}))[0]["step"] + int(chance.integers(1, 6))
        while process.poll() is None:
            pointer = tmp_path / "torn" / "checkpoint.json"
            if pointer.is_file() and json.loads(pointer.read_text())["step"] >= wanted:
                time.sleep(float(chance.random()) * 0.1)
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        process.wait()
        if (tmp_path / "torn" / "model" / "network.json").is_file():
            break
    else:
        assert start(tmp_path / "torn").wait() == 0
    assert kills >= 1
    one, two = weights_of(tmp_path / "whole"), weights_of(tmp_path / "torn")
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_another_configuration_in_the_folder_is_refused(records, tmp_path):
    train(records[1], tmp_path, config=config_of(train__sizes=[[32, 1]]))
    with pytest.raises(InvalidInput, match="another config") as caught:
        train(records[1], tmp_path, config=config_of(train__sizes=[[32, 2]]))
    assert caught.value.code == "run.other_config"
    result = train(records[1], tmp_path, config=config_of(train__sizes=[[32, 2]]), allow_changes=True)
    assert result.epochs == 2
    assert any("changed" in json.loads(line) for line in (tmp_path / "metrics.jsonl").open())


def test_early_stopping_keeps_the_best_weights(records, tmp_path, monkeypatch):
    scores = iter([0.6, 0.9, 0.5, 0.4, 0.3])
    kept = {}

    def score(model, *args, **kwargs):
        value = next(scores)
        kept[value] = {k: v.clone() for k, v in model.state_dict().items()}
        return {"macro_auroc": value}

    monkeypatch.setattr(run_module, "validation_score", score)
    result = train(records[1], tmp_path, config=config_of(train__sizes=[[32, 9]], train__patience=2))
    assert (result.epochs, result.best) == (4, 0.9)
    network, _ = load_network(tmp_path / "model")
    state = network.state_dict()
    assert all(torch.equal(state[k], v) for k, v in kept[0.9].items())
    assert not all(torch.equal(state[k], v) for k, v in kept[0.4].items())


def test_a_loss_that_is_not_finite_ends_the_run_with_the_studies_named(records, tmp_path):
    with pytest.raises(FundusionError, match="not finite") as caught:
        train(
            records[1], tmp_path, config=config_of(train__learning_rate=1e30, train__max_bad_steps=2, train__clip=1e30)
        )
    assert caught.value.code == "train.not_finite"
    assert "drawn-" in caught.value.message


def test_accumulated_small_batches_equal_one_large_batch(records, tmp_path):
    """Without anything random and without batch statistics, two halves of a batch give the gradient of the whole."""
    plain = {
        "network": {
            "encoders": {"table": "tabular.test"},
            "fusion": {"name": "concat", "dropout": 0.0},
            "embed_dim": 8,
            "modality_dropout": 0.0,
        },
        "table": {"cell_dropout": 0.0},
        "augment": {"strength": 0.0, "flip": False},
    }
    gradients = []
    for name, size, parts in (("one", 8, 1), ("two", 4, 2)):
        settings = {"epochs": 2, "batch_size": size, "accumulate": parts, "ema": 0.0, "warmup_steps": 0}
        config = config_of(**plain, train=settings)
        (tmp_path / name).mkdir()
        run = prepare_run(records[1], tmp_path / name, config, lambda title: nullcontext(lambda *a, **k: None))
        state = loop._open(run, allow_changes=False)
        state.optimizer.step = lambda: None
        loop._one(run, state, run.training[:8], 10)
        gradients.append({n: p.grad for n, p in run.network.named_parameters() if p.grad is not None})
    assert max(float(g.abs().max()) for g in gradients[0].values()) > 1e-3
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("encoder", ["frozen", "lora"])
def test_frozen_keeps_the_given_encoder_and_lora_changes_it(records, tmp_path, encoder):
    train(records[1], tmp_path / "first", config=config_of(train__sizes=[[32, 4]]))
    sizes = {"train__sizes": [], "train__epochs": 2} if encoder == "frozen" else {}
    config = config_of(
        network__encoder=encoder,
        network__lora_rank=2,
        network__init=str(tmp_path / "first" / "model"),
        augment={"mixup": 0.0},
        **sizes,
    )
    train(records[1], tmp_path / "second", config=config)
    before, after = (load_network(tmp_path / d / "model")[0].encoders["cfp"].state_dict() for d in ("first", "second"))
    assert before.keys() == after.keys()
    same = [torch.equal(before[k], after[k]) for k in before if "running" not in k and "tracked" not in k]
    assert all(same) if encoder == "frozen" else not all(same)


def test_encoders_of_a_network_that_saw_other_pixels_are_refused(records, tmp_path):
    train(records[1], tmp_path / "first", config=config_of(train__sizes=[[32, 1]]))
    encoders = {"cfp": {"name": "contrast_resnet.test", "std": [0.5, 0.5, 0.5]}, "table": "tabular.test"}
    config = config_of(network__init=str(tmp_path / "first" / "model"), network__encoders=encoders)
    with pytest.raises(IncompatibleWeights, match=r"std\[0\]: found 0\.5") as caught:
        train(records[1], tmp_path / "second", config=config)
    assert caught.value.code == "model.preprocessing"


def test_the_two_stages_of_cabnet_hold_the_body_then_free_it_and_go_on_exactly(records, tmp_path, monkeypatch):
    """First the attention and the head at a high rate, then everything; the rate falls when the metric does not rise."""
    config = config_of(
        network__encoders={"cfp": {"name": "cabnet.test", "pixels": "raw"}, "table": "tabular.test"},
        augment={"strength": 0.2},
        train={"sizes": [[32, 4]], "batch_size": 4, "warmup_steps": 0, "schedule": "plateau", "plateau": [0.5, 1], "head_epochs": 1,
               "head_learning_rate": 5e-3, "learning_rate": 1e-3, "ema": 0.0, "checkpoint_every": 1},
    )  # fmt: skip
    scores = {1: 0.6, 2: 0.5, 3: 0.7, 4: 0.7}
    calls = {"now": 0}

    def score(model, data, rows, **options):
        return {"macro_auroc": scores[calls["now"] + 1]}

    monkeypatch.setattr(run_module, "validation_score", score)
    seen, original = [], loop._one

    def watched(run, state, rows, total):
        calls["now"] = state.state.epoch
        value = original(run, state, rows, total)
        encoder = run.network.encoders["cfp"]
        rate = {g["lr"] / g["factor"] for g in state.optimizer.param_groups}
        state_now = {k: v.clone() for k, v in encoder.state_dict().items() if "running" in k or k.endswith("weight")}
        seen.append((state.state.epoch, rate.pop(), state_now))
        return value

    monkeypatch.setattr(loop, "_one", watched)
    train(records[1], tmp_path / "whole", config=config)
    first, last_of_first, last = seen[0][2], [s for e, _, s in seen if e == 0][-1], seen[-1][2]
    assert all(torch.equal(first[k], last_of_first[k]) for k in first if k.startswith("body."))
    assert any(not torch.equal(first[k], last_of_first[k]) for k in first if k.startswith("cab."))
    assert not all(torch.equal(first[k], last[k]) for k in first if k.startswith("body."))
    assert {e: round(r, 6) for e, r, _ in seen} == {0: 5e-3, 1: 1e-3, 2: 5e-4, 3: 5e-4}

    def dies(run, state, rows, total):
        if state.state.epoch == 2:
            raise KeyboardInterrupt
        return watched(run, state, rows, total)

    monkeypatch.setattr(loop, "_one", dies)
    with pytest.raises(KeyboardInterrupt):
        train(records[1], tmp_path / "torn", config=config)
    monkeypatch.setattr(loop, "_one", watched)
    train(records[1], tmp_path / "torn", config=config)
    one, two = weights_of(tmp_path / "whole"), weights_of(tmp_path / "torn")
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_bfloat16_that_would_be_emulated_is_float32_and_says_so(records, tmp_path, monkeypatch):
    titles = []

    def reporter(title):
        titles.append(title)
        return nullcontext(lambda *a, **k: None)

    short = {"train__sizes": [[32, 1]]}
    train(records[1], tmp_path / "plain", config=config_of(**short), reporter=reporter)
    assert "training steps" in titles
    for module in ("loop", "evaluation"):
        monkeypatch.setattr(f"fundusion.train.{module}.usable_precision", lambda *_: "fp32")
    train(records[1], tmp_path / "asked", config=config_of(**short, train__precision="bf16"), reporter=reporter)
    assert any(t.startswith("training steps (float32: this processor has no bfloat16") for t in titles)
    one, two = weights_of(tmp_path / "plain"), weights_of(tmp_path / "asked")
    assert all(torch.equal(one[k], two[k]) for k in one)
