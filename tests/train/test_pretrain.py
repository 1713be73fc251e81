"""Training without labels: exact resumption, an estimate that changes nothing, an encoder that networks take."""

import json

import numpy as np
import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput, UnknownName
from fundusion.core.tasks import Ordinal
from fundusion.datasets.folder import discover
from fundusion.layers.weights import load_state
from fundusion.network import build_network
from fundusion.train import loop
from fundusion.train.config import FitConfig
from fundusion.train.pretrain import PretrainConfig, estimate, full_name, prepare_pretraining, pretrain

FIT = {"epochs": 3, "batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 2, "ema": 0.0, "checkpoint_every": 1}


def config_of(objective, **changes):
    value = {
        "objective": objective,
        "model": "eyefm.test" if objective == "multimae" else "visionfm.test",
        "options": {"image_size": 32},
        "modalities": ("cfp", "oct") if objective == "multimae" else ("cfp",),
        "decoder": (16, 1, 2),
        "head": (32, 16, 8),
        "train": FitConfig(**FIT),
        **changes,
    }
    return PretrainConfig(**value)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    from fundusion.datasets.synthetic import write_cohort

    manifest = write_cohort(
        tmp_path_factory.mktemp("eyes"), 24, seed=2, size=64, modalities=("cfp", "oct"), missing=0.25
    )
    return list(discover([manifest]))


def quiet(title):
    from contextlib import nullcontext

    return nullcontext(lambda *a, **k: None)


@pytest.mark.parametrize("objective", ["mae", "ibot", "multimae"])
def test_a_killed_run_goes_on_bit_for_bit_and_leaves_pictures(records, tmp_path, monkeypatch, objective):
    config = config_of(objective, pictures_every=2)
    said = []
    whole = pretrain(records, tmp_path / "whole", config=config, announce=said.append)
    assert whole.epochs == 3
    assert "measured" in said[0]
    original, calls = loop._one, []

    def dies(run, state, rows, total):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(run, state, rows, total)

    monkeypatch.setattr(loop, "_one", dies)
    with pytest.raises(KeyboardInterrupt):
        pretrain(records, tmp_path / "torn", config=config)
    monkeypatch.setattr(loop, "_one", original)
    pretrain(records, tmp_path / "torn", config=config)
    one, two = (load_state(tmp_path / d / "encoder.safetensors") for d in ("whole", "torn"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert sorted(p.name for p in (tmp_path / "whole" / "pictures").iterdir()) == ["epoch-0002.png", "epoch-0003.png"]
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").open()]
    assert ("val_loss" in rows[0]) == (objective != "ibot")
    facts = json.loads((tmp_path / "whole" / "encoder.json").read_text())
    assert facts["objective"] == objective
    with pytest.raises(InvalidInput, match="another config"):
        pretrain(records, tmp_path / "whole", config=config_of(objective, mask_ratio=0.5))


def test_ibot_is_led_as_published_unless_told_otherwise(records, tmp_path, monkeypatch):
    config = config_of("ibot", train=FitConfig(**{**FIT, "epochs": 5}))
    assert (config.train.weight_decay, config.train.weight_decay_end) == (0.04, 0.4)
    assert config.teacher.model_dump() == {"freeze_epochs": 3, "warmup_epochs": 30, "momentum": 0.996}
    own = config_of("ibot", train=FitConfig(**FIT, weight_decay=0.1))
    assert (own.train.weight_decay, own.train.weight_decay_end) == (0.1, None)
    assert config_of("mae").train.weight_decay_end is None
    assert PretrainConfig(objective="ibot", model="vit.test").train.weight_decay_end == 0.4
    with pytest.raises(ValueError, match="weight_decay above zero"):
        FitConfig(weight_decay=0.0, weight_decay_end=0.4)
    # Other objectives have no teacher: their digest does not know it.
    assert config_of("mae", teacher={"momentum": 0.9}).digest() == config_of("mae").digest()
    assert config_of("ibot", teacher={"momentum": 0.9}).digest() != config_of("ibot").digest()

    seen, original = [], loop._one

    def watched(run, state, rows, total):
        value = original(run, state, rows, total)
        head = run.system.student["head"]
        decays = {g["weight_decay"] for g in state.optimizer.param_groups}
        seen.append((state.state.epoch, total, decays, head.last_layer.weight_v.detach().clone()))
        return value

    monkeypatch.setattr(loop, "_one", watched)
    pretrain(records, tmp_path, config=config)
    prototypes = {epoch: p for epoch, _, _, p in seen}
    assert torch.equal(prototypes[0], prototypes[2])
    assert not torch.equal(prototypes[2], prototypes[3])
    total = seen[0][1]
    for step, (_, _, decays, _) in enumerate(seen):
        expected = 0.4 - 0.36 * 0.5 * (1 + np.cos(np.pi * step / total))
        assert sorted(decays) == pytest.approx([0.0, expected])
    assert len(seen) == total


def test_the_encoder_goes_into_a_network_and_a_damaged_one_does_not(records, tmp_path):
    pretrain(records, tmp_path, config=config_of("mae"))
    options = {"weights": str(tmp_path), "image_size": 32}
    network = build_network({"cfp": ("visionfm.test", options)}, "concat", {"g": Ordinal(5)}, embed_dim=8)
    state = load_state(tmp_path / "encoder.safetensors")
    own = network.encoders["cfp"].body.state_dict()
    assert all(torch.equal(own[k], v) for k, v in state.items())
    with pytest.raises(IncompatibleWeights, match=r"is a 'visionfm\.test'"):
        build_network({"cfp": ("deepdr.test", options)}, "concat", {"g": Ordinal(5)}, embed_dim=8)
    data = bytearray((tmp_path / "encoder.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "encoder.safetensors").write_bytes(data)
    with pytest.raises(IncompatibleWeights) as caught:
        build_network({"cfp": ("visionfm.test", options)}, "concat", {"g": Ordinal(5)}, embed_dim=8)
    assert caught.value.code == "model.digest"


def test_training_lowers_the_loss_on_patients_that_were_held_out(records, tmp_path):
    fit = FitConfig(**{**FIT, "epochs": 30, "learning_rate": 5e-3})
    pretrain(records, tmp_path, config=config_of("mae", train=fit))
    rows = [json.loads(line)["val_loss"] for line in (tmp_path / "metrics.jsonl").open()]
    assert rows[-1] < 0.98 * rows[0]


@pytest.mark.parametrize("objective", ["ibot", "multimae"])
def test_an_estimate_changes_nothing_of_the_run(records, tmp_path, objective):
    run = prepare_pretraining(records, tmp_path, config_of(objective), quiet)
    before = {k: v.clone() for k, v in run.system.state_dict().items()}
    found = estimate(run)
    assert all(torch.equal(before[k], v) for k, v in run.system.state_dict().items())
    assert found.steps == 3 * (len(run.training) // 4)
    assert 0 < found.seconds[0] <= found.seconds[1] <= found.seconds[2]
    assert set(np.asarray(run.data.groups)[run.studies[run.training]]).isdisjoint(
        np.asarray(run.data.groups)[run.studies[run.held_out]]
    )


def test_short_names_and_refusals(records, tmp_path):
    assert full_name("vit.small") == "vit.small_16"
    assert full_name("vit.test") == "vit.test"
    with pytest.raises(UnknownName):
        full_name("vit.enormous")
    for changes, words in (
        ({"modalities": ("cfp", "oct")}, "one kind of pictures"),
        ({"train": FitConfig(**{**FIT, "ema": 0.9})}, "moving average"),
        ({"train": FitConfig(**{**FIT, "batch_size": 500})}, "too few"),
        ({"modalities": ("ffa",)}, "no pictures of ffa"),
        ({"model": "resnet.test", "options": {}}, "plain vision transformer"),
    ):
        with pytest.raises(InvalidInput, match=words):
            prepare_pretraining(records, tmp_path, config_of("mae", **changes), quiet)


@pytest.mark.slow
def test_kill_minus_nine_at_a_random_step_changes_no_bit(tmp_path):
    import os
    import signal
    import subprocess
    import sys
    import time

    from fundusion.datasets.synthetic import write_cohort

    manifest = write_cohort(tmp_path / "eyes", 24, seed=2, size=64, modalities=("cfp",))

    def start(folder):
        command = [
            sys.executable, "-m", "fundusion", "pretrain", "--objective", "ibot", "--model", "visionfm.test", "--data", manifest,
            "--epochs", "8", "--batch-size", "4", "--image-size", "64", "--head", "64,32,16", "--out", folder,
        ]  # fmt: skip
        return subprocess.Popen(
            [str(c) for c in command], env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL
        )

    assert start(tmp_path / "whole").wait() == 0
    chance, kills = np.random.default_rng(), 0
    for wanted in (2, 6):
        process = start(tmp_path / "torn")
        pointer = tmp_path / "torn" / "checkpoint.json"
        while process.poll() is None:
            if pointer.is_file() and json.loads(pointer.read_text())["epoch"] >= wanted:
                time.sleep(float(chance.random()) * 0.05)
                process.send_signal(signal.SIGKILL)
                kills += process.wait() == -signal.SIGKILL
            time.sleep(0.005)
    assert start(tmp_path / "torn").wait() == 0
    assert kills >= 1
    one, two = (load_state(tmp_path / d / "encoder.safetensors") for d in ("whole", "torn"))
    assert all(torch.equal(one[k], two[k]) for k in one)
