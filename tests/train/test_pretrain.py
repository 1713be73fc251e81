"""Training without labels: exact resumption, an estimate that changes nothing, an encoder that networks take."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput, UnknownName
from fundusion.core.interfaces import Batch
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
    # Without the table's parts, so that every eye is trained on or held out.
    return [replace(r, split=None) for r in discover([manifest])]


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


def test_patients_that_are_measured_later_are_not_looked_at(records, tmp_path):
    """Both eyes of a patient are left out when one of them is in the test."""
    photographed = [r for r in records if r.images.get("cfp")]
    counts = Counter(r.group for r in photographed)
    patients = sorted(counts, key=lambda g: (-counts[g], g))
    tested, validated = patients[0], patients[1:3]
    parts = {tested: "test", **dict.fromkeys(validated, "val")}
    assert counts[tested] == 2
    first = next(r for r in photographed if r.group == tested)
    split = [
        replace(r, split=parts.get(r.group, "train") if r.group != tested or r is first else "train") for r in records
    ]
    run = prepare_pretraining(split, tmp_path, config_of("mae"), quiet)
    groups = np.asarray(run.data.groups)
    assert run.untouched == 2
    assert tested not in groups
    assert set(groups[run.studies[run.held_out]]) == set(validated) & set(groups)
    assert set(groups[run.studies[run.training]]).isdisjoint(validated)
    pretrain(split, tmp_path / "run", config=config_of("mae"))
    assert json.loads((tmp_path / "run" / "encoder.json").read_text())["untouched_test_studies"] == run.untouched
    with pytest.raises(InvalidInput, match="measured later"):
        prepare_pretraining([replace(r, split="test") for r in records], tmp_path, config_of("mae"), quiet)


def test_cuts_come_from_pictures_of_the_wanted_side(records, tmp_path):
    config = config_of("mae", side=48, train=FitConfig(**FIT, precision="bf16"))
    run = prepare_pretraining(records, tmp_path, config, quiet)
    assert run.data.images["cfp"].shape[1:] == (48, 48, 3)
    assert run.step().batch(run.training[:2], 0, None).pictures[0]["cfp"].shape == (2, 3, 32, 32)
    # Written out, attention in bfloat16 trains faster on a processor.
    assert not any(getattr(layer, "fused_attn", False) for layer in run.system.modules())
    assert config.digest() != config_of("mae", train=config.train).digest()


@pytest.mark.parametrize("fusion", ["gated", "cross_attention", "late"])
def test_the_encoder_answers_inside_a_fused_network_with_and_without_other_modalities(records, tmp_path, fusion):
    pretrain(records, tmp_path, config=config_of("mae", model="vit.test"))

    def answer(**weights):
        encoders = {"cfp": ("vit.test", {"image_size": 32, **weights}), "oct": "resnet.test"}
        network = build_network(encoders, fusion, {"g": Ordinal(5)}, embed_dim=16, seed=0)
        generator = torch.Generator().manual_seed(0)
        batch = Batch(
            study_ids=("a", "b", "c"), modalities=("cfp", "oct"),
            present=torch.tensor([[True, True], [True, False], [False, True]]),
            images={m: torch.randn(2, 3, 32, 32, generator=generator) for m in ("cfp", "oct")},
            owner={"cfp": torch.tensor([0, 1]), "oct": torch.tensor([0, 2])},
        )  # fmt: skip
        return network, network.eval()(batch).logits["g"]

    network, ours = answer(weights=str(tmp_path))
    _, fresh = answer()
    assert bool(torch.isfinite(ours).all())
    # The study without a photograph does not notice; the others do.
    torch.testing.assert_close(ours[2], fresh[2])
    assert not torch.allclose(ours[:2], fresh[:2])
    ours.sum().backward()
    assert float(network.encoders["cfp"].body.patch_embed.proj.weight.grad.abs().sum()) > 0


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
