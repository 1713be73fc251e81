"""A kill or a full disk leaves the old file or the new one."""

import errno
import json
import os

import pytest

from fundusion.core import durable
from fundusion.core.errors import ExhaustedResource


def test_replaces_content_and_leaves_no_other_file(tmp_path):
    target = tmp_path / "a.json"
    durable.write_json(target, {"x": 1})
    durable.write_json(target, {"x": 2, "名": "眼"})
    assert json.loads(target.read_text("utf-8")) == {"x": 2, "名": "眼"}
    assert os.listdir(tmp_path) == ["a.json"]


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        durable.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_full_disk_keeps_the_old_file_and_says_so(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    durable.write_text(target, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(ExhaustedResource) as error:
        durable.write_text(target, "new")
    assert error.value.code == "disk.full"
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_other_errors_pass_through_and_clean_up(tmp_path):
    def blocks():
        yield b"part"
        raise RuntimeError("source failed")

    with pytest.raises(RuntimeError, match="source failed"):
        durable.write_bytes(tmp_path / "a.bin", blocks())
    assert os.listdir(tmp_path) == []


def test_digest_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert durable.digest_of(tmp_path / "a").startswith("ba7816bf")


def test_mode_follows_the_umask(tmp_path):
    previous = os.umask(0o077)
    try:
        durable.write_text(tmp_path / "a", "x")
    finally:
        os.umask(previous)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
