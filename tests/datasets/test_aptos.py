"""APTOS 2019 as unpacked, or its parent."""

import pytest

from fundusion.core.errors import ReadError
from fundusion.datasets.aptos import aptos


def test_train_has_labels_and_test_has_none(tmp_path):
    base = tmp_path / "aptos2019"
    for part, text in (("train", "\ufeffid_code,diagnosis\n000c1434d8d7,2\n1e4,0\n"), ("test", "id_code\nabc\n")):
        (base / f"{part}_images").mkdir(parents=True)
        (base / f"{part}.csv").write_text(text, encoding="utf-8")
    records = aptos(tmp_path)
    # 1e4 is a name and not a number.
    assert [(r.study_id, r.labels) for r in records] == [
        ("000c1434d8d7", {"dr_grade": 2.0}),
        ("1e4", {"dr_grade": 0.0}),
    ]
    assert records[0].images["cfp"][0].endswith("train_images/000c1434d8d7.png")
    assert [(r.study_id, dict(r.labels)) for r in aptos(base, split="test")] == [("abc", {})]


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ReadError) as caught:
        aptos(tmp_path)
    assert caught.value.code == "dataset.layout"
    assert "train.csv" in caught.value.hint
