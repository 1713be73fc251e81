"""Residual networks through timm.

Source: He et al. 2016, doi:10.1109/CVPR.2016.90; the checkpoints are timm's, whose names of tensors are kept.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..core.interfaces import Features
from ..core.registry import Card, ImageInput, models
from ..layers.weights import fit_state, load_state

_PAPER = "doi:10.1109/CVPR.2016.90"


class TimmResNet(nn.Module):
    """A timm ResNet without its classifier; pooled features are the mean of the last map."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.embed_dim = int(body.num_features)

    def encode(self, images: Tensor) -> Features:
        """Return pooled `(T, E)` and the map `(T, E, H/32, W/32)` of normalised images `(T, 3, H, W)`."""
        last = self.body.forward_features(images)
        return Features(pooled=last.mean((2, 3)), maps=(last,))


def _build(name: str, weights: str | None, drop_path: float) -> TimmResNet:
    import timm

    hub = weights[4:] if weights and weights.startswith("hub:") else None
    # A hub name is the only thing that may reach for the network, and only because the user wrote it.
    source = f"hf-hub:{hub}" if hub else name
    body = timm.create_model(source, pretrained=bool(hub), num_classes=0, global_pool="", drop_path_rate=drop_path)
    if weights and not hub:
        fit_state(body, load_state(weights), allow_unexpected=("fc.", "head."))
    return TimmResNet(body)


def _card(title: str) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        input=ImageInput(size=224),
        paper=_PAPER,
        weight_license="Apache-2.0 (timm); ImageNet terms for the pictures",
        weights="hub:timm/<name>",
        training_data=("ImageNet-1k",),
    )


@models.register("resnet.18", _card("ResNet-18"))
def resnet_18(*, weights: str | None = None, drop_path: float = 0.0) -> TimmResNet:
    """Return ResNet-18 (11.2 M parameters)."""
    return _build("resnet18", weights, drop_path)


@models.register("resnet.34", _card("ResNet-34"))
def resnet_34(*, weights: str | None = None, drop_path: float = 0.0) -> TimmResNet:
    """Return ResNet-34 (21.3 M parameters)."""
    return _build("resnet34", weights, drop_path)


@models.register("resnet.50", _card("ResNet-50"))
def resnet_50(*, weights: str | None = None, drop_path: float = 0.0) -> TimmResNet:
    """Return ResNet-50 (23.5 M parameters)."""
    return _build("resnet50", weights, drop_path)


@models.register("resnet.101", _card("ResNet-101"))
def resnet_101(*, weights: str | None = None, drop_path: float = 0.0) -> TimmResNet:
    """Return ResNet-101 (42.5 M parameters)."""
    return _build("resnet101", weights, drop_path)


@models.register("resnet.152", _card("ResNet-152"))
def resnet_152(*, weights: str | None = None, drop_path: float = 0.0) -> TimmResNet:
    """Return ResNet-152 (58.1 M parameters)."""
    return _build("resnet152", weights, drop_path)


@models.register("resnet.test", _card("ResNet, smallest"))
def test(*, drop_path: float = 0.0) -> TimmResNet:
    """Return the smallest legal configuration."""
    from timm.models.resnet import BasicBlock, ResNet

    return TimmResNet(
        ResNet(
            BasicBlock, [1, 1, 1, 1], channels=(8, 8, 16, 16), num_classes=0, global_pool="", drop_path_rate=drop_path
        )
    )
