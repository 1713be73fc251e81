"""The one loader: nothing runs, nothing is silently left out."""

import argparse
import json
import pickle
import struct

import pytest
import torch
from torch import nn

from fundusion.core.errors import IncompatibleWeights
from fundusion.layers.weights import LoadReport, convert_weights, fit_state, load_state, metadata_of, save_state


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def test_round_trip(tmp_path):
    state = {"a": torch.randn(2, 3), "b": torch.arange(4)}
    save_state(tmp_path / "w.safetensors", state)
    torch.testing.assert_close(load_state(tmp_path / "w.safetensors"), state)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pth")
    torch.testing.assert_close(load_state(tmp_path / "w.pth"), state)


def test_a_file_that_would_run_code_is_not_opened(tmp_path):
    marker = tmp_path / "ran"
    torch.save({"model": Bomb(marker)}, tmp_path / "w.pt")
    with pytest.raises(IncompatibleWeights) as caught:
        load_state(tmp_path / "w.pt")
    assert caught.value.code == "model.unsafe_format"
    (tmp_path / "w.bin").write_bytes(pickle.dumps(Bomb(marker), protocol=2))
    with pytest.raises(IncompatibleWeights):
        load_state(tmp_path / "w.bin")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(Bomb(marker), protocol=2))
    with pytest.raises(IncompatibleWeights) as caught:
        load_state(tmp_path / "w.pkl")
    assert caught.value.code == "model.unsafe_format"
    assert not marker.exists()


@pytest.mark.parametrize("keep", [0, 4, 8, 20, -1])
def test_cut_files_are_refused(tmp_path, keep):
    save_state(tmp_path / "w.safetensors", {"a": torch.randn(64)})
    content = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(content[:keep])
    with pytest.raises(IncompatibleWeights) as caught:
        load_state(tmp_path / "w.safetensors")
    assert caught.value.code == "model.corrupt"


def test_forged_headers_are_refused_before_anything_is_allocated(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(IncompatibleWeights):
        load_state(path)
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    with pytest.raises(IncompatibleWeights):
        load_state(path)
    with pytest.raises(IncompatibleWeights) as caught:
        load_state(tmp_path / "none.safetensors")
    assert caught.value.code == "model.not_found"


def test_every_difference_is_an_error_unless_allowed():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    good = {k: torch.randn_like(v) for k, v in module.state_dict().items()}
    report = fit_state(module, {f"net.{k}": v for k, v in good.items()}, prefix="net.")
    assert set(report.loaded) == set(good)
    torch.testing.assert_close(dict(module.state_dict()), good)
    without = {k: v for k, v in good.items() if k != "1.bias"}
    with pytest.raises(IncompatibleWeights, match=r"1 missing \(first: 1.bias\)"):
        fit_state(module, without)
    assert fit_state(module, without, allow_missing=("1.",)).missing == ("1.bias",)
    with pytest.raises(IncompatibleWeights, match="unexpected"):
        fit_state(module, {**good, "head.weight": torch.zeros(1)})
    with pytest.raises(IncompatibleWeights, match="shape"):
        fit_state(module, {**good, "0.bias": torch.zeros(7)})
    with pytest.raises(IncompatibleWeights, match="no name of the file fits"):
        fit_state(module, {"x": torch.zeros(1)}, allow_missing=("0", "1"), allow_unexpected=("x",))


def test_weights_that_are_not_finite_are_refused():
    module = nn.Linear(2, 2)
    before = module.weight.detach().clone()
    for bad in (float("nan"), float("inf")):
        state = {"weight": torch.tensor([[0.0, bad], [0.0, 0.0]]), "bias": torch.zeros(2)}
        with pytest.raises(IncompatibleWeights, match="weight") as caught:
            fit_state(module, state)
        assert caught.value.code == "model.not_finite"
        assert torch.equal(module.weight, before)
    # Great numbers whose sum is beyond the type are finite all the same.
    fit_state(module, {"weight": torch.full((2, 2), 3e38), "bias": torch.zeros(2)})


def test_settings_in_an_old_file_need_a_converter_and_a_word(tmp_path):
    old = tmp_path / "old.pth"
    torch.save({"model": {"a": torch.ones(2)}, "args": argparse.Namespace(lr=1.0, name="x"), "epoch": 3}, old)
    with pytest.raises(IncompatibleWeights, match=r"argparse\.Namespace") as caught:
        load_state(old)
    assert caught.value.code == "model.unsafe_format"
    assert "--i-trust-this-file" in caught.value.hint
    with pytest.raises(IncompatibleWeights):
        convert_weights(old, tmp_path / "new.safetensors")
    assert convert_weights(old, tmp_path / "new.safetensors", trusted=True) == 1
    assert torch.equal(load_state(tmp_path / "new.safetensors")["a"], torch.ones(2))
    assert metadata_of(tmp_path / "new.safetensors")["converted_from"] == "old.pth"
    # The permission ends with the conversion.
    with pytest.raises(IncompatibleWeights):
        load_state(old)


def test_the_converter_runs_no_code_even_when_the_file_is_trusted(tmp_path):
    marker = tmp_path / "ran"
    hidden = argparse.Namespace(lr=Bomb(marker))
    for i, content in enumerate(({"model": Bomb(marker)}, {"model": {"a": torch.ones(1)}, "args": hidden})):
        torch.save(content, tmp_path / f"{i}.pth")
        with pytest.raises(IncompatibleWeights) as caught:
            convert_weights(tmp_path / f"{i}.pth", tmp_path / "out.safetensors", trusted=True)
        assert caught.value.code == "model.unsafe_format"
    assert not marker.exists()
    assert not (tmp_path / "out.safetensors").exists()
    with pytest.raises(IncompatibleWeights, match=r"\.safetensors"):
        convert_weights(tmp_path / "0.pth", tmp_path / "out.pth", trusted=True)


def test_the_report_counts_and_names():
    report = LoadReport(loaded=("a", "b"), missing=("c",), reshaped=("a",))
    assert str(report) == "2 tensors loaded, 1 reshaped (a), 1 missing (c)"
