"""Contribution of each table column and report phrase: the change of the answer when it is taken away."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.interfaces import Features, NetworkOutput, TableEncoder, TextEncoder
from ..core.vocabulary import TABLE, TEXT
from .target import Target

Fuse = Callable[[Mapping[str, Features], Mapping[str, Tensor]], NetworkOutput]

_PHRASE = re.compile(r"[^.;!?。；！？\n]+[.;!?。；！？]?")


@torch.no_grad()
def column_contributions(
    features: Mapping[str, Features],
    presence: Mapping[str, Tensor],
    target: Target,
    *,
    fuse: Fuse,
    encoder: TableEncoder,
    table: Tensor,
    table_mask: Tensor,
) -> npt.NDArray[np.float64]:
    """Return how much the probability falls when one column is made missing, `(B, F)`; NaN for cells not known.

    A study whose only known cell is removed keeps its other modalities; if it has none the entry is NaN.
    """
    full = target.probability(fuse(features, presence)).double().numpy(force=True)
    result = np.full(table.shape, np.nan)
    others = [p for m, p in presence.items() if m != TABLE]
    covered = torch.stack(others).any(0) if others else torch.zeros_like(presence[TABLE])
    for column in range(table.shape[1]):
        mask = table_mask.clone()
        mask[:, column] = False
        still = mask.any(1)
        usable = table_mask[:, column] & presence[TABLE] & (still | covered)
        if not bool(usable.any()):
            continue
        hidden = torch.where(usable[:, None], mask, table_mask)
        changed = {**features, TABLE: encoder.encode_table(table, hidden)}
        shown = {**presence, TABLE: presence[TABLE] & torch.where(usable, still, presence[TABLE])}
        without = target.probability(fuse(changed, shown)).double().numpy(force=True)
        rows = usable.numpy(force=True)
        result[rows, column] = (full - without)[rows]
    return result


@torch.no_grad()
def phrase_contributions(
    row: int,
    features: Mapping[str, Features],
    presence: Mapping[str, Tensor],
    target: Target,
    *,
    fuse: Fuse,
    encoder: TextEncoder,
    text: str,
) -> dict[str, float]:
    """Return how much the probability of one study falls when one phrase of its report is left out.

    Args:
        row: Row of the study in the features.
        text: Its report; phrases end at full stops, semicolons and line ends, Chinese ones too.
    """
    phrases = split_phrases(text)
    alone = {m: p[row : row + 1] for m, p in presence.items()}
    single = {m: _row(f, row) for m, f in features.items()}
    others = any(bool(p[0]) for m, p in alone.items() if m != TEXT)
    full = float(target.probability(fuse(single, alone))[0])
    result: dict[str, float] = {}
    for i, phrase in enumerate(phrases):
        rest = " ".join(p for j, p in enumerate(phrases) if j != i)
        ids, mask = encoder.tokenize([rest])
        empty = not rest.strip() or not bool(mask.any())
        if empty and not others:
            continue
        changed = single if empty else {**single, TEXT: encoder.encode_text(ids, mask)}
        shown = {**alone, TEXT: alone[TEXT] & (not empty)}
        result[phrase] = full - float(target.probability(fuse(changed, shown))[0])
    return result


def split_phrases(text: str) -> list[str]:
    """Return the phrases of a report.

    Example:
        >>> split_phrases("No haemorrhage. 视盘边界清；黄斑水肿。")
        ['No haemorrhage.', '视盘边界清；', '黄斑水肿。']
    """
    return [m.group().strip() for m in _PHRASE.finditer(text) if m.group().strip()]


def _row(features: Features, row: int) -> Features:
    return replace(
        features,
        pooled=features.pooled[row : row + 1],
        tokens=None if features.tokens is None else features.tokens[row : row + 1],
        token_mask=None if features.token_mask is None else features.token_mask[row : row + 1],
        maps=(),
        extras={},
    )


def strongest(values: Mapping[str, float] | Sequence[tuple[str, float]], limit: int = 8) -> dict[str, float]:
    """Return the entries with the largest absolute value, largest first.

    Example:
        >>> strongest({"a": 0.1, "b": -0.3, "c": 0.0}, 2)
        {'b': -0.3, 'a': 0.1}
    """
    pairs = list(values.items()) if isinstance(values, Mapping) else list(values)
    return dict(sorted(pairs, key=lambda p: -abs(p[1]))[:limit])
