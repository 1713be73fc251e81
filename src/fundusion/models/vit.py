"""Vision transformers through timm, any input size.

Source: Dosovitskiy et al. 2021, arXiv:2010.11929; weights Steiner et al. 2022, arXiv:2106.10270. Pooled features are the mean of the patch
tokens after the last norm.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..core.registry import Card, ImageInput, models
from ..layers.backbones import TokenEncoder, create_body
from ..layers.checkpoints import Rules, load_weights


def _adapted(state: dict[str, Tensor], body: nn.Module) -> dict[str, Tensor]:
    """Bring position embeddings of another input size to this one (bicubic with antialias, timm's rule)."""
    from timm.layers import resample_abs_pos_embed

    table = state.get("pos_embed")
    if table is None or table.shape == body.pos_embed.shape:
        return state
    grid = body.patch_embed.grid_size
    return {**state, "pos_embed": resample_abs_pos_embed(table, list(grid), num_prefix_tokens=body.num_prefix_tokens)}


#: MAE checkpoints keep a decoder and a mask token beside the encoder; its names are those of this family.
_RULES = Rules(
    prefixes=("module.", "backbone."),
    ignored=("head.", "head_dist.", "fc_norm.", "pre_logits.", "decoder_", "mask_token"),
    adapt=_adapted,
)


def _build(name: str, card: Card, weights: str | None, drop_path: float, image_size: int) -> TokenEncoder:
    encoder = TokenEncoder(
        create_body(
            name,
            dynamic_img_size=True,
            dynamic_img_pad=True,
            drop_path_rate=drop_path,
            img_size=image_size,
            fc_norm=False,
        )
    )
    load_weights(encoder, weights, card=card, rules=_RULES, into=encoder.body)
    return encoder


def _card(title: str, timm_id: str = "", *, patch: int = 16, size: int = 224) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        input=ImageInput(size=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        paper="arXiv:2010.11929",
        weight_license="Apache-2.0 (timm); ImageNet terms for the pictures" if timm_id else None,
        weights=f"hub:timm/{timm_id}" if timm_id else None,
        training_data=("ImageNet-21k", "ImageNet-1k") if timm_id else (),
        strides=(patch // 4, patch // 2, patch) if patch % 4 == 0 else (),
    )


_TINY_16 = _card("ViT-Ti/16", "vit_tiny_patch16_224.augreg_in21k_ft_in1k")
_SMALL_16 = _card("ViT-S/16", "vit_small_patch16_224.augreg_in21k_ft_in1k")
_SMALL_32 = _card("ViT-S/32", "vit_small_patch32_224.augreg_in21k_ft_in1k", patch=32)
_BASE_8 = _card("ViT-B/8", "vit_base_patch8_224.augreg2_in21k_ft_in1k", patch=8)
_BASE_16 = _card("ViT-B/16", "vit_base_patch16_224.augreg2_in21k_ft_in1k")
_BASE_32 = _card("ViT-B/32", "vit_base_patch32_224.augreg_in21k_ft_in1k", patch=32)
_LARGE_16 = _card("ViT-L/16", "vit_large_patch16_224.augreg_in21k_ft_in1k")
_LARGE_32 = _card("ViT-L/32", "vit_large_patch32_384.orig_in21k_ft_in1k", patch=32, size=384)
_HUGE_14 = _card("ViT-H/14", "vit_huge_patch14_224.orig_in21k", patch=14)


@models.register("vit.tiny_16", _TINY_16)
def tiny_16(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 224) -> TokenEncoder:
    """Return ViT-Ti/16 (5.5 M parameters)."""
    return _build("vit_tiny_patch16_224", _TINY_16, weights, drop_path, image_size)


@models.register("vit.small_16", _SMALL_16)
def small_16(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 224) -> TokenEncoder:
    """Return ViT-S/16 (21.7 M parameters)."""
    return _build("vit_small_patch16_224", _SMALL_16, weights, drop_path, image_size)


@models.register("vit.small_32", _SMALL_32)
def small_32(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 224) -> TokenEncoder:
    """Return ViT-S/32 (22.5 M parameters)."""
    return _build("vit_small_patch32_224", _SMALL_32, weights, drop_path, image_size)


@models.register("vit.base_8", _BASE_8)
def base_8(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 224) -> TokenEncoder:
    """Return ViT-B/8 (85.8 M parameters)."""
    return _build("vit_base_patch8_224", _BASE_8, weights, drop_path, image_size)


@models.register("vit.base_16", _BASE_16)
def base_16(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 224) -> TokenEncoder:
    """Return ViT-B/16 (85.8 M parameters)."""
    return _build("vit_base_patch16_224", _BASE_16, weights, drop_path, image_size)


@models.register("vit.base_32", _BASE_32)
def base_32(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 224) -> TokenEncoder:
    """Return ViT-B/32 (87.5 M parameters)."""
    return _build("vit_base_patch32_224", _BASE_32, weights, drop_path, image_size)


@models.register("vit.large_16", _LARGE_16)
def large_16(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 224) -> TokenEncoder:
    """Return ViT-L/16 (303.3 M parameters)."""
    return _build("vit_large_patch16_224", _LARGE_16, weights, drop_path, image_size)


@models.register("vit.large_32", _LARGE_32)
def large_32(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 384) -> TokenEncoder:
    """Return ViT-L/32 (305.6 M parameters)."""
    return _build("vit_large_patch32_384", _LARGE_32, weights, drop_path, image_size)


@models.register("vit.huge_14", _HUGE_14)
def huge_14(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 224) -> TokenEncoder:
    """Return ViT-H/14 (630.8 M parameters)."""
    return _build("vit_huge_patch14_224", _HUGE_14, weights, drop_path, image_size)


_TEST = _card("ViT, smallest")


@models.register("vit.test", _TEST)
def test(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 32) -> TokenEncoder:
    """Return the smallest legal configuration."""
    from timm.models.vision_transformer import VisionTransformer

    body = VisionTransformer(
        img_size=image_size, patch_size=16, embed_dim=16, depth=2, num_heads=2, num_classes=0, dynamic_img_size=True,
        dynamic_img_pad=True, drop_path_rate=drop_path,
    )  # fmt: skip
    nn.init.normal_(body.cls_token, std=0.02)
    encoder = TokenEncoder(body)
    load_weights(encoder, weights, card=_TEST, rules=_RULES, into=encoder.body)
    return encoder
