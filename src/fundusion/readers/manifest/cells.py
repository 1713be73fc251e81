"""One cell -> one value: identifiers, numbers in a declared notation, missing words. What can be read two ways is refused."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any

from ...core.bound import Bound, as_bound
from ...core.errors import InvalidInput
from ...core.study import is_missing

#: Words that say a value is not known, compared without case. A schema adds codes of its own (999, -1).
MISSING_WORDS = frozenset(
    {"", "na", "n/a", "n.a.", "<na>", "#n/a", "nan", "null", "none", "missing", "unknown", "not available",
     ".", "-", "--", "—", "－", "?", "未知", "不详", "不明", "缺失", "未测", "未查"}
)  # fmt: skip
#: Columns of eyes: there "NA" may be a code of its own and is never silently missing.
EYE_COLUMNS = frozenset({"eye", "laterality", "side", "exam_eye", "eye_code", "eye_side", "眼别", "眼"})
_FORMULA_ERRORS = frozenset({"#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!", "#spill!", "#calc!"})
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_GROUPED = re.compile(r"[+-]?\d{1,3}([ ,.'\u00a0\u202f]\d{3})+([.,]\d+)?")
#: What spreadsheets and data frames write for a long number; an identifier such as 12E3 has no plus sign.
_ROUNDED_ID = re.compile(r"[+-]?\d+([.,]\d+)?[eE]\+\d+")


def text_of(value: Any) -> str:
    """Return the text of a cell of any type, "" when there is none.

    Example:
        >>> text_of(None), text_of(2.0), text_of(" a "), text_of(True)
        ('', '2', 'a', '1')
    """
    if is_missing(value):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime):
        return value.isoformat(sep=" ") if value.time() != time_of_day() else value.date().isoformat()
    if isinstance(value, (date, time_of_day)):
        return value.isoformat()
    return str(value).strip()


def identifier(value: Any, column: str, *, strip: bool = False) -> str:
    """Return an identifier byte for byte, "" when the cell is empty.

    Args:
        value: The cell.
        column: For messages.
        strip: Take spaces off its ends; without it they are refused, because "7" and "7 " may be one patient.

    Raises:
        InvalidInput: `table.id_precision`: a number that was rounded on its way; `table.id_character`: spaces at an end or
            characters that do not show.

    Example:
        >>> identifier("00123", "patient_id"), identifier(123, "patient_id")
        ('00123', '123')
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and (not value.is_integer() or abs(value) >= 1e15):
        raise _rounded(column, repr(value))
    text = value if isinstance(value, str) else text_of(value)
    if strip:
        text = text.strip()
    if not text.strip():
        return ""
    if _ROUNDED_ID.fullmatch(text):
        raise _rounded(column, text)
    if text.isascii() and text.isprintable() and text == text.strip():
        return text
    hidden = next((c for c in text if unicodedata.category(c) in ("Cc", "Cf") or c == "\ufffd"), None)
    if hidden is not None or text != text.strip():
        what = "a space at an end" if hidden is None else f"the character U+{ord(hidden):04X}, which does not show"
        raise InvalidInput(
            f"column {column!r} holds {text[:40]!r} with {what}.",
            code="table.id_character",
            hint="Remove it, or say strip = true for this column in a schema (spaces only).",
        )
    return text


def _rounded(column: str, text: str) -> InvalidInput:
    return InvalidInput(
        f"column {column!r} holds {text[:40]!r}: a number that lost digits when it was stored.",
        code="table.id_precision",
        hint="Export identifiers as text from their source; the lost digits cannot be restored.",
    )


def is_missing_word(text: str, extra: frozenset[str] = frozenset()) -> bool:
    """Return whether a text is a word for a missing value.

    Example:
        >>> is_missing_word("未知"), is_missing_word("0"), is_missing_word("999", frozenset({"999"}))
        (True, False, True)
    """
    return text.strip().casefold() in MISSING_WORDS or text.strip() in extra


def plain_cell(name: str, value: Any) -> float | str | None:
    """Return a number, a word, a bound, or None for a cell without a schema."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, (int, float)):
        if is_missing(value):
            return None
        return finite(float(value), name)
    text = text_of(value)
    if "\0" in text:
        raise InvalidInput(f"column {name!r} holds a NUL character.", code="table.character", hint="Remove it.")
    if text.casefold() == "na" and name.removeprefix("meta.") in EYE_COLUMNS:
        return text
    if is_missing_word(text):
        return None
    if NUMBER.fullmatch(text):
        return finite(float(text), name)
    refuse_formula_error(text, name)
    if _COMMA.fullmatch(text) or _GROUPED.fullmatch(text):
        raise InvalidInput(
            f"column {name!r} holds {text!r}: a decimal comma or a thousands mark.",
            code="table.decimal_comma",
            hint='Write numbers with a decimal point and no thousands mark, or declare decimal = "," in a schema.',
        )
    if re.fullmatch(r"[+-]?\d+([.,]\d+)?\s*[%％]", text):
        raise InvalidInput(
            f"column {name!r} holds {text!r}, a number with its unit.",
            code="table.unit_in_cell",
            hint="Declare the column and its unit in a schema, or write the number alone.",
        )
    return as_bound(text) or text


def refuse_formula_error(text: str, name: str) -> None:
    """Refuse the error words of spreadsheets; they are neither values nor missing."""
    if text.casefold() in _FORMULA_ERRORS:
        raise InvalidInput(
            f"column {name!r} holds {text!r}, an error of a spreadsheet formula.",
            code="table.formula",
            hint="Correct the formula, or clear the cell.",
        )


def finite(number: float, name: str) -> float:
    """Return a number that is neither NaN nor infinite; another is refused."""
    if number != number or number in (float("inf"), float("-inf")):
        raise InvalidInput(f"column {name!r} holds {number}.", code="table.not_a_number", hint="Leave the cell empty.")
    return number


def parse_number(text: str, name: str, *, decimal: str = ".", thousands: str | None = None) -> float | Bound:
    """Return the number of a text in a declared notation, or the bound it states.

    Args:
        text: The cell without its unit.
        name: Column for messages.
        decimal: "." or ",".
        thousands: Mark between groups of three digits; None where there is none.

    Raises:
        InvalidInput: `table.decimal_comma` or `table.not_a_number`.

    Example:
        >>> parse_number("14,5", "iop", decimal=","), parse_number("1.450,5", "cst", decimal=",", thousands=".")
        (14.5, 1450.5)
    """
    cell = unicodedata.normalize("NFKC", text).strip()
    sign = re.match(r"[<>≤≥]=?\s*", cell)
    digits = cell[sign.end() :] if sign else cell
    digits = re.sub(r"^[−–](?=\d)", "-", digits)
    if thousands is not None and thousands in digits:
        mark = re.escape(unicodedata.normalize("NFKC", thousands))
        if not re.fullmatch(rf"[+-]?\d{{1,3}}({mark}\d{{3}})+({re.escape(decimal)}\d+)?", digits):
            raise _two_ways(name, text, decimal)
        digits = digits.replace(unicodedata.normalize("NFKC", thousands), "")
    other = "," if decimal == "." else "."
    if other in digits:
        raise _two_ways(name, text, decimal)
    digits = digits.replace(decimal, ".")
    if not NUMBER.fullmatch(digits):
        refuse_formula_error(cell, name)
        raise InvalidInput(
            f"column {name!r} holds {text[:40]!r}, which is not a number.",
            code="table.not_a_number",
            hint="Correct the cell, or name the code in `missing` if it stands for a missing value.",
        )
    if sign:
        return Bound(f"{sign[0].strip()}{digits}")
    return finite(float(digits), name)


def _two_ways(name: str, text: str, decimal: str) -> InvalidInput:
    return InvalidInput(
        f"column {name!r} holds {text[:40]!r}, but its decimal mark is declared as {decimal!r}.",
        code="table.decimal_comma",
        hint='Declare decimal = "," or thousands = "," for the column, or correct the cell.',
    )
