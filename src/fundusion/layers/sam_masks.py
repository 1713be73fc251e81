"""Prompt encoder and mask decoder of Segment Anything under their official names.

Source: Kirillov et al. 2023, arXiv:2304.02643. Written from the description; names of parameters agree with the released files. The decoder has
one addition, of MedSegX: it may keep the resolution of the image, with four steps of upscaling instead of two.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.interfaces import Prompts
from .sam_image import ChannelNorm, Perceptron


class FourierPlaces(nn.Module):
    """Random Fourier features of places in [0, 1]."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, width // 2))

    def forward(self, places: Tensor) -> Tensor:
        """Return `(..., C)` for places `(..., 2)`, x first."""
        # Written out, so that automatic casting to 16 bits does not blur places; a product of matrices it would cast.
        x, y = (2 * places - 1).split(1, -1)
        rates = self.positional_encoding_gaussian_matrix
        angles = 2 * math.pi * (x * rates[0] + y * rates[1])
        return torch.cat([angles.sin(), angles.cos()], -1)


class SamPromptEncoder(nn.Module):
    """Points, boxes and masks to tokens and a map.

    Args:
        width: Channels C of tokens and map.
        grid: Side of the map.
        size: Side of the image that places are given in.
    """

    def __init__(self, width: int, grid: int, size: int) -> None:
        super().__init__()
        self.grid, self.size = grid, size
        self.pe_layer = FourierPlaces(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed, self.no_mask_embed = nn.Embedding(1, width), nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, 2), ChannelNorm(4), nn.GELU(),
            nn.Conv2d(4, 16, 2, 2), ChannelNorm(16), nn.GELU(), nn.Conv2d(16, width, 1),
        )  # fmt: skip

    def places(self) -> Tensor:
        """Return features `(1, C, grid, grid)` of the cells of the map."""
        like = self.pe_layer.positional_encoding_gaussian_matrix
        one = (torch.arange(self.grid, device=like.device, dtype=like.dtype) + 0.5) / self.grid
        y, x = torch.meshgrid(one, one, indexing="ij")
        return self.pe_layer(torch.stack([x, y], -1)).permute(2, 0, 1)[None]

    def forward(self, prompts: Prompts, batch: int) -> tuple[Tensor, Tensor]:
        """Return tokens `(B, N, C)` and the map `(B, C, grid, grid)`.

        Args:
            prompts: Places in pixels of the image; masks are logits `(B, 1, 4 grid, 4 grid)`.
            batch: B, needed where there is no prompt at all.
        """
        points, labels, boxes, masks = prompts.points, prompts.point_labels, prompts.boxes, prompts.masks
        width = self.no_mask_embed.weight.shape[1]
        tokens = self.no_mask_embed.weight.new_zeros(batch, 0, width)
        if points is not None and labels is not None:
            tokens = torch.cat([tokens, self._points(points, labels, alone=boxes is None)], 1)
        if boxes is not None:
            corners = self.pe_layer((boxes.reshape(batch, 2, 2) + 0.5) / self.size)
            kinds = torch.cat([self.point_embeddings[2].weight, self.point_embeddings[3].weight])
            tokens = torch.cat([tokens, corners + kinds], 1)
        if masks is not None:
            return tokens, self.mask_downscaling(masks)
        return tokens, self.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(batch, -1, self.grid, self.grid)

    def _points(self, points: Tensor, labels: Tensor, *, alone: bool) -> Tensor:
        places = points + 0.5
        if alone:
            # Without a box the released model was trained with one more point that is none.
            places, labels = F.pad(places, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=-1)
        where = self.pe_layer(places / self.size)
        kind = labels[..., None]
        tokens = torch.where(kind == -1, self.not_a_point_embed.weight, where)
        tokens = tokens + (kind == 0) * self.point_embeddings[0].weight
        return tokens + (kind == 1) * self.point_embeddings[1].weight


class DecoderAttention(nn.Module):
    """Attention of one sequence to another, inside a narrower space."""

    def __init__(self, width: int, num_heads: int, narrower: int = 1) -> None:
        super().__init__()
        self.num_heads, inner = num_heads, width // narrower
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return `(B, N, C)` for queries `(B, N, C)`."""
        split = [
            p(x).reshape(x.shape[0], x.shape[1], self.num_heads, -1).transpose(1, 2)
            for p, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        ]
        y = F.scaled_dot_product_attention(*split)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class TwoWayBlock(nn.Module):
    """Tokens ask themselves and the map, then the map asks the tokens."""

    def __init__(self, width: int, num_heads: int, mlp: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = DecoderAttention(width, num_heads)
        self.cross_attn_token_to_image = DecoderAttention(width, num_heads, 2)
        self.cross_attn_image_to_token = DecoderAttention(width, num_heads, 2)
        self.mlp = Perceptron(width, mlp, nn.ReLU)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(width) for _ in range(4))

    def forward(
        self, tokens: Tensor, cells: Tensor, token_places: Tensor, cell_places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return tokens and cells."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            asked = tokens + token_places
            tokens = tokens + self.self_attn(asked, asked, tokens)
        tokens = self.norm1(tokens)
        asking, asked = tokens + token_places, cells + cell_places
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(asking, asked, cells))
        tokens = self.norm3(tokens + self.mlp(tokens))
        asking = tokens + token_places
        return tokens, self.norm4(cells + self.cross_attn_image_to_token(asked, asking, tokens))


class TwoWayTransformer(nn.Module):
    """Blocks in both directions and one last look of the tokens at the map."""

    def __init__(self, width: int, *, depth: int, num_heads: int, mlp: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(width, num_heads, mlp, first=i == 0) for i in range(depth))
        self.final_attn_token_to_image = DecoderAttention(width, num_heads, 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, cells: Tensor, cell_places: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens `(B, N, C)` and cells `(B, H W, C)`."""
        places = tokens
        for layer in self.layers:
            tokens, cells = layer(tokens, cells, places, cell_places)
        last = self.final_attn_token_to_image(tokens + places, cells + cell_places, cells)
        return self.norm_final_attn(tokens + last), cells


class SmallNet(nn.Module):
    """Three linear layers with ReLU between."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, out)])

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last layer."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


def _upscaling(width: int, steps: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for i in range(steps):
        channels = width // 2 ** (i + 2)
        parts.append(nn.ConvTranspose2d(width if i == 0 else 2 * channels, channels, 2, 2))
        parts += [ChannelNorm(channels), nn.GELU()] if i < steps - 1 else [nn.GELU()]
    return nn.Sequential(*parts)


class SamMaskDecoder(nn.Module):
    """Map and prompts to four masks and their estimated overlaps with the truth: one for a single answer, three for an ambiguous prompt.

    Args:
        width: Channels C.
        depth: Blocks of the transformer.
        num_heads: Heads of each.
        mlp: Hidden width of each.
        score_hidden: Hidden width of the estimate.
        keep_resolution: Masks of the size of the image instead of a quarter of it.
    """

    def __init__(
        self,
        width: int,
        *,
        depth: int = 2,
        num_heads: int = 8,
        mlp: int = 2048,
        score_hidden: int = 256,
        keep_resolution: bool = False,
    ) -> None:
        super().__init__()
        steps = 4 if keep_resolution else 2
        self.transformer = TwoWayTransformer(width, depth=depth, num_heads=num_heads, mlp=mlp)
        self.iou_token, self.mask_tokens = nn.Embedding(1, width), nn.Embedding(4, width)
        self.output_upscaling = _upscaling(width, steps)
        self.output_hypernetworks_mlps = nn.ModuleList(
            SmallNet(width, width, width // 2 ** (steps + 1)) for _ in range(4)
        )
        self.iou_prediction_head = SmallNet(width, score_hidden, 4)

    def forward(self, maps: Tensor, places: Tensor, tokens: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `(B, 4, H, W)`, the single answer first, and estimated overlaps `(B, 4)`."""
        b, c, h, w = maps.shape
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(b, -1, -1)
        cells = (maps + dense).flatten(2).transpose(1, 2)
        out, cells = self.transformer(cells, places.flatten(2).transpose(1, 2), torch.cat([own, tokens], 1))
        fine = self.output_upscaling(cells.transpose(1, 2).reshape(b, c, h, w))
        kernels = torch.stack([net(out[:, 1 + i]) for i, net in enumerate(self.output_hypernetworks_mlps)], 1)
        masks = (kernels @ fine.flatten(2)).reshape(b, 4, *fine.shape[2:])
        return masks, self.iou_prediction_head(out[:, 0])
