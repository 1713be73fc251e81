"""What is said about a study: its report, the names of its findings, and what is known about each of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..core.durable import digest_of
from ..core.errors import InvalidInput, ReadError
from ..core.study import StudyRecord, is_missing
from ..core.vocabulary import ODIR_LABELS
from ..readers.report import label_report, read_report

#: Names of retinopathy grades and of oedema risks, as a sentence would have them.
GRADES: Mapping[str, tuple[str, ...]] = {
    "dr_grade": (
        "no diabetic retinopathy",
        "mild diabetic retinopathy",
        "moderate diabetic retinopathy",
        "severe diabetic retinopathy",
        "proliferative diabetic retinopathy",
    ),
    "dme_risk": (
        "no referable diabetic macular edema",
        "non clinically significant diabetic macular edema",
        "diabetic macular edema",
    ),
}
_MAX_KNOWLEDGE_BYTES = 16 << 20


class TextSource(Protocol):
    """Where the texts of training come from; replace it to bring a knowledge base of your own."""

    def findings_of(self, study: StudyRecord) -> list[str]: ...

    def texts_of(self, study: StudyRecord) -> list[str]: ...

    def texts_for(self, finding: str) -> list[str]: ...

    def mentions(self, study: StudyRecord) -> Mapping[str, int]: ...


class StudyTexts:
    """Texts from reports and labels.

    Args:
        knowledge: Finding to what else can be said for it: synonyms and definitions.
        aliases: Words of labels to the finding they mean; both spellings are texts of the finding.
    """

    def __init__(
        self, knowledge: Mapping[str, Sequence[str]] | None = None, aliases: Mapping[str, str] | None = None
    ) -> None:
        self.knowledge = {plain(k): tuple(v) for k, v in (knowledge or {}).items()}
        self.aliases = {plain(k): plain(v) for k, v in (aliases or {}).items()}

    def findings_of(self, study: StudyRecord) -> list[str]:
        """Return the findings that labels name: words first; grades or letters where there are no words.

        Example:
            >>> study = StudyRecord(study_id="a", labels={"findings": ("Drusen", "laser spot"), "dr_grade": 0})
            >>> StudyTexts(aliases={"laser spot": "laser scar"}).findings_of(study)
            ['drusen', 'laser scar']
            >>> StudyTexts().findings_of(StudyRecord(study_id="b", labels={"dr_grade": "3"}))
            ['severe diabetic retinopathy']
        """
        words = [w for name, value in sorted(study.labels.items()) if name not in GRADES for w in _words(name, value)]
        if not words:
            words = [w for name in GRADES for w in _grade(name, study.labels.get(name))]
        if not words:
            words = _letters(study.labels.get("disease"))
        return list(dict.fromkeys(self.aliases.get(w, w) for w in words))

    def texts_of(self, study: StudyRecord) -> list[str]:
        """Return whole texts of a study, any of which may stand for it: its report, else its findings in a row.

        Example:
            >>> StudyTexts().texts_of(StudyRecord(study_id="a", labels={"findings": ("drusen", "cataract")}))
            ['drusen, cataract']
        """
        if study.report and study.report.strip():
            return [study.report.strip()]
        findings = self.findings_of(study)
        return [", ".join(findings)] if findings else []

    def texts_for(self, finding: str) -> list[str]:
        """Return the name of a finding, its other spellings and its definitions.

        Example:
            >>> StudyTexts({"drusen": ["yellow deposits"]}).texts_for("Drusen")
            ['drusen', 'yellow deposits']
        """
        name = plain(finding)
        other = [word for word, meant in self.aliases.items() if meant == name]
        return list(dict.fromkeys([name, *other, *self.knowledge.get(name, ())]))

    def mentions(self, study: StudyRecord) -> dict[str, int]:
        """Return finding to 1 (present) or -1 (denied): those of the labels, and those the report speaks of.

        Example:
            >>> study = StudyRecord(study_id="a", report="No macular oedema. Drusen at the macula.")
            >>> StudyTexts().mentions(study)
            {'drusen': 1, 'macular oedema': -1}
        """
        found = dict.fromkeys(self.findings_of(study), 1)
        if study.report and study.report.strip():
            for code, value in label_report(read_report(study.report), study.laterality).findings.items():
                name = plain(code.replace("_", " "))
                found.setdefault(self.aliases.get(name, name), 1 if value else -1)
        return found


def plain(words: str) -> str:
    """Return words in lower case with single spaces, as findings are compared.

    Example:
        >>> plain("  Macular   Hole ")
        'macular hole'
    """
    return re.sub(r"\s+", " ", words).strip().casefold()


def _words(name: str, value: Any) -> list[str]:
    """Return the findings a label spells out; numbers and lists of letters are none."""
    if isinstance(value, str):
        value = [v for v in value.split("|") if v]
    elif isinstance(value, Mapping):
        value = [k for k, v in value.items() if v == 1]
    if not isinstance(value, (list, tuple)):
        return []
    words = [plain(str(v).replace("_", " ")) for v in value]
    spelt = [w for w in words if len(w) > 1 and re.search(r"[^\W\d_]", w) and w not in ("none", "yes", "no")]
    return spelt if len(spelt) == len(words) else []


def _grade(name: str, value: Any) -> list[str]:
    try:
        number = float("nan") if is_missing(value) else float(value)
    except (TypeError, ValueError):
        return []
    names = GRADES[name]
    return [names[int(number)]] if number in range(len(names)) else []


def _letters(value: Any) -> list[str]:
    if isinstance(value, str):
        value = dict.fromkeys(value.split("|"), 1)
    if not isinstance(value, Mapping):
        return []
    return [ODIR_LABELS[k] for k, v in value.items() if k in ODIR_LABELS and v == 1]


def read_knowledge(path: str | Path) -> tuple[dict[str, tuple[str, ...]], str]:
    """Return finding to texts from a JSON file, and a digest of the file.

    The file maps a finding to a list of texts, or holds such a mapping under "definitions".

    Raises:
        ReadError: No such file, or it is no JSON.
        InvalidInput: It holds something else.
    """
    source = Path(path)
    if not source.is_file():
        raise ReadError(f"no knowledge file {source.name!r}.", code="knowledge.missing")
    if source.stat().st_size > _MAX_KNOWLEDGE_BYTES:
        raise InvalidInput(f"{source.name!r} has more than 16 MiB.", code="knowledge.size")
    try:
        value = json.loads(source.read_text("utf-8"))
    except (UnicodeDecodeError, ValueError) as error:
        raise ReadError(f"{source.name!r} is no JSON: {error}.", code="knowledge.syntax") from error
    if isinstance(value, dict) and isinstance(value.get("definitions"), dict):
        value = value["definitions"]
    fits = isinstance(value, dict) and all(
        isinstance(texts, list) and all(isinstance(t, str) and t.strip() for t in texts) for texts in value.values()
    )
    if not fits or not value:
        raise InvalidInput(
            f"{source.name!r} is no mapping of findings to lists of texts.",
            code="knowledge.layout",
            hint='Write {"drusen": ["yellow deposits under the retina"]}.',
        )
    return {plain(k): tuple(v) for k, v in value.items()}, digest_of(source)
