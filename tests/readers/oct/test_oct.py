"""Which reader a vendor file gets, and the eyes in it without decoding."""

import numpy as np
import pytest

from fundusion.core.errors import ReadError
from fundusion.core.vocabulary import Laterality
from fundusion.readers.oct import SUFFIXES, eyes_of, read_oct


def test_eyes_are_those_of_the_volumes(tmp_path, clinic, generator):
    planes = generator.integers(52000, 63000, (3, 24, 32)).astype(np.uint16)
    floats = generator.random((3, 40, 48)).astype(np.float32)
    frames = generator.integers(0, 999, (3, 16, 32)).astype(np.uint16)
    files = {
        "a.e2e": clinic.e2e([("R", planes), ("L", planes), ("?", planes)]),
        "a.vol": clinic.vol(floats, eye="OS"),
        "a.fda": clinic.topcon(planes, eye=1),
        "a.fds": clinic.topcon(planes, kind="fds", eye=0),
        "a 16x2_OD.img": bytes(16 * 2 * 1024),
        "b_OS.oct": clinic.bioptigen(frames, lines=16, depth=32),
    }
    assert {("." + name.rsplit(".", 1)[1]) for name in files} == set(SUFFIXES)
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert eyes_of(path) == tuple(image.laterality for image in read_oct(path))
    assert eyes_of(tmp_path / "a.e2e") == (Laterality.RIGHT, Laterality.LEFT, None)


def test_other_suffixes_and_missing_files(tmp_path):
    for name, code in (("a.png", "oct.damaged"), ("a.vol", "file.missing")):
        with pytest.raises(ReadError) as caught:
            read_oct(tmp_path / name)
        assert caught.value.code == code
