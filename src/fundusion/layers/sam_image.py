"""Image encoder of Segment Anything under its official names: a vision transformer with windows and relative positions.

Source: Kirillov et al. 2023, arXiv:2304.02643; Li et al. 2022, arXiv:2203.16527 (plain backbone with windows). Written from the description; names
of parameters agree with the released files, so that they load.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InvalidInput


class ChannelNorm(nn.Module):
    """Layer norm over the channels of maps `(B, C, H, W)`."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels)), eps

    def forward(self, x: Tensor) -> Tensor:
        """Return normalised maps."""
        normed = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class Perceptron(nn.Module):
    """Two layers, `lin1` and `lin2`."""

    def __init__(self, width: int, hidden: int, act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1, self.lin2, self.act = nn.Linear(width, hidden), nn.Linear(hidden, width), act()

    def forward(self, x: Tensor) -> Tensor:
        """Return vectors of the same width."""
        return self.lin2(self.act(self.lin1(x)))


def relative_table(table: Tensor, side: int) -> Tensor:
    """Return `(side, side, C)`: the row of a table of relative positions for each query and key on one axis.

    A table of another length is interpolated linearly.
    """
    length = 2 * side - 1
    if len(table) != length:
        table = F.interpolate(table.T[None], size=length, mode="linear")[0].T
    places = torch.arange(side, device=table.device)
    return table[places[:, None] - places[None] + side - 1]


class WindowAttention(nn.Module):
    """Self-attention on a grid `(B, H, W, E)` with relative positions by row and by column."""

    def __init__(self, width: int, num_heads: int, side: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, H, W, E)`."""
        b, h, w, width = x.shape
        q, k, v = self.qkv(x).reshape(b, h * w, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        asked = q.reshape(b, self.num_heads, h, w, -1)
        rows = torch.einsum("bnhwc,hkc->bnhwk", asked, relative_table(self.rel_pos_h, h))
        columns = torch.einsum("bnhwc,wkc->bnhwk", asked, relative_table(self.rel_pos_w, w))
        bias = (rows[..., :, None] + columns[..., None, :]).reshape(b, self.num_heads, h * w, h * w)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(y.transpose(1, 2).reshape(b, h, w, width))


class EncoderBlock(nn.Module):
    """Attention in windows (0: over the whole grid) and a perceptron, norms first."""

    def __init__(self, width: int, num_heads: int, *, window: int, grid: int) -> None:
        super().__init__()
        self.window = window
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = WindowAttention(width, num_heads, window or grid)
        self.mlp: nn.Module = Perceptron(width, 4 * width)

    def forward(self, x: Tensor, context: tuple[Any, ...] = ()) -> tuple[Tensor, Tensor | None]:
        """Return the grid, and what a perceptron with context adds to its answer: the shares of its experts."""
        x = x + self._attend(self.norm1(x))
        answer = self.mlp(self.norm2(x), *context)
        y, shares = answer if isinstance(answer, tuple) else (answer, None)
        return x + y, shares

    def _attend(self, x: Tensor) -> Tensor:
        side = self.window
        if not side:
            return self.attn(x)
        b, h, w, c = x.shape
        x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.reshape(b, rows, side, columns, side, c).transpose(2, 3).reshape(-1, side, side, c)
        x = self.attn(x).reshape(b, rows, columns, side, side, c).transpose(2, 3)
        return x.reshape(b, rows * side, columns * side, c)[:, :h, :w]


class _Patches(nn.Module):
    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 1)


class SamImageEncoder(nn.Module):
    """Images `(B, 3, S, S)` to maps `(B, C, S / 16, S / 16)`.

    Args:
        width: Of the tokens.
        depth: Number of blocks.
        num_heads: Heads of each.
        wide: Blocks that attend over the whole grid.
        size: Side S of the images.
        window: Side of the windows of the other blocks.
        out: Channels C of the maps.
        patch: Side of a patch.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        num_heads: int,
        wide: Collection[int],
        *,
        size: int = 1024,
        window: int = 14,
        out: int = 256,
        patch: int = 16,
    ) -> None:
        super().__init__()
        self.size, self.grid = size, size // patch
        self.patch_embed = _Patches(patch, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid, self.grid, width))
        self.blocks = nn.ModuleList(
            EncoderBlock(width, num_heads, window=0 if i in wide else window, grid=self.grid) for i in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(width, out, 1, bias=False),
            ChannelNorm(out),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            ChannelNorm(out),
        )

    def forward(self, x: Tensor, context: tuple[Any, ...] = ()) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the maps, and the shares of experts of the blocks that have any.

        Raises:
            InvalidInput: Images of another size.
        """
        if x.ndim != 4 or x.shape[1:] != (3, self.size, self.size):
            raise InvalidInput(f"expected images (B, 3, {self.size}, {self.size}), got {tuple(x.shape)}.")
        x = self.patch_embed(x) + self.pos_embed
        shares = []
        for block in self.blocks:
            x, share = block(x, context)
            if share is not None:
                shares.append(share)
        return self.neck(x.permute(0, 3, 1, 2)), tuple(shares)


def resized_tables(state: dict[str, Tensor], encoder: SamImageEncoder, prefix: str) -> dict[str, Tensor]:
    """Return the tensors with position tables of another image size brought to the encoder's (bilinear).

    Args:
        state: Of a SAM under official names.
        encoder: Whose shapes are wanted.
        prefix: Of the encoder's names in `state`, with its dot.
    """
    out = dict(state)
    for name, own in encoder.named_parameters():
        found = out.get(prefix + name)
        if found is None or found.shape == own.shape:
            continue
        if name == "pos_embed":
            maps = F.interpolate(found.float().permute(0, 3, 1, 2), size=own.shape[1:3], mode="bilinear")
            out[prefix + name] = maps.permute(0, 2, 3, 1)
        elif name.endswith(("rel_pos_h", "rel_pos_w")) and found.shape[1:] == own.shape[1:]:
            table = F.interpolate(found.float().T[None], size=len(own), mode="linear")[0]
            out[prefix + name] = table.T.contiguous()
    return out
