"""Encoders of the patient table: a token per column, a learned vector where a cell is missing.

Source: Gorishniy et al. 2021, arXiv:2106.11959 (feature tokenizer); numeric cells by piecewise-linear encoding, Gorishniy et al. 2022,
arXiv:2203.05556, section 3.2, with bins at fixed quantiles of a standard normal, because cells are standardised.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.interfaces import Features
from ..core.registry import Card, models
from ..core.table import TableSchema

#: Edges in standard deviations; outer ones hold the tails.
_EDGES = (-4.0, -1.5, -0.9, -0.5, -0.15, 0.15, 0.5, 0.9, 1.5, 4.0)


class ColumnTokens(nn.Module):
    """Cells `(B, F)` and their mask -> tokens `(B, F, E)`."""

    def __init__(self, schema: TableSchema, embed_dim: int) -> None:
        super().__init__()
        edges = torch.tensor(_EDGES)
        self.register_buffer("low", edges[:-1], persistent=False)
        self.register_buffer("width", edges[1:] - edges[:-1], persistent=False)
        self.kinds = [c.kind for c in schema.columns]
        self.numbers = nn.ModuleDict()
        self.words = nn.ModuleDict()
        for i, column in enumerate(schema.columns):
            if column.kind == "number":
                self.numbers[str(i)] = nn.Linear(len(_EDGES) - 1, embed_dim)
            else:
                self.words[str(i)] = nn.Embedding(len(column.levels), embed_dim)
        self.missing = nn.Parameter(torch.randn(len(schema), embed_dim) * 0.02)

    def forward(self, table: Tensor, mask: Tensor) -> Tensor:
        """Return one token per column; the content of a missing cell does not matter."""
        clean = torch.where(mask, table, torch.zeros((), device=table.device))
        tokens = []
        for i, kind in enumerate(self.kinds):
            cell = clean[:, i]
            if kind == "number":
                ramps = ((cell[:, None] - self.low) / self.width).clamp(0, 1)
                token = self.numbers[str(i)](ramps)
            else:
                token = self.words[str(i)](cell.long())
            tokens.append(torch.where(mask[:, i, None], token, self.missing[i]))
        return torch.stack(tokens, 1)


class TabularMLP(nn.Module):
    """Tokens side by side, then an MLP."""

    def __init__(self, schema: TableSchema, embed_dim: int, token_dim: int, dropout: float) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.columns = ColumnTokens(schema, token_dim)
        self.lift = nn.Linear(token_dim, embed_dim)
        self.mix = nn.Sequential(
            nn.Linear(len(schema) * token_dim, embed_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(embed_dim, embed_dim),
        )

    def encode_table(self, table: Tensor, mask: Tensor) -> Features:
        """Return pooled `(B, E)` and column tokens `(B, F, E)`."""
        tokens = self.columns(table, mask)
        return Features(pooled=self.mix(tokens.flatten(1)), tokens=self.lift(tokens), token_mask=mask)


class TabularTransformer(nn.Module):
    """Tokens and a class token through transformer blocks; missing cells are not attended to."""

    def __init__(self, schema: TableSchema, embed_dim: int, depth: int, num_heads: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.columns = ColumnTokens(schema, embed_dim)
        self.cls = nn.Parameter(torch.randn(embed_dim) * 0.02)
        layer = nn.TransformerEncoderLayer(
            embed_dim, num_heads, 2 * embed_dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def encode_table(self, table: Tensor, mask: Tensor) -> Features:
        """Return pooled `(B, E)` and column tokens `(B, F, E)`."""
        tokens = self.columns(table, mask)
        joined = torch.cat([self.cls.expand(len(tokens), 1, -1), tokens], 1)
        hidden = torch.cat([torch.zeros_like(mask[:, :1]), ~mask], 1)
        done = self.blocks(joined, src_key_padding_mask=hidden)
        return Features(pooled=done[:, 0], tokens=done[:, 1:], token_mask=mask)


def _card(title: str) -> Card:
    return Card(
        title=title, roles=frozenset({"encode_table"}), modalities=frozenset({"table"}), paper="arXiv:2106.11959"
    )


@models.register("tabular.mlp", _card("Table encoder, MLP"))
def mlp(*, schema: TableSchema, embed_dim: int = 64, token_dim: int = 16, dropout: float = 0.1) -> TabularMLP:
    """Return the MLP encoder of a table."""
    return TabularMLP(schema, embed_dim, token_dim, dropout)


@models.register("tabular.transformer", _card("Table encoder, transformer over columns"))
def transformer(*, schema: TableSchema, embed_dim: int = 64, depth: int = 2, num_heads: int = 4) -> TabularTransformer:
    """Return the transformer encoder of a table."""
    return TabularTransformer(schema, embed_dim, depth, num_heads)


@models.register("tabular.test", _card("Table encoder, smallest"))
def test(*, schema: TableSchema) -> TabularMLP:
    """Return the smallest legal configuration."""
    return TabularMLP(schema, 8, 4, 0.0)
