"""What the small captioner says of a photograph, beside the findings and never in place of them.

Its words come from the picture alone. Each finding it names is held against the facts of the study: it agrees, it differs, or nobody
else looked for it. It names no eye here, as an eye is never guessed, and nothing at all where the quality gate refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..core.interfaces import Turn
from ..core.registry import models
from ..core.study import Image, Study
from ..layers.eye_words import FINDINGS, LANGUAGES, question
from ..transforms.collate import normalise_images
from ..transforms.image import prepare
from .checker import check_text
from .facts import Facts
from .judge import judge
from .names import check_language

#: What may become of a finding that a caption names.
VERDICTS = ("agrees", "differs", "not looked for")
#: Kind of a question on the findings -> what the captioner is asked.
#: That on retinopathy is not among them: it was learned from drawn eyes only.
ASKED: Mapping[str, str] = {"modality": "modality", "laterality": "laterality"}
_LEAD = {
    "en": "A small captioner, from the picture alone, often wrong and no part of the findings: ",
    "zh": "小型描述模型仅凭图像所述（常有错误，不属于检查结果）：",
}
_VERDICTS = {
    "en": {"agrees": "agrees with the findings", "differs": "differs from the findings", "not looked for": "not looked for by the findings"},
    "zh": {"agrees": "与结果一致", "differs": "与结果不符", "not looked for": "结果中未评估"},
}  # fmt: skip
_HONEST = {
    "en": " It learned this from drawn eyes and a few thousand photographs of one set; it is no evidence on a patient.",
    "zh": "该模型由模拟眼图像和一个数据集的照片训练，不能作为患者的依据。",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureWords:
    """A caption and what became of each finding in it.

    Args:
        text: As the captioner said it.
        verdicts: Words of a finding to one of `VERDICTS`.
        removed: Sentences that the checker of texts takes out of it, with the first reason.
    """

    text: str
    verdicts: Mapping[str, str]
    removed: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {"text": self.text, "verdicts": dict(self.verdicts), "removed": [list(r) for r in self.removed]}

    def lines(self, language: str) -> list[str]:
        """Return what is shown to a person.

        Example:
            >>> PictureWords(text="drusen.", verdicts={"drusen": "not looked for"}).lines("en")[1]
            'drusen: not looked for by the findings'
        """
        colon = ": " if language == "en" else "："
        shown = [f"{name}{colon}{_VERDICTS[language][verdict]}" for name, verdict in self.verdicts.items()]
        return [_LEAD[language] + self.text, *shown]


class PictureWriter:
    """A captioner that is asked about pictures one by one.

    Args:
        weights: "shipped", or a folder of `fundusion train-captioner`.
    """

    def __init__(self, weights: str | Path = "shipped") -> None:
        self.model = models.create("captioner.small", weights=weights).eval()
        self._wanted = models.card("captioner.small").input

    def answer(self, image: Image, kind: str, language: str = "en") -> str:
        """Return the answer to one of the questions of `layers.eye_words` on a picture."""
        check_language(language)
        if self._wanted is None:
            return ""
        ready = prepare(image.pixels, self._wanted, reduction=image.reduction, full_shape=image.full_shape)
        pixels = normalise_images(torch.from_numpy(ready.pixels.copy())[None], self._wanted)
        return str(self.model.generate(pixels, [[Turn(role="user", text=question(kind, language))]])[0])

    def describe(self, study: Study | None, facts: Facts, language: str = "en") -> PictureWords | None:
        """Return the caption of the first photograph of a study, held against its facts; None without one, or where it was refused."""
        photographs = study.images.get("cfp", ()) if study is not None else ()
        if facts.refusal is not None or not photographs:
            return None
        return held_against(self.answer(photographs[0], "findings", language), facts, language)

    def ask(self, study: Study | None, kind: str, language: str) -> str | None:
        """Return a sentence with the captioner's own answer to a kind of question; None where it is not asked."""
        photographs = study.images.get("cfp", ()) if study is not None else ()
        if kind not in ASKED or not photographs:
            return None
        return _LEAD[language] + self.answer(photographs[0], ASKED[kind], language) + _HONEST[language]


def held_against(text: str, facts: Facts, language: str) -> PictureWords:
    """Return a caption with a verdict for each finding in it.

    Args:
        text: Of the captioner.
        facts: Of the study.
        language: Of the text.

    Example:
        >>> from .facts import Fact
        >>> fact = Fact(code="cataract", status="absent", probability=0.1, evidence=("disease/cataract",))
        >>> dict(held_against("cataract, drusen.", Facts(findings=(fact,)), "en").verdicts)
        {'cataract': 'differs', 'drusen': 'not looked for'}
    """
    index = LANGUAGES.index(check_language(language))
    named = [w for w in _pieces(text) if w in {names[index] for names in FINDINGS.values()}]
    checked = check_text(text, facts, language=language, origin="captioner")
    return PictureWords(
        text=text,
        verdicts={name: _verdict(name, facts, language) for name in named},
        removed=tuple((r.text, r.kinds[0]) for r in checked.removed),
    )


def _pieces(text: str) -> list[str]:
    for sign in "、，。":
        text = text.replace(sign, ",")
    return [p.strip(" .") for p in text.split(",") if p.strip(" .")]


def _verdict(name: str, facts: Facts, language: str) -> str:
    if name in FINDINGS["normal"]:
        told = [f for f in facts.findings if f.status != "absent"]
        return "differs" if told else "agrees" if facts.findings else "not looked for"
    judgement = judge(f"Signs of {name}" if language == "en" else f"可见{name}", facts)
    if not judgement.kinds:
        return "agrees"
    return "not looked for" if set(judgement.kinds) <= {"unsupported", "unknown_words"} else "differs"
