"""Folders are found without case and stray spaces, in a bounded time, and links that lead back end."""

import os

from fundusion.datasets._tree import Folder, glance, key_of, locate, stem_of


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_names_are_compared_without_case_spaces_and_percent_signs(tmp_path):
    touch(tmp_path / "OCT2017 " / "A.%20Seg" / "Image_01.JPG")
    folder = Folder(tmp_path).folder("oct2017", "a. seg")
    assert folder.file("IMAGE_01.jpg").name == "Image_01.JPG"
    assert folder.file("image_*.jpg") is not None
    assert folder.file("other*") is None
    assert Folder(tmp_path).folder("oct2018") is None


def test_a_doubled_folder_is_entered_but_not_one_that_has_files_of_its_own(tmp_path):
    touch(tmp_path / "Training400" / "Training400" / "g0001.jpg")
    assert Folder(tmp_path).folder("training400").file("g0001.jpg")
    touch(tmp_path / "x" / "x" / "inner.jpg")
    touch(tmp_path / "x" / "outer.jpg")
    assert Folder(tmp_path).folder("x").file("outer.jpg")


def test_leftovers_are_not_seen(tmp_path):
    for name in (".DS_Store", "Thumbs.db", "__MACOSX/._a.jpg", "a.jpg"):
        touch(tmp_path / name)
    folder = Folder(tmp_path)
    assert list(folder.files) == ["a.jpg"]
    assert folder.folders == {}


def test_pictures_by_stem_nearest_first(tmp_path):
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "deep" / "A.png")
    touch(tmp_path / "deep" / "b.ppm.gz")
    folder = Folder(tmp_path)
    assert folder.pictures(depth=1)["a"].name == "a.jpg"
    assert "b" not in folder.pictures(depth=1)
    assert folder.pictures(depth=1, types=(".ppm.gz",))["b"].name == "b.ppm.gz"
    assert stem_of("985.1.jpg") == "985.1"
    assert key_of("  A   b ") == "a b"


def test_locate_takes_the_nearest_and_stops_at_its_depth(tmp_path):
    touch(tmp_path / "one" / "two" / "three" / "four" / "mark.csv")
    fits = lambda f: f.file("mark.csv")  # noqa: E731
    assert locate(tmp_path, fits) is None
    assert locate(tmp_path, fits, depth=4).path.name == "four"
    touch(tmp_path / "one" / "mark.csv")
    assert locate(tmp_path, fits).path.name == "one"


def test_a_link_that_leads_back_ends(tmp_path):
    touch(tmp_path / "a" / "x.jpg")
    os.symlink(tmp_path, tmp_path / "a" / "loop", target_is_directory=True)
    assert len(list(Folder(tmp_path).below(depth=20))) == 2


def test_a_glance_looks_at_few_names(tmp_path):
    for i in range(30):
        touch(tmp_path / f"{i}.jpg")
    assert len(Folder(tmp_path, most=7).files) == 7
    assert len(glance(tmp_path).files) == 30


def test_a_folder_that_may_not_be_read_is_empty(tmp_path):
    assert Folder(tmp_path / "gone").files == {}


def test_a_name_that_hides_another_is_kept(tmp_path):
    """On Linux a folder may hold a.jpg and A.JPG, or a.jpg and a.png: one of them is used, the other must not vanish."""
    for name in ("a.jpg", "A.JPG", "b.png", "b.jpg", "Sub/x.jpg", "sub/y.jpg"):
        touch(tmp_path / name)
    folder = Folder(tmp_path)
    used = folder.pictures(depth=1)
    assert {p.name for p in used.values()} == {"A.JPG", "b.jpg", "x.jpg"}
    assert {p.name for p in folder.shadowed} == {"a.jpg", "b.png", "sub"}
