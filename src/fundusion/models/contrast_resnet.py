"""Residual network that sees colour and local contrast, with a fine first stage for small lesions.

Microaneurysms of a fundus photograph at 224 px are one or two pixels wide; the stride of four at the entry of an
ordinary ResNet removes them. Here the first stage runs at stride two with few channels, and three extra input channels
hold the difference to the local mean, which removes illumination.

Source: residual blocks He et al. 2016, doi:10.1109/CVPR.2016.90, through timm; local mean subtraction after Graham 2015
(Kaggle diabetic retinopathy report), here by average pooling inside the network so that it needs no preprocessing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.interfaces import Features
from ..core.registry import Card, ImageInput, models

_INPUT = ImageInput(size=224, mean=(0.42, 0.28, 0.20), std=(0.25, 0.20, 0.17))
_PAPER = "doi:10.1109/CVPR.2016.90"


def local_contrast(images: Tensor) -> Tensor:
    """Return colour and four times the difference to the local mean, `(T, 2C, H, W)`.

    The mean is taken over about a sixteenth of the side, on a grid four times coarser.

    Example:
        >>> local_contrast(torch.ones(1, 3, 64, 64))[:, 3:].abs().max().item()
        0.0
    """
    reach = max(3, images.shape[-1] // 32 * 2 + 1) // 4
    mean = F.avg_pool2d(F.avg_pool2d(images, 4), 2 * reach + 1, 1, reach, count_include_pad=False)
    mean = F.interpolate(mean, size=images.shape[-2:], mode="bilinear", align_corners=False)
    return torch.cat([images, (images - mean) * 4], 1)


class ContrastResNet(nn.Module):
    """Image encoder; pooled features are the mean of the last map.

    Args:
        layers: Residual blocks per stage.
        channels: Width per stage.
        stem_width: Width of the deep stem.
        drop_path: Stochastic depth rate of the last block.
    """

    def __init__(
        self,
        layers: tuple[int, ...],
        channels: tuple[int, ...],
        *,
        stem_width: int = 16,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        from timm.models.resnet import BasicBlock, ResNet

        self.embed_dim = channels[-1]
        self.widths = channels
        self.body = ResNet(
            BasicBlock,
            list(layers),
            channels=channels,
            num_classes=0,
            global_pool="",
            in_chans=6,
            stem_type="deep",
            stem_width=stem_width,
            avg_down=True,
            zero_init_last=True,
            drop_path_rate=drop_path,
        )
        self.body.maxpool = nn.Identity()

    def stages(self, images: Tensor, count: int = 4) -> list[Tensor]:
        """Return the maps of the first stages, fine to coarse."""
        body = self.body
        maps = [body.maxpool(body.act1(body.bn1(body.conv1(local_contrast(images)))))]
        for stage in (body.layer1, body.layer2, body.layer3, body.layer4)[:count]:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def encode(self, images: Tensor) -> Features:
        """Return pooled `(T, E)` and the last map `(T, E, H/16, W/16)` of normalised images `(T, 3, H, W)`."""
        last = self.body.forward_features(local_contrast(images))
        return Features(pooled=last.mean((2, 3)), maps=(last,))


def _card(title: str, notes: str = "") -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        modalities=frozenset({"cfp"}),
        input=_INPUT,
        paper=_PAPER,
        notes=notes,
    )


@models.register("contrast_resnet.small", _card("Contrast ResNet, 4.2 M parameters", "Encoder of the shipped model."))
def small(*, drop_path: float = 0.0) -> ContrastResNet:
    """Return the encoder of the shipped model: stages of 24, 64, 160 and 320 channels."""
    return ContrastResNet((2, 2, 2, 2), (24, 64, 160, 320), drop_path=drop_path)


@models.register("contrast_resnet.test", _card("Contrast ResNet, smallest"))
def test(*, drop_path: float = 0.0) -> ContrastResNet:
    """Return the smallest legal configuration."""
    return ContrastResNet((1, 1, 1, 1), (8, 8, 16, 16), stem_width=8, drop_path=drop_path)
