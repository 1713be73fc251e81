"""The one loader: nothing runs, nothing is silently left out."""

import json
import pickle
import struct

import pytest
import torch
from torch import nn

from fundusion.core.errors import IncompatibleWeights
from fundusion.layers.weights import fit_state, load_state, save_state


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
