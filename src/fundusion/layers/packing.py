"""Several short conversations in one row, so that no step is spent on padding; none sees another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Conversations side by side.

    Args:
        words: Rows of several conversations; the first token of each is no answer.
        places: Position of each token in its own conversation, int64 `(R, L)`.
        part: Number of the conversation a token belongs to, int64 `(R, L)`; -1 at padding.
    """

    words: Words
    places: Tensor
    part: Tensor

    def mask(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return what is added to attention `(R, 1, L, L)`: zero where a token may look, the least number elsewhere.

        A token looks at itself and at earlier ones of its own conversation; padding at itself alone.
        """
        length = self.part.shape[1]
        earlier = torch.ones(length, length, dtype=torch.bool, device=self.part.device).tril()
        same = (self.part[:, :, None] == self.part[:, None, :]) & (self.part >= 0)[:, :, None]
        seen = (same & earlier) | torch.eye(length, dtype=torch.bool, device=self.part.device)
        hidden = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return hidden.masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def pack(words: Words, room: int) -> Packed:
    """Return conversations in as few rows as their order allows: pictures belong to places in order, so the order stays.

    Args:
        words: Padded on the right, without extras.
        room: Most tokens of a row.

    Raises:
        InvalidInput: A conversation is longer than a row, or has more than words (`config.packing`).

    Example:
        >>> from .chat import padded
        >>> made = pack(padded([([5, 6], [False, True]), ([7, 8], [False, True]), ([9], [False])], 0, left=False), 4)
        >>> made.words.ids.tolist(), made.places.tolist()
        ([[5, 6, 7, 8], [9, 0, 0, 0]], [[0, 1, 0, 1], [0, 0, 0, 0]])
    """
    if words.extras:
        raise InvalidInput("conversations with more than words are not packed.", code="config.packing")
    lengths = words.mask.sum(1).tolist()
    if max(lengths) > room:
        raise InvalidInput(
            f"a conversation has {max(lengths)} tokens, a row {room}.", code="text.too_long", hint="Use longer rows."
        )
    rows: list[list[int]] = [[]]
    used = 0
    for number, length in enumerate(lengths):
        if used + length > room:
            rows.append([])
            used = 0
        rows[-1].append(number)
        used += length
    width = max(sum(lengths[n] for n in row) for row in rows)
    device = words.ids.device
    ids = torch.zeros(len(rows), width, dtype=torch.long, device=device)
    answer = torch.zeros(len(rows), width, dtype=torch.bool, device=device)
    places, part = torch.zeros_like(ids), torch.full_like(ids, -1)
    for r, row in enumerate(rows):
        start = 0
        for number in row:
            end = start + lengths[number]
            kept = words.mask[number]
            ids[r, start:end], answer[r, start:end] = words.ids[number][kept], words.answer[number][kept]
            # What ends a conversation must not be asked for the first token of the next.
            answer[r, start] = False
            places[r, start:end] = torch.arange(lengths[number], device=device)
            part[r, start:end] = number
            start = end
    return Packed(words=Words(ids=ids, mask=part >= 0, answer=answer), places=places, part=part)
