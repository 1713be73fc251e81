"""Squeeze-and-excitation networks through timm.

Source: Hu et al. 2018, doi:10.1109/CVPR.2018.00745 (arXiv:1709.01507); the checkpoints are the authors' as converted by timm ("legacy").
"""

from __future__ import annotations

from ..core.registry import Card, ImageInput, models
from ..layers.backbones import StagedEncoder, create_body
from ..layers.checkpoints import Rules, load_weights

_RULES = Rules(ignored=("last_linear.", "fc.", "head."))


def _build(name: str, card: Card, weights: str | None) -> StagedEncoder:
    encoder = StagedEncoder(create_body(name, global_pool=""))
    load_weights(encoder, weights, card=card, rules=_RULES, into=encoder.body)
    return encoder


_RELEASES = "https://github.com/rwightman/pytorch-image-models/releases/download/"


def _card(title: str, file: str = "") -> Card:
    name = file.rpartition("/")[2]
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        input=ImageInput(size=224),
        paper="doi:10.1109/CVPR.2018.00745",
        weight_license="Apache-2.0 (timm); ImageNet terms for the pictures" if file else None,
        weights=_RELEASES + file if file else None,
        # The name of a released file ends in the beginning of its digest.
        sha256={name: name.removesuffix(".pth").rpartition("-")[2]} if file else {},
        training_data=("ImageNet-1k",) if file else (),
        strides=(4, 8, 16, 32),
    )


_R18 = _card("SE-ResNet-18", "v0.1-weights/seresnet18-4bb0ce65.pth")
_R34 = _card("SE-ResNet-34", "v0.1-weights/seresnet34-a4004e63.pth")
_R50 = _card("SE-ResNet-50", "v0.1-cadene/se_resnet50-ce0d4300.pth")
_R101 = _card("SE-ResNet-101", "v0.1-cadene/se_resnet101-7e38fcc6.pth")
_R152 = _card("SE-ResNet-152", "v0.1-cadene/se_resnet152-d17c99b7.pth")
_X50 = _card("SE-ResNeXt-50 32x4d", "v0.1-weights/legacy_se_resnext50_32x4d-f3651bad.pth")
_X101 = _card("SE-ResNeXt-101 32x4d", "v0.1-weights/legacy_se_resnext101_32x4d-37725eac.pth")
_154 = _card("SENet-154", "v0.1-weights/legacy_senet154-e9eb9fe6.pth")


@models.register("senet.resnet_18", _R18)
def resnet_18(*, weights: str | None = None) -> StagedEncoder:
    """Return SE-ResNet-18 (11.3 M parameters)."""
    return _build("legacy_seresnet18", _R18, weights)


@models.register("senet.resnet_34", _R34)
def resnet_34(*, weights: str | None = None) -> StagedEncoder:
    """Return SE-ResNet-34 (21.4 M parameters)."""
    return _build("legacy_seresnet34", _R34, weights)


@models.register("senet.resnet_50", _R50)
def resnet_50(*, weights: str | None = None) -> StagedEncoder:
    """Return SE-ResNet-50 (26.0 M parameters)."""
    return _build("legacy_seresnet50", _R50, weights)


@models.register("senet.resnet_101", _R101)
def resnet_101(*, weights: str | None = None) -> StagedEncoder:
    """Return SE-ResNet-101 (47.3 M parameters)."""
    return _build("legacy_seresnet101", _R101, weights)


@models.register("senet.resnet_152", _R152)
def resnet_152(*, weights: str | None = None) -> StagedEncoder:
    """Return SE-ResNet-152 (64.8 M parameters)."""
    return _build("legacy_seresnet152", _R152, weights)


@models.register("senet.resnext_50", _X50)
def resnext_50(*, weights: str | None = None) -> StagedEncoder:
    """Return SE-ResNeXt-50 32x4d (25.5 M parameters)."""
    return _build("legacy_seresnext50_32x4d", _X50, weights)


@models.register("senet.resnext_101", _X101)
def resnext_101(*, weights: str | None = None) -> StagedEncoder:
    """Return SE-ResNeXt-101 32x4d (46.9 M parameters)."""
    return _build("legacy_seresnext101_32x4d", _X101, weights)


@models.register("senet.154", _154)
def senet_154(*, weights: str | None = None) -> StagedEncoder:
    """Return SENet-154 (113.0 M parameters)."""
    return _build("legacy_senet154", _154, weights)


_TEST = _card("SENet, smallest")


@models.register("senet.test", _TEST)
def test(*, weights: str | None = None) -> StagedEncoder:
    """Return the smallest legal configuration."""
    from timm.models.resnet import BasicBlock, ResNet

    body = ResNet(
        BasicBlock,
        [1, 1, 1, 1],
        channels=(8, 8, 16, 16),
        num_classes=0,
        global_pool="",
        block_args={"attn_layer": "se"},
    )
    encoder = StagedEncoder(body)
    load_weights(encoder, weights, card=_TEST, rules=_RULES, into=encoder.body)
    return encoder
