"""Rebuild hidden patches: of one picture (MAE), or of all pictures of an eye from a few patches of them (MultiMAE).

Source: He et al. 2022, arXiv:2111.06377; Bachmann et al. 2022, arXiv:2204.01678. Any plain vision transformer with a class token can be
the encoder; the decoder and the order of the pixels in a patch (row, column, channel) are those of the released code, whose loss and
prediction `MaskedAutoencoder` repeats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Loss
from ..core.registry import Card, objectives
from ..layers.masking import patchify, random_mask, shared_masks, standardised, unpatchify
from ..layers.plain_vit import make_blocks, resized_positions


class MaskedAutoencoder(nn.Module):
    """A transformer that reads the visible patches, and a small one that rebuilds the others.

    Args:
        body: A transformer with `patch_embed`, `cls_token`, `pos_embed` (class row first), `blocks` and `norm`: timm's or the house's.
        width: Of the decoder.
        depth: Of the decoder.
        num_heads: Of the decoder.
        normalised: The target is each patch with mean 0 and variance 1.
    """

    def __init__(
        self, body: nn.Module, *, width: int = 512, depth: int = 8, num_heads: int = 16, normalised: bool = True
    ) -> None:
        super().__init__()
        needed = ("patch_embed", "cls_token", "pos_embed", "blocks", "norm")
        if any(getattr(body, n, None) is None for n in needed):
            raise InvalidInput(
                "the encoder of a masked autoencoder needs a plain vision transformer with a class token.",
                hint="For instance vit.small_16.",
            )
        self.body: Any = body
        self.normalised = normalised
        embed_dim, tokens = int(body.pos_embed.shape[2]), int(body.pos_embed.shape[1])
        self.patch_size = int(body.patch_embed.proj.kernel_size[0])
        self.decoder_embed = nn.Linear(embed_dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_pos_embed = nn.Parameter(_sincos(width, tokens), requires_grad=False)
        self.decoder_blocks = nn.ModuleList(make_blocks(depth, width, num_heads))
        self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_pred = nn.Linear(width, 3 * self.patch_size**2)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward_loss(
        self,
        images: Tensor,
        *,
        mask_ratio: float = 0.75,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, the prediction `(T, N, P * P * 3)` and the mask `(T, N)`, 1 where hidden.

        Args:
            images: Normalised `(T, 3, H, W)`.
            mask_ratio: Share of hidden patches.
            noise: `(T, N)`: decides what is hidden; drawn when left out.
            generator: Of the draw.
        """
        patches, grid = self._patches(images)
        if noise is None:
            noise = torch.rand(patches.shape[:2], generator=generator).to(images.device)
        keep, restore, mask = random_mask(noise, mask_ratio)
        positions = resized_positions(self.body.pos_embed, grid)
        x = patches + positions[:, 1:]
        x = x.gather(1, keep[..., None].expand(-1, -1, x.shape[2]))
        x = torch.cat([(self.body.cls_token + positions[:, :1]).expand(len(x), -1, -1), x], 1)
        for block in self.body.blocks:
            x = block(x)
        predicted = self._decode(self.decoder_embed(self.body.norm(x)), restore, grid)
        target = patchify(images, self.patch_size)
        target = standardised(target) if self.normalised else target
        error = (predicted - target).square().mean(-1)
        return (error * mask).sum() / mask.sum(), predicted, mask

    def _patches(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return patch vectors `(T, N, E)` whatever layout the transformer's first layer gives."""
        if any(s % self.patch_size for s in images.shape[-2:]):
            raise InvalidInput(f"sides {tuple(images.shape[-2:])} are no multiples of {self.patch_size}.")
        x = self.body.patch_embed.proj(images)
        return x.flatten(2).transpose(1, 2), (x.shape[2], x.shape[3])

    def _decode(self, x: Tensor, restore: Tensor, grid: tuple[int, int]) -> Tensor:
        hidden = self.mask_token.to(x.dtype).expand(len(x), restore.shape[1] + 1 - x.shape[1], -1)
        every = torch.cat([x[:, 1:], hidden], 1).gather(1, restore[..., None].expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], every], 1) + resized_positions(self.decoder_pos_embed, grid)
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]

    def painted(self, images: Tensor, predicted: Tensor, mask: Tensor) -> Tensor:
        """Return pictures with hidden patches as predicted; normalised predictions get the brightness of the true patch."""
        truth = patchify(images, self.patch_size)
        if self.normalised:
            predicted = predicted * (truth.var(-1, keepdim=True) + 1e-6).sqrt() + truth.mean(-1, keepdim=True)
        grid = (images.shape[2] // self.patch_size, images.shape[3] // self.patch_size)
        return unpatchify(torch.where(mask[..., None] > 0, predicted, truth), self.patch_size, grid)


def _sincos(width: int, tokens: int) -> Tensor:
    """Return fixed decoder positions `(1, tokens, width)`: a zero class row, then columns and rows as sines and cosines."""
    side = round((tokens - 1) ** 0.5)
    rate = 1.0 / 10000 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    place = torch.arange(side, dtype=torch.float64)[:, None] * rate
    column, row = place[None].expand(side, -1, -1), place[:, None].expand(-1, side, -1)
    table = torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], -1).reshape(1, side * side, width)
    return torch.cat([torch.zeros(1, 1, width), table.float()], 1)


class MaskedModalities(nn.Module):
    """MultiMAE: few visible patches, shared out over the modalities a study has; every one of these is rebuilt.

    Args:
        model: With `modalities`, `patch_size`, `forward(images, masks)` and `reconstruction_losses` (`models.eyefm.MultiMAE`).
        visible: Visible patches of a study; 225 of 980 in EyeFM.
        alpha: Concentration of the shares.
        uniform: Shares are even over a drawn subset of modalities.
        normalised: Patches are targets with mean 0 and variance 1, each modality with its own patches' statistics.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        visible: int = 225,
        alpha: float = 1.0,
        uniform: bool = False,
        normalised: bool = True,
    ) -> None:
        super().__init__()
        if not hasattr(model, "reconstruction_losses") or len(model.output_adapters) == 0:
            raise InvalidInput("the multimae objective needs a model with decoders.", hint="Use --model eyefm.large.")
        self.model: Any = model
        self.visible, self.alpha, self.uniform, self.normalised = visible, alpha, uniform, normalised

    def masks(
        self, images: Mapping[str, Tensor], present: Mapping[str, Tensor], *, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return a mask per modality `(B, N)`, 1 where hidden."""
        p = self.model.patch_size
        sizes = {m: (images[m].shape[2] // p) * (images[m].shape[3] // p) for m in self.model.modalities if m in images}
        return shared_masks(
            {m: x.cpu() for m, x in present.items() if m in sizes},
            sizes,
            self.visible,
            generator=generator,
            alpha=self.alpha,
            uniform=self.uniform,
        )

    def forward_loss(
        self, images: Mapping[str, Tensor], present: Mapping[str, Tensor], *, generator: torch.Generator
    ) -> tuple[Loss, dict[str, Tensor], dict[str, Tensor]]:
        """Return the loss with a part per modality, the rebuilt pictures and the masks.

        Args:
            images: Modality to `(B, 3, H, W)`; rows of absent studies may hold anything finite.
            present: Modality to bool `(B,)`.
            generator: Of the masks.
        """
        masks = self.masks(images, present, generator=generator)
        rebuilt = self.model(images, masks)
        parts = self.model.reconstruction_losses(rebuilt, images, masks, normalised=self.normalised, present=present)
        if not parts:
            # Everything was visible; a zero that keeps the graph.
            return Loss(total=sum(x.sum() for x in rebuilt.values()) * 0.0), rebuilt, masks
        return Loss(total=torch.stack(list(parts.values())).sum(), parts=parts), rebuilt, masks


@objectives.register("masked_image.mae", Card(title="Masked autoencoder", paper="arXiv:2111.06377"))
def mae(
    *, body: nn.Module, width: int = 512, depth: int = 8, num_heads: int = 16, normalised: bool = True
) -> MaskedAutoencoder:
    """Return a masked autoencoder around a transformer."""
    return MaskedAutoencoder(body, width=width, depth=depth, num_heads=num_heads, normalised=normalised)


@objectives.register("masked_image.multimae", Card(title="Masked modalities", paper="arXiv:2204.01678"))
def multimae(*, model: nn.Module, visible: int = 225, alpha: float = 1.0, uniform: bool = False) -> MaskedModalities:
    """Return the objective of a joint encoder with decoders."""
    return MaskedModalities(model, visible=visible, alpha=alpha, uniform=uniform)
