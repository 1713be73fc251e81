"""Encodings: read when certain, asked for when not; no wrong guess passes (T1, T2)."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import ReadError
from fundusion.readers.manifest.encoding import ENCODINGS, decode_text, detect_encoding, open_text, text_lines

CHINESE = "study_id,report\n1,左眼视网膜未见出血及渗出\n2,黄斑区可见硬性渗出,张伟\n"
HEADER = "study_id,name\n1,x\n"


def refused(data, **options):
    with pytest.raises(ReadError) as caught:
        decode_text(data, "t.csv", **options)
    assert caught.value.code == "table.encoding"
    return f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030", "gbk", "utf-32"])
def test_certain_encodings_give_the_text(codec):
    text = CHINESE if codec != "utf-16-le" else HEADER
    data = text.encode(codec)
    assert decode_text(data, "t.csv").lstrip("\ufeff") == text


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark(codec):
    assert decode_text(("study_id,sex\n" + "1,男\n" * 9).encode(codec), "t.csv").count("男") == 9
    # U+4E00 has a zero byte as ASCII has: both orders are possible.
    assert "utf-16-le" in refused("a一一一b\n一一一,cdefghij\n".encode(codec))
    big = b"\xfe\xff" + "a,b\n1,女\n".encode("utf-16-be")
    assert decode_text(big, "t.csv").endswith("1,女\n")


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("name,größe\nMüller,é\n", "latin-1"),
        ("name\nПетров Иван\nСмирнова Анна\nНорма без патологии\n", "cp1251"),
        ("name\nпетров иван\nсмирнова анна\nнорма без патологии\n", "koi8-r"),
        ("이름\n김철수\n박영희\n망막 출혈 없음\n", "euc_kr"),
        ("姓名,報告\n陳小明,視網膜未見出血及滲出\n", "big5"),
        ("氏名,所見\n山田太郎,網膜に出血なし\n", "shift_jis"),
        ("氏名,所見\n山田太郎,網膜に出血なし\n", "euc_jp"),
    ],
)
def test_other_encodings_are_asked_for_and_not_taken_for_chinese(text, codec):
    assert "encoding" in refused(text.encode(codec))
    if codec in ENCODINGS:
        assert decode_text(text.encode(codec), "t.csv", codec) == text


def test_a_file_of_two_encodings_names_both_lines():
    mixed = "a\n视网膜出血\n".encode() + "黄斑区渗出\n".encode("gb18030")
    assert "line 2 is UTF-8, line 3 is not" in refused(mixed)
    one_in_many = CHINESE.encode("gb18030") * 50 + "姓名王芳\n".encode()
    assert "mixes" in refused(one_in_many)


def test_bytes_that_are_two_texts_are_asked_for():
    """The one Chinese word of this table is also a Latin letter in UTF-8."""
    data = "id,sex\n1,女\n2,女\n".encode("gb18030")
    assert data.decode("utf-8")
    assert "UTF-8 and as GB18030" in refused(data)
    assert decode_text(data, "t.csv", "gb18030").count("女") == 2
    assert decode_text("naïve, größe, 20 µm, 5°\n".encode(), "t.csv") == "naïve, größe, 20 µm, 5°\n"


def test_what_is_stated_is_checked():
    assert decode_text("é".encode("latin-1"), "t.csv", "latin-1") == "é"
    assert "valid UTF-8" in refused("größe\n".encode(), encoding="latin-1")
    assert "mark of utf-16" in refused("a,b\n".encode("utf-16"), encoding="utf-8")
    assert "not known" in refused(b"a", encoding="ebcdic")
    refused("视网膜".encode("gb18030"), encoding="utf-8")
    refused("ü".encode("latin-1"), encoding="gb18030")


def test_nul_bytes_name_their_line():
    assert "line 3" in refused(b"a,b\n1,2\n3,\x004\n")
    refused(b"\x00\x00\x00\x00\x01")
    refused("a\0b\n".encode("utf-16"))
    refused(b"ab\0cd", encoding="latin-1")


def test_a_surrogate_alone_is_no_utf16():
    refused(b"\xff\xfe" + "a\n".encode("utf-16-le") + b"\x00\xd8")


@given(st.binary(max_size=300))
def test_bytes_come_back_or_are_refused(data):
    """Whatever is accepted gives exactly its bytes again: no character was lost or replaced."""
    try:
        codec = detect_encoding(io.BytesIO(data), "t.csv")
    except ReadError:
        return
    text = data.decode(codec)
    again = text.encode("utf-8" if codec == "utf-8-sig" else codec)
    assert again in (data, data.removeprefix(b"\xef\xbb\xbf")) or codec.startswith("utf-")


def test_a_stream_keeps_line_ends(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\n")
    stream, codec = open_text(path)
    assert codec == "utf-8-sig"
    assert list(text_lines(stream)) == ["a\r\n", "b\n"]
    assert stream.closed
