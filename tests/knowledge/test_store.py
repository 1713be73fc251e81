"""What the shipped file promises, and how it is asked."""

import re

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput, UnknownName
from fundusion.knowledge import Knowledge
from fundusion.knowledge.store import fill
from fundusion.readers.report.terms import find_terms, known_terms

HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def known():
    return Knowledge.read()


def test_every_finding_is_described_in_both_languages_with_a_source(known):
    for finding in known:
        assert set(finding.name) == {"en", "zh"}, finding.id
        assert len(finding.definitions["en"]) == len(finding.definitions["zh"]) >= 1, finding.id
        assert all(HAN.search(t) for t in (*finding.names("zh"), *finding.definitions["zh"])), finding.id
        assert not any(HAN.search(t) for t in (*finding.names("en"), *finding.definitions["en"])), finding.id
        assert finding.sources, finding.id
    assert all(s for s in known.sources.values())
    assert {k for f in known for k in f.sources} == set(known.sources)


def test_what_was_asked_for_is_there(known):
    assert len(known.sets["rfmid"].labels) == 45
    wanted = [f"{g} diabetic retinopathy" for g in ("no", "mild", "moderate", "severe", "proliferative")]
    wanted += [f"{g} hypertensive retinopathy" for g in ("no", "mild", "moderate", "malignant")]
    wanted += [
        "BRVO",
        "CRVO",
        "BRAO",
        "CRAO",
        "DME",
        "CSME",
        "early age-related macular degeneration",
        "cRORA",
        "SRF",
        "IRF",
    ]
    for name in wanted:
        assert known.find(name)
    assert len(known.sets["mmac"].labels) == 5
    assert sum("oct" in f.seen_on for f in known) >= 20


def test_definitions_are_no_copies(known, data_root):
    theirs = Knowledge.read(data_root / "text" / "flair_definitions.json")
    phrases = {t.casefold() for f in theirs for t in f.definitions["en"] if len(t.split()) > 4}
    ours = {t.casefold() for f in known for t in f.definitions["en"]}
    assert phrases
    assert not phrases & ours
    every = [t for f in known for t in (*f.definitions["en"], *f.definitions["zh"])]
    assert len(every) == len(set(every))


def test_identifiers_are_those_of_the_report_reader_where_both_know_the_finding(known):
    """A name that the report reader knows means the same finding there, or a wider or narrower one."""
    shared = 0
    for finding in known:
        related = {finding.id, *known.ancestors(finding), *(f.id for f in known if finding.id in known.ancestors(f))}
        for name in (*finding.names("en"), *finding.names("zh")):
            for match in find_terms(name):
                if (match.start, match.end) == (0, len(name)):
                    shared += 1
                    assert match.code in related, f"{name!r} is {match.code!r} in reports and {finding.id!r} here"
    assert shared > 120
    overlap = set(known.findings) & set(known_terms())
    assert len(overlap) > 80
    for code in overlap:
        named = {m.code for name in known.find(code).names("en") for m in find_terms(name)}
        assert code in named, code


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("macular_hole", "macular_hole"),
        ("Macular Hole", "macular_hole"),
        ("黄斑裂孔", "macular_hole"),
        ("hard exudate", "hard_exudate"),
        ("haemorrhage", "haemorrhage"),
        ("Retinal Hemorrhage", "haemorrhage"),
        ("optic disk edema", "disc_oedema"),
        ("ODPM", "optic_disc_pit_maculopathy"),
        ("odpm", "optic_disc_pit_maculopathy"),
        ("病理性近视", "pathological_myopia"),
    ],
)
def test_any_name_finds(known, name, code):
    assert known.find(name).id == code
    assert name in known


def test_an_abbreviation_of_two_findings_is_never_guessed(known):
    with pytest.raises(InvalidInput) as caught:
        known.find("MH")
    assert caught.value.code == "knowledge.ambiguous"
    assert "media_opacity" in str(caught.value)
    assert "macular_hole" in str(caught.value)
    assert "MH" not in known


def test_an_unknown_name_gets_close_ones(known):
    with pytest.raises(UnknownName, match="macular hole"):
        known.find("maccular hole")
    with pytest.raises(UnknownName, match="odir"):
        known.set_of("odirr")
    with pytest.raises(UnknownName) as caught:
        known.find("q" * 1_000_000)
    assert len(str(caught.value)) < 400


def test_codes_are_those_of_the_checked_table(known):
    """A public generator calls 312903003 diabetic macular oedema; it is mild non-proliferative retinopathy."""
    by_code = {c: f.id for f in known for c in f.codes.get("snomed", ())}
    assert by_code["312903003"] == "mild_nonproliferative_diabetic_retinopathy"
    assert by_code["312912001"] == "diabetic_macular_oedema"
    assert len(by_code) == sum(len(f.codes.get("snomed", ())) for f in known)
    assert known.find("glaucoma").to_check == ("snomed",)
    assert known.find("PDR").codes["icd10"] == ("E11.35",)


def test_texts_of_each_kind(known):
    assert known.texts("drusen", kind="names")[0] == "drusen"
    assert known.texts("drusen", language="zh", kind="definitions")[0].startswith("视网膜下")
    assert known.texts("drusen") == ("drusen", *known.texts("drusen", kind="definitions"))
    with pytest.raises(InvalidInput, match="no prompt in 'fr'"):
        known.texts("drusen", language="fr")
    with pytest.raises(InvalidInput, match="'words'"):
        known.texts("drusen", kind="words")


def test_asking_leaves_nothing_behind(known):
    first = [known.prompts(f.id) for f in known]
    generator = np.random.default_rng(0)
    for finding in known:
        known.sample(finding, generator)
        known.texts(finding.id, kind="names")
    assert [known.prompts(f.id) for f in known] == first
    assert [Knowledge.read().prompts(f.id) for f in known] == first
    with pytest.raises(AttributeError):
        known.findings["drusen"].definitions["en"].append("drusen")


def test_draws_are_even_over_findings_then_texts(known):
    generator = np.random.default_rng(1)
    drawn = [known.sample(["glaucoma", "drusen"], generator, template=None) for _ in range(4000)]
    texts = {f: known.texts(f) for f in ("glaucoma", "drusen")}
    for name, of_finding in texts.items():
        share = sum(d in of_finding for d in drawn) / len(drawn)
        assert abs(share - 0.5) < 0.03, name
        for text in of_finding:
            assert abs(drawn.count(text) / len(drawn) - 0.5 / len(of_finding)) < 0.03
    again = np.random.default_rng(1)
    assert [known.sample(["glaucoma", "drusen"], again, template=None) for _ in range(50)] == drawn[:50]


def test_a_draw_has_a_template_a_language_and_an_attribute(known):
    generator = np.random.default_rng(0)
    text = known.sample("drusen", generator, attributes=["noisy"])
    assert text.startswith("A noisy fundus photograph of ")
    assert "  " not in known.sample("drusen", generator)
    drawn = {bool(HAN.search(known.sample("drusen", generator, languages=["en", "zh"]))) for _ in range(40)}
    assert drawn == {True, False}
    with pytest.raises(InvalidInput, match="no finding"):
        known.sample([], generator)


def test_a_template_needs_a_place_and_a_finding_is_put_in_as_it_is():
    with pytest.raises(InvalidInput, match="no place"):
        fill("A photograph", "drusen")
    assert fill("{finding}!", "{attribute}") == "{attribute}!"
    assert fill("A {attribute} {finding}", "x  y") == "A x  y"


def test_templates_of_a_modality(known):
    assert "tomography" in known.prompts("SRF", template="oct")[0]
    assert known.prompts("SRF", template=["{finding} here"])[0] == "subretinal fluid here"
    assert known.prompts("SRF", language="zh")[0] == "眼底照片：视网膜下积液"
    with pytest.raises(UnknownName, match="training"):
        known.templates("xray")


def test_ancestors_end(known):
    assert known.ancestors("mild NPDR") == ("nonproliferative_diabetic_retinopathy", "diabetic_retinopathy")
    assert all(f.id not in known.ancestors(f) for f in known)


def test_texts_by_name_hold_every_finding(known):
    for language in ("en", "zh"):
        table = known.texts_by_name(language=language)
        assert len(table) == len(known)
        assert all(table.values())
    assert "macular pucker" in known.texts_by_name()["epiretinal membrane"]
