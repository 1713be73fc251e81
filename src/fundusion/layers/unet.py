"""A light U-Net and its two-stage cascade: convolution blocks with shortcuts, and skips through a bridge.

Source: Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28 (U-Net); Galdran et al. 2022, doi:10.1038/s41598-022-09675-y
(W-Net, "The little W-Net that could"), whose layout of names is kept so that its published weights load.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import InvalidInput


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each followed by ReLU and batch normalisation, beside a normalised 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int, *, pool: bool) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(outputs),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, outputs, H, W)`, halved when it pools."""
        x = F.max_pool2d(x, 2) if self.pool else x
        return self.block(x) + self.shortcut(x)


class Upsample(nn.Module):
    """A transposed convolution that doubles height and width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 2, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, outputs, 2H, 2W)`."""
        return self.block(x)


class Bridge(nn.Module):
    """One convolution on a skip, so that fine features are reshaped before they meet coarse ones."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape."""
        return self.block(x)


class UpBlock(nn.Module):
    """Doubles a coarse map, joins the bridged skip, and convolves."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up_layer = Upsample(inputs, outputs)
        self.conv_layer = ConvBlock(2 * outputs, outputs, pool=False)
        self.conv_bridge_layer = Bridge(outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return a map of the size of the skip."""
        return self.conv_layer(torch.cat([self.up_layer(x), self.conv_bridge_layer(skip)], 1))


class LightUNet(nn.Module):
    """U-Net with few channels.

    Args:
        inputs: Channels of the image.
        outputs: Channels of the logits.
        widths: Channels by level, fine to coarse; height and width must divide by `2 ** (levels - 1)`.
    """

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.first = ConvBlock(inputs, widths[0], pool=False)
        self.down_path = nn.ModuleList(ConvBlock(a, b, pool=True) for a, b in pairs)
        self.up_path = nn.ModuleList(UpBlock(b, a) for a, b in reversed(pairs))
        self.final = nn.Conv2d(widths[0], outputs, 1)
        self.embed_dim, self.stride = widths[-1], 2 ** (len(widths) - 1)

    def levels(self, x: Tensor) -> list[Tensor]:
        """Return the maps of the descending side, fine to coarse."""
        maps = [self.first(x)]
        for down in self.down_path:
            maps.append(down(maps[-1]))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(B, outputs, H, W)`.

        Raises:
            InvalidInput: Height or width does not divide by the stride.
        """
        if x.shape[2] % self.stride or x.shape[3] % self.stride:
            raise InvalidInput(
                f"expected height and width that divide by {self.stride}, got {tuple(x.shape)}.",
                hint="Pad the image, or call segment(), which does.",
            )
        *skips, x = self.levels(x)
        for up, skip in zip(self.up_path, reversed(skips), strict=True):
            x = up(x, skip)
        return self.final(x)


def pad_to_stride(images: Tensor, stride: int) -> Tensor:
    """Return images padded at the bottom and right by reflection (by the edge where they are too small) to a multiple of the stride.

    Example:
        >>> tuple(pad_to_stride(torch.zeros(1, 3, 30, 33), 8).shape)
        (1, 3, 32, 40)
    """
    below, right = -images.shape[2] % stride, -images.shape[3] % stride
    if not below and not right:
        return images
    mode = "reflect" if below < images.shape[2] and right < images.shape[3] else "replicate"
    return F.pad(images, (0, right, 0, below), mode=mode)
