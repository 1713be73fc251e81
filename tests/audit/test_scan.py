"""Fingerprints of many files: rejected alone, remembered, the same from any number of workers."""

import numpy as np
import pytest

from fundusion.audit import scan as module
from fundusion.audit.cache import FingerprintCache
from fundusion.audit.scan import scan


@pytest.fixture
def files(eyes, tmp_path):
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    return [
        *(("cfp", str(e)) for e in eyes[:3]),
        ("cfp", str(tmp_path / "page.jpg")),
        ("cfp", str(tmp_path / "gone.jpg")),
    ]


def test_bad_files_are_rejected_with_codes_and_the_rest_goes_on(files):
    seen = []
    found = scan(files, progress=lambda done, total: seen.append((done, total)))
    assert found.usable.tolist() == [True, True, True, False, False]
    assert {i: c for i, (c, _) in found.rejected.items()} == {3: "image.not_an_image", 4: "file.missing"}
    assert seen[-1] == (5, 5)
    assert len({d.tobytes() for d in found.digests[:3]}) == 3


def test_a_second_scan_reads_nothing_and_finds_the_same(files, tmp_path, monkeypatch):
    with FingerprintCache(tmp_path / "kept") as cache:
        first = scan(files, cache=cache)

    def refuse(_):
        raise AssertionError("nothing is to be read again")

    monkeypatch.setattr(module, "fingerprint_file", refuse)
    with FingerprintCache(tmp_path / "kept") as cache:
        again = scan(files, cache=cache)
    assert again.remembered == 4
    for name in ("digests", "circle", "box", "sides", "usable"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert dict(first.rejected) == dict(again.rejected)


def test_a_killed_scan_goes_on(files, tmp_path, monkeypatch):
    """What was written before the end is not read again."""
    real, read = module.fingerprint_file, []

    def some(file):
        if len(read) == 2:
            raise KeyboardInterrupt
        read.append(file)
        return real(file)

    monkeypatch.setattr(module, "fingerprint_file", some)
    with pytest.raises(KeyboardInterrupt), FingerprintCache(tmp_path / "kept") as cache:
        scan(files, cache=cache)
    monkeypatch.setattr(module, "fingerprint_file", lambda f: (read.append(f), real(f))[1])
    with FingerprintCache(tmp_path / "kept") as cache:
        assert scan(files, cache=cache).remembered == 2
    assert len(read) == len(set(read)) == 4


def test_workers_find_the_same(files):
    alone, together = scan(files), scan(files, workers=2)
    assert np.array_equal(alone.box, together.box)
    assert dict(alone.rejected) == dict(together.rejected)
