"""APTOS 2019: identifiers that look like numbers, a test part without labels."""

import pytest

from fundusion.core.errors import InvalidInput


def test_an_identifier_that_looks_like_a_number_stays_what_it_is(read):
    records, _ = read("aptos")
    assert set(records) == {"000c1434d8d7", "1e4", "0005cfc8afb6"}
    assert records["1e4"].images["cfp"][0].endswith("train_images/1e4.png")
    assert records["000c1434d8d7"].labels == {"dr_grade": 2.0, "disease": {"D": 1.0, "N": 0.0}}
    assert all(r.patient_id is None for r in records.values())


def test_the_test_part_has_no_labels(read):
    _, reading = read("aptos", split="test")
    assert [(r.study_id, dict(r.labels)) for r in reading] == [("0005cfc8afb6", {})]


def test_a_grade_outside_the_scale_is_no_grade(fake_of, trees):
    from fundusion.datasets.aptos import aptos

    base = fake_of("aptos").base
    trees.table(base / "train.csv", [["id_code", "diagnosis"], ["000c1434d8d7", 7], ["1e4", "2.0"]])
    reading = aptos(base, split="train")
    assert [r.labels.get("dr_grade") for r in reading] == [None, 2.0]
    assert reading.contradictory == (("train.csv:2", "diagnosis is '7'; known are 0, 1, 2, 3, 4"),)


def test_a_part_that_is_not_there_is_refused(fake_of):
    from fundusion.datasets.aptos import aptos

    with pytest.raises(InvalidInput, match="no part 'val'"):
        aptos(fake_of("aptos").base, split="val")
