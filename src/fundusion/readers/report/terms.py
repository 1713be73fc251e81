"""Words of a report that name a finding: English by words, Chinese by longest match. The names stand in `terms.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...core.spelling import plain_word

_WORD = re.compile(r"[A-Za-z]+|\d+")
_GAP = re.compile(r"(?:[ \-/'’]|\n(?!\n)){0,3}")
#: Words shorter than this are never corrected: too many others are one letter away.
_CORRECTED_LENGTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A finding that a report may name.

    Args:
        code: Stable name.
        title: Words for a reader.
        letter: ODIR-5K label it means; None for a single lesion.
        kind: "lesion", "disease", "treatment", "symptom" or "normal".
        grade: Scale and value that the name itself says.
    """

    code: str
    title: str
    letter: str | None = None
    kind: str = "disease"
    grade: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TermMatch:
    """Where a text names a finding, or with `denies` a word that says it is not there; positions are those of the text."""

    start: int
    end: int
    code: str
    misspelt: bool = False
    denies: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vocabulary:
    terms: MappingProxyType[str, Term]
    english: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]]
    chinese: dict[str, list[tuple[str, str]]]
    capitals: dict[str, str]
    nearby: dict[str, dict[str, str]]
    misspellings: dict[str, str]
    long_words: dict[str, list[str]]


@cache
def vocabulary() -> _Vocabulary:
    """Return the names of all findings, read once."""
    table = tomllib.loads((Path(__file__).parent / "terms.toml").read_text("utf-8"))
    misspellings = table.pop("__misspellings__")
    pairs = table.pop("__pairs__")
    nearby = table.pop("__nearby__")
    terms: dict[str, Term] = {}
    english: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
    chinese: dict[str, list[tuple[str, str]]] = {}
    capitals: dict[str, str] = {}

    def add(name: str, codes: tuple[str, ...]) -> None:
        words = tuple(plain_word(w.group().lower()) for w in _WORD.finditer(name))
        english.setdefault(words[0], []).append((words, codes))

    for code, entry in table.items():
        terms[code] = _term(code, entry)
        for name in (*entry.get("en", ()), *entry.get("small", ())):
            add(name, (code,))
        for name in entry.get("denied_en", ()):
            add(name, (f"!{code}",))
        for name in entry.get("zh", ()):
            chinese.setdefault(name[0].lower(), []).append((name.lower(), code))
        for name in entry.get("denied_zh", ()):
            chinese.setdefault(name[0].lower(), []).append((name.lower(), f"!{code}"))
        capitals |= dict.fromkeys(entry.get("abbr", ()), code)
    for name, codes in pairs.items():
        add(name, tuple(codes))
    for names in english.values():
        names.sort(key=lambda item: -len(item[0]))
    for entries in chinese.values():
        entries.sort(key=lambda item: -len(item[0]))
    long_words: dict[str, list[str]] = {}
    for word in {w for names in english.values() for words, _ in names for w in words if len(w) >= _CORRECTED_LENGTH}:
        long_words.setdefault(word[0], []).append(word)
    return _Vocabulary(
        terms=MappingProxyType(terms),
        english=english,
        chinese=chinese,
        capitals=capitals,
        nearby=nearby,
        misspellings=misspellings,
        long_words=long_words,
    )


def known_terms() -> MappingProxyType[str, Term]:
    """Return every finding the reader knows, by code.

    Example:
        >>> known_terms()["cotton_wool_spot"].title, known_terms()["cataract"].letter
        ('cotton wool spot', 'C')
    """
    return vocabulary().terms


def _term(code: str, entry: dict[str, Any]) -> Term:
    scale, _, value = entry.get("grade", "").partition("=")
    return Term(
        code=code,
        title=entry.get("title", code.replace("_", " ")),
        letter=entry.get("letter"),
        kind=entry.get("kind", "disease"),
        grade=(scale, value) if value else None,
    )


def find_terms(text: str) -> list[TermMatch]:
    """Return the findings a sentence names, in order, none inside another.

    Example:
        >>> [m.code for m in find_terms("Cotton-wool spots and hemorrages; NVD")]
        ['cotton_wool_spot', 'haemorrhage', 'disc_neovascularisation']
        >>> [m.code for m in find_terms("未见视网膜前出血、硬渗")]
        ['preretinal_haemorrhage', 'hard_exudate']
    """
    matches = list(_english(text))
    if not text.isascii():
        matches += _chinese(text.lower())
    matches.sort(key=lambda m: (m.start, m.start - m.end))
    kept: list[TermMatch] = []
    for match in matches:
        if not kept or match.start >= kept[-1].end or (match.start, match.end) == (kept[-1].start, kept[-1].end):
            kept.append(match)
    return kept


def narrower(code: str, clause: str) -> str:
    """Return the code that a word of the same clause makes of a finding.

    Example:
        >>> narrower("neovascularisation", "虹膜未见新生血管")
        'iris_neovascularisation'
    """
    for word, becomes in vocabulary().nearby.get(code, {}).items():
        if word in clause:
            return becomes
    return code


def _english(text: str) -> Iterator[TermMatch]:
    known = vocabulary()
    tokens = list(_WORD.finditer(text))
    shouted = not any(c.islower() for c in text) and sum(len(t.group()) > 3 for t in tokens) > 1
    words = [normal_word(_without_plural(t.group())) for t in tokens]
    i = 0
    while i < len(tokens):
        # "3rd" holds no retinal detachment.
        glued = i > 0 and tokens[i - 1].end() == tokens[i].start() and tokens[i - 1].group().isdigit()
        found = None if glued else _longest(text, tokens, words, i)
        if found is not None:
            length, codes = found
            wrong = any(
                known.misspellings.get(t.group().lower(), "") or _corrected(t.group().lower())
                for t in tokens[i : i + length]
            )
            for code in codes:
                yield _match(tokens[i].start(), tokens[i + length - 1].end(), code, misspelt=wrong)
            i += length
            continue
        bare = _without_plural(tokens[i].group())
        code = known.capitals.get(bare)
        # In a text all in capitals HE and MA are as likely words as findings.
        if code is not None and not (shouted and len(bare) == 2):
            yield TermMatch(start=tokens[i].start(), end=tokens[i].end(), code=code)
        i += 1


def _without_plural(token: str) -> str:
    """Return an abbreviation without its small s: CWSs is CWS."""
    return token[:-1] if len(token) > 2 and token.endswith("s") and token[:-1].isupper() else token


def _match(start: int, end: int, code: str, *, misspelt: bool = False) -> TermMatch:
    denies = code.startswith("!")
    return TermMatch(start=start, end=end, code=code.removeprefix("!"), misspelt=misspelt, denies=denies)


def _longest(text: str, tokens: list[re.Match[str]], words: list[str], i: int) -> tuple[int, tuple[str, ...]] | None:
    for names, codes in vocabulary().english.get(words[i], ()):
        n = len(names)
        if tuple(words[i : i + n]) == names and all(
            _GAP.fullmatch(text, tokens[k].end(), tokens[k + 1].start()) for k in range(i, i + n - 1)
        ):
            return n, codes
    return None


def _chinese(text: str) -> Iterator[TermMatch]:
    known = vocabulary().chinese
    i = 0
    while i < len(text):
        for name, code in known.get(text[i], ()):
            if text.startswith(name, i):
                yield _match(i, i + len(name), code)
                i += len(name) - 1
                break
        i += 1


@lru_cache(maxsize=20_000)
def normal_word(token: str) -> str:
    """Return the form under which a word is looked up: small letters, singular, American spelling, corrected.

    Example:
        >>> normal_word("Haemorrhages"), normal_word("oedema"), normal_word("haemorhages")
        ('hemorrhage', 'edema', 'hemorrhage')
    """
    word = token.lower()
    return vocabulary().misspellings.get(word) or _corrected(word) or plain_word(word)


@lru_cache(maxsize=20_000)
def _corrected(word: str) -> str | None:
    """Return the known long word that is one letter away, or None for a word that is known or near none."""
    plain = plain_word(word)
    if len(plain) < _CORRECTED_LENGTH - 1 or len(plain) > 40:
        return None
    candidates = vocabulary().long_words.get(plain[0], ())
    if plain in candidates or plain in vocabulary().english:
        return None
    near = [c for c in candidates if abs(len(c) - len(plain)) <= 1 and _one_edit(plain, c)]
    return near[0] if len(near) == 1 else None


def _one_edit(a: str, b: str) -> bool:
    i = 0
    while i < min(len(a), len(b)) and a[i] == b[i]:
        i += 1
    if len(a) == len(b):
        return a[i + 1 :] == b[i + 1 :] or (a[i : i + 2] == b[i : i + 2][::-1] and a[i + 2 :] == b[i + 2 :])
    return a[i + 1 :] == b[i:] if len(a) > len(b) else a[i:] == b[i + 1 :]
