"""The attention blocks equal the official Keras functions; files of Keras are read by name and nothing in them runs."""

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.registry import models
from fundusion.models.cabnet import CategoryAttention, GlobalAttention, smoothed_cross_entropy

from .golden import relative, stored


def pointwise(kernel):
    return kernel.permute(3, 2, 0, 1)


def test_parity_with_the_official_functions(golden_root):
    t, facts, _ = stored(golden_root, "cabnet/gab_cab_head")
    gab = GlobalAttention(16)
    cab = CategoryAttention(16, facts["classes"], facts["k"]).eval()
    head = nn.Linear(16, facts["classes"])
    with torch.no_grad():
        for layer, name in ((gab.reduce, "Conv2D0"), (gab.expand, "Conv2D1"), (cab.detect, "Conv2D2")):
            layer.weight.copy_(pointwise(t[f"keras.{name}.weight"]))
            layer.bias.copy_(t[f"keras.{name}.bias"])
        for part in ("weight", "bias", "running_mean", "running_var"):
            getattr(cab.norm, part).copy_(t[f"keras.BatchNormalization0.{part}"])
        head.weight.copy_(t["keras.Dense0.weight"].T)
        head.bias.copy_(t["keras.Dense0.bias"])
        x = t["x_nhwc"].permute(0, 3, 1, 2)
        after_gab = gab(x)
        after_cab = cab(after_gab)
        probabilities = head(after_cab.mean((2, 3))).softmax(1)
    assert relative(after_gab.permute(0, 2, 3, 1), t["gab_nhwc"]) <= 1e-4
    assert relative(after_cab.permute(0, 2, 3, 1), t["cab_nhwc"]) <= 1e-4
    assert relative(probabilities, t["prob"]) <= 1e-4
    assert relative(smoothed_cross_entropy(probabilities, t["y"]), t["label_smooth_loss"]) <= 1e-4
    # The targets of the published smoothing are no distribution.
    smooth = t["y"] * 0.9 + 0.05
    assert smooth.sum(1).tolist() == pytest.approx([1.15, 1.15])


def test_channels_are_ordered_class_by_class():
    torch.manual_seed(0)
    cab = CategoryAttention(4, 3, 2).eval()
    x = torch.rand(1, 4, 5, 5)
    with torch.no_grad():
        plain = cab(x)
        by_k = torch.tensor([0, 2, 4, 1, 3, 5])
        cab.detect.weight.copy_(cab.detect.weight[by_k])
        cab.detect.bias.copy_(cab.detect.bias[by_k])
        assert not torch.allclose(cab(x), plain)
        within = torch.tensor([1, 0, 3, 2, 5, 4])
        cab.detect.weight.copy_(cab.detect.weight[torch.argsort(by_k)][within])
        cab.detect.bias.copy_(cab.detect.bias[torch.argsort(by_k)][within])
    # Detectors of one class may change places among themselves.
    torch.testing.assert_close(cab(x), plain)


def test_raw_pixels_are_a_switch():
    torch.manual_seed(0)
    raw = models.create("cabnet.test", pixels="raw").eval()
    scaled = models.create("cabnet.test", pixels="imagenet").eval()
    scaled.load_state_dict(raw.state_dict())
    images = torch.rand(2, 3, 64, 64) * 255
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(
            scaled.encode(images).pooled, raw.encode((images / 255 - mean) / std).pooled, rtol=1e-4, atol=1e-5
        )
        assert not torch.allclose(scaled.encode(images).pooled, raw.encode(images).pooled)
    card = models.card("cabnet.densenet_121").input
    assert np.allclose((np.array([1.0]) - card.mean[0]) / card.std[0], 255)
    with pytest.raises(InvalidInput, match="pixels"):
        models.create("cabnet.test", pixels="log")
    with pytest.raises(InvalidInput, match="classifier=True"):
        raw.classify(images)


def test_any_backbone_of_timm(tmp_path):
    model = models.create("cabnet.any", backbone="mobilenetv2_050", num_classes=4, classifier=True).eval()
    with torch.no_grad():
        assert model.classify(torch.rand(1, 3, 64, 64) * 255).shape == (1, 4)


def keras_layers(model, name):
    """Return what Keras would write for a model: layer name to weight name to array, in the order layers were made."""
    state = {k: v.numpy() for k, v in model.state_dict().items()}
    rules = {
        "vgg": vgg_names,
        "resnet": resnet_names,
        "resnet_old": old_resnet_names,
        "densenet": densenet_names,
        "mobilenet": mobilenet_names,
        "xception": xception_names,
    }
    layers = {}
    for path, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            continue
        if path.endswith(".pointwise"):
            continue
        fixed = {"gab.reduce": "conv2d_7", "gab.expand": "conv2d_8", "cab.detect": "conv2d_10", "cab.norm": "batch_normalization_13",
                 "head": "dense_1"}  # fmt: skip
        made = fixed.get(path) or rules[name](path)
        if isinstance(layer, nn.BatchNorm2d):
            weights = dict(zip(("gamma", "beta", "moving_mean", "moving_variance"),
                               (state[f"{path}.{p}"] for p in ("weight", "bias", "running_mean", "running_var")),
                               strict=True))  # fmt: skip
        elif f"{path.removesuffix('conv1')}pointwise.weight" in state:
            # Keras keeps both kernels of a separable convolution in one layer.
            pointwise = state[path.removesuffix("conv1") + "pointwise.weight"]
            weights = {"depthwise_kernel": state[f"{path}.weight"].transpose(2, 3, 0, 1),
                       "pointwise_kernel": pointwise.transpose(2, 3, 1, 0)}  # fmt: skip
        elif path.endswith("conv_dw"):
            weights = {"depthwise_kernel": state[f"{path}.weight"].transpose(2, 3, 0, 1)}
        else:
            kernel = state[f"{path}.weight"]
            weights = {"kernel": kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T}
            if layer.bias is not None:
                weights["bias"] = state[f"{path}.bias"]
        layers[made] = weights
    return layers


def vgg_names(path):
    index = int(path.rsplit(".", 1)[1])
    block = next(b for b, start in ((5, 24), (4, 17), (3, 10), (2, 5), (1, 0)) if index >= start)
    return f"block{block}_conv{(index - {1: 0, 2: 5, 3: 10, 4: 17, 5: 24}[block]) // 2 + 1}"


def resnet_names(path):
    parts = path.split(".")[1:]
    if len(parts) == 1:
        return {"conv1": "conv1_conv", "bn1": "conv1_bn"}[parts[0]]
    stage, block = int(parts[0][5:]) + 1, int(parts[1]) + 1
    place = 0 if parts[2] == "downsample" else int(parts[2][-1])
    kind = {"0": "conv", "1": "bn"}[parts[3]] if place == 0 else parts[2][:-1]
    return f"conv{stage}_block{block}_{place}_{kind}"


def old_resnet_names(path):
    made = resnet_names(path)
    if made in ("conv1_conv", "conv1_bn"):
        return {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}[made]
    stage, block, place, kind = made[4:].replace("block", "").split("_")
    branch = {"0": "1", "1": "2a", "2": "2b", "3": "2c"}[place]
    return f"{'res' if kind == 'conv' else 'bn'}{stage}{chr(ord('a') + int(block) - 1)}_branch{branch}"


def densenet_names(path):
    parts = path.split(".")[2:]
    if len(parts) == 1:
        return {"conv0": "conv1/conv", "norm0": "conv1/bn", "norm5": "bn"}[parts[0]]
    if parts[0].startswith("transition"):
        return f"pool{int(parts[0][10:]) + 1}_{'bn' if parts[1] == 'norm' else 'conv'}"
    part = {"norm1": "0_bn", "conv1": "1_conv", "norm2": "1_bn", "conv2": "2_conv"}[parts[2]]
    return f"conv{int(parts[0][10:]) + 1}_block{parts[1][10:]}_{part}"


def mobilenet_names(path):
    parts = path.split(".")[1:]
    if len(parts) == 1:
        return {"conv_stem": "conv1", "bn1": "conv1_bn"}[parts[0]]
    number = (1, 2, 4, 6, 12)[int(parts[1])] + int(parts[2])
    return {"conv_dw": f"conv_dw_{number}", "bn1": f"conv_dw_{number}_bn", "conv_pw": f"conv_pw_{number}",
            "bn2": f"conv_pw_{number}_bn"}[parts[3]]  # fmt: skip


def xception_names(path):
    parts = path.split(".")[1:]
    fixed = {"conv1": "block1_conv1", "bn1": "block1_conv1_bn", "conv2": "block1_conv2", "bn2": "block1_conv2_bn",
             "conv3": "block14_sepconv1", "bn3": "block14_sepconv1_bn", "conv4": "block14_sepconv2", "bn4": "block14_sepconv2_bn"}  # fmt: skip
    if parts[0] in fixed:
        return fixed[parts[0]]
    block = int(parts[0][5:])
    if parts[1].startswith("skip"):
        number = (1, 2, 3, 12).index(block)
        kind = {"skip": "conv2d", "skipbn": "batch_normalization"}[parts[1]]
        return f"{kind}_{number}" if number else kind
    place, is_norm = divmod(int(parts[2]) - (0 if block == 1 else 1), 3)
    return f"block{block + 1}_sepconv{place + 1}{'_bn' if is_norm else ''}"


def write_keras(path, layers, *, whole_model=True):
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        # Where Lambda layers keep code; it must not be looked at.
        file.attrs["model_config"] = b'{"class_name": "Lambda", "config": {"function": ["not even base64"]}}'
        names = ["input_1", *layers, "lambda_1"]
        root.attrs["layer_names"] = [n.encode() for n in names]
        for name in names:
            group = root.create_group(name)
            weights = layers.get(name, {})
            group.attrs["weight_names"] = [f"{name}/{w}:0".encode() for w in weights]
            for weight, array in weights.items():
                group.create_dataset(f"{name}/{weight}:0", data=array)


@pytest.mark.parametrize(
    ("family", "name", "whole"),
    [
        ("cabnet.vgg_16", "vgg", True),
        ("cabnet.resnet_50", "resnet", True),
        ("cabnet.resnet_50", "resnet_old", False),
        ("cabnet.densenet_121", "densenet", True),
        ("cabnet.mobilenet", "mobilenet", True),
        ("cabnet.xception", "xception", True),
    ],
)
def test_files_of_keras_load_by_the_names_of_their_groups(tmp_path, family, name, whole):
    torch.manual_seed(0)
    source = models.create(family, classifier=True).eval()
    with torch.no_grad():
        for layer in source.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(std=0.1)
                layer.weight.uniform_(0.5, 1.5)
    layers = keras_layers(source, name)
    if "resnet" in name:
        # Convolutions of Keras' ResNet have a bias; adding it and raising the mean by as much changes nothing.
        first, norm = ("conv1_conv", "conv1_bn") if name == "resnet" else ("conv1", "bn_conv1")
        bias = np.linspace(-1, 1, 64, dtype=np.float32)
        layers[first]["bias"] = bias
        layers[norm]["moving_mean"] = layers[norm]["moving_mean"] + bias
    write_keras(tmp_path / "w.h5", layers, whole_model=whole)
    twin = models.create(family, classifier=True, weights=str(tmp_path / "w.h5")).eval()
    images = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        torch.testing.assert_close(twin.classify(images), source.classify(images), rtol=1e-4, atol=1e-5)
    assert twin.weights_record["missing"] == []
    assert twin.weights_record["non_commercial"]
    encoder = models.create(family, weights=str(tmp_path / "w.h5"))
    assert encoder.weights_record["unexpected"] == 2


def test_the_wrong_backbone_is_refused(tmp_path):
    layers = keras_layers(models.create("cabnet.vgg_16", classifier=True), "vgg")
    write_keras(tmp_path / "w.h5", layers)
    with pytest.raises(IncompatibleWeights, match="block1_conv1"):
        models.create("cabnet.densenet_121", weights=str(tmp_path / "w.h5"))
