"""Keras files: only names and plain arrays inside the file are read."""

import h5py
import numpy as np
import pytest

from fundusion.core.errors import IncompatibleWeights
from fundusion.layers.keras_weights import read_layers


def write(path, name="conv2d_1", **weights):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode(), b"lambda_1"]
        group = file.create_group(name)
        file.create_group("lambda_1")
        group.attrs["weight_names"] = [f"{name}/{w}:0".encode() for w in weights]
        for weight, value in weights.items():
            group.create_dataset(f"{name}/{weight}:0", data=value)


def test_names_and_numbers(tmp_path):
    kernel = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    write(tmp_path / "w.h5", kernel=kernel, bias=np.zeros(3))
    layers = read_layers(tmp_path / "w.h5")
    assert set(layers) == {"conv2d_1", "lambda_1"}
    assert np.array_equal(layers["conv2d_1"]["kernel"], kernel)
    assert layers["conv2d_1"]["bias"].dtype == np.float32
    assert layers["lambda_1"] == {}


def test_damaged_and_foreign_files_are_refused(tmp_path):
    write(tmp_path / "w.h5", kernel=np.ones((1, 1, 40, 50)))
    content = (tmp_path / "w.h5").read_bytes()
    for cut in (content[:100], content[: len(content) // 2], b"\x80\x04 a pickle"):
        (tmp_path / "cut.h5").write_bytes(cut)
        with pytest.raises(IncompatibleWeights) as caught:
            read_layers(tmp_path / "cut.h5")
        assert caught.value.code == "model.corrupt"
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(IncompatibleWeights, match="no Keras"):
        read_layers(tmp_path / "other.h5")


def test_links_and_shapes_without_numbers_are_refused(tmp_path):
    write(tmp_path / "secret.h5", kernel=np.ones(3))
    write(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "a") as file:
        group = file["conv2d_1"]
        group.attrs["weight_names"] = [b"stolen:0"]
        group["stolen:0"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "conv2d_1/conv2d_1/kernel:0")
    with pytest.raises(IncompatibleWeights) as caught:
        read_layers(tmp_path / "w.h5")
    assert caught.value.code == "model.unsafe_format"
    write(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "a") as file:
        group = file["conv2d_1"]
        group.attrs["weight_names"] = [b"huge:0"]
        group.create_dataset("huge:0", shape=(1 << 40,), dtype="f4")
    with pytest.raises(IncompatibleWeights) as caught:
        read_layers(tmp_path / "w.h5")
    assert caught.value.code == "model.unsafe_format"
