"""A folder is taken for a set only when its layout is that of one set."""

import pytest

from fundusion.datasets._recognise import layouts, public_sets, recognise, set_named, the_set_of
from fundusion.datasets._tree import Folder


def test_every_set_says_how_it_looks():
    assert set(layouts()) == set(public_sets())
    assert "synthetic" not in public_sets()
    assert len(public_sets()) >= 36


@pytest.mark.parametrize("name", public_sets())
def test_no_set_is_taken_for_another(trees, tmp_path, name):
    tree = trees.build(name, tmp_path)
    assert {n.partition(".")[0] for n in recognise(tree.base)} == {name.partition(".")[0]}


def test_two_sets_in_one_folder_are_not_guessed(trees, tmp_path):
    for name in ("hrf", "drive"):
        trees.build(name, tmp_path)
    assert the_set_of(tmp_path) == (None, ["drive", "hrf"])


def test_loose_pictures_are_no_set(trees, tmp_path):
    for name in ("a/1_left.jpg", "a/1_right.jpg", "images/x.jpg", "train/healthy/1.png"):
        trees.picture(tmp_path / name)
    (tmp_path / "labels.csv").write_text("image,label\nx.jpg,1\n")
    assert recognise(tmp_path) == []


def test_a_folder_of_very_many_names_is_not_listed(tmp_path, monkeypatch):
    for i in range(40):
        (tmp_path / f"{i}.png").write_bytes(b"")
    (tmp_path / "notes.csv").write_text("a,b\n")
    import fundusion.datasets._tree as tree

    monkeypatch.setattr(tree, "_MOST_PICTURES", 10)
    assert recognise(tmp_path) == []
    # A table is seen wherever it stands among the pictures.
    assert len(tree.glance(tmp_path).files) == 11
    assert tree.glance(tmp_path).file("notes.csv")
    assert len(Folder(tmp_path).files) == 41
    monkeypatch.setattr(tree, "_PASSED_OVER", 2)
    assert len(tree.glance(tmp_path).files) <= 11


@pytest.mark.parametrize(
    ("word", "name"),
    [("Messidor-2", "messidor2"), ("CHASE_DB1", "chase_db1"), ("UK Biobank", "uk_biobank"), ("ODIR-5K", "odir"),
     ("IDRiD.segmentation", "idrid.segmentation"), ("Drishti-GS1", "drishti_gs"), ("nothing", "nothing"), ("", "")],
)  # fmt: skip
def test_spellings(word, name):
    assert set_named(word) == name


@pytest.mark.parametrize(
    ("folder", "name"),
    [("odir", "odir"), ("idrid_grading", "idrid"), ("idrid_seg", "idrid.segmentation"), ("drive", "drive"), ("stare", "stare"),
     ("chase_db1", "chase_db1"), ("hrf", "hrf"), ("drishti_gs", "drishti_gs"), ("ffa", "ffa"), ("oct_srf", "oct_srf"),
     ("oct_kermany_samples", "oct2017"), ("rfmid_samples", "rfmid"), ("papila_clinical", "papila")],
)  # fmt: skip
def test_real_folders(data_root, folder, name):
    if not (data_root / folder).is_dir():
        pytest.skip(f"no real {folder} in the data folder")
    assert the_set_of(data_root / folder)[0] == name
