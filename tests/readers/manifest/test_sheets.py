"""Workbooks cell by cell: dates of both systems, merged ranges, several sheets, digits as stored (T6)."""

import zipfile
from datetime import date, datetime, time

import openpyxl
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from fundusion.core.errors import FundusionError, InvalidInput, ReadError
from fundusion.readers.manifest.sheets import _is_date, open_sheet


def save(tmp_path, *rows, name="t.xlsx", edit=None):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    if edit:
        edit(book)
    book.save(tmp_path / name)
    return tmp_path / name


def read(path, **options):
    header, rows, facts, notes = open_sheet(path, **options)
    return header, list(rows), facts, notes


def code(path, **options):
    with pytest.raises(FundusionError) as error:
        read(path, **options)
    return error.value.code


def test_cells_keep_their_type_and_digits(tmp_path):
    path = save(
        tmp_path,
        ["id", "n", "t", "b", "d", "s"],
        ["00123", 14.5, "14.5", True, date(1950, 3, 4), datetime(2020, 1, 2, 3, 4, 5)],
        [123, 0.1234567890123, "<0.5", False, None, time(8, 30)],
        [None] * 6,
        ["x", 5, "", None, None, None],
    )
    header, rows, facts, _ = read(path)
    assert header == ["id", "n", "t", "b", "d", "s"]
    assert facts == {"sheet": "Sheet", "dates": "excel"}
    assert [n for n, _ in rows] == [2, 3, 5]
    first, second, last = (r for _, r in rows)
    assert first == {
        "id": "00123",
        "n": 14.5,
        "t": "14.5",
        "b": True,
        "d": date(1950, 3, 4),
        "s": datetime(2020, 1, 2, 3, 4, 5),
    }
    assert (second["id"], second["n"], second["s"], second["d"]) == (123, 0.1234567890123, time(8, 30), None)
    assert last == {"id": "x", "n": 5, "t": None, "b": None, "d": None, "s": None}


def test_the_1904_system_gives_the_same_day(tmp_path):
    def mac(book):
        book.epoch = CALENDAR_MAC_1904

    book = openpyxl.Workbook()
    mac(book)
    book.active.append(["d"])
    book.active.append([date(1950, 3, 4)])
    book.save(tmp_path / "mac.xlsx")
    _, rows, facts, _ = read(tmp_path / "mac.xlsx")
    assert rows == [(2, {"d": date(1950, 3, 4)})]
    assert facts["dates"] == "excel1904"


def test_long_whole_numbers_cannot_pass_as_identifiers(tmp_path):
    _, rows, _, _ = read(save(tmp_path, ["id"], [123456789012345678], [999999999999999]))
    assert isinstance(rows[0][1]["id"], float)
    assert rows[1][1]["id"] == 999999999999999


def test_what_is_shown_is_what_is_read(tmp_path):
    def formats(book):
        book.active["A2"].number_format = "00000"
        book.active["B2"].number_format = "0.0%"

    _, rows, _, _ = read(save(tmp_path, ["id", "hba1c"], [123, 0.072], edit=formats))
    assert rows[0][1] == {"id": "00123", "hba1c": "7.2%"}


def test_several_sheets_are_asked_for(tmp_path):
    def second(book):
        book.create_sheet("Visits").append(["a"])
        book["Visits"].append([1])
        book.create_sheet("Empty")

    path = save(tmp_path, ["b"], [2], edit=second)
    assert code(path) == "table.sheet"
    assert read(path, sheet="Visits")[1] == [(2, {"a": 1})]
    assert code(path, sheet="None") == "table.sheet"

    def hidden(book):
        second(book)
        book["Visits"].sheet_state = "hidden"

    assert read(save(tmp_path, ["b"], [2], edit=hidden))[0] == ["b"]


def test_merged_cells_are_refused_or_filled_never_empty(tmp_path):
    path = save(
        tmp_path,
        ["id", "eye", "x"],
        ["p1", "OD", 1],
        [None, "OS", 2],
        ["p2", "OD", 3],
        edit=lambda b: b.active.merge_cells("A2:A3"),
    )
    with pytest.raises(InvalidInput, match="A2:A3") as error:
        read(path)
    assert error.value.code == "table.merged"
    _, rows, _, notes = read(path, merged="fill")
    assert [r["id"] for _, r in rows] == ["p1", "p1", "p2"]
    assert "1 merged ranges" in notes[0]


def test_errors_and_formulas_are_no_values(tmp_path):
    path = save(tmp_path, ["id", "x"], ["1", "#N/A"], ["2", "=1+1"], ["3", 4])
    _, rows, _, _ = read(path)
    assert rows[0][1]["x"] == "#N/A"
    assert isinstance(rows[1][1], InvalidInput)
    assert rows[1][1].code == "table.formula"
    assert rows[2][1] == {"id": "3", "x": 4}


def test_cells_beyond_the_header(tmp_path):
    _, rows, _, _ = read(save(tmp_path, ["a", "b"], [1, 2, 3], [4, 5]))
    assert rows[0][1].code == "manifest.ragged"
    assert rows[1][1] == {"a": 4, "b": 5}
    assert code(save(tmp_path, ["a", None, "b"], [1, 2, 3])) == "manifest.columns"


def rewrite(path, part, change):
    target = path.with_name("changed.xlsx")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = old.read(info.filename)
            new.writestr(info.filename, change(data) if info.filename == part else data)
    return target


def test_files_that_are_no_workbook(tmp_path):
    path = save(tmp_path, ["a"], [1])
    (tmp_path / "x.xlsx").write_bytes(b"PK\x03\x04 no")
    assert code(tmp_path / "x.xlsx") == "manifest.damaged"
    data = path.read_bytes()
    (tmp_path / "cut.xlsx").write_bytes(data[: len(data) // 2])
    assert code(tmp_path / "cut.xlsx") == "manifest.damaged"
    sheet = "xl/worksheets/sheet1.xml"
    assert code(rewrite(path, sheet, lambda d: d[: len(d) // 2])) == "manifest.damaged"
    bomb = b'<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;">]>'
    with pytest.raises(ReadError, match="entities"):
        read(rewrite(path, sheet, lambda d: d.replace(b"<worksheet", bomb + b"<worksheet", 1)))


def test_rich_text_without_its_phonetic_reading(tmp_path):
    text = b"<is><r><t>\xe7\x9c\xbc</t></r><r><t>\xe5\xba\x95</t></r><rPh><t>yandi</t></rPh></is>"
    path = save(tmp_path, ["a"], ["PLACE"])
    with zipfile.ZipFile(path) as book:
        inline = b"inlineStr" in book.read("xl/worksheets/sheet1.xml")
    if inline:
        changed = rewrite(path, "xl/worksheets/sheet1.xml", lambda d: d.replace(b"<is><t>PLACE</t></is>", text))
    else:
        inner = text.removeprefix(b"<is>").removesuffix(b"</is>")
        changed = rewrite(path, "xl/sharedStrings.xml", lambda d: d.replace(b"<t>PLACE</t>", inner))
    assert read(changed)[1] == [(2, {"a": "眼底"})]


@pytest.mark.parametrize(
    ("layout", "is_date"),
    [
        ("yyyy-mm-dd", True),
        ("date", True),
        ("[h]:mm", True),
        ("0.00", False),
        ("General", False),
        ('0 "days"', False),
        ("[Red]0", False),
        ("#,##0", False),
    ],
)
def test_formats_that_show_dates(layout, is_date):
    assert _is_date(layout) is is_date
