"""English words of the field under one spelling, so that a name is found however it is written."""

from __future__ import annotations

_SPELLINGS = (
    ("haem", "hem"), ("oedem", "edem"), ("isation", "ization"), ("fibre", "fiber"), ("centre", "center"),
    ("naev", "nev"), ("disk", "disc"), ("tumour", "tumor"), ("colour", "color"),
)  # fmt: skip


def plain_word(word: str) -> str:
    """Return a word in small letters in the singular and with American spelling.

    Example:
        >>> plain_word("haemorrhages"), plain_word("oedema"), plain_word("biopsies"), plain_word("drusen")
        ('hemorrhage', 'edema', 'biopsy', 'drusen')
    """
    for british, american in _SPELLINGS:
        if british in word:
            word = word.replace(british, american)
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
