"""Vision transformers through timm, any input size.

Source: Dosovitskiy et al. 2021, arXiv:2010.11929. Pooled features are the mean of the patch tokens after the last norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.interfaces import Features
from ..core.registry import Card, ImageInput, models
from ..layers.weights import fit_state, load_state

_PAPER = "arXiv:2010.11929"


class TimmViT(nn.Module):
    """A timm vision transformer without its classifier."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.embed_dim = int(body.embed_dim)

    def encode(self, images: Tensor) -> Features:
        """Return pooled `(T, E)`, patch tokens `(T, N, E)` and their map `(T, E, H/16, W/16)`."""
        tokens = self.body.forward_features(images)[:, self.body.num_prefix_tokens :]
        rows, columns = self.body.patch_embed.dynamic_feat_size(images.shape[-2:])
        grid = tokens.transpose(1, 2).reshape(len(images), -1, rows, columns)
        return Features(pooled=tokens.mean(1), tokens=tokens, maps=(grid,))


def _build(name: str, weights: str | None, drop_path: float, image_size: int) -> TimmViT:
    import timm

    hub = weights[4:] if weights and weights.startswith("hub:") else None
    # A hub name is the only thing that may reach for the network, and only because the user wrote it.
    source = f"hf-hub:{hub}" if hub else name
    body = timm.create_model(
        source,
        pretrained=bool(hub),
        num_classes=0,
        dynamic_img_size=True,
        drop_path_rate=drop_path,
        img_size=image_size,
    )
    if weights and not hub:
        fit_state(body, _resampled(load_state(weights), body), allow_unexpected=("head.", "fc_norm."))
    return TimmViT(body)


def _resampled(state: dict[str, Tensor], body: nn.Module) -> dict[str, Tensor]:
    """Bring position embeddings of another input size to this one (bicubic with antialias, timm's rule)."""
    from timm.layers import resample_abs_pos_embed

    table = state.get("pos_embed")
    if table is None or table.shape == body.pos_embed.shape:
        return state
    grid = body.patch_embed.grid_size
    return {**state, "pos_embed": resample_abs_pos_embed(table, list(grid), num_prefix_tokens=body.num_prefix_tokens)}


def _card(title: str) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        input=ImageInput(size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        paper=_PAPER,
        weight_license="Apache-2.0 (timm); ImageNet terms for the pictures",
        weights="hub:timm/<name>",
        training_data=("ImageNet-21k", "ImageNet-1k"),
    )


@models.register("vit.tiny_16", _card("ViT-Ti/16"))
def vit_tiny(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 224) -> TimmViT:
    """Return ViT-Ti/16 (5.5 M parameters)."""
    return _build("vit_tiny_patch16_224", weights, drop_path, image_size)


@models.register("vit.small_16", _card("ViT-S/16"))
def vit_small(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 224) -> TimmViT:
    """Return ViT-S/16 (21.7 M parameters)."""
    return _build("vit_small_patch16_224", weights, drop_path, image_size)


@models.register("vit.base_16", _card("ViT-B/16"))
def vit_base(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 224) -> TimmViT:
    """Return ViT-B/16 (85.8 M parameters)."""
    return _build("vit_base_patch16_224", weights, drop_path, image_size)


@models.register("vit.large_16", _card("ViT-L/16"))
def vit_large(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 224) -> TimmViT:
    """Return ViT-L/16 (303.3 M parameters)."""
    return _build("vit_large_patch16_224", weights, drop_path, image_size)


@models.register("vit.test", _card("ViT, smallest"))
def test(*, drop_path: float = 0.0, image_size: int = 32) -> TimmViT:
    """Return the smallest legal configuration."""
    from timm.models.vision_transformer import VisionTransformer

    body = VisionTransformer(
        img_size=image_size, patch_size=16, embed_dim=16, depth=2, num_heads=2, num_classes=0, dynamic_img_size=True,
        drop_path_rate=drop_path,
    )  # fmt: skip
    torch.nn.init.normal_(body.cls_token, std=0.02)
    return TimmViT(body)
