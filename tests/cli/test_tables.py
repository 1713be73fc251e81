"""`check --propose` and `--schema`: from a clinic's table to records; the guide shows what the commands print."""

import re
import tomllib
from pathlib import Path

import openpyxl
import pytest
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.cli.tables import options_of, propose
from fundusion.core.errors import InvalidInput
from fundusion.readers.manifest import read_manifest

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "tables.md"


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def block(language, number=0):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)[number]


def test_the_guide_shows_the_proposal_of_its_table(tmp_path):
    (tmp_path / "clinic.csv").write_text(block("csv"), "utf-8")
    result = run("check", tmp_path / "clinic.csv", "--propose", tmp_path / "schema.toml")
    assert result.exit_code == 3, result.output
    assert (tmp_path / "schema.toml").read_text("utf-8") == block("toml")
    assert "4 questions are open" in result.output
    open_columns = re.findall(r"^undecided", block("toml"), re.MULTILINE)
    assert len(open_columns) == 4
    undecided = run("check", tmp_path / "clinic.csv", "--schema", tmp_path / "schema.toml")
    assert undecided.exit_code == 4
    assert "schema.undecided" in undecided.output


def test_answers_make_the_schema_of_the_guide_read_its_table(tmp_path):
    (tmp_path / "clinic.csv").write_text(block("csv"), "utf-8")
    text = block("toml")
    for choice in ('missing = ["999"]', 'unit = "mmol/L"', 'to = "label.diagnosis"', 'to = "cfp"'):
        assert f"# {choice}" in text
        text = text.replace(f"# {choice}", choice)
    assert tomllib.loads(text)
    (tmp_path / "schema.toml").write_text(text, "utf-8")
    found = read_manifest(tmp_path / "clinic.csv", schema=tmp_path / "schema.toml", on_bad_row="collect")
    assert [r.patient_id for r in found] == ["00123", "00124", "00125"]
    assert [r.code for r in found.rejected] == ["table.range"]
    assert found[0].metadata["hba1c"] == pytest.approx(7.0, abs=0.01)
    assert found[2].metadata["iop"] is None
    result = run("check", tmp_path / "clinic.csv", "--schema", tmp_path / "schema.toml")
    assert result.exit_code == 3
    output = " ".join(result.output.split())
    assert "3 studies, 3 patients" in output
    assert "meta.hba1c: 3 cells were converted" in output
    assert "clinic.csv:3: table.range" in output


def test_a_table_that_is_certain_has_no_questions(tmp_path):
    (tmp_path / "t.csv").write_text("patient_id,eye,age\n1,OD,60\n2,OS,70\n")
    result = run("check", tmp_path / "t.csv", "--propose", tmp_path / "s.toml")
    assert result.exit_code == 0, result.output
    assert "Nothing is open" in result.output
    assert run("check", tmp_path / "t.csv", "--schema", tmp_path / "s.toml").exit_code == 0


def test_decisions_are_not_written_over(tmp_path):
    (tmp_path / "t.csv").write_text("patient_id\n1\n")
    (tmp_path / "s.toml").write_text("mine")
    with pytest.raises(InvalidInput) as error:
        propose(tmp_path / "t.csv", tmp_path / "s.toml")
    assert error.value.code == "output.exists"
    assert (tmp_path / "s.toml").read_text() == "mine"


def test_what_is_not_certain_is_stated_on_the_command_line(tmp_path):
    (tmp_path / "t.csv").write_bytes("patient_id;größe,m\nMüller;1,7\n".encode("latin-1"))
    asked = run("check", tmp_path / "t.csv", "--propose", tmp_path / "s.toml")
    assert asked.exit_code == 4
    assert "table.encoding" in asked.output
    told = run(
        "check", tmp_path / "t.csv", "--propose", tmp_path / "s.toml", "--encoding", "latin-1", "--delimiter", ";"
    )
    assert told.exit_code == 3, told.output
    assert tomllib.loads((tmp_path / "s.toml").read_text("utf-8"))["table"] == {"encoding": "latin-1", "delimiter": ";"}
    book = openpyxl.Workbook()
    for name in ("One", "Two"):
        sheet = book.create_sheet(name)
        sheet.append(["patient_id"])
        sheet.append([name])
    book.save(tmp_path / "b.xlsx")
    assert "table.sheet" in run("check", tmp_path / "b.xlsx", "--propose", tmp_path / "x.toml").output
    assert run("check", tmp_path / "b.xlsx", "--propose", tmp_path / "x.toml", "--sheet", "Two").exit_code == 0


def test_options_that_were_not_given():
    assert options_of(None, None, None) is None
    tab = options_of(None, "tab", None)
    assert tab is not None
    assert tab.delimiter == "\t"
