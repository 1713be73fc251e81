"""A light U-Net made ready to be used only: normalisation is folded into the convolutions, and the rest works in place.

The blocks normalise after their ReLU. The factor of a normalisation goes through the ReLU into the convolution before it (its sign into
the one after it). Its offset is not there where the next convolution pads with zeros, so it cannot become a bias: it becomes the kernel of
one more channel that is 1 inside the picture and, like everything, 0 outside. The answer is the same at the border too.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import InvalidInput
from .unet import ConvBlock, LightUNet, UpBlock, pad_to_stride

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
#: Mean and greatest change of a probability that rounding explains; a wrong routine moves far more.
_MOVES = {torch.float16: (0.001, 0.05), torch.bfloat16: (0.01, 0.25), torch.float32: (1e-5, 1e-3)}
#: A level of an 8-bit picture is a 256th, which every precision holds exactly; a 255th is rounded, and thin vessels move with it.
_LEVEL = 255 / 256
_ONE_PASS = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


class Conv(nn.Module):
    """A convolution with folded kernel and bias, and the ReLU after it if there is one."""

    kernel: Tensor
    bias: Tensor

    def __init__(self, kernel: Tensor, bias: Tensor, *, relu: bool = False) -> None:
        super().__init__()
        self.register_buffer("kernel", kernel.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)
        self.padding, self.relu = kernel.shape[2] // 2, relu

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of the same height and width."""
        if self.relu and x.device.type == "cpu" and _ONE_PASS:
            # ReLU in the same pass over memory: a quarter of the time of the network goes into ReLU alone otherwise.
            ones, around = [1, 1], [self.padding, self.padding]
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.kernel, self.bias, around, ones, ones, 1, "relu", [], ""
            )
        found = F.conv2d(x, self.kernel, self.bias, padding=self.padding)
        return found.relu_() if self.relu else found


class Affine:
    """What a normalisation does after training: `factor * x + offset` per channel."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        if norm.running_var is None or norm.running_mean is None:
            raise InvalidInput("a normalisation without running values cannot be folded.", code="model.not_folded")
        self.factor = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
        self.offset = (norm.bias - norm.running_mean * self.factor).detach()


def _with_ones(conv: nn.Conv2d, after: Affine, ahead: Tensor, bias: Tensor) -> Conv:
    """Return the convolution scaled for a normalisation after its ReLU, with the channel of ones that carries the offset."""
    size = after.factor.abs()
    kernel = torch.cat([ahead * size[:, None, None, None], torch.zeros_like(ahead[:1])])
    return Conv(kernel, torch.cat([bias * size, torch.ones_like(bias[:1])]), relu=True)


def _behind(kernel: Tensor, before: Affine, first: int = 0) -> Tensor:
    """Return a kernel that reads channels from `first` on as left by `_with_ones`, its own channel of ones last."""
    mine = kernel[:, first:]
    ones = (mine * before.offset[None, :, None, None]).sum(1, keepdim=True)
    return torch.cat([kernel[:, :first], mine * torch.sign(before.factor)[None, :, None, None], ones], 1)


class Block(nn.Module):
    """`ConvBlock` in three convolutions."""

    def __init__(self, block: ConvBlock, *, skip: tuple[Affine, int] | None = None) -> None:
        super().__init__()
        one, _, norm_one, two, _, norm_two = block.block
        first, last = Affine(norm_one), Affine(norm_two)
        side = Affine(block.shortcut[1])
        kernel, beside = one.weight.detach(), block.shortcut[0].weight.detach()
        if skip is not None:
            kernel, beside = _behind(kernel, *skip), _behind(beside, *skip)
        self.one = _with_ones(one, first, kernel, one.bias.detach())
        size = last.factor.abs()
        self.two = Conv(
            _behind(two.weight.detach(), first) * size[:, None, None, None], two.bias.detach() * size, relu=True
        )
        self.side = Conv(beside * side.factor[:, None, None, None], side.offset + last.offset)
        signs = torch.sign(last.factor)
        self.register_buffer("signs", None if bool((signs >= 0).all()) else signs[None, :, None, None])
        self.pool = block.pool

    def forward(self, x: Tensor) -> Tensor:
        """Return what the block returns."""
        x = F.max_pool2d(x, 2) if self.pool else x
        inner = self.two(self.one(x))
        if self.signs is not None:
            inner.mul_(self.signs)
        return inner.add_(self.side(x))


class Up(nn.Module):
    """`UpBlock` with the bridge's normalisation in the convolutions after it."""

    def __init__(self, up: UpBlock) -> None:
        super().__init__()
        raise_, bridge = up.up_layer.block[0], up.conv_bridge_layer
        # A copy: the precision of this one changes.
        self.raise_ = copy.deepcopy(raise_)
        conv, _, norm = bridge.block
        after = Affine(norm)
        self.bridge = _with_ones(conv, after, conv.weight.detach(), conv.bias.detach())
        self.block = Block(up.conv_layer, skip=(after, raise_.out_channels))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return a map of the size of the skip."""
        return self.block(torch.cat([self.raise_(x), self.bridge(skip)], 1))


class FusedUNet(nn.Module):
    """`LightUNet` with everything folded that can be; it cannot be trained. The first three channels are multiplied by 255 / 256."""

    def __init__(self, unet: LightUNet) -> None:
        super().__init__()
        self.first = Block(unet.first)
        for conv in (self.first.one, self.first.side):
            conv.kernel[:, :3] /= _LEVEL
        self.down_path = nn.ModuleList(Block(d) for d in unet.down_path)  # type: ignore[arg-type]
        self.up_path = nn.ModuleList(Up(u) for u in unet.up_path)  # type: ignore[arg-type]
        self.final = Conv(unet.final.weight.detach(), unet.final.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the U-Net it was made from."""
        maps = [self.first(x)]
        for down in self.down_path:
            maps.append(down(maps[-1]))
        *skips, x = maps
        for up, skip in zip(self.up_path, reversed(skips), strict=True):
            x = up(x, skip)
        return self.final(x)


class FusedCascade(nn.Module):
    """One folded U-Net or two in a row, with kernels in another precision; answers as the cascade it was made from."""

    def __init__(self, unets: Sequence[LightUNet], *, dtype: torch.dtype) -> None:
        super().__init__()
        self.unets = nn.ModuleList(FusedUNet(u) for u in unets).to(dtype=dtype)
        self.stride, self.dtype = unets[0].stride, dtype

    def segment(self, images: Tensor) -> Tensor:
        """Return float32 logits `(B, K, H, W)` for float32 images `(B, 3, H, W)` in [0, 1] of any size."""
        padded = pad_to_stride((images * _LEVEL).to(self.dtype), self.stride)
        found = self.unets[0](padded)
        for unet in self.unets[1:]:
            found = unet(torch.cat([padded, found], 1))
        return found[:, :, : images.shape[2], : images.shape[3]].float()


@torch.inference_mode()
def agrees_with(model: Any, fused: FusedCascade, *, side: int = 128) -> bool:
    """Return whether a folded network answers as the original on this machine: a picture of waves and edges, computed both ways.

    Folding uses routines for a convolution together with its ReLU, which libraries choose by processor.
    """
    step = torch.arange(side, dtype=torch.float32) / side
    waves = torch.sin(40 * step[:, None] * (1 + step[None])) * torch.cos(23 * step[None])
    edges = ((step[:, None] * 7).floor() + (step[None] * 5).floor()) % 2
    picture = torch.stack([0.5 + 0.4 * waves, 0.3 + 0.3 * edges, 0.2 + 0.2 * waves * edges])[None]
    weight = next(model.parameters())
    picture = picture.to(weight.device).contiguous(memory_format=torch.channels_last)
    exact = torch.sigmoid(model.segment(picture).float())
    try:
        moved = (torch.sigmoid(fused.segment(picture)) - exact).abs()
    except RuntimeError:
        # A library without the routine says so; the ordinary way remains.
        return False
    mean, most = _MOVES[fused.dtype]
    # A difference that is not a number fails both comparisons.
    return bool(moved.mean() <= mean) and bool(moved.max() <= most)
