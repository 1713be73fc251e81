"""Text encoder without vocabulary or download: hashed words and characters, English and Chinese alike.

Source: hashed n-gram embeddings, Bojanowski et al. 2017, doi:10.1162/tacl_a_00051, with two hash functions per piece, Svenstrup et al. 2017,
arXiv:1709.03933; pooled by gated attention, Ilse et al. 2018, arXiv:1802.04712.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
import zlib

import torch
from torch import Tensor, nn

from ..core.interfaces import Features
from ..core.registry import Card, models

#: A Latin word or number, or one CJK character.
_PIECE = re.compile(r"[0-9]+(?:\.[0-9]+)?|[^\W\d_\u3400-\u9fff]+|[\u3400-\u9fff]")


def pieces_of(text: str) -> list[str]:
    """Return the pieces of a text: Latin words with their neighbour, CJK characters and their pairs.

    Pairs keep negation next to what it negates: "no haemorrhage", "无出".

    Example:
        >>> pieces_of("No bleeding")
        ['no', 'bleeding', 'no bleeding']
        >>> pieces_of("无出血")
        ['无', '出', '血', '无 出', '出 血']
        >>> pieces_of("dru\u200bsen")
        ['drusen']
    """
    # Characters that are not seen (zero width, direction) would cut a word in two.
    seen = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    words = _PIECE.findall(seen.casefold())
    return words + [f"{a} {b}" for a, b in itertools.pairwise(words)]


class HashingEncoder(nn.Module):
    """Embeddings of hashed pieces, one transformer block, gated attention pooling."""

    def __init__(self, embed_dim: int, buckets: int, max_tokens: int, num_heads: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.buckets = buckets
        self.max_tokens = max_tokens
        self.first = nn.Embedding(buckets + 1, embed_dim, padding_idx=0)
        self.second = nn.Embedding(buckets + 1, embed_dim, padding_idx=0)
        self.block = nn.TransformerEncoderLayer(
            embed_dim, num_heads, 2 * embed_dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.content = nn.Linear(embed_dim, embed_dim)
        self.gate = nn.Linear(embed_dim, embed_dim)
        self.score = nn.Linear(embed_dim, 1)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return ids `(B, T)` and mask `(B, T)`; pieces beyond `max_tokens` are cut."""
        rows = [[self._identity(p) for p in pieces_of(t)[: self.max_tokens]] for t in texts]
        longest = max(1, *(len(r) for r in rows)) if rows else 1
        ids = torch.zeros(len(rows), longest, dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
        return ids, ids > 0

    def _identity(self, piece: str) -> int:
        # CRC-32 is the same on every machine; Python's own hash changes with every process.
        return zlib.crc32(piece.encode("utf-8")) + 1

    def encode_text(self, ids: Tensor, mask: Tensor) -> Features:
        """Return pooled `(B, E)`, tokens `(B, T, E)`; a row without tokens gives zeros."""
        one = torch.where(mask, (ids - 1) % self.buckets + 1, 0)
        # A second, independent bucket from the high bits tells most collisions apart.
        two = torch.where(mask, (((ids - 1) * 2654435761) >> 7) % self.buckets + 1, 0)
        tokens = self.first(one) + self.second(two)
        some = mask.any(1)
        # A row of padding only would make attention divide by zero; it looks at its first place and is zeroed after.
        hidden = ~mask
        hidden = torch.where(some[:, None], hidden, torch.zeros_like(hidden))
        tokens = self.block(tokens, src_key_padding_mask=hidden)
        scores = self.score(torch.tanh(self.content(tokens)) * torch.sigmoid(self.gate(tokens)))[..., 0]
        weights = torch.softmax(scores.masked_fill(hidden, -torch.inf), 1)
        pooled = (tokens * weights[..., None]).sum(1) * some[:, None]
        return Features(pooled=pooled, tokens=tokens, token_mask=mask, extras={"attention": weights})


def _card(title: str) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode_text"}),
        modalities=frozenset({"text"}),
        paper="doi:10.1162/tacl_a_00051",
        notes="No download; reads any language, made for English and Chinese.",
    )


@models.register("hashing.small", _card("Hashing text encoder"))
def small(*, embed_dim: int = 128, buckets: int = 8192, max_tokens: int = 512) -> HashingEncoder:
    """Return the built-in text encoder (2.3 M parameters)."""
    return HashingEncoder(embed_dim, buckets, max_tokens, 4)


@models.register("hashing.test", _card("Hashing text encoder, smallest"))
def test() -> HashingEncoder:
    """Return the smallest legal configuration."""
    return HashingEncoder(8, 64, 32, 2)
