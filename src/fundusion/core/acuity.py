"""Visual acuity: Snellen fractions, decimal, logMAR, ETDRS letters, five-grade notation, and the words below them.

Source:
    logMAR is minus the decimal logarithm of the decimal acuity (Bailey and Lovie 1976, doi:10.1097/00006324-197611000-00006).
    ETDRS letters: logMAR = 1.7 - 0.02 letters, 85 letters are 20/20 (Gregori et al. 2010, doi:10.1097/IAE.0b013e3181d87e04).
    Five-grade notation: L = 5 - logMAR (Chinese standard GB/T 11533).
    Words: counting fingers 0.014 and hand motion 0.005 decimal (Schulze-Bonsel et al. 2006, doi:10.1167/iovs.05-0981);
    20/2000 and 20/20000 (Holladay 1997, doi:10.3928/1081-597X-19970701-16). Neither gives a number to light perception.
"""

from __future__ import annotations

import math
import re

from .errors import InvalidInput

#: Words for vision below the chart, by the spelling used everywhere.
LOW_VISION: dict[str, tuple[str, ...]] = {
    "counting fingers": ("cf", "fc", "counting fingers", "count fingers", "finger counting", "指数", "数指"),
    "hand motion": ("hm", "hand motion", "hand movement", "hand movements", "手动"),
    "light perception": ("lp", "pl", "light perception", "光感"),
    "no light perception": ("nlp", "npl", "no light perception", "无光感"),
}

#: logMAR of a word by the rule that is asked for; a word that is not listed has no published number.
LOW_VISION_LOGMAR: dict[str, dict[str, float]] = {
    "schulze-bonsel": {"counting fingers": -math.log10(0.014), "hand motion": -math.log10(0.005)},
    "holladay": {"counting fingers": 2.0, "hand motion": 3.0},
}

_FRACTION = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)")
_DISTANCES = (20.0, 6.0, 5.0, 4.0)


def parse_snellen(text: str) -> float:
    """Return the decimal acuity of a Snellen fraction.

    Raises:
        InvalidInput: No fraction, or a test distance that is not 20, 6, 5 or 4.

    Example:
        >>> parse_snellen("20/40"), parse_snellen("6/12")
        (0.5, 0.5)
    """
    match = _FRACTION.fullmatch(text.strip())
    if match is None or float(match[1]) not in _DISTANCES or float(match[2]) <= 0:
        raise InvalidInput(
            f"{text[:20]!r} is no Snellen fraction.",
            code="table.acuity",
            hint="Write 20/40 or 6/12, without letters added or missed.",
        )
    return float(match[1]) / float(match[2])


def low_vision_word(text: str) -> str | None:
    """Return the common spelling of a word for vision below the chart, or None.

    Example:
        >>> low_vision_word("CF"), low_vision_word("手动"), low_vision_word("0.5")
        ('counting fingers', 'hand motion', None)
    """
    word = re.sub(r"[\s.]+", " ", text).strip().casefold()
    # A distance belongs to the finding and not to the word: "CF/30cm", "CF@1m", "指数/眼前".
    word = re.split(r"\s*[/@]\s*", word)[0]
    for name, words in LOW_VISION.items():
        if word in words:
            return name
    return None


def low_vision_logmar(word: str, rule: str) -> float | None:
    """Return the published logMAR of a word, or None when the rule gives it no number.

    Example:
        >>> round(low_vision_logmar("counting fingers", "schulze-bonsel"), 2), low_vision_logmar("light perception", "holladay")
        (1.85, None)
    """
    if rule not in LOW_VISION_LOGMAR:
        raise InvalidInput(
            f"there is no rule {rule!r} for low vision.",
            code="schema.value",
            hint=f"Known: {sorted(LOW_VISION_LOGMAR)}.",
        )
    return LOW_VISION_LOGMAR[rule].get(word)


def decimal_to_logmar(decimal: float) -> float:
    """Return the logMAR of a decimal acuity.

    Example:
        >>> round(decimal_to_logmar(0.5), 3)
        0.301
    """
    if not decimal > 0:
        raise InvalidInput(f"a decimal acuity of {decimal:g} has no logMAR.", code="table.acuity")
    return -math.log10(decimal) + 0.0


def logmar_to_decimal(logmar: float) -> float:
    """Return the decimal acuity of a logMAR.

    Example:
        >>> logmar_to_decimal(1.0)
        0.1
    """
    return float(10.0**-logmar)


def letters_to_logmar(letters: float) -> float:
    """Return the logMAR of an ETDRS letter score.

    Example:
        >>> round(letters_to_logmar(85), 2), round(letters_to_logmar(35), 2)
        (0.0, 1.0)
    """
    return 1.7 - 0.02 * letters


def logmar_to_letters(logmar: float) -> float:
    """Return the ETDRS letter score of a logMAR.

    Example:
        >>> logmar_to_letters(0.3)
        70.0
    """
    return round((1.7 - logmar) / 0.02, 9)
