"""timm networks as encoders: four stages with maps at several scales, or a plain transformer.

Source: timm (Apache-2.0), whose names of tensors are kept, so that its checkpoints load with no renaming.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Features
from .transformer import as_map, pyramid, pyramid_taps

Scales = Literal["last", "all"]


def create_body(name: str, **options: Any) -> nn.Module:
    """Return a timm network without classifier and with fresh weights; nothing is downloaded."""
    import timm

    return timm.create_model(name, pretrained=False, num_classes=0, **options)


def check_scales(maps: str) -> bool:
    """Return whether all scales are wanted.

    Raises:
        InvalidInput: Neither "last" nor "all".
    """
    if maps not in ("last", "all"):
        raise InvalidInput(f'maps is {maps!r}; choose "last" (cheap) or "all" (fine to coarse).')
    return maps == "all"


class StagedEncoder(nn.Module):
    """A timm network of four stages; pooled features are the mean of the last map."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.embed_dim = int(body.num_features)
        # Swin keeps channels last.
        self.channels_last = getattr(body, "output_fmt", "NCHW") == "NHWC"

    def encode(self, images: Tensor, *, maps: Scales = "last") -> Features:
        """Return pooled `(T, E)` and maps of normalised images `(T, 3, H, W)`.

        Args:
            images: Any size.
            maps: "last" gives `(T, E, H/32, W/32)`; "all" gives the four stages at strides 4, 8, 16, 32.
        """
        levels: list[Tensor] = []
        if check_scales(maps):
            last, levels = self.body.forward_intermediates(images, indices=4, output_fmt="NCHW")
        else:
            last = self.body.forward_features(images)
        if self.channels_last and last.shape[1] != self.embed_dim:
            last = last.permute(0, 3, 1, 2)
        return Features(pooled=last.mean((2, 3)), maps=(*levels[:-1], last))


class TokenEncoder(nn.Module):
    """A timm vision transformer; pooled features are the mean of the patch tokens after the last norm."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.embed_dim = int(body.embed_dim)

    def encode(self, images: Tensor, *, maps: Scales = "last") -> Features:
        """Return pooled `(T, E)`, patch tokens `(T, N, E)` and maps of normalised images `(T, 3, H, W)`.

        Args:
            images: Any size; sides are padded to whole patches.
            maps: "last" gives `(T, E, H/P, W/P)`; "all" gives a pyramid at strides P/4, P/2, P.
        """
        levels: list[Tensor] = []
        if check_scales(maps):
            tokens, levels = self.body.forward_intermediates(
                images, indices=sorted(set(pyramid_taps(len(self.body.blocks)))), output_fmt="NCHW"
            )
        else:
            tokens = self.body.forward_features(images)
        tokens = tokens[:, self.body.num_prefix_tokens :]
        grid = self.body.patch_embed.dynamic_feat_size(images.shape[-2:])
        last = as_map(tokens, grid)
        return Features(pooled=tokens.mean(1), tokens=tokens, maps=pyramid(levels, last) if levels else (last,))
