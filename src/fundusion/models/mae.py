"""Masked autoencoder: the encoder of a vision transformer, a small decoder and the loss on hidden patches.

Source: He et al. 2022, arXiv:2111.06377 (doi:10.1109/CVPR52688.2022.01553), section 3. Names of tensors are those of the released checkpoints:
the encoder's load into a timm `VisionTransformer` with no renaming.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Features, Loss
from ..core.registry import Card, ImageInput, models
from ..layers.backbones import Scales, check_scales
from ..layers.checkpoints import Rules, load_weights
from ..layers.masking import patchify, random_mask, standardised, unpatchify
from ..layers.transformer import (
    as_map,
    embed_patches,
    pyramid,
    pyramid_taps,
    resize_positions,
    run_blocks,
    sincos_positions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """What the decoder made of the visible patches.

    Args:
        predicted: `(T, N, P * P * C)` in the order row, column, channel.
        mask: `(T, N)`, 1 where hidden.
        restore: int64 `(T, N)`, order that puts visible and hidden patches back.
        latent: `(T, 1 + V, E)`, encoder tokens of the visible patches, class token first.
    """

    predicted: Tensor
    mask: Tensor
    restore: Tensor
    latent: Tensor


class MaskedAutoencoder(nn.Module):
    """Encoder, and the decoder when it is to be trained.

    Args:
        image_size: Side of the pictures of the position tables, px.
        decoder: Width, depth and heads of the decoder; None builds the encoder alone.
        normalise_pixels: Each patch of the target gets mean 0 and unbiased variance 1.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        decoder: tuple[int, int, int] | None = None,
        normalise_pixels: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        from timm.layers import PatchEmbed

        self.embed_dim, self.patch_size, self.normalise_pixels = embed_dim, patch_size, normalise_pixels
        self.patch_embed = PatchEmbed(image_size, patch_size, 3, embed_dim)
        grid = self.patch_embed.grid_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        # Stored as a parameter in the released files, never trained.
        self.pos_embed = nn.Parameter(sincos_positions(embed_dim, grid), requires_grad=False)
        self.blocks = nn.ModuleList(_blocks(depth, embed_dim, num_heads, drop_path))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.has_decoder = decoder is not None
        if decoder is not None:
            width, layers, heads = decoder
            self.decoder_embed = nn.Linear(embed_dim, width)
            self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
            self.decoder_pos_embed = nn.Parameter(sincos_positions(width, grid), requires_grad=False)
            self.decoder_blocks = nn.ModuleList(_blocks(layers, width, heads, 0.0))
            self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
            self.decoder_pred = nn.Linear(width, patch_size**2 * 3)
            nn.init.normal_(self.mask_token, std=0.02)
        nn.init.normal_(self.cls_token, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.data.flatten(1))

    def encode(self, images: Tensor, *, maps: Scales = "last") -> Features:
        """Return pooled `(T, E)` (mean of the patch tokens after the norm), tokens `(T, N, E)` and maps; nothing is hidden.

        Args:
            images: Normalised `(T, 3, H, W)`, any size; sides are padded to whole patches.
            maps: "last", or "all" for a pyramid at strides P/4, P/2, P.
        """
        taps = pyramid_taps(len(self.blocks)) if check_scales(maps) else ()
        x, grid, levels = run_blocks(self, images, taps=taps)
        tokens = self.norm(x)[:, 1:]
        last = as_map(tokens, grid)
        return Features(pooled=tokens.mean(1), tokens=tokens, maps=pyramid(levels, last) if levels else (last,))

    def reconstruct(
        self,
        images: Tensor,
        *,
        ratio: float = 0.75,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Reconstruction:
        """Return the prediction of all patches from the visible ones.

        Args:
            images: Normalised `(T, 3, H, W)`, sides multiples of the patch.
            ratio: Share that is hidden; 0.75 for photographs, 0.85 for OCT in RETFound.
            noise: `(T, N)`; the patches with the least are visible, so equal noise hides equal patches.
            generator: Of the noise when none is given.

        Raises:
            InvalidInput: The model was built without decoder, or a side is no multiple of the patch.
        """
        if not self.has_decoder:
            raise InvalidInput("this encoder has no decoder.", hint="Build it with decoder=True.")
        if any(s % self.patch_size for s in images.shape[-2:]):
            raise InvalidInput(
                f"sides {tuple(images.shape[-2:])} are no multiples of the patch size {self.patch_size}."
            )
        patches, grid = embed_patches(self, images)
        if noise is None:
            noise = torch.rand(patches.shape[:2], generator=generator).to(images.device)
        positions = resize_positions(self.pos_embed, grid)
        x = patches + positions[:, 1:]
        kept, restore, mask = random_mask(noise, ratio)
        x = x.gather(1, kept[..., None].expand(-1, -1, x.shape[2]))
        first = (self.cls_token + positions[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([first, x], 1)
        for block in self.blocks:
            x = block(x)
        latent = self.norm(x)
        return Reconstruction(predicted=self._decoded(latent, restore, grid), mask=mask, restore=restore, latent=latent)

    def _decoded(self, latent: Tensor, restore: Tensor, grid: tuple[int, int]) -> Tensor:
        x = self.decoder_embed(latent)
        hidden = self.mask_token.expand(len(x), restore.shape[1] + 1 - x.shape[1], -1)
        places = torch.cat([x[:, 1:], hidden.to(x.dtype)], 1)
        places = places.gather(1, restore[..., None].expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], places], 1) + resize_positions(self.decoder_pos_embed, grid)
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]

    def target(self, images: Tensor) -> Tensor:
        """Return what the decoder has to predict, `(T, N, P * P * C)`."""
        patches = patchify(images, self.patch_size)
        return standardised(patches) if self.normalise_pixels else patches

    def loss(self, images: Tensor, reconstruction: Reconstruction) -> Loss:
        """Return the mean over hidden patches of the mean squared error of each."""
        error = (reconstruction.predicted.float() - self.target(images).float()).square().mean(-1)
        total = (error * reconstruction.mask).sum() / reconstruction.mask.sum().clamp_min(1)
        return Loss(total=total, parts={"reconstruction": total})

    def paint(self, images: Tensor, reconstruction: Reconstruction) -> Tensor:
        """Return the pictures `(T, C, H, W)` with hidden patches as predicted, in the units of the input."""
        own = patchify(images, self.patch_size)
        made = reconstruction.predicted.to(own.dtype)
        if self.normalise_pixels:
            made = made * (own.var(-1, keepdim=True) + 1e-6).sqrt() + own.mean(-1, keepdim=True)
        mixed = torch.where(reconstruction.mask[..., None].bool(), made, own)
        grid = (images.shape[2] // self.patch_size, images.shape[3] // self.patch_size)
        return unpatchify(mixed, self.patch_size, grid)


def _blocks(depth: int, embed_dim: int, num_heads: int, drop_path: float) -> list[nn.Module]:
    from timm.models.vision_transformer import Block

    rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
    norm = partial(nn.LayerNorm, eps=1e-6)
    return [Block(embed_dim, num_heads, 4.0, qkv_bias=True, drop_path=r, norm_layer=norm) for r in rates]


def _adapted(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    out = dict(state)
    for name in ("pos_embed", "decoder_pos_embed"):
        if name in out and hasattr(module, name):
            out[name] = resize_positions(out[name], module.patch_embed.grid_size)
    return out


def _rules(decoder: bool) -> Rules:
    # Files of encoders alone (timm's) may start a pre-training; a decoder in the file is left out when none is built.
    parts = ("decoder_", "mask_token")
    return Rules(
        optional=parts if decoder else (),
        ignored=("head.", "fc_norm.") if decoder else ("head.", "fc_norm.", *parts),
        adapt=_adapted,
    )


def _card(title: str, timm_id: str = "", patch: int = 16) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        input=ImageInput(size=224),
        paper="arXiv:2111.06377",
        weight_license="CC BY-NC 4.0" if timm_id else None,
        weights=f"hub:timm/{timm_id}" if timm_id else None,
        training_data=("ImageNet-1k",) if timm_id else (),
        strides=(patch // 4, patch // 2, patch) if patch % 4 == 0 else (),
        notes="decoder=True builds the decoder for pre-training; its checkpoints start vit.* and retfound.*.",
    )


_TINY = _card("MAE ViT-Ti/16")
_SMALL = _card("MAE ViT-S/16")
_BASE = _card("MAE ViT-B/16", "vit_base_patch16_224.mae")
_LARGE = _card("MAE ViT-L/16", "vit_large_patch16_224.mae")
_HUGE = _card("MAE ViT-H/14", "vit_huge_patch14_224.mae", 14)
_TEST = _card("MAE, smallest")


def _build(
    card: Card,
    encoder: tuple[int, int, int],
    *,
    weights: str | None,
    decoder: bool,
    normalise_pixels: bool,
    drop_path: float,
    image_size: int,
    patch_size: int = 16,
    decoder_shape: tuple[int, int, int] = (512, 8, 16),
) -> MaskedAutoencoder:
    width, depth, heads = encoder
    model = MaskedAutoencoder(
        image_size=image_size, patch_size=patch_size, embed_dim=width, depth=depth, num_heads=heads,
        decoder=decoder_shape if decoder else None, normalise_pixels=normalise_pixels, drop_path=drop_path,
    )  # fmt: skip
    load_weights(model, weights, card=card, rules=_rules(decoder))
    return model


@models.register("mae.tiny_16", _TINY)
def tiny_16(
    *,
    weights: str | None = None,
    decoder: bool = False,
    normalise_pixels: bool = True,
    drop_path: float = 0.0,
    image_size: int = 224,
) -> MaskedAutoencoder:
    """Return MAE on ViT-Ti/16 with a small decoder (192 wide, 4 deep)."""
    return _build(
        _TINY, (192, 12, 3), weights=weights, decoder=decoder, normalise_pixels=normalise_pixels, drop_path=drop_path,
        image_size=image_size, decoder_shape=(192, 4, 3),
    )  # fmt: skip


@models.register("mae.small_16", _SMALL)
def small_16(
    *,
    weights: str | None = None,
    decoder: bool = False,
    normalise_pixels: bool = True,
    drop_path: float = 0.0,
    image_size: int = 224,
) -> MaskedAutoencoder:
    """Return MAE on ViT-S/16 with a small decoder (256 wide, 4 deep)."""
    return _build(
        _SMALL, (384, 12, 6), weights=weights, decoder=decoder, normalise_pixels=normalise_pixels, drop_path=drop_path,
        image_size=image_size, decoder_shape=(256, 4, 8),
    )  # fmt: skip


@models.register("mae.base_16", _BASE)
def base_16(
    *,
    weights: str | None = None,
    decoder: bool = False,
    normalise_pixels: bool = True,
    drop_path: float = 0.0,
    image_size: int = 224,
) -> MaskedAutoencoder:
    """Return MAE on ViT-B/16."""
    return _build(
        _BASE, (768, 12, 12), weights=weights, decoder=decoder, normalise_pixels=normalise_pixels, drop_path=drop_path,
        image_size=image_size,
    )  # fmt: skip


@models.register("mae.large_16", _LARGE)
def large_16(
    *,
    weights: str | None = None,
    decoder: bool = False,
    normalise_pixels: bool = True,
    drop_path: float = 0.0,
    image_size: int = 224,
) -> MaskedAutoencoder:
    """Return MAE on ViT-L/16, the architecture RETFound was pre-trained with."""
    return _build(
        _LARGE, (1024, 24, 16), weights=weights, decoder=decoder, normalise_pixels=normalise_pixels, drop_path=drop_path,
        image_size=image_size,
    )  # fmt: skip


@models.register("mae.huge_14", _HUGE)
def huge_14(
    *,
    weights: str | None = None,
    decoder: bool = False,
    normalise_pixels: bool = True,
    drop_path: float = 0.0,
    image_size: int = 224,
) -> MaskedAutoencoder:
    """Return MAE on ViT-H/14."""
    return _build(
        _HUGE, (1280, 32, 16), weights=weights, decoder=decoder, normalise_pixels=normalise_pixels, drop_path=drop_path,
        image_size=image_size, patch_size=14,
    )  # fmt: skip


@models.register("mae.test", _TEST)
def test(
    *,
    weights: str | None = None,
    decoder: bool = False,
    normalise_pixels: bool = True,
    drop_path: float = 0.0,
    image_size: int = 32,
) -> MaskedAutoencoder:
    """Return the smallest legal configuration."""
    return _build(
        _TEST, (16, 2, 2), weights=weights, decoder=decoder, normalise_pixels=normalise_pixels, drop_path=drop_path,
        image_size=image_size, decoder_shape=(16, 1, 2),
    )  # fmt: skip
