"""Which words may follow in an answer whose findings are decided: a decoder chooses the words, and can name no other finding.

Source: a search that keeps to given words, Hokamp and Liu 2017, arXiv:1704.07138; of phrases of one token each it is a mask per step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .eye_words import EYES, FINDINGS, LANGUAGES, MODALITIES, NOTHING, SIGNS
from .word_tokenizer import WordTokenizer

#: Most tokens before the colon of a caption.
_OPENING = 5


class PhraseGuide:
    """Says which tokens may follow in the answer to one question.

    A caption opens with kind and eye, as the decoder likes; after the colon, and from the start of an answer to the question on
    findings, come the decided findings, each once, in the order that the decoder finds likeliest (what is in doubt last, as a reader
    takes what follows it for doubtful too), and the full stop. Where nothing was decided comes the phrase for it.

    Args:
        tokenizer: Words of the decoder.
        keys: Of `eye_words.FINDINGS`, as decided.
        kind: "caption" or "findings".
        language: Of the answer.

    Example:
        >>> from .eye_words import WORDS
        >>> words = WordTokenizer(WORDS)
        >>> guide = PhraseGuide(words, ["drusen", "cataract"], kind="findings", language="en")
        >>> said = words("drusen")["input_ids"]
        >>> [words.decode([int(i)]) for i in guide.allowed(said).nonzero()]
        [',']
    """

    def __init__(self, tokenizer: WordTokenizer, keys: Sequence[str], *, kind: str, language: str) -> None:
        index = LANGUAGES.index(language)
        place = tokenizer.convert_tokens_to_ids
        self._count, self._end = len(tokenizer), tokenizer.eos_token_id
        self._wanted = frozenset(place(FINDINGS[k][index]) for k in FINDINGS if k in keys) or {place(NOTHING[index])}
        self._doubtful = place(FINDINGS["glaucoma_suspect"][index])
        self._colon, self._comma, self._stop = (place(s) for s in SIGNS[language])
        opening = [names[index] for table in (MODALITIES, EYES) for names in table.values()]
        self._opening = frozenset(place(w) for w in (*opening, *(("of the",) if language == "en" else ())))
        self._opens = kind == "caption"

    def allowed(self, said: Sequence[int]) -> Tensor:
        """Return which tokens may follow bool `(V,)`.

        Args:
            said: Tokens of the answer so far.
        """
        answer = torch.zeros(self._count, dtype=torch.bool)
        answer[list(self._following(list(said)))] = True
        return answer

    def _following(self, said: list[int]) -> set[int]:
        if self._opens:
            if self._colon not in said:
                # No word of the opening is said twice, and a colon has something before it.
                left = self._opening - set(said) if len(said) < _OPENING else set()
                return set(left) | ({self._colon} if said else set())
            said = said[said.index(self._colon) + 1 :]
        left = self._wanted - set(said)
        if not said or said[-1] == self._comma:
            return set(left - {self._doubtful} or left) or {self._stop}
        if said[-1] == self._stop:
            return {self._end}
        return {self._comma} if left else {self._stop}
