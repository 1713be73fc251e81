"""A tokenizer of whole words and set phrases from a fixed list: the same in every process, from no file.

The longest entry of the list that begins at a place is one token, so that "macular hole" is one decision of a language model and not
two. What is in no entry is one unknown token per word. Chinese needs no spaces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..core.errors import InvalidInput

#: The first ids of every list, in this order.
MARKS = ("[PAD]", "[START]", "[END]", "[UNK]")
_WORD = re.compile(r"[A-Za-z]+(?:[-'][A-Za-z]+)*|\d+|[^\sA-Za-z\d]")
_WIDE = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")
_CLOSING = frozenset(".,:;?!)")


class WordTokenizer:
    """Splits texts into the entries of a list; reads what `layers.chat` asks of a fast tokenizer.

    Args:
        entries: Words, phrases and signs, without the marks; letters count as they are written, small ones before.

    Raises:
        InvalidInput: An entry is empty or given twice.

    Example:
        >>> words = WordTokenizer(("macular hole", "macular", "?", "黄斑裂孔"))
        >>> words.words_of("Macular hole?"), words.words_of("黄斑裂孔")
        (['macular hole', '?'], ['黄斑裂孔'])
    """

    def __init__(self, entries: Sequence[str]) -> None:
        if not all(e.strip() == e and e for e in entries) or len(set(entries)) != len(entries):
            raise InvalidInput("an entry of a word list is empty or given twice.", code="text.words")
        self.entries = tuple(entries)
        self._names = (*MARKS, *entries)
        self._ids = {name: i for i, name in enumerate(self._names)}
        longest = sorted(entries, key=lambda e: (-len(e), e))
        # A Latin entry ends where a word ends.
        parts = [re.escape(e) + (r"(?![A-Za-z\-])" if e[-1].isascii() and e[-1].isalpha() else "") for e in longest]
        self._entry = re.compile("|".join(parts), re.IGNORECASE) if parts else None
        self.pad_token_id, self.start_token_id, self.eos_token_id, self.unk_token_id = range(len(MARKS))
        self.eos_token = MARKS[2]
        self.all_special_tokens = list(MARKS)

    def __len__(self) -> int:
        return len(self._names)

    def get_added_vocab(self) -> dict[str, int]:
        """Return nothing: every entry is of the list."""
        return {}

    def convert_tokens_to_ids(self, token: str) -> int:
        """Return the id of an entry or a mark; the unknown token for anything else."""
        return self._ids.get(token, self.unk_token_id)

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        """Return ids, and from where to where in the text each token stands."""
        ids, spans, position = [], [], 0
        while position < len(text):
            if text[position].isspace():
                position += 1
                continue
            mark = next((m for m in MARKS if text.startswith(m, position)), None)
            if mark is not None:
                found, end = self._ids[mark], position + len(mark)
            else:
                found, end = self._longest(text, position)
            ids.append(found)
            spans.append((position, end))
            position = end
        return {"input_ids": ids, "offset_mapping": spans}

    def _longest(self, text: str, position: int) -> tuple[int, int]:
        match = self._entry.match(text, position) if self._entry else None
        if match is not None:
            written = match.group()
            name = written if written in self._ids else next(e for e in self.entries if e.lower() == written.lower())
            return self._ids[name], match.end()
        word = _WORD.match(text, position)
        return self.unk_token_id, word.end() if word else position + 1

    def words_of(self, text: str) -> list[str]:
        """Return the entries of a text; `[UNK]` for what is in none."""
        return [self._names[i] for i in self(text)["input_ids"]]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of ids: spaces between Latin words, none before closing signs or beside Chinese.

        Example:
            >>> words = WordTokenizer(("right", "eye", ",", "右眼"))
            >>> words.decode([4, 5, 6, 4]), words.decode([7, 1])
            ('right eye, right', '右眼')
        """
        text = ""
        for i in ids:
            if skip_special_tokens and i < len(MARKS):
                continue
            word = self._names[i]
            close = not text or word[0] in _CLOSING or _WIDE.match(word[0]) or _WIDE.match(text[-1])
            text += word if close else f" {word}"
        return text
