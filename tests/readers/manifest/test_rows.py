"""Every kind of table gives the same rows; Parquet keeps its types."""

import json
import random
import zipfile
from datetime import date
from decimal import Decimal

import openpyxl
import polars
import pytest

from fundusion.core.errors import FundusionError, InvalidInput
from fundusion.readers.manifest import read_manifest
from fundusion.readers.manifest.propose import propose_schema
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


def test_a_file_that_changes_under_the_reader_is_an_error_of_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("study_id,report\n" + "".join(f"{i},{'x' * 100}\n" for i in range(5000)))
    table = open_table(path)
    with path.open("r+b") as stream:
        stream.seek(300_000)
        stream.write(b"\xff\xfe")
    with pytest.raises(FundusionError) as error:
        list(table.rows)
    assert error.value.code == "table.encoding"
    assert "changed" in error.value.message


def test_what_is_no_table(tmp_path):
    (tmp_path / "d.csv").mkdir()
    assert code(tmp_path / "d.csv") == "manifest.type"
    assert code(tmp_path / "none.csv") == "file.missing"
    assert code(tmp_path / "none.parquet") == "file.missing"
    assert code(tmp_path / "t.ods") == "manifest.type"


def seeds(folder):
    """Write one good table of each kind."""
    rows = [{"study_id": f"{i:03d}", "laterality": "OD", "meta.age": "60", "report": "左眼未见出血"} for i in range(20)]
    frame = polars.DataFrame(rows)
    frame.write_csv(folder / "a.csv")
    frame.write_parquet(folder / "a.parquet")
    (folder / "g.csv").write_bytes((folder / "a.csv").read_text("utf-8").encode("gb18030"))
    (folder / "a.jsonl").write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), "utf-8")
    book = openpyxl.Workbook()
    book.active.append(["study_id", "visit", "meta.iop"])
    for i in range(20):
        book.active.append([f"{i:03d}", date(2020, 1, 2), 14.5])
    book.save(folder / "a.xlsx")


def mutated(data, chance):
    changed = bytearray(data)
    for _ in range(chance.choice((1, 2, 5, 30))):
        place, kind = chance.randrange(len(changed) + 1), chance.random()
        if kind < 0.6 and place < len(changed):
            changed[place] = chance.randrange(256)
        elif kind < 0.8:
            changed[place:place] = bytes(chance.randrange(256) for _ in range(chance.randrange(8)))
        elif kind < 0.92:
            del changed[place : place + chance.randrange(20)]
        else:
            del changed[place:]
    return bytes(changed)


def mutate_into(path, seed, chance):
    """Write a damaged copy; of a workbook every second time a part inside it, so that the archive itself is sound."""
    if path.suffix != ".xlsx" or chance.random() < 0.5:
        path.write_bytes(mutated(seed.read_bytes(), chance))
        return
    with zipfile.ZipFile(seed) as old, zipfile.ZipFile(path, "w") as new:
        chosen = chance.choice([n for n in old.namelist() if n.startswith("xl/")])
        for name in old.namelist():
            new.writestr(name, mutated(old.read(name), chance) if name == chosen else old.read(name))


def fuzz(tmp_path, count):
    seeds(tmp_path)
    chance = random.Random(11)
    ends = {"read": 0, "refused": 0}
    for name in ("a.csv", "g.csv", "a.jsonl", "a.xlsx", "a.parquet"):
        path = tmp_path / f"mutant{(tmp_path / name).suffix}"
        # A Parquet file is tried by a child process first, which takes a while.
        for _ in range(count if path.suffix != ".parquet" else max(30, count // 10)):
            mutate_into(path, tmp_path / name, chance)
            for use in (lambda p: read_manifest(p, on_bad_row="collect"), propose_schema):
                try:
                    use(path)
                    ends["read"] += 1
                except FundusionError:
                    ends["refused"] += 1
    assert sum(ends.values()) == 8 * count + 2 * max(30, count // 10)
    assert min(ends.values()) > 0


def test_mutated_tables_end_in_a_defined_state(tmp_path):
    fuzz(tmp_path, 30)


@pytest.mark.slow
def test_many_mutated_tables_end_in_a_defined_state(tmp_path):
    fuzz(tmp_path, 2000)
