"""Pictures as tokens among the words: a run of one place token per picture, which the model replaces by what it saw."""

from __future__ import annotations

from typing import Any

from ..core.errors import InvalidInput
from ..core.interfaces import Words
from .generator import Pictures


class PlacedPictures:
    """Each picture is a fixed number of place tokens.

    Args:
        word: Place token.
        count: Place tokens of a picture.
        side: Of the pictures, px.
        required: A row without its picture is refused; else it is a conversation in words.
        model: Name for messages.
        packs: Positions of the language model can be told, so that several conversations may stand in one row.
    """

    def __init__(self, word: str, count: int, side: int, *, required: bool, model: str, packs: bool = False) -> None:
        self.word, self.count, self.side = word, count, side
        self.required, self.model, self.packs = required, model, packs

    def places(self, pictures: Pictures, count: int) -> list[str]:
        """Return the place tokens of each row."""
        shown = pictures.only()
        if self.required and (shown is None or len(shown) != count):
            raise InvalidInput(f"{self.model} reads pictures; a conversation has none.", code="chat.images")
        if shown is None:
            return [""] * count
        if tuple(shown.shape[2:]) != (self.side, self.side):
            raise InvalidInput(
                f"{self.model} reads pictures of {self.side} x {self.side} px, got {tuple(shown.shape[2:])}.",
                code="chat.images",
                hint="Prepare them as its card says.",
            )
        (present,) = pictures.present.values()
        return [self.word * self.count if p else "" for p in present.tolist()]

    def inputs(self, pictures: Pictures, words: Words) -> dict[str, Any]:
        """Return the arguments of the model."""
        given = {"input_ids": words.ids, "attention_mask": words.mask.long(), **words.extras}
        shown = pictures.only()
        return given if shown is None else {**given, "pixel_values": shown}

    def prompt(self, pictures: Pictures, words: Words) -> dict[str, Any]:
        """Return the arguments of generation."""
        return self.inputs(pictures, words)
