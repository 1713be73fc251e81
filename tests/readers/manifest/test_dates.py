"""One format per column; two-digit years and days that never were are refused (T6)."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.readers.manifest.dates import (
    FORMATS,
    check_layout,
    formats_of,
    has_short_year,
    looks_like_date,
    parse_date,
    serial_day,
)


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("04.03.1950", "%d.%m.%Y"),
        ("1950年3月4日", "%Y年%m月%d日"),
        ("19500304", "%Y%m%d"),
        ("4 Mar 1950", "%d %b %Y"),
        ("1950-03-04T08:30:00", "%Y-%m-%dT%H:%M:%S"),
        ("1950-03-04", "iso"),
        ("18326", "excel"),
        ("16864", "excel1904"),
    ],
)
def test_one_day_in_every_format(text, layout):
    assert parse_date(text, layout) == date(1950, 3, 4)


def test_order_is_what_is_declared():
    assert parse_date("03/04/1950", "%d/%m/%Y") == date(1950, 4, 3)
    assert parse_date("03/04/1950", "%m/%d/%Y") == date(1950, 3, 4)
    with pytest.raises(InvalidInput):
        parse_date("25/12/1950", "%m/%d/%Y")


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("31.02.2000", "%d.%m.%Y"),
        ("60", "excel"),
        ("0", "excel"),
        ("-3", "excel"),
        ("195034", "%Y%m%d"),
        ("nan", "excel"),
    ],
)
def test_days_that_never_were(text, layout):
    with pytest.raises(InvalidInput) as error:
        parse_date(text, layout)
    assert error.value.code == "table.date"


@pytest.mark.parametrize("layout", ["%d/%m/%y", "%Y-%m", "%d.%m", "day", "%Y"])
def test_formats_that_leave_something_to_guess(layout):
    with pytest.raises(InvalidInput):
        check_layout(layout)


def test_all_formats_are_legal_and_shown_as_dates():
    for layout in FORMATS:
        check_layout(layout)
        text = date(2001, 11, 23).strftime(layout)
        assert looks_like_date(text), text
        assert layout in formats_of(text)


def test_short_years():
    assert has_short_year("3/4/50")
    assert not has_short_year("3/4/1950")
    assert not formats_of("3/4/50")


@given(st.integers(61, 100_000))
def test_serials_count_days(serial):
    assert serial_day(serial + 1) - serial_day(serial) == timedelta(days=1)
    assert serial_day(serial) - serial_day(serial, is_1904=True) == timedelta(days=-1462)
