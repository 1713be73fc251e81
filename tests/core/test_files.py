"""Bytes of files with caps: what unpacks to too much, is cut, or is no file is refused."""

import gzip
import os

import pytest

from fundusion.core.errors import ReadError
from fundusion.core.files import ReadLimits, check_size, gunzip, read_bytes


def code_of(call, *args):
    with pytest.raises(ReadError) as caught:
        call(*args)
    return caught.value.code


def test_gzip_round_trip_also_of_several_members():
    data = gzip.compress(b"one") + gzip.compress(b"two") + b"\0\0"
    assert gunzip(data, "a.gz", 100) == b"onetwo"


def test_a_bomb_is_refused_while_it_unpacks():
    bomb = gzip.compress(bytes(200 << 20))
    assert len(bomb) < 1 << 20
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert code_of(gunzip, bomb, "a.ppm.gz", 1 << 20) == "image.too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize("cut", [5, 12, -1])
def test_cut_gzip(cut):
    assert code_of(gunzip, gzip.compress(os.urandom(99))[:cut], "a.gz", 1000) == "image.truncated"


def test_damaged_gzip():
    data = bytearray(gzip.compress(os.urandom(99)))
    data[-6] ^= 255
    assert code_of(gunzip, bytes(data), "a.gz", 1000) == "image.corrupt"


def test_sizes_and_files(tmp_path):
    limits = ReadLimits()
    assert code_of(check_size, 30000, 30000, "a", limits) == "image.too_large"
    assert code_of(check_size, 8, 8, "a", limits) == "image.too_small"
    assert code_of(check_size, 40, 400, "a", limits) == "image.aspect"
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", 5) == b"12345"
    assert code_of(read_bytes, tmp_path / "a", 4) == "image.too_large"
    assert code_of(read_bytes, tmp_path, 4) == "file.not_a_file"


def test_a_transient_error_is_tried_again_and_a_lasting_one_named(tmp_path, monkeypatch):
    import errno

    (tmp_path / "a.jpg").write_bytes(b"content")
    monkeypatch.setattr("time.sleep", lambda s: None)
    calls = []
    real = os.stat

    def failing(times):
        def stat(path, **options):
            calls.append(path)
            if len(calls) <= times:
                raise OSError(errno.EIO, "input error")
            return real(path, **options)

        return stat

    monkeypatch.setattr("fundusion.core.files.os.stat", failing(2))
    assert read_bytes(tmp_path / "a.jpg", 100) == b"content"
    calls.clear()
    monkeypatch.setattr("fundusion.core.files.os.stat", failing(9))
    assert code_of(read_bytes, tmp_path / "a.jpg", 100) == "file.unreadable"
    assert len(calls) == 3
