"""Weights of Keras HDF5 files by the names of their groups; layers are never rebuilt from the file, so its code never runs.

Source: the HDF5 layout of Keras 2 (attributes `layer_names`, `weight_names`); names of layers from keras-applications.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..core.errors import IncompatibleWeights, require

_SUFFIXES = (".h5", ".hdf5")
#: More layers than any network has; a forged file is refused before its groups are walked.
_MAX_LAYERS = 10_000
_FIRST_CONVOLUTION = {1: 0, 2: 5, 3: 10, 4: 17, 5: 24}
#: Stage and place of the thirteen blocks of MobileNet.
_MOBILE_BLOCKS = ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1), *((3, i) for i in range(6)), (4, 0), (4, 1))
Layers = dict[str, dict[str, npt.NDArray[np.float32]]]


def is_keras(path: str | Path | None) -> bool:
    """Return whether a file is named like a Keras file.

    Example:
        >>> is_keras("densenet121_CAB_DDR.h5"), is_keras("a.safetensors"), is_keras(None)
        (True, False, False)
    """
    return path is not None and Path(str(path)).suffix.lower() in _SUFFIXES


def read_layers(path: str | Path) -> Layers:
    """Return layer name to weight name ("kernel", "gamma", ...) to array.

    Only names and numbers are read: `model_config`, where Lambda layers hold code, is not.

    Raises:
        IncompatibleWeights: Not HDF5, damaged, not the layout of Keras, or with data outside the file.
    """
    h5py = require("h5py", extra="keras")
    source = Path(path)
    try:
        with h5py.File(source, "r") as file:
            root = file.get("model_weights", file)
            if "layer_names" not in root.attrs:
                raise IncompatibleWeights(f"{source.name!r} is no Keras weights file.", code="model.corrupt")
            names = [_text(n) for n in root.attrs["layer_names"]]
            if len(names) > _MAX_LAYERS:
                raise IncompatibleWeights(f"{source.name!r} lists more than {_MAX_LAYERS} layers.", code="model.header")
            return {n: _weights_of(root[n], h5py, source) for n in names}
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        if isinstance(error, IncompatibleWeights):
            raise
        raise IncompatibleWeights(
            f"{source.name!r} is cut or damaged: {error}.", code="model.corrupt", hint="Get the file again."
        ) from error


def _weights_of(group: Any, h5py: Any, source: Path) -> dict[str, npt.NDArray[np.float32]]:
    found: dict[str, npt.NDArray[np.float32]] = {}
    for name in (_text(n) for n in group.attrs.get("weight_names", ())):
        link = group.get(name, getlink=True)
        data = group[name]
        # Keras writes plain, contiguous numbers. Links to other files, and shapes without stored numbers, are forged.
        plain = isinstance(link, h5py.HardLink) and isinstance(data, h5py.Dataset) and data.external is None
        if not plain or data.is_virtual or data.dtype.kind != "f" or data.id.get_storage_size() != data.nbytes:
            raise IncompatibleWeights(f"{name!r} of {source.name!r} is no plain array.", code="model.unsafe_format")
        short = name.rsplit("/", 1)[-1].split(":")[0]
        found[short] = np.asarray(data[()], np.float32)
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def load_keras(path: str | Path, module: nn.Module) -> dict[str, Tensor]:
    """Return tensors under the names of a CABNet: backbone by layer names, attention and classifier by their order.

    Kernels turn from (row, column, in, out) to (out, in, row, column). A convolution's bias that the backbone does not have is
    folded into the mean of its normalisation.

    Args:
        path: `.h5` with all weights.
        module: Has `body` (VGG-16, ResNet-50, DenseNet-121, Xception or MobileNet of timm), `gab`, `cab` and `head`.

    Raises:
        IncompatibleWeights: A layer has no place in the module, or the attention layers cannot be told.
    """
    layers = {k: v for k, v in read_layers(path).items() if v}
    own = dict(module.state_dict())
    place, unnamed = _backbone_rule(own)
    places = _unnamed_places(list(layers), unnamed, Path(path).name)
    unknown = []
    state: dict[str, Tensor] = {k: torch.zeros_like(v) for k, v in own.items() if k.endswith("num_batches_tracked")}
    folded: dict[str, Tensor] = {}
    for name, weights in layers.items():
        target = places.get(name) or place(name.replace("/", "_"))
        if target is None:
            unknown.append(name)
            continue
        state.update(_converted(target, weights, own))
        bias = f"{target}.bias"
        if target.startswith("body.") and bias in state and bias not in own and "kernel" in weights:
            folded[_normalisation_of(target)] = state.pop(bias)
    if unknown:
        raise IncompatibleWeights(
            f"{len(unknown)} layers of {Path(path).name!r} have no place in this network (first: {', '.join(unknown[:3])}).",
            hint="Check the backbone; VGG-16, ResNet-50, DenseNet-121, Xception and MobileNet are read.",
        )
    for target, bias_value in folded.items():
        mean = f"{target}.running_mean"
        if mean in state:
            state[mean] = state[mean] - bias_value
    return state


def _converted(
    target: str, weights: Mapping[str, npt.NDArray[np.float32]], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    out = {}
    for short, array in weights.items():
        if short == "depthwise_kernel" and f"{target}.conv1.weight" in own:
            # A separable convolution is two layers in timm.
            out[f"{target}.conv1.weight"] = _turned(array, (2, 3, 0, 1))
        elif short == "pointwise_kernel":
            out[f"{target}.pointwise.weight"] = _turned(array, (3, 2, 0, 1))
        elif short in ("kernel", "depthwise_kernel"):
            by_channel = array.ndim == 4 and (short == "depthwise_kernel" or target.endswith("conv_dw"))
            order = (1, 0) if array.ndim == 2 else (2, 3, 0, 1) if by_channel else (3, 2, 0, 1)
            out[f"{target}.weight"] = _turned(array, order)
        else:
            out[f"{target}.{names.get(short, short)}"] = torch.from_numpy(array.copy())
    return out


def _turned(array: npt.NDArray[np.float32], order: tuple[int, ...]) -> Tensor:
    if array.ndim != len(order):
        raise IncompatibleWeights(f"a kernel has {array.ndim} axes, {len(order)} are needed.", code="model.corrupt")
    return torch.from_numpy(np.ascontiguousarray(array.transpose(order)))


def _unnamed_places(names: list[str], shortcuts: tuple[str, ...], file: str) -> dict[str, str]:
    """Keras numbers its unnamed layers in the order they were made.

    First the shortcuts of the backbone where it leaves them unnamed (Xception), then two convolutions of GAB, convolution and norm of
    CAB, and the classifier.
    """
    wanted = {
        "conv2d": (*(f"{s}.skip" for s in shortcuts), "gab.reduce", "gab.expand", "cab.detect"),
        "batch_normalization": (*(f"{s}.skipbn" for s in shortcuts), "cab.norm"),
        "dense": ("head",),
    }
    places: dict[str, str] = {}
    for kind, targets in wanted.items():
        numbered = sorted(
            (int(m.group(1) or 0), n) for n in names if (m := re.fullmatch(rf"{kind}(?:_(\d+))?", n)) is not None
        )
        if len(numbered) != len(targets):
            raise IncompatibleWeights(
                f"{file!r} has {len(numbered)} layers called {kind}, this CABNet has {len(targets)}.",
                hint="Check that the file is a CABNet, and its backbone.",
            )
        places.update({n: t for (_, n), t in zip(numbered, targets, strict=True)})
    return places


def _backbone_rule(own: Mapping[str, Tensor]) -> tuple[Callable[[str], str | None], tuple[str, ...]]:
    """Return the rule of a backbone's names, and its blocks whose shortcuts Keras leaves unnamed."""

    def has(beginning: str) -> bool:
        return any(k.startswith(beginning) for k in own)

    if has("body.features.denseblock1."):
        return _densenet, ()
    if has("body.blocks.0.0.conv_dw."):
        return _mobilenet, ()
    if has("body.block12.skip."):
        return _xception, tuple(f"body.block{i}" for i in (1, 2, 3, 12))
    return (_resnet, ()) if has("body.layer1.") else (_vgg, ())


def _vgg(name: str) -> str | None:
    found = re.fullmatch(r"block(\d)_conv(\d)", name)
    if found is None or int(found[1]) not in _FIRST_CONVOLUTION:
        return None
    return f"body.features.{_FIRST_CONVOLUTION[int(found[1])] + 2 * (int(found[2]) - 1)}"


def _resnet(name: str) -> str | None:
    """Both spellings of keras-applications: `conv2_block1_1_conv` and, before 1.0.8, `res2a_branch2a`."""
    stem = {"conv1_conv": "body.conv1", "conv1_bn": "body.bn1", "conv1": "body.conv1", "bn_conv1": "body.bn1"}
    if name in stem:
        return stem[name]
    if found := re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", name):
        stage, block, place, kind = int(found[1]) - 1, int(found[2]) - 1, int(found[3]), found[4]
    elif found := re.fullmatch(r"(res|bn)(\d)([a-z])_branch(1|2a|2b|2c)", name):
        stage, block = int(found[2]) - 1, ord(found[3]) - ord("a")
        place = {"1": 0, "2a": 1, "2b": 2, "2c": 3}[found[4]]
        kind = "conv" if found[1] == "res" else "bn"
    else:
        return None
    if place == 0:
        return f"body.layer{stage}.{block}.downsample.{0 if kind == 'conv' else 1}"
    return f"body.layer{stage}.{block}.{kind}{place}"


def _densenet(name: str) -> str | None:
    stem = {"conv1_conv": "conv0", "conv1_bn": "norm0", "bn": "norm5"}
    if name in stem:
        return f"body.features.{stem[name]}"
    if found := re.fullmatch(r"pool(\d)_(conv|bn)", name):
        return f"body.features.transition{int(found[1]) - 1}.{'conv' if found[2] == 'conv' else 'norm'}"
    if found := re.fullmatch(r"conv(\d)_block(\d+)_(0_bn|1_conv|1_bn|2_conv)", name):
        part = {"0_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}[found[3]]
        return f"body.features.denseblock{int(found[1]) - 1}.denselayer{found[2]}.{part}"
    return None


def _mobilenet(name: str) -> str | None:
    stem = {"conv1": "body.conv_stem", "conv1_bn": "body.bn1"}
    if name in stem:
        return stem[name]
    found = re.fullmatch(r"conv_(dw|pw)_(\d+)(_bn)?", name)
    if found is None or not 1 <= int(found[2]) <= len(_MOBILE_BLOCKS):
        return None
    stage, block = _MOBILE_BLOCKS[int(found[2]) - 1]
    part = {"dw": "bn1", "pw": "bn2"}[found[1]] if found[3] else f"conv_{found[1]}"
    return f"body.blocks.{stage}.{block}.{part}"


def _xception(name: str) -> str | None:
    if found := re.fullmatch(r"block1_conv([12])(_bn)?", name):
        return f"body.{'bn' if found[2] else 'conv'}{found[1]}"
    if found := re.fullmatch(r"block14_sepconv([12])(_bn)?", name):
        return f"body.{'bn' if found[2] else 'conv'}{int(found[1]) + 2}"
    found = re.fullmatch(r"block(\d+)_sepconv([123])(_bn)?", name)
    if found is None:
        return None
    block, place = int(found[1]) - 1, int(found[2]) - 1
    # Every block but the first begins with an activation.
    index = 3 * place + (0 if block == 1 else 1) + (1 if found[3] else 0)
    return f"body.block{block}.rep.{index}"


def _normalisation_of(convolution: str) -> str:
    if convolution.endswith("downsample.0"):
        return convolution[:-1] + "1"
    return re.sub(r"conv(\d)$", r"bn\1", convolution)
