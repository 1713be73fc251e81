"""Names of findings: spelling, plural, abbreviations, longest match."""

import pytest

from fundusion.core.vocabulary import ODIR_LABELS
from fundusion.readers.report.terms import find_terms, known_terms, narrower, normal_word


def codes(text):
    return [m.code for m in find_terms(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Haemorrhages, hemorrhage and HEMORRHAGES", ["haemorrhage"] * 3),
        ("cotton-wool spots / Cotton Wool Spot / CWSs", ["cotton_wool_spot"] * 3),
        ("vitreous haemorrhage", ["vitreous_haemorrhage"]),
        ("proliferative diabetic retinopathy", ["proliferative_diabetic_retinopathy"]),
        ("non-proliferative diabetic retinopathy", ["nonproliferative_diabetic_retinopathy"]),
        ("hard and soft exudates", ["hard_exudate", "cotton_wool_spot"]),
        ("microanuerysms and exsudates", ["microaneurysm", "exudate"]),
        ("he said she had MA and HE", ["microaneurysm", "haemorrhage"]),
        ("HE SAID THERE IS A CATARACT", ["cataract"]),
        ("the 3rd visit, RD", ["retinal_detachment"]),
        ("非增殖期糖尿病视网膜病变", ["nonproliferative_diabetic_retinopathy"]),
        ("增殖期糖尿病视网膜病变", ["proliferative_diabetic_retinopathy"]),
        ("玻璃体积血、视网膜前出血、出血", ["vitreous_haemorrhage", "preretinal_haemorrhage", "haemorrhage"]),
        ("可见MA及drusen", ["microaneurysm", "drusen"]),
        ("the patient is well", []),
    ],
)
def test_names(text, expected):
    assert codes(text) == expected


def test_a_correction_is_marked_and_short_words_are_never_corrected():
    (match,) = find_terms("haemorrhgae")
    assert (match.code, match.misspelt) == ("haemorrhage", True)
    assert codes("tears fear gear bear") == ["retinal_tear"]
    assert not find_terms("haemorrhage")[0].misspelt


def test_words_that_deny():
    assert [(m.code, m.denies) for m in find_terms("retina attached")] == [("retinal_detachment", True)]
    assert [(m.code, m.denies) for m in find_terms("视网膜在位")] == [("retinal_detachment", True)]


def test_a_word_nearby_makes_a_finding_narrower():
    assert narrower("retinal_oedema", "双眼视盘未见水肿") == "disc_oedema"
    assert narrower("drusen", "双眼视盘") == "drusen"


def test_the_table_is_sound():
    assert len(known_terms()) > 100
    for term in known_terms().values():
        assert term.letter is None or term.letter in ODIR_LABELS
        assert term.kind in ("lesion", "disease", "treatment", "symptom", "normal")
        # Each name by itself is found as itself.
        assert codes(term.title) in ([term.code], []) or term.code in codes(term.title)
    assert normal_word("Naevi") == "nevus"
