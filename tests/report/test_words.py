"""Every measurement and every reason has words."""

import pytest

from fundusion.biomarkers import catalogue
from fundusion.biomarkers.outcome import REASONS
from fundusion.core.results import Measurement
from fundusion.report.words import (
    REASONS_OF_PICTURES,
    behind_words,
    note_words,
    quantity_words,
    reason_words,
    title_words,
)


def names():
    for base in catalogue.OF_VESSELS:
        yield from (f"{base}_{k}" for k in catalogue.VESSELS)
    yield from catalogue.OF_EYE
    yield from ("EX_count", "HE_area", "XX_area")


def test_titles_are_all_different_and_plain():
    titles = [title_words(n) for n in names()]
    assert len(set(titles)) == len(titles)
    assert not [t for t in titles if "_" in t]


@pytest.mark.parametrize("code", [*REASONS, *REASONS_OF_PICTURES])
def test_reasons_are_sentences(code):
    assert reason_words(code).endswith(".")
    assert "_" not in reason_words(code)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(80.04, "um", "80 µm"), (5000.0, "um", "5 mm"), (1e-4, "1", "0.0001"), (1234.5, "1", "1234"), (3.0, "count", "3"),
     (2.5, "count", "2.5"), (62.9, "degree", "62.9°"), (0.25, "DD", "0.25 disc diameters"), (0.5, "1/mm^2", "0.5 1/mm²")],
)  # fmt: skip
def test_numbers_with_units(value, unit, expected):
    assert quantity_words(value, unit) == expected


def test_notes_of_other_kinds_are_left_alone():
    assert note_words("cfp.1.not_used") is None
    assert note_words("report.text.injection") is None
    assert note_words("cfp.0.laterality_doubtful")[0] == "cfp.0"
    assert "too" not in note_words("cfp.2.not_measured.image.no_field")[1]


def test_what_stands_behind_a_number():
    assert behind_words(Measurement(name="crae_zone_b", value=1.0, unit="um", n=6)) == "6 vessels"
    assert behind_words(Measurement(name="rim_nasal", value=1.0, unit="DD", n=90)) == "90 rays"
    assert behind_words(Measurement(name="vcdr", value=1.0, unit="1", n=90)) == ""
    assert behind_words(Measurement(name="EX_count", value=1.0, unit="count", n=1)) == ""
