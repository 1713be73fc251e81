import pytest

from fundusion.core.spelling import plain_word


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("haemorrhages", "hemorrhage"),
        ("hemorrhage", "hemorrhage"),
        ("disks", "disc"),
        ("naevus", "nevus"),
        ("retinitis", "retinitis"),
        ("atrophies", "atrophy"),
        ("os", "os"),
    ],
)
def test_spellings_and_plurals_meet(written, plain):
    assert plain_word(written) == plain
    assert plain_word(plain) == plain
