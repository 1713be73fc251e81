"""Names lead to codes and back, in both languages."""

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.vocabulary import ODIR_LABELS, Modality
from fundusion.narrative.names import (
    MODALITY_NAMES,
    check_language,
    code_of,
    measured,
    measurement_name,
    measurement_pattern,
    title_of,
)


def test_every_label_of_the_shipped_model_has_a_chinese_name():
    for label, name in ODIR_LABELS.items():
        if label != "N":
            assert not title_of(code_of(name), "zh").isascii(), name


def test_every_modality_has_both_names():
    assert {m.value for m in Modality} <= set(MODALITY_NAMES)


def test_a_label_the_reader_does_not_know_keeps_its_name():
    assert title_of(code_of("stage: early"), "zh") == "stage: early"
    # "No cataract" is no name of a cataract.
    assert code_of("no cataract").startswith("label:")


def test_the_narrower_measurement_is_recognised_first():
    found = measurement_pattern().search("the vertical cup-to-disc ratio")
    assert measured()[int(found.lastgroup[1:])] == "vertical_cup_to_disc_ratio"
    assert measurement_name("cup_to_disc_ratio", "en") == "cup-to-disc ratio"


@pytest.mark.parametrize("language", ["fr", "", "EN", "x" * 1000])
def test_an_unknown_language_is_refused(language):
    with pytest.raises(InvalidInput) as told:
        check_language(language)
    assert told.value.code == "config.language"
    assert len(str(told.value)) < 200
