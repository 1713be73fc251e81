"""Faults in weights, checkpoints and training, one test per row: nothing runs, nothing is mixed, the last good state stays.

What a row needs beyond these is beside the code: kill at random steps in `train/test_loop.py` and `train/test_pretrain.py`, torn checkpoints in
`train/test_checkpoint.py`, another class order or normalisation in `test_network.py`, caches in `train/test_embeddings.py`.
"""

import errno
import json
import pickle
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.core import durable
from fundusion.core.errors import ExhaustedResource, IncompatibleWeights, InvalidInput
from fundusion.core.registry import models
from fundusion.datasets.folder import discover
from fundusion.layers.weights import load_state, save_state
from fundusion.train import loop, train
from fundusion.train.checkpoint import load_checkpoint
from fundusion.train.config import parse_config
from fundusion.train.steps import Step

run = CliRunner().invoke


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def armed(path, marker):
    """Write a file that leaves a marker when it is opened carelessly."""
    bomb = Bomb(marker)
    if path.suffix in (".pt", ".pth", ".bin"):
        torch.save({"model": {"weight": torch.zeros(2)}, "extra": bomb}, path)
    elif path.suffix == ".npy":
        np.save(path, np.array([bomb], dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps({"state_dict": bomb}, protocol=2))
    return path


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "ckpt", "pkl", "joblib", "npy", "safetensors"])
def test_m1_code_in_a_checkpoint_never_runs_and_no_flag_makes_it(tmp_path, suffix):
    marker, path = tmp_path / "ran", tmp_path / f"w.{suffix}"
    armed(path, marker)
    code = "model.corrupt" if suffix == "safetensors" else "model.unsafe_format"
    for name in (
        "retfound.test",
        "visionfm.test",
        "eyefm.test",
        "deepdr.test",
        "resnet.test",
        "cabnet.test",
        "mae.test",
    ):
        with pytest.raises(IncompatibleWeights) as caught:
            models.create(name, weights=str(path))
        assert caught.value.code == code, name
    shown = run(app, ["models", "retfound.test", "--weights", str(path)])
    assert shown.exit_code != 0
    assert code in shown.output
    trusted = run(app, ["convert-weights", str(path), str(tmp_path / "out.safetensors"), "--i-trust-this-file"])
    assert trusted.exit_code != 0
    assert not marker.exists()
    assert not (tmp_path / "out.safetensors").exists()
    # The same file would have run: the bomb is live.
    if suffix == "pkl":
        pickle.loads(path.read_bytes())
        assert marker.exists()


@pytest.mark.parametrize(
    "name", ["retfound.test", "visionfm.test", "eyefm.test", "deepdr.test", "resnet.test", "cabnet.test"]
)
def test_m3_cut_swapped_and_broken_weights_are_refused_with_the_first_differences(tmp_path, name):
    torch.manual_seed(0)
    model = models.create(name)
    state = {k: v.clone() for k, v in getattr(model, "body", model).state_dict().items()}
    if name == "cabnet.test":
        state = {k: v.clone() for k, v in model.state_dict().items()}
    path = tmp_path / "w.safetensors"
    save_state(path, state)
    models.create(name, weights=str(path))
    content = path.read_bytes()
    for cut in (content[:7], content[: len(content) // 2], content[:-1], content + b"\0"):
        path.write_bytes(cut)
        with pytest.raises(IncompatibleWeights) as caught:
            models.create(name, weights=str(path))
        assert caught.value.code == "model.corrupt"
    first = next(k for k, v in state.items() if v.ndim > 1)
    for changed, words in (
        ({**state, first: torch.full_like(state[first], torch.nan)}, "NaN"),
        (
            {**state, first: state[first][:1]} if len(state[first]) > 1 else {**state, first: state[first][..., :1]},
            "shape",
        ),
        ({f"other.{k}": v for k, v in state.items()}, "fit"),
    ):
        save_state(path, changed)
        with pytest.raises(IncompatibleWeights, match=words) as caught:
            models.create(name, weights=str(path))
        assert first in str(caught.value) or words == "fit"


def test_m3_forged_headers_cost_nothing(tmp_path):
    path = tmp_path / "w.safetensors"
    entry = {"dtype": "F32", "shape": [], "data_offsets": [0, 0]}
    many = json.dumps({str(i): entry for i in range(100_001)}).encode()
    path.write_bytes(struct.pack("<Q", len(many)) + many)
    with pytest.raises(IncompatibleWeights) as caught:
        load_state(path)
    assert caught.value.code == "model.header"
    for shape, offsets in (([1 << 62, 8], [0, 4]), ([1], [0, 1 << 60]), ([1], [4, 0]), ([-1], [0, 4])):
        header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
        with pytest.raises(IncompatibleWeights) as caught:
            load_state(path)
        assert caught.value.code == "model.corrupt"


def test_m3_a_torch_file_that_grows_when_it_is_opened_is_refused(tmp_path):
    torch.save({"model": {"a": torch.zeros(1 << 20)}}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "bomb.pth", "w") as bomb:
        for item in plain.infolist():
            bomb.writestr(item.filename, plain.read(item), compress_type=zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pth").stat().st_size < 20_000
    with pytest.raises(IncompatibleWeights, match="compressed") as caught:
        load_state(tmp_path / "bomb.pth")
    assert caught.value.code == "model.corrupt"
    assert load_state(tmp_path / "plain.pth")["a"].shape == (1 << 20,)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    from fundusion.datasets.synthetic import write_cohort

    manifest = write_cohort(tmp_path_factory.mktemp("eyes"), 16, seed=1, size=64, modalities=("cfp",))
    return [replace(r, split=None) for r in discover([manifest])]


def config_of(**settings):
    return parse_config({
        "data": {"side": 40, "max_rejected": 0.2, "validation_fraction": 0.35},
        "network": {"encoders": {"cfp": "contrast_resnet.test"}, "fusion": "concat", "embed_dim": 8},
        "tasks": {"dr_grade": {}},
        "train": {"epochs": 2, "batch_size": 4, "warmup_steps": 1, "checkpoint_every": 1, "ema": 0.0, **settings},
    })  # fmt: skip


def test_m6_a_step_that_is_not_finite_is_skipped_and_counted_and_a_corrupt_picture_is_left_out(
    records, tmp_path, monkeypatch
):
    bad = tmp_path / "cut.png"
    content = Path(records[0].images["cfp"][0]).read_bytes()
    bad.write_bytes(content[: len(content) // 2])
    spoilt = [replace(records[0], images={"cfp": (str(bad),)}), *records[1:]]
    loss_of, calls = Step.loss, []

    def loss(self, batch, step):
        found = loss_of(self, batch, step)
        calls.append(step)
        return replace(found, total=found.total * torch.nan) if len(calls) == 2 else found

    monkeypatch.setattr(Step, "loss", loss)
    result = train(spoilt, tmp_path / "run", config=config_of())
    assert result.rejected == 1
    assert json.loads((tmp_path / "run" / "rejected.json").read_text())[0]["study_id"] == records[0].study_id
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert rows[-1]["skipped"] == 1
    assert all(
        bool(torch.isfinite(v).all()) for v in load_state(tmp_path / "run" / "model" / "weights.safetensors").values()
    )


def test_m8_a_full_disk_while_a_checkpoint_is_written_leaves_the_one_before(records, tmp_path, monkeypatch):
    config = config_of()
    train(records, tmp_path / "whole", config=config)
    original, written = durable.os.fsync, []

    def full(handle):
        written.append(handle)
        if len(written) == 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(handle)

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(ExhaustedResource, match="full"):
        train(records, tmp_path / "torn", config=config)
    monkeypatch.setattr(durable.os, "fsync", original)
    facts, _ = load_checkpoint(tmp_path / "torn")
    assert facts["step"] >= 1
    assert not list((tmp_path / "torn").rglob("*.part"))
    train(records, tmp_path / "torn", config=config)
    one, two = (load_state(tmp_path / d / "model" / "weights.safetensors") for d in ("whole", "torn"))
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_m9_another_precision_other_data_or_another_version_is_refused_or_recorded(records, tmp_path, monkeypatch):
    original = loop._one

    def dies(run, state, rows, total):
        if state.state.epoch == 1:
            raise KeyboardInterrupt
        return original(run, state, rows, total)

    monkeypatch.setattr(loop, "_one", dies)
    with pytest.raises(KeyboardInterrupt):
        train(records, tmp_path, config=config_of())
    monkeypatch.setattr(loop, "_one", original)
    with pytest.raises(InvalidInput, match="another config"):
        train(records, tmp_path, config=config_of(precision="bf16"))
    with pytest.raises(InvalidInput, match="another data"):
        train(records[:-1], tmp_path, config=config_of())
    monkeypatch.setattr(loop, "__version__", "999")
    with pytest.raises(InvalidInput, match="another version"):
        train(records, tmp_path, config=config_of())
    train(records, tmp_path, config=config_of(), allow_changes=True)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert [r["changed"] for r in rows if "changed" in r] == ["version"]
    assert json.loads((tmp_path / "checkpoint.json").read_text())["version"] == "999"
