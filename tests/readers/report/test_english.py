"""English: negation and where it ends, doubt, history, plans, relatives."""

import pytest

from fundusion.readers.report import read_report
from fundusion.readers.report.english import cues_of, treatment_status

P, A, U, H, C, F = "present", "absent", "uncertain", "history", "conditional", "family"


def said(text):
    return [f.status for f in read_report(text, language="en").findings]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No haemorrhage.", [A]),
        ("Without haemorrhage or exudate.", [A, A]),
        ("Denies flashes.", [A]),
        ("Absence of drusen.", [A]),
        ("No MA, haemorrhage or exudate.", [A, A, A]),
        ("No drusen but haemorrhages.", [A, P]),
        ("No drusen; haemorrhages.", [A, P]),
        ("No drusen, however haemorrhages are seen.", [A, P]),
        ("No haemorrhages, few exudates.", [A, P]),
        ("No haemorrhages, exudates at the macula.", [A, P]),
        ("No glaucoma, cataract.", [A, U]),
        ("No glaucoma or cataract.", [A, A]),
        ("No drusen OD, drusen OS.", [A, P]),
        ("Drusen OD but not OS.", [P, A]),
        ("Haemorrhages are gone.", [H]),
        ("If flashes, floaters or vitreous haemorrhage occur, return.", [C, C, C]),
        ("Consider PRP.", [C]),
        ("Haemorrhage: none.", [A]),
        ("Grade 0: no apparent diabetic retinopathy.", [A]),
        ("Grade 0 - no apparent DR.", [A]),
        ("Haemorrhage: no. Drusen: no sign of any.", [A, A]),
        ("Haemorrhage: no, drusen at the macula.", [A, P]),
        ("Glaucoma may be absent.", [U]),
        ("Drusen might be absent in the left eye.", [U]),
        ("Drusen could be absent.", [U]),
        ("Cataract may be present.", [U]),
        ("Haemorrhages are probably absent.", [U]),
        ("Drusen possibly absent.", [U]),
        ("Macular oedema appears to be absent.", [A]),
        ("Haemorrhages may not be present.", [U]),
        ("Haemorrhages could not be seen.", [A]),
        ("Haemorrhage: none, exudates: few.", [A, P]),
        ("Haemorrhage, exudates: absent.", [A, A]),
        ("Haemorrhages were not seen.", [A]),
        ("Neither drusen nor haemorrhage.", [A, A]),
        ("No change in drusen.", [P]),
        ("Haemorrhages have not resolved.", [P]),
        ("Not without haemorrhages.", [P]),
        ("Rule out glaucoma.", [U]),
        ("Glaucoma was ruled out.", [A]),
        ("Cannot exclude glaucoma.", [U]),
        ("Glaucoma cannot be excluded.", [U]),
        ("Glaucoma is not excluded.", [U]),
        ("Suspicious for glaucoma.", [U]),
        ("Not suspicious for glaucoma.", [A]),
        ("Glaucoma suspect.", [U]),
        ("?glaucoma", [U]),
        ("Glaucoma?", [U]),
        ("Drusen versus exudates.", [U, U]),
        ("Possible glaucoma was ruled out.", [A]),
        ("History of BRVO.", [H]),
        ("Previously noted haemorrhage.", [H]),
        ("Macular oedema has resolved.", [H]),
        ("No history of glaucoma.", [A]),
        ("No longer any macular oedema.", [H]),
        ("Mother has glaucoma.", [F]),
        ("No family history of glaucoma.", []),
        ("If flashes occur, return.", [C]),
        ("Monitor for neovascularisation.", [C]),
        ("At risk of retinal detachment.", [C]),
        ("Glaucoma drops continued.", []),
        ("No glaucoma medications.", []),
    ],
)
def test_status(text, expected):
    assert said(text) == expected


def test_the_cues_are_pointed_at():
    text = "Fundus: no haemorrhage"
    (finding,) = read_report(text).findings
    assert [text[slice(*c)] for c in finding.cues] == ["no"]


def test_treatments():
    assert treatment_status("plan \x01\x01", (5, 7)) == "conditional"
    assert treatment_status("\x01\x01 two years ago", (0, 2)) == "history"
    assert treatment_status("\x01\x01", (0, 2)) is None
    assert [c.kind for c in cues_of("no \x01\x01 but possible \x01\x01")] == ["absent", "uncertain"]
