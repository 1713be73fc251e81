"""From inputs to an answer."""

import json
import shutil

import numpy as np
import pytest

from fundusion.audit.check import check


@pytest.fixture
def folders(eyes, rgb, save, tmp_path):
    for i in range(4):
        (tmp_path / "ours").mkdir(exist_ok=True)
        shutil.copy(eyes[i], tmp_path / "ours" / f"p{i}_right.png")
    save("theirs/x.jpg", rgb(eyes[1]), 80)
    save("theirs/y.jpg", rgb(eyes[5]), 80)
    save("theirs/z.jpg", np.ascontiguousarray(rgb(eyes[2])[:, ::-1]), 80)
    (tmp_path / "ours" / "broken.jpg").write_bytes((tmp_path / "theirs" / "y.jpg").read_bytes()[:2000])
    return tmp_path / "ours", tmp_path / "theirs"


def test_overlap_of_two_folders_with_a_broken_file(folders):
    found = check(folders)
    assert found.sources == {"ours": 5, "theirs": 3}
    told = found.sentences()
    assert "2 of 5 studies (40%) of ours are also in theirs" in told
    assert any("ours:p2_right and theirs:z" in s and "mirrored" in s for s in told)
    assert [(s, c) for s, c, _ in found.rejected_files()] == [("ours:broken", "image.truncated")]
    assert found.leaks() == []
    json.dumps(found.to_dict(), allow_nan=False)


def test_against_makes_the_overlap_a_leak_and_counts_only_ours(folders):
    found = check(folders[:1], against=folders[1:])
    assert found.table.studies == 5
    assert len(found.leaks()) == 2
    assert found.sentences()[:2] == found.leaks()


def test_folders_of_one_name_are_told_apart(folders, tmp_path):
    (tmp_path / "b").mkdir()
    shutil.copytree(folders[1], tmp_path / "b" / "theirs")
    found = check([folders[1], tmp_path / "b" / "theirs"])
    assert len(found.sources) == 2
    assert sum(t.kind == "identical" for t in found.twins) == 3
