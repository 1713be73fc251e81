import json

import pytest

from fundusion.core.errors import InvalidInput, ReadError
from fundusion.knowledge import Knowledge

GOOD = '[drusen]\nen = "drusen"\nen_is = ["yellow spots"]\n'


def read(tmp_path, text, name="mine.toml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Knowledge.read(path)


def test_a_file_of_ones_own_stands_alone_or_adds(tmp_path):
    alone = read(tmp_path, GOOD)
    assert list(alone.findings) == ["drusen"]
    assert alone.sets == {}
    more = read(
        tmp_path,
        '__extends__ = true\n[drusen]\nen = "our drusen"\n[sea_fan]\nen = "sea fan"\nparents = ["neovascularisation"]\n'
        '[__sets__.ours]\ntitle = "Ours"\nkind = "multiclass"\ntask = "ours"\nlabels = { a = "drusen", b = "sea_fan" }\n',
    )
    shipped = Knowledge.read()
    assert len(more) == len(shipped) + 1
    assert more.find("our drusen").id == "drusen"
    assert more.ancestors("sea fan") == ("neovascularisation",)
    assert {*more.sets} == {*shipped.sets, "ours"}
    # The shipped one is as it was.
    assert Knowledge.read().find("drusen").name["en"] == "drusen"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no finding"),
        ('[drusen]\nzh = "x"\n', r"\[drusen\] en field required"),
        (GOOD + 'en_iss = ["a"]\n', "en_iss is not known"),
        (GOOD + 'parents = ["naevus"]\n', "names 'naevus'"),
        (GOOD + 'parents = ["drusen"]\n', "lead back"),
        ('[a]\nen = "a"\nparents = ["b"]\n[b]\nen = "b"\nparents = ["c"]\n[c]\nen = "c"\nparents = ["b"]\n', "lead back"),
        (GOOD + 'source = ["me"]\n', "not in __sources__"),
        (GOOD + '[b]\nen = "Drusen"\n', r"has the name 'Drusen' of \[drusen\] too"),
        (GOOD + 'snomed = "12"\n', "snomed string should match"),
        (GOOD + 'kind = "thing"\n', "kind input should be"),
        (GOOD + 'zh = "玻璃\u200b膜疣"\n', "cannot be seen"),
        (GOOD + 'zh = ""\n', "is empty"),
        (GOOD + f'zh = "{"疣" * 3000}"\n', "3,000 characters"),
        ("__extends__ = 1\n" + GOOD, "true or false"),
        ("__sheets__ = 1\n" + GOOD, "__sheets__ is not known"),
        (GOOD + '[__templates__.cfp]\nen = ["a photograph"]\n', "each with {finding}"),
        (GOOD + '[__sets__.s]\ntitle = "S"\nkind = "multiclass"\ntask = "t"\nlabels = { a = "drusn" }\n', "Did you mean drusen"),
        ("drusen = 3\n", "is a table"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, text, says):
    with pytest.raises(InvalidInput, match=says):
        read(tmp_path, text)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[drusen", b"[a]\nen = 'x'\n[a]\nen = 'y'\n"])
def test_a_file_that_is_no_toml(tmp_path, content):
    with pytest.raises(ReadError, match=r"mine\.toml"):
        read(tmp_path, content)


def test_files_that_are_not_there_or_are_something_else(tmp_path):
    with pytest.raises(ReadError, match="no file"):
        Knowledge.read(tmp_path / "none.toml")
    with pytest.raises(ReadError, match="not a table"):
        read(tmp_path, "[]", "a.json")
    with pytest.raises(InvalidInput, match="definitions"):
        read(tmp_path, json.dumps({"a": 1}), "a.json")
    with pytest.raises(ReadError):
        read(tmp_path, "[" * 100_000, "deep.json")
