"""An index can be asked and compared; damage and other models are refused with what differs."""

import sqlite3

import numpy as np
import pytest

from fundusion.core.errors import Busy, InvalidInput
from fundusion.retrieval.changes import add, create_index, open_index, reject
from fundusion.retrieval.index import Item, counts_of, known, mask_where, need_same_model, norms_of, rejected_of, verify

FACTS = {"model": "vit.test", "weights_sha256": "a" * 64, "space": "encoder", "preprocessing": {"cfp": "p"}, "dim": 4}


def item(number, **more):
    return Item(key=f"image|s{number}|cfp|0", kind="image", study_id=f"s{number}", **more)


@pytest.fixture
def filled(tmp_path):
    with create_index(tmp_path / "i", FACTS) as index:
        items = [
            item(0, patient_id="007", laterality="OD", cells={"age": 61.0, "sex": "female", 'a "b" $.c': 1.0}),
            item(1, patient_id="7", cells={"age": 40.0, "sex": "male", "study_id": "shadow"}),
            item(2, report="Hard EXUDATES", digest="d" * 64, path="x.png", cells={"stage": "late"}),
        ]
        add(index, items, np.array([[3, 0, 0, 0], [0, 0.5, 0, 0], [1, 1, 0, 0]], np.float32))
        reject(index, "image|s9|cfp|0", "s9", patient_id="9", code="image.truncated", message="cut")
    return tmp_path / "i"


def test_what_was_added_is_there(filled):
    with open_index(filled) as index:
        assert counts_of(index) == {"images": 3, "reports": 0, "rejected": 1}
        assert rejected_of(index) == [("s9", "image.truncated", "cut")]
        assert norms_of(index) == pytest.approx([3, 0.5, 2**0.5])
        vectors = index.vectors().gather(np.arange(3))
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
        first, _, third = index.items(np.arange(3))
        assert first.cells == {"age": 61.0, "sex": "female", 'a "b" $.c': 1.0}
        assert (third.report, third.path, third.patient_id) == ("Hard EXUDATES", "x.png", None)
        assert known(index, third.key) == ("x.png", "d" * 64)
        assert known(index, "nothing") is None
        assert verify(index) == 3


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("age > 60", [1, 0, 0]),
        ("patient_id = 007", [1, 0, 0]),
        ("patient_id is missing", [0, 0, 1]),
        ("report contains exudates", [0, 0, 1]),
        ("laterality = OD or stage = late", [1, 0, 1]),
        ("'a \"b\" $.c' = 1", [1, 0, 0]),
        ("table.study_id = shadow", [0, 1, 0]),
        ("study_id = s1", [0, 1, 0]),
    ],
)
def test_conditions_over_the_columns_of_the_table(filled, condition, wanted):
    with open_index(filled) as index:
        assert mask_where(index, condition).tolist() == [bool(w) for w in wanted]


def test_a_changed_byte_is_found_when_it_is_shown_and_when_all_are_verified(filled):
    path = filled / "vectors-1.f32"
    data = bytearray(path.read_bytes())
    data[17] ^= 1
    path.write_bytes(bytes(data))
    with open_index(filled) as index:
        index.items(np.array([0]))
        for call in (lambda: index.items(np.array([1])), lambda: verify(index)):
            with pytest.raises(InvalidInput) as refused:
                call()
            assert refused.value.code == "index.damaged"


def test_another_model_or_preprocessing_is_refused_with_what_differs(filled):
    with open_index(filled) as index:
        need_same_model(index, FACTS)
        with pytest.raises(InvalidInput) as refused:
            need_same_model(index, {**FACTS, "weights_sha256": "b" * 64, "preprocessing": {"cfp": "q"}})
    assert refused.value.code == "index.other_model"
    assert "a" * 64 in refused.value.message
    assert '{"cfp": "q"} here' in refused.value.message
    assert "model:" not in refused.value.message


def test_two_writers_and_other_formats_are_refused(filled, tmp_path):
    with open_index(filled, write=True):
        with pytest.raises(Busy):
            open_index(filled, write=True)
        # Reading goes on meanwhile.
        with open_index(filled) as reader:
            assert reader.vectors().count == 3
    with pytest.raises(InvalidInput) as refused:
        open_index(tmp_path / "nothing")
    assert refused.value.code == "index.not_found"
    base = sqlite3.connect(filled / "items.sqlite")
    base.execute("update facts set value = '99' where name = 'format'")
    base.commit()
    base.close()
    with pytest.raises(InvalidInput, match="format 99"):
        open_index(filled)


def test_a_base_that_is_no_base_is_damaged_not_a_trace(filled):
    (filled / "items.sqlite").write_bytes(b"no base at all" * 100)
    with pytest.raises(InvalidInput) as refused:
        open_index(filled)
    assert refused.value.code == "index.damaged"


def test_changes_need_the_lock(filled):
    with open_index(filled) as index, pytest.raises(InvalidInput) as refused:
        add(index, [item(5)], np.ones((1, 4), np.float32))
    assert refused.value.code == "index.read_only"
