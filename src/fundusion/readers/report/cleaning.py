"""The characters of a report made uniform, with the way back to the original positions.

Full-width letters and digits become plain ones, marks that cannot be seen are left out, letters of another script that
only look Latin become Latin. Everything found in the cleaned text can be pointed at in the text as it was written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

#: Characters that show nothing: zero width, soft hyphen, tags.
_INVISIBLE = frozenset(
    [*range(0x200B, 0x2010), 0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, *range(0x2060, 0x2065),
     0x3164, 0xFEFF, 0xFFA0, *range(0xFE00, 0xFE10), *range(0xE0000, 0xE0080)]
)  # fmt: skip
#: Characters that change the direction of what is shown.
_DIRECTION = frozenset([0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
#: Cyrillic and Greek letters that look like Latin ones.
_LOOKALIKES = dict(
    zip("аеорсухіјѕԁһԛԝкмтвнАВЕКМНОРСТУХІЈЅ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοιαν", "aeopcyxijsdhqwkmtbhABEKMHOPCTYXIJS" + "ABEZHIKMNOPTYXoiav", strict=True)
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanText:
    """Text made uniform.

    Args:
        plain: The uniform text; case is kept.
        starts: Position in the original of each character of `plain`; None when they are the same.
        invisible: Positions in the original of characters that show nothing.
        direction: Positions of characters that change the direction of the text.
        lookalikes: Positions of letters of another script inside Latin words.
    """

    plain: str
    starts: Sequence[int] | None
    invisible: tuple[int, ...] = ()
    direction: tuple[int, ...] = ()
    lookalikes: tuple[int, ...] = ()

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original text that became `plain[start:end]`.

        Example:
            >>> clean_text("ＭＡ se\u200ben").span(3, 7)
            (3, 8)
        """
        if self.starts is None or start >= end:
            return (start, end) if self.starts is None else (self.starts[start], self.starts[start])
        return self.starts[start], self.starts[end - 1] + 1


def clean_text(text: str) -> CleanText:
    """Return a text made uniform.

    Example:
        >>> clean_text("Ｎo\u200b hаemorrhage").plain
        'No haemorrhage'
    """
    if text.isascii() and not any(c in text for c in "\r\t\v\f\0"):
        return CleanText(plain=text, starts=None)
    foreign = _foreign_letters(text)
    table = {c: _one(c, foreign) for c in set(text)}
    out: list[str] = []
    starts: list[int] = []
    for i, character in enumerate(text):
        for new in table[character]:
            out.append(new)
            starts.append(i)
    hidden = tuple(i for i, c in enumerate(text) if ord(c) in _INVISIBLE and ord(c) not in _DIRECTION)
    turned = tuple(i for i, c in enumerate(text) if ord(c) in _DIRECTION)
    return CleanText(
        plain="".join(out),
        starts=starts,
        invisible=hidden,
        direction=turned,
        lookalikes=tuple(i for i, c in enumerate(text) if c in foreign),
    )


def _one(character: str, foreign: frozenset[str]) -> str:
    code = ord(character)
    if code in _INVISIBLE or code in _DIRECTION:
        return ""
    if character in "\n\r\u2028\u2029\u0085":
        return "\n"
    if character in foreign:
        return _LOOKALIKES[character]
    if character.isspace() or unicodedata.category(character) == "Cc":
        return " "
    return unicodedata.normalize("NFKC", character) or " "


def _foreign_letters(text: str) -> frozenset[str]:
    """Return look-alike letters to be read as Latin: only in a text that is not written in their script."""
    used = {c for c in text if c in _LOOKALIKES}
    if not used:
        return frozenset()
    own = {c for c in text if ("\u0370" <= c <= "\u04ff") and c not in _LOOKALIKES and c not in "µμβΔΩπ"}
    # A Russian or Greek text has letters that look like no Latin one; there nothing is replaced.
    return frozenset() if len(own) >= 3 else frozenset(used)
