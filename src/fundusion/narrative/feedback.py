"""What readers made of drafts -> pairs of answers and answers to learn: the feedback loop of EyeFM.

Source: Wu et al. 2025, doi:10.1038/s41591-025-03900-7: clinicians accept or edit the copilot's reports, and the edits train the next one. Its
code was not released; the file format here is our own: JSON lines with `question`, `draft`, `status` ("accepted", "edited", "rejected"),
`final` (the text after editing), `images`, `patient_id`, `split`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import FundusionError, InvalidInput, ReadError

STATES = ("accepted", "edited", "rejected")
_LONGEST = 100_000
_LARGEST_LINE = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What a file of feedback came to; every line is in one of the four.

    Args:
        pairs: Edited drafts, as items of conversations with `chosen` and `rejected`.
        answers: Accepted and edited drafts, as conversations.
        unused: Lines with nothing to learn from: rejected drafts without a better text.
        rejected: (line, code, sentence) of lines that cannot be used.
    """

    pairs: tuple[dict[str, Any], ...]
    answers: tuple[dict[str, Any], ...]
    unused: int = 0
    rejected: tuple[tuple[int, str, str], ...] = ()


def read_feedback(path: str | Path) -> Feedback:
    """Return the feedback in a file.

    Raises:
        ReadError: No such file.

    Example:
        >>> read_feedback("none.jsonl")
        Traceback (most recent call last):
        ...
        fundusion.core.errors.ReadError: no file 'none.jsonl'.
    """
    file = Path(path)
    if not file.is_file():
        raise ReadError(f"no file {file.name!r}.", code="input.missing")
    pairs: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    rejected, unused = [], 0
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                found = feedback_items(_parsed(line), f"feedback-{number}")
            except FundusionError as error:
                rejected.append((number, error.code, error.message))
                continue
            unused += not found
            pairs += [i for i in found if "chosen" in i]
            answers += [i for i in found if "chosen" not in i]
    return Feedback(pairs=tuple(pairs), answers=tuple(answers), unused=unused, rejected=tuple(rejected))


def _parsed(line: bytes) -> Any:
    if len(line) > _LARGEST_LINE:
        raise InvalidInput(f"the line has {len(line)} bytes.", code="conversation.too_large")
    try:
        return json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the line is no JSON.", code="conversation.syntax") from error


def feedback_items(value: Any, name: str) -> Sequence[dict[str, Any]]:
    """Return what one line of feedback teaches.

    Example:
        >>> [sorted(i) for i in feedback_items({"draft": "Drusen.", "final": "No drusen.", "status": "edited"}, "a")]
        [['chosen', 'id', 'messages', 'rejected'], ['id', 'messages']]
        >>> feedback_items({"draft": "Drusen.", "status": "rejected"}, "b")
        []
    """
    if not isinstance(value, dict) or value.get("status") not in STATES:
        raise InvalidInput(f"status is one of {', '.join(STATES)}.", code="feedback.status")
    draft, final = (value.get(k) if isinstance(value.get(k), str) else "" for k in ("draft", "final"))
    draft, final = str(draft).strip(), str(final).strip()
    if not draft or max(len(draft), len(final)) > _LONGEST:
        raise InvalidInput("there is no draft, or a text is too long.", code="feedback.draft")
    if value["status"] == "edited" and not final:
        raise InvalidInput("an edited draft needs its final text.", code="feedback.final")
    asked = [{"role": "user", "content": str(value.get("question") or "Describe the findings.")}]
    kept = {k: value[k] for k in ("images", "image", "modality", "patient_id", "split") if value.get(k) is not None}
    better = final if value["status"] != "accepted" else draft
    if not better:
        return []
    found: list[dict[str, Any]] = []
    if better != draft:
        found.append({"id": f"{name}-pair", "messages": asked, "chosen": better, "rejected": draft, **kept})
    found.append({"id": name, "messages": [*asked, {"role": "assistant", "content": better}], **kept})
    return found
