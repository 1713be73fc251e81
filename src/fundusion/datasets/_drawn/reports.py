"""Reports of a drawn eye in English or Chinese: history, and findings that are true of its pictures."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ...core.errors import InvalidInput
from ...core.vocabulary import Laterality
from .patient import EyeFacts

LANGUAGES = ("en", "zh")
CONTENTS = ("history", "findings", "full")

#: Wordings of a finding: language, finding, whether it is there.
_FINDINGS: dict[str, dict[str, dict[bool, tuple[str, ...]]]] = {
    "en": {
        "MA": {
            True: ("Microaneurysms are seen", "Scattered microaneurysms", "Microaneurysms at the posterior pole"),
            False: ("No microaneurysms", "Microaneurysms are absent"),
        },
        "HE": {
            True: ("Retinal haemorrhages are present", "Blot haemorrhages are seen", "Intraretinal haemorrhage noted"),
            False: ("No haemorrhage", "No retinal haemorrhage seen", "Without haemorrhage"),
        },
        "EX": {
            True: ("Hard exudates at the macula", "Yellow hard exudates are seen"),
            False: ("No hard exudates", "No exudation"),
        },
        "SE": {
            True: ("Cotton-wool spots are present", "Cotton-wool spots seen"),
            False: ("No cotton-wool spots",),
        },
        "NV": {
            True: ("New vessels are seen", "Neovascularisation is present"),
            False: ("No new vessels", "No neovascularisation"),
        },
        "drusen": {
            True: ("Drusen at the macula", "Multiple drusen are seen"),
            False: ("No drusen",),
        },
        "cup": {
            True: ("The optic cup is enlarged, cup-to-disc ratio about {cdr:.1f}", "Large cup, C/D {cdr:.1f}"),
            False: ("Optic disc unremarkable, C/D {cdr:.1f}", "Cup-to-disc ratio {cdr:.1f}, not enlarged"),
        },
        "fluid": {
            True: ("OCT: subretinal fluid", "OCT shows subretinal fluid under the macula"),
            False: ("OCT: no subretinal fluid", "OCT without subretinal fluid"),
        },
        "oedema": {
            True: ("OCT: cystoid macular oedema", "Intraretinal cysts on OCT"),
            False: ("OCT: no macular oedema",),
        },
        "leakage": {
            True: ("Angiography: dye leakage", "Fluorescein leakage in the angiogram"),
            False: ("Angiography: no leakage",),
        },
        "detachment": {
            True: ("B-scan ultrasound: retinal detachment", "Ultrasound shows a detached retina"),
            False: ("Ultrasound: no retinal detachment", "Ultrasound: retina attached"),
        },
        "vitreous": {
            True: ("Ultrasound: vitreous haemorrhage", "Ultrasound: echoes of vitreous haemorrhage"),
            False: ("Ultrasound: vitreous clear",),
        },
    },
    "zh": {
        "MA": {True: ("可见微动脉瘤", "后极部散在微动脉瘤"), False: ("未见微动脉瘤", "无微动脉瘤")},
        "HE": {
            True: ("视网膜可见出血", "可见点片状出血", "视网膜内出血"),
            False: ("未见出血", "视网膜未见出血", "无出血"),
        },
        "EX": {True: ("黄斑区可见硬性渗出", "可见黄白色硬性渗出"), False: ("未见硬性渗出", "无渗出")},
        "SE": {True: ("可见棉绒斑", "散在棉绒斑"), False: ("未见棉绒斑",)},
        "NV": {True: ("可见新生血管", "视网膜新生血管形成"), False: ("未见新生血管",)},
        "drusen": {True: ("黄斑区可见玻璃膜疣", "多发玻璃膜疣"), False: ("未见玻璃膜疣",)},
        "cup": {
            True: ("视杯扩大，杯盘比约{cdr:.1f}", "大视杯，C/D {cdr:.1f}"),
            False: ("视盘未见异常，C/D {cdr:.1f}", "杯盘比{cdr:.1f}，视杯无扩大"),
        },
        "fluid": {True: ("OCT：视网膜下积液", "OCT示黄斑区视网膜下积液"), False: ("OCT：未见视网膜下积液",)},
        "oedema": {True: ("OCT：黄斑囊样水肿", "OCT可见视网膜内囊腔"), False: ("OCT：未见黄斑水肿",)},
        "leakage": {True: ("造影：荧光素渗漏", "造影可见荧光渗漏"), False: ("造影：未见渗漏",)},
        "detachment": {True: ("B超：视网膜脱离", "B超示视网膜脱离"), False: ("B超：未见视网膜脱离", "B超：视网膜在位")},
        "vitreous": {True: ("B超：玻璃体积血", "B超示玻璃体积血"), False: ("B超：玻璃体腔清晰",)},
    },
}

_HISTORY: dict[str, dict[str, dict[bool, tuple[str, ...]]]] = {
    "en": {
        "flashes": {
            True: (
                "Complains of flashes of light for {days} days",
                "Reports flashes and new floaters since {days} days",
                "Notices a curtain over the vision for {days} days",
            ),
            False: (
                "Denies flashes and floaters",
                "No flashes, no curtain",
                "Routine visit, no flashes of light reported",
            ),
        },
        "injected": {
            True: (
                "Intravitreal anti-VEGF injection {weeks} weeks ago",
                "Received an anti-VEGF injection {weeks} weeks ago",
            ),
            False: ("No previous intravitreal injection", "Has not had any anti-VEGF injection"),
        },
    },
    "zh": {
        "flashes": {
            True: ("闪光感{days}天", "诉眼前闪光感及新发飞蚊{days}天", "眼前黑幕遮挡{days}天"),
            False: ("否认闪光感及飞蚊", "无闪光感，无黑幕遮挡", "常规复查，无闪光感"),
        },
        "injected": {
            True: ("{weeks}周前行玻璃体腔抗VEGF注射", "{weeks}周前接受抗VEGF注射治疗"),
            False: ("既往未行玻璃体腔注射", "未接受过抗VEGF注射"),
        },
    },
}
_EYES = {
    "en": {Laterality.RIGHT: ("Right eye", "OD"), Laterality.LEFT: ("Left eye", "OS")},
    "zh": {Laterality.RIGHT: ("右眼", "右眼（OD）"), Laterality.LEFT: ("左眼", "左眼（OS）")},
}
#: Which picture a finding is read from.
_SOURCE = {
    **dict.fromkeys(("MA", "HE", "EX", "SE", "NV", "drusen", "cup"), "cfp"),
    **dict.fromkeys(("fluid", "oedema"), "oct"),
    "leakage": "ffa",
    **dict.fromkeys(("detachment", "vitreous"), "ultrasound"),
}


def draw_report(
    generator: np.random.Generator,
    facts: EyeFacts,
    *,
    seen: Collection[str],
    modalities: Collection[str],
    language: str = "en",
    content: str = "full",
    omit: float = 0.08,
) -> str:
    """Return a report of one eye.

    Args:
        generator: Chooses wordings and order.
        facts: What is true of the eye.
        seen: Lesions that its photograph shows ("MA", "HE", ...).
        modalities: Pictures that were taken; a finding of another is not mentioned.
        language: "en" or "zh".
        content: "history" is complaints and treatment only and says nothing that a picture shows; "findings" is what
            the pictures show, also what is absent; "full" is both.
        omit: Share of the sentences that the writer left out.

    Raises:
        InvalidInput: Unknown language or content.
    """
    if language not in LANGUAGES:
        raise InvalidInput(f"language {language!r} is not one of {LANGUAGES}.", code="synthetic.language")
    if content not in CONTENTS:
        raise InvalidInput(f"report content {content!r} is not one of {CONTENTS}.", code="synthetic.report")
    sentences: list[str] = []
    if content != "findings":
        numbers = {"days": int(generator.integers(1, 15)), "weeks": int(generator.integers(2, 12))}
        for name, holds in (("flashes", facts.flashes), ("injected", facts.injected)):
            wording = _choose(generator, _HISTORY[language][name][holds]).format(**numbers)
            if generator.random() >= omit:
                sentences.append(wording)
    if content != "history":
        sentences += _findings(generator, facts, seen, modalities, language, omit)
    eye = _choose(generator, _EYES[language][facts.laterality])
    if not sentences:
        sentences = ["Follow-up" if language == "en" else "复诊"]
    if language == "zh":
        return f"{eye}：{'。'.join(sentences)}。"
    return f"{eye}: {'. '.join(sentences)}."


def _findings(
    generator: np.random.Generator,
    facts: EyeFacts,
    seen: Collection[str],
    modalities: Collection[str],
    language: str,
    omit: float,
) -> list[str]:
    holds = {name: name in seen for name in ("MA", "HE", "EX", "SE", "NV", "drusen")}
    holds |= {
        "cup": facts.large_cup,
        "fluid": facts.fluid,
        "oedema": facts.oedema,
        "leakage": facts.leakage,
        "detachment": facts.detachment,
        "vitreous": facts.vitreous_haemorrhage,
    }
    names = [n for n in holds if _SOURCE[n] in modalities]
    order = generator.permutation(len(names))
    sentences = []
    for i in order:
        name = names[int(i)]
        wording = _choose(generator, _FINDINGS[language][name][holds[name]])
        # A writer mentions what is there and only some of what is not.
        skipped = generator.random() < (omit if holds[name] else 0.45)
        if not skipped:
            sentences.append(wording.format(cdr=facts.cup_to_disc))
    return sentences


def _choose(generator: np.random.Generator, wordings: tuple[str, ...]) -> str:
    return wordings[int(generator.integers(len(wordings)))]
