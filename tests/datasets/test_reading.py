"""What is missing, unlisted or contradictory is kept by name; nothing is guessed."""

import pytest

from fundusion.core.errors import InvalidInput, ReadError
from fundusion.core.registry import DatasetCard
from fundusion.datasets._reading import Collector, begin, watched
from fundusion.datasets._tables import Row
from fundusion.datasets._tree import Folder


@pytest.fixture
def found(tmp_path):
    return Collector(Folder(tmp_path))


def test_equal_rows_are_one_and_rows_that_differ_are_none(found, tmp_path):
    for label, origin in ((1.0, "t:2"), (1.0, "t:3")):
        found.add("a", images={"cfp": [tmp_path / "a.jpg"]}, labels={"x": label}, origin=origin)
    for label, origin in ((1.0, "t:4"), (2.0, "t:5"), (1.0, "t:6")):
        found.add("b", images={"cfp": [tmp_path / "b.jpg"]}, labels={"x": label}, origin=origin)
    reading = found.done()
    assert [r.study_id for r in reading] == ["a"]
    assert reading.contradictory == (
        ("t:5", "b differs from what t:4 says; neither is kept"), ("t:6", "b is listed again"),
    )  # fmt: skip
    assert any("word for word" in note for note in reading.notes)


def test_a_picture_without_its_label_is_kept_and_a_missing_label_is_left_out(found, tmp_path):
    found.add("a", images={"cfp": [tmp_path / "a.jpg"]}, labels={"x": None, "y": float("nan"), "z": 0.0})
    assert dict(found.done()[0].labels) == {"z": 0.0}


def test_codes_outside_their_set_are_said(found):
    row = Row({"a": "2.0", "b": "9", "c": "", "d": "Yes"}, "t:7")
    assert found.grade(row, "a", 4) == 2.0
    assert found.grade(row, "b", 4) is None
    assert found.grade(row, "c", 4) is None
    assert found.choice(row, "d", {"yes": 1.0}) == 1.0
    assert found.done().contradictory == (("t:7", "b is '9'; known are 0, 1, 2, 3, 4"),)


def test_files_that_no_record_uses_are_unlisted_once(found, tmp_path):
    files = [tmp_path / "a.jpg", tmp_path / "sub" / "b.jpg"]
    found.add("a", images={"cfp": [files[0]]}, masks={"disc": [tmp_path / "m.png"]})
    found.unlisted([*files, files[1], tmp_path / "m.png"])
    assert found.done().unlisted == ("sub/b.jpg",)


def test_archives_are_used_by_their_entries(found, tmp_path):
    found.add("a", images={"oct": [f"{tmp_path / 'd.npz'}#oct_bscans"]})
    found.unlisted([tmp_path / "d.npz"])
    assert found.done().unlisted == ()


def test_a_patient_in_two_parts_is_said(found, tmp_path):
    for i, split in enumerate(("train", "test")):
        found.add(str(i), images={"cfp": [tmp_path / f"{i}.jpg"]}, patient_id="p", split=split)
    reading = found.done()
    assert reading.contradictory == (("patient p", "stands in test and train"),)
    assert [r.study_id for r in reading.of_split("test")] == ["1"]
    with pytest.raises(InvalidInput, match="no part 'val'"):
        reading.of_split("val")


def test_counts(found, tmp_path):
    found.add(
        "a",
        images={"cfp": [tmp_path / "a.jpg"]},
        labels={"g": 2.0, "d": {"D": 1.0, "N": 0.0}, "v": 0.35, "p_px": (1.0, 2.0)},
    )
    found.add("b", images={"cfp": [tmp_path / "b.jpg"]}, labels={"g": 2.0, "d": {"D": 0.0}, "w": ()})
    counts = found.done().counts()
    assert counts["label g"] == {"2": 2}
    assert counts["label d"] == {"D": 1, "none of them": 1}
    assert counts["label v"] == {"(number)": 1}
    assert counts["label p_px"] == {"(point)": 1}
    assert counts["label w"] == {"none of them": 1}
    facts = found.done().to_dict()
    assert (facts["records"], facts["patients"]) == (2, 0)
    assert facts["notes"] == ["the set has no patient identifier; none is invented"]


def test_progress_is_told_every_thousand_records(tmp_path):
    told = []
    with watched(told.append):
        found = Collector(Folder(tmp_path))
        for i in range(2500):
            found.add(str(i), images={})
    assert told == [1000, 2000]
    quiet = Collector(Folder(tmp_path))
    quiet.add("a", images={})
    assert told == [1000, 2000]


def test_no_layout_is_refused_without_the_path_of_the_machine(tmp_path):
    card = DatasetCard(title="A set", layout="labels.csv.")
    with pytest.raises(ReadError) as caught:
        begin(tmp_path / "nothing", lambda folder: False, card)
    assert caught.value.code == "dataset.layout"
    assert "labels.csv" in caught.value.hint
    assert str(tmp_path) not in str(caught.value)


def test_a_shifted_line_is_contradictory_and_left_out(found, tmp_path):
    """An unquoted comma moves every later column: no value of such a line is believed."""
    (tmp_path / "t.csv").write_text("id,note,grade\n1,fine,0\n2,mild, with exudates,1\n")
    assert [r["id"] for r in found.rows(tmp_path / "t.csv", needs=["id"])] == ["1"]
    assert found.done().contradictory == (("t.csv:3", "the line has more cells than the header; it was left out"),)


def test_a_second_file_of_the_same_name_is_unlisted(tmp_path, trees):
    from fundusion.datasets.aptos import aptos

    base = trees.build("aptos", tmp_path).base
    trees.picture(base / "train_images" / "1e4.jpg")
    reading = aptos(base)
    assert len(reading) == 3
    assert reading.unlisted == ("train_images/1e4.png",)


def test_listed_studies_that_are_no_records_are_rejected_with_a_code(trees, tmp_path):
    """A half-unpacked set must not become a smaller set without a word."""
    from fundusion.datasets.aptos import aptos

    tree = trees.build("aptos", tmp_path)
    tree.listed.unlink()
    (tree.base / "test.csv").write_text("id_code\n0005cfc8afb6\na,b\n")
    reading = aptos(tree.base)
    assert [(r.study_id, r.code) for r in reading.rejected] == [
        ("train_images/1e4.png", "file.missing"), ("test.csv:3", "dataset.contradictory"),
    ]  # fmt: skip
    assert len(reading) + len(reading.rejected) == 4
    assert reading.of_split("test").rejected == reading.rejected
    assert len(reading.to_dict()["left_out"]) == 2


def test_a_name_that_is_no_utf8_can_be_printed(trees, tmp_path):
    import os

    from fundusion.datasets.aptos import aptos

    tree = trees.build("aptos", tmp_path)
    with open(os.fsencode(tree.stray.parent) + b"/a\xff.png", "wb") as stream:
        stream.write(b"x")
    (name,) = aptos(tree.base).unlisted
    assert name == "train_images/a\\udcff.png"
    name.encode("utf-8")
