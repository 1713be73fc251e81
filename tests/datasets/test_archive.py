"""Labels inside archives: read when small, never unpickled, a damaged archive tells nothing."""

import numpy as np
import pytest

from fundusion.datasets._archive import entries, small_entries


def test_numbers_and_words(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(
        path,
        volume=np.zeros((40, 40, 40), np.uint8),
        glaucoma=1,
        md=-3.25,
        word="early.dry",
        one=np.asarray([2.0]),
        two=[1, 2],
    )
    assert entries(path) == {"volume", "glaucoma", "md", "word", "one", "two"}
    assert small_entries(path, "glaucoma", "md", "word", "one", "two", "volume", "gone") == {
        "glaucoma": "1", "md": "-3.25", "word": "early.dry", "one": "2.0",
    }  # fmt: skip


def test_an_object_is_not_unpickled(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, label=np.asarray(["x"], dtype=object))
    assert small_entries(path, "label") == {}


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04" + b"\0" * 40])
def test_a_damaged_archive_tells_nothing(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    assert entries(path) == set()
    assert small_entries(path, "label") == {}


def test_an_archive_cut_short_tells_nothing(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, glaucoma=1, volume=np.zeros(1000))
    path.write_bytes(path.read_bytes()[:300])
    assert small_entries(path, "glaucoma") == {}
