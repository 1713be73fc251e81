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


#: Knots of the additive encoder in standard deviations: few, because a table of a clinic is small.
_KNOTS = (-1.3, -0.5, 0.1, 0.7, 1.3)
#: Beyond this many products of number and word a table gets sums only.
_MOST_PRODUCTS = 512


class TabularAdditive(nn.Module):
    """A piecewise-linear function of each number, an indicator of each word, and products of the two; nothing to train.

    A linear head on these is a generalised additive model with interactions (Hastie and Tibshirani 1986,
    doi:10.1214/ss/1177013604), which `train.experts` fits exactly. Features are centred and scaled by what was fitted;
    a missing cell gives zeros, the mean, so that it moves no answer.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, schema: TableSchema) -> None:
        super().__init__()
        self.numbers = [i for i, c in enumerate(schema.columns) if c.kind == "number"]
        self.words = [(i, len(c.levels)) for i, c in enumerate(schema.columns) if c.kind != "number"]
        self.register_buffer("knots", torch.tensor(_KNOTS), persistent=False)
        pieces = len(_KNOTS) + 1
        levels = sum(n for _, n in self.words)
        self.has_products = 0 < len(self.numbers) * pieces * levels <= _MOST_PRODUCTS
        products = len(self.numbers) * pieces * levels if self.has_products else 0
        self.embed_dim = len(self.numbers) * pieces + levels + products
        self.register_buffer("center", torch.zeros(self.embed_dim))
        self.register_buffer("scale", torch.ones(self.embed_dim))

    def basis(self, table: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return raw features `(B, E)` and which of them are known."""
        clean = torch.where(mask, table, torch.zeros((), device=table.device)).float()
        parts, known = [], []
        for i in self.numbers:
            cell = clean[:, i, None].clamp(-4, 4)
            parts.append(torch.cat([cell, torch.relu(cell - self.knots)], 1))
            known.append(mask[:, i, None].expand(-1, parts[-1].shape[1]))
        indicators = [(torch.nn.functional.one_hot(clean[:, i].long().clamp(0, n - 1), n).float(),
                       mask[:, i, None].expand(-1, n)) for i, n in self.words]  # fmt: skip
        if self.has_products:
            for piece, there in list(zip(parts, known, strict=True)):
                for word, said in indicators:
                    parts.append((piece[:, :, None] * word[:, None, :]).flatten(1))
                    known.append((there[:, :, None] & said[:, None, :]).flatten(1))
        parts += [w for w, _ in indicators]
        known += [s for _, s in indicators]
        return torch.cat(parts, 1), torch.cat(known, 1)

    def encode_table(self, table: Tensor, mask: Tensor) -> Features:
        """Return pooled `(B, E)`: standardised features, zero where a cell is missing."""
        values, known = self.basis(table, mask)
        zero = torch.zeros((), device=values.device)
        return Features(pooled=torch.where(known, (values - self.center) / self.scale, zero))

    @torch.no_grad()
    def fit_scale(self, table: Tensor, mask: Tensor) -> None:
        """Set centre and scale to the mean and deviation of the known features of training studies."""
        values, known = self.basis(table, mask)
        count = known.sum(0).clamp_min(1)
        mean = torch.where(known, values, torch.zeros(())).sum(0) / count
        spread = torch.where(known, (values - mean) ** 2, torch.zeros(())).sum(0) / count
        self.center.copy_(mean)
        # A feature that never varies says nothing; with scale one it stays zero.
        self.scale.copy_(torch.where(spread > 1e-8, spread.sqrt(), torch.ones_like(spread)))


def _card(title: str) -> Card:
    return Card(
        title=title, roles=frozenset({"encode_table"}), modalities=frozenset({"table"}), paper="arXiv:2106.11959"
    )


@models.register("tabular.mlp", _card("Table encoder, MLP"))
def mlp(*, schema: TableSchema, embed_dim: int = 64, token_dim: int = 16, dropout: float = 0.1) -> TabularMLP:
    """Return the MLP encoder of a table."""
    return TabularMLP(schema, embed_dim, token_dim, dropout)


@models.register("tabular.additive", _card("Table encoder, additive: small tables, exact fit"))
def additive(*, schema: TableSchema) -> TabularAdditive:
    """Return the additive encoder of a table; with a decision-level fusion its heads are fitted exactly."""
    return TabularAdditive(schema)


@models.register("tabular.transformer", _card("Table encoder, transformer over columns"))
def transformer(*, schema: TableSchema, embed_dim: int = 64, depth: int = 2, num_heads: int = 4) -> TabularTransformer:
    """Return the transformer encoder of a table."""
    return TabularTransformer(schema, embed_dim, depth, num_heads)


@models.register("tabular.test", _card("Table encoder, smallest"))
def test(*, schema: TableSchema) -> TabularMLP:
    """Return the smallest legal configuration."""
    return TabularMLP(schema, 8, 4, 0.0)
