"""Repeated identifiers are found exactly, whatever their number."""

import pytest

from fundusion.core.errors import ExhaustedResource
from fundusion.readers.manifest.seen import SeenStudies


def test_like_identifiers_are_different():
    seen = SeenStudies()
    for line, study in enumerate(("0123", "00123", "123", "123 ", "１２３", "a", "A", "\ud800")):
        assert seen.add(study, b"x", line) is None
    assert seen.add("123", b"x", 99) == (2, True)
    assert seen.add("A", b"y", 99) == (6, False)
    seen.close()


def test_many_identifiers():
    seen = SeenStudies()
    assert all(seen.add(f"{i:018d}", b"d", i) is None for i in range(20_000))
    assert seen.add(f"{777:018d}", b"d", 1) == (777, True)
    seen.close()
    with pytest.raises(ExhaustedResource):
        seen.add("x", b"", 1)
