"""Residual networks through timm.

Source: He et al. 2016, doi:10.1109/CVPR.2016.90; the checkpoints are timm's, whose names of tensors are kept.
"""

from __future__ import annotations

from ..core.registry import Card, ImageInput, models
from ..layers.backbones import StagedEncoder, create_body
from ..layers.checkpoints import Rules, load_weights

_RULES = Rules(ignored=("fc.", "head."))


def _build(name: str, card: Card, weights: str | None, drop_path: float) -> StagedEncoder:
    encoder = StagedEncoder(create_body(name, global_pool="", drop_path_rate=drop_path))
    load_weights(encoder, weights, card=card, rules=_RULES, into=encoder.body)
    return encoder


def _card(title: str, timm_id: str = "") -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        input=ImageInput(size=224),
        paper="doi:10.1109/CVPR.2016.90",
        weight_license="Apache-2.0 (timm); ImageNet terms for the pictures" if timm_id else None,
        weights=f"hub:timm/{timm_id}" if timm_id else None,
        training_data=("ImageNet-1k",) if timm_id else (),
        strides=(4, 8, 16, 32),
    )


_18 = _card("ResNet-18", "resnet18.a1_in1k")
_34 = _card("ResNet-34", "resnet34.a1_in1k")
_50 = _card("ResNet-50", "resnet50.a1_in1k")
_101 = _card("ResNet-101", "resnet101.a1_in1k")
_152 = _card("ResNet-152", "resnet152.a1_in1k")


@models.register("resnet.18", _18)
def resnet_18(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return ResNet-18 (11.2 M parameters)."""
    return _build("resnet18", _18, weights, drop_path)


@models.register("resnet.34", _34)
def resnet_34(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return ResNet-34 (21.3 M parameters)."""
    return _build("resnet34", _34, weights, drop_path)


@models.register("resnet.50", _50)
def resnet_50(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return ResNet-50 (23.5 M parameters)."""
    return _build("resnet50", _50, weights, drop_path)


@models.register("resnet.101", _101)
def resnet_101(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return ResNet-101 (42.5 M parameters)."""
    return _build("resnet101", _101, weights, drop_path)


@models.register("resnet.152", _152)
def resnet_152(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return ResNet-152 (58.1 M parameters)."""
    return _build("resnet152", _152, weights, drop_path)


_TEST = _card("ResNet, smallest")


@models.register("resnet.test", _TEST)
def test(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return the smallest legal configuration."""
    from timm.models.resnet import BasicBlock, ResNet

    encoder = StagedEncoder(
        ResNet(
            BasicBlock, [1, 1, 1, 1], channels=(8, 8, 16, 16), num_classes=0, global_pool="", drop_path_rate=drop_path
        )
    )
    load_weights(encoder, weights, card=_TEST, rules=_RULES, into=encoder.body)
    return encoder
