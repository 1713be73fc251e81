"""Kept fingerprints: a torn end, a changed file, two writers."""

import os

import pytest

from fundusion.audit.cache import FingerprintCache, key_of
from fundusion.core.errors import InvalidInput


def test_kept_lines_come_back_and_a_changed_file_is_unknown(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"1")
    key = key_of(str(path), "cfp")
    with FingerprintCache(tmp_path / "kept") as cache:
        cache.add(key, {"digest": "00"})
    with FingerprintCache(tmp_path / "kept") as cache:
        assert cache.read([key]) == {key: {"digest": "00"}}
        path.write_bytes(b"22")
        assert cache.read([key_of(str(path), "cfp")]) == {}


def test_a_torn_last_line_costs_that_line_only(tmp_path):
    keys = [(f"/p/{i}", "cfp", i, i) for i in range(3)]
    with FingerprintCache(tmp_path) as cache:
        cache.add(keys[0], {"n": 0})
        cache.add(keys[1], {"n": 1})
        where = cache.path
    os.truncate(where, where.stat().st_size - 5)
    with FingerprintCache(tmp_path) as cache:
        assert list(cache.read(keys)) == [keys[0]]
        cache.add(keys[2], {"n": 2})
        cache.flush()
        assert list(cache.read(keys)) == [keys[0], keys[2]]


def test_lines_are_on_disk_before_the_end(tmp_path):
    with FingerprintCache(tmp_path) as cache:
        for i in range(130):
            cache.add((f"/p/{i}", "cfp", 1, 1), {})
        assert len(cache.path.read_bytes().splitlines()) == 128


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidInput) as caught:
        FingerprintCache(tmp_path / "file" / "below")
    assert caught.value.code == "cache.not_writable"


def test_missing_files_and_folders_have_their_keys(tmp_path):
    assert key_of(str(tmp_path / "gone"), "oct") is None
    before = key_of(str(tmp_path), "oct")
    (tmp_path / "slice.png").write_bytes(b"123")
    assert key_of(str(tmp_path), "oct") != before
