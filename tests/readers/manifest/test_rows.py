"""Every kind of table gives the same rows; Parquet keeps its types."""

from datetime import date
from decimal import Decimal

import polars
import pytest

from fundusion.core.errors import FundusionError, InvalidInput
from fundusion.readers.manifest.rows import TableOptions, known_rows, open_table


def code(path, **options):
    with pytest.raises(FundusionError) as error:
        list(open_table(path, TableOptions(**options)).rows)
    return error.value.code


def test_parquet_types(tmp_path):
    frame = polars.DataFrame(
        {
            "id": ["001", "002"],
            "big": [123456789012345678, None],
            "day": [date(2020, 1, 2), None],
            "price": polars.Series([Decimal("7.25"), None]),
            "sex": polars.Series(["f", "m"], dtype=polars.Categorical),
            "cfp": [["a.jpg", "b.jpg"], []],
            "meta": [{"age": 5}, {"age": None}],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    rows = list(known_rows(open_table(tmp_path / "t.parquet")))
    assert [line for line, _ in rows] == [2, 3]
    first, second = (r for _, r in rows)
    assert first == {"id": "001", "big": 123456789012345678, "day": date(2020, 1, 2), "price": Decimal("7.25"), "sex": "f",
                     "cfp": ["a.jpg", "b.jpg"], "meta.age": 5}  # fmt: skip
    assert second["big"] is None


def test_parquet_is_read_in_pieces(tmp_path, monkeypatch):
    from fundusion.readers.manifest import rows as module

    monkeypatch.setattr(module, "_BATCH", 7)
    polars.DataFrame({"id": [str(i) for i in range(21)]}).write_parquet(tmp_path / "t.parquet")
    assert [r["id"] for _, r in known_rows(open_table(tmp_path / "t.parquet"))] == [str(i) for i in range(21)]


def test_parquet_that_holds_bytes(tmp_path):
    polars.DataFrame({"id": [b"1"]}).write_parquet(tmp_path / "t.parquet")
    assert code(tmp_path / "t.parquet") == "table.type"


def test_damaged_rows_are_left_out_of_known_rows(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1\n2,3\n")
    table = open_table(tmp_path / "t.csv")
    assert list(known_rows(table)) == [(3, {"a": "2", "b": "3"})]
    kinds = [type(r) for _, r in open_table(tmp_path / "t.csv").rows]
    assert kinds == [InvalidInput, dict]


def test_what_is_no_table(tmp_path):
    (tmp_path / "d.csv").mkdir()
    assert code(tmp_path / "d.csv") == "manifest.type"
    assert code(tmp_path / "none.csv") == "file.missing"
    assert code(tmp_path / "none.parquet") == "file.missing"
    assert code(tmp_path / "t.ods") == "manifest.type"
