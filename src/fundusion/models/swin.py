"""Swin transformers through timm, any input size.

Source: Liu et al. 2021, doi:10.1109/ICCV48922.2021.00986 (arXiv:2103.14030). Grids that windows do not fill are padded; relative
position tables of another window are brought to this one as the authors' loader does.
"""

from __future__ import annotations

import math
import re

from torch import Tensor, nn
from torch.nn import functional as F

from ..core.registry import Card, ImageInput, models
from ..layers.backbones import StagedEncoder, create_body
from ..layers.checkpoints import Rules, load_weights


def _adapted(state: dict[str, Tensor], body: nn.Module) -> dict[str, Tensor]:
    """Bring files of the authors to timm's names, and relative position tables of another window to this one (bicubic)."""
    own = body.state_dict()
    # The authors number the merging of patches with the stage before it, timm with the stage after.
    shift = any(k.startswith("layers.0.downsample.") for k in state)
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith(("relative_position_index", "attn_mask")):
            # Recomputed from the size.
            continue
        if shift:
            name = re.sub(r"^layers\.(\d+)\.downsample\.", lambda m: f"layers.{int(m[1]) + 1}.downsample.", name)
        if name.endswith("relative_position_bias_table") and name in own and own[name].shape[0] != value.shape[0]:
            value = _resized_table(value, own[name].shape[0])
        out[name] = value
    return out


def _resized_table(table: Tensor, rows: int) -> Tensor:
    """Return a table `(side * side, heads)` with another odd side, the rule of the authors."""
    before, after = math.isqrt(table.shape[0]), math.isqrt(rows)
    square = table.T.reshape(1, -1, before, before)
    moved = F.interpolate(square, size=(after, after), mode="bicubic", align_corners=False)
    return moved.reshape(-1, after * after).T.contiguous()


_RULES = Rules(ignored=("head.",), adapt=_adapted)


def _build(name: str, card: Card, weights: str | None, drop_path: float) -> StagedEncoder:
    encoder = StagedEncoder(create_body(name, global_pool="", drop_path_rate=drop_path, strict_img_size=False))
    load_weights(encoder, weights, card=card, rules=_RULES, into=encoder.body)
    return encoder


def _card(title: str, timm_id: str = "", size: int = 224) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        input=ImageInput(size=size),
        paper="doi:10.1109/ICCV48922.2021.00986",
        weight_license="MIT (Microsoft); ImageNet terms for the pictures" if timm_id else None,
        weights=f"hub:timm/{timm_id}" if timm_id else None,
        training_data=("ImageNet-22k", "ImageNet-1k") if timm_id else (),
        strides=(4, 8, 16, 32),
    )


_TINY = _card("Swin-T", "swin_tiny_patch4_window7_224.ms_in22k_ft_in1k")
_SMALL = _card("Swin-S", "swin_small_patch4_window7_224.ms_in22k_ft_in1k")
_BASE = _card("Swin-B", "swin_base_patch4_window7_224.ms_in22k_ft_in1k")
_LARGE = _card("Swin-L", "swin_large_patch4_window7_224.ms_in22k_ft_in1k")
_BASE_384 = _card("Swin-B, window 12", "swin_base_patch4_window12_384.ms_in22k_ft_in1k", 384)
_LARGE_384 = _card("Swin-L, window 12", "swin_large_patch4_window12_384.ms_in22k_ft_in1k", 384)


@models.register("swin.tiny", _TINY)
def tiny(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return Swin-T (27.5 M parameters)."""
    return _build("swin_tiny_patch4_window7_224", _TINY, weights, drop_path)


@models.register("swin.small", _SMALL)
def small(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return Swin-S (48.8 M parameters)."""
    return _build("swin_small_patch4_window7_224", _SMALL, weights, drop_path)


@models.register("swin.base", _BASE)
def base(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return Swin-B (86.7 M parameters)."""
    return _build("swin_base_patch4_window7_224", _BASE, weights, drop_path)


@models.register("swin.large", _LARGE)
def large(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return Swin-L (195.0 M parameters)."""
    return _build("swin_large_patch4_window7_224", _LARGE, weights, drop_path)


@models.register("swin.base_384", _BASE_384)
def base_384(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return Swin-B with windows of 12 (86.9 M parameters)."""
    return _build("swin_base_patch4_window12_384", _BASE_384, weights, drop_path)


@models.register("swin.large_384", _LARGE_384)
def large_384(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return Swin-L with windows of 12 (195.2 M parameters)."""
    return _build("swin_large_patch4_window12_384", _LARGE_384, weights, drop_path)


_TEST = _card("Swin, smallest")


@models.register("swin.test", _TEST)
def test(*, weights: str | None = None, drop_path: float = 0.0) -> StagedEncoder:
    """Return the smallest legal configuration."""
    from timm.models.swin_transformer import SwinTransformer

    body = SwinTransformer(
        img_size=64, window_size=4, embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), num_classes=0, global_pool="",
        drop_path_rate=drop_path, strict_img_size=False,
    )  # fmt: skip
    encoder = StagedEncoder(body)
    load_weights(encoder, weights, card=_TEST, rules=_RULES, into=encoder.body)
    return encoder
