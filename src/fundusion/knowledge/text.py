"""Which texts may become prompts: something to read, of bounded length, without characters that cannot be seen."""

from __future__ import annotations

import re
import unicodedata

from ..core.errors import InvalidInput
from ..core.spelling import plain_word

#: A prompt is a phrase. Text encoders read some tens to hundreds of tokens; a page of text would be cut without a word.
MAX_TEXT = 2000
_BETWEEN = re.compile(r"[\s\-_/'’,.()]+")
#: Letters of Chinese writing: there no spaces divide words.
_HAN = re.compile(r"[\u3400-\u9fff]")
#: What shows nothing although its category says otherwise: grapheme joiner, fillers, variation selectors.
_BLANK = frozenset([0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10)])


def checked_text(text: str, *, what: str = "a text") -> str:
    """Return a text with its outer blanks taken off.

    Args:
        text: A prompt, label, name or definition.
        what: Of the message.

    Raises:
        InvalidInput: `text.empty`; `text.too_long`; `text.invisible`: it holds a control, zero-width or direction character, so that it
            is not what a reader sees; or a surrogate, which no file can hold.

    Example:
        >>> checked_text(" macular hole ")
        'macular hole'
        >>> checked_text("macular\u200b hole", what="the label")
        Traceback (most recent call last):
        fundusion.core.errors.InvalidInput: the label holds a character that cannot be seen: U+200B at position 8. Take it out; what is compared must be what is read.
    """
    if len(text) > MAX_TEXT:
        raise InvalidInput(
            f"{what} has {len(text):,} characters; at most {MAX_TEXT:,} are taken.",
            code="text.too_long",
            hint="A prompt is a phrase or a sentence; give the finding and what it looks like.",
        )
    for position, character in enumerate(text, 1):
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") or ord(character) in _BLANK:
            raise InvalidInput(
                f"{what} holds a character that cannot be seen: U+{ord(character):04X} at position {position}.",
                code="text.invisible",
                hint="Take it out; what is compared must be what is read.",
            )
    bare = text.strip()
    if not any(unicodedata.category(c)[0] in "LNS" for c in bare):
        raise InvalidInput(f"{what} is empty: {bare!r}.", code="text.empty", hint="Write a word or a sentence.")
    return bare


def normal_name(name: str) -> str:
    """Return the form under which a name is looked up.

    Case, hyphens, plural, British or American spelling and full-width letters do not matter.

    Example:
        >>> normal_name("Cotton-wool Spots"), normal_name("Macular oedema"), normal_name("ＤＲ"), normal_name("黄斑 裂孔")
        ('cotton wool spot', 'macular edema', 'dr', '黄斑裂孔')
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    words = [plain_word(w) for w in _BETWEEN.split(folded) if w]
    return ("" if _HAN.search(folded) else " ").join(words)
