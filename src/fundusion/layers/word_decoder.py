"""A small decoder of words that looks at the cells of a picture, and the search for its likeliest answer.

Source: Vaswani et al. 2017, arXiv:1706.03762 (pre-normalised blocks, learned positions); beam search with the mean log-likelihood of
an answer, Wu et al. 2016, arXiv:1609.08144, equation 14 with alpha 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.interfaces import Decoding

#: Answers so far -> nothing, and whether each is over.
Watch = Callable[[list[list[int]]], list[bool]]


class WordDecoder(nn.Module):
    """Token ids and cells of a picture -> logits of the next token.

    Args:
        vocabulary: Number of tokens.
        embed_dim: Width.
        depth: Blocks.
        num_heads: Heads of each attention.
        limit: Most tokens of a row.
        dropout: In training.
    """

    def __init__(
        self, vocabulary: int, embed_dim: int, *, depth: int, num_heads: int, limit: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.limit = limit
        self.embed = nn.Embedding(vocabulary, embed_dim)
        self.places = nn.Parameter(torch.randn(limit, embed_dim) * 0.02)
        block = nn.TransformerDecoderLayer(
            embed_dim, num_heads, 4 * embed_dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerDecoder(block, depth, norm=nn.LayerNorm(embed_dim))
        nn.init.normal_(self.embed.weight, std=0.02)
        for p in self.blocks.parameters():
            if p.ndim > 1:
                nn.init.xavier_uniform_(p)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, ids: Tensor, cells: Tensor) -> Tensor:
        """Return logits `(B, T, V)` of ids `(B, T)` padded on the right, and cells `(B, N, E)`."""
        count = ids.shape[1]
        later = torch.ones(count, count, dtype=torch.bool, device=ids.device).triu(1)
        states = self.embed(ids) * self.embed.embedding_dim**0.5 + self.places[:count]
        states = self.blocks(states, cells, tgt_mask=later)
        # Tied weights: a word is read and said by the same vector.
        return states @ self.embed.weight.T + self.bias


@dataclass(slots=True)
class _Beam:
    ids: list[int]
    score: float
    done: bool = False


def answer_rows(
    step: Callable[[Tensor], Tensor],
    prompt: Sequence[int],
    *,
    rule: Decoding,
    max_tokens: int,
    end: int,
    banned: Sequence[int],
    generator: torch.Generator,
    stopped: Watch | None = None,
) -> list[int]:
    """Return the new tokens of one row, without the end mark.

    Args:
        step: Ids `(K, T)` -> logits `(K, V)` of the next token.
        prompt: Ids before the answer.
        rule: How tokens are chosen.
        max_tokens: Most new tokens.
        end: Token that ends an answer.
        banned: Tokens that are never said.
        generator: Of the draws.
        stopped: Called with the answers so far; says which of them are over.
    """
    beams = [_Beam([], 0.0)]
    for _ in range(max_tokens):
        open_beams = [b for b in beams if not b.done]
        if not open_beams:
            break
        logits = step(torch.tensor([[*prompt, *b.ids] for b in open_beams])).float()
        logits[:, list(banned)] = -torch.inf
        scores = _scored(logits, open_beams, rule)
        grown = [b for b in beams if b.done]
        for beam, row in zip(open_beams, scores, strict=True):
            for token, value in _chosen(row, rule, generator):
                grown.append(_Beam([*beam.ids, token], beam.score + value, token == end))
        beams = sorted(grown, key=_mean, reverse=True)[: rule.beams]
        if stopped is not None:
            over = stopped([b.ids for b in beams])
            for beam, done in zip(beams, over, strict=True):
                beam.done = beam.done or done
    best = max(beams, key=_mean)
    return [i for i in best.ids if i != end]


def _mean(beam: _Beam) -> float:
    return beam.score / max(1, len(beam.ids))


def _scored(logits: Tensor, beams: Sequence[_Beam], rule: Decoding) -> Tensor:
    if rule.repetition_penalty != 1:
        for row, beam in zip(logits, beams, strict=True):
            said = torch.tensor(sorted(set(beam.ids)), dtype=torch.long)
            value = row[said]
            row[said] = torch.where(value > 0, value / rule.repetition_penalty, value * rule.repetition_penalty)
    return (logits / rule.temperature if rule.temperature > 0 else logits).log_softmax(-1)


def _chosen(row: Tensor, rule: Decoding, generator: torch.Generator) -> list[tuple[int, float]]:
    """Return the tokens a row goes on with and their log-likelihoods."""
    if rule.temperature == 0:
        values, tokens = row.topk(min(rule.beams, int(torch.isfinite(row).sum())))
        return list(zip(tokens.tolist(), values.tolist(), strict=True))
    order = row.argsort(descending=True)
    chances = row[order].exp()
    keep = chances.cumsum(0) - chances < rule.top_p
    if rule.top_k:
        keep[rule.top_k :] = False
    drawn = int(torch.multinomial(chances * keep, 1, generator=generator))
    return [(int(order[drawn]), float(row[order[drawn]]))]
