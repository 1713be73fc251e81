"""`label`: a table of reports becomes a table with weak labels that a manifest reads."""

import csv
import json

import pytest
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.readers.manifest import read_manifest

run = CliRunner().invoke

ROWS = [
    ("001-OD", "001", "OD", "OD: mild NPDR, no macular oedema. OS: no diabetic retinopathy."),
    ("001-OS", "001", "OS", "OD: mild NPDR, no macular oedema. OS: no diabetic retinopathy."),
    ("002-OD", "002", "OD", "右眼未见青光眼，可疑黄斑前膜。"),
    ("003-OD", "003", "OD", "Severe NPDR. PDR."),
    ("004-OD", "004", "OD", ""),
]


def write(path, rows=ROWS, heads=("study_id", "patient_id", "laterality", "report")):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([heads, *rows])
    return str(path)


def cells(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_labels_are_added_and_read_back(tmp_path):
    out, spans = tmp_path / "out.csv", tmp_path / "spans.jsonl"
    result = run(app, ["label", write(tmp_path / "r.csv"), "--out", str(out), "--spans", str(spans)])
    assert result.exit_code == 0, result.output
    rows = cells(out)
    assert [r["patient_id"] for r in rows] == ["001", "001", "002", "003", "004"]
    assert [r["label.dr_grade"] for r in rows] == ["1", "0", "", "", ""]
    assert [r["label.disease.G"] for r in rows] == ["", "", "0", "", ""]
    assert [r["label.findings.epiretinal_membrane"] for r in rows if "label.findings.epiretinal_membrane" in r] == []
    manifest = read_manifest(out)
    assert len(manifest) == 5
    assert manifest[0].labels["dr_grade"] == "1"
    summary = json.loads(out.with_suffix(".json").read_text("utf-8"))
    assert (summary["rows"], summary["ok"], summary["rejected"]) == (5, 5, [])
    assert [(c["line"], c["what"]) for c in summary["contradictions"]] == [(5, "retinopathy grades 3, 4")]
    assert "contradiction" in result.output
    lines = [json.loads(line) for line in spans.read_text("utf-8").splitlines()]
    text = ROWS[0][3]
    assert [text[slice(*f["span"])] for f in lines[0]["findings"]] == [f["text"] for f in lines[0]["findings"]]


def test_rejected_rows_end_in_three_and_are_named(tmp_path):
    rows = [("1", "1", "both", "Glaucoma"), ("2", "2", "OD", "MRN 999. Glaucoma"), ("3", "3", "OD", "Glaucoma")]
    out = tmp_path / "out.csv"
    result = run(app, ["label", write(tmp_path / "r.csv", rows), "--out", str(out)])
    assert result.exit_code == 3
    assert [r["label.disease.G"] for r in cells(out)] == ["", "", "1"]
    summary = json.loads(out.with_suffix(".json").read_text("utf-8"))
    assert [r["code"] for r in summary["rejected"]] == ["laterality.unknown", "identity.other_patient"]
    assert summary["rows"] == summary["ok"] + len(summary["rejected"])


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv"])
def test_other_tables_and_columns(tmp_path, suffix):
    source = write(tmp_path / "r.csv", [("1", "No drusen, 未见出血")], ("id", "检查所见"))
    out = tmp_path / f"out{suffix}"
    result = run(app, ["label", source, "--text-column", "检查所见", "--out", str(out)])
    assert result.exit_code == 0, result.output
    text = out.read_text("utf-8")
    assert "检查所见" in text
    assert "label.findings.haemorrhage" in text


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["--text-column", "text"], "label.text_column", 4),
        (["--language", "fr"], "config.language", 2),
        (["--out", "x.png"], "config.type", 2),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, arguments, code, exit_code):
    out = tmp_path / "out.csv"
    result = run(app, ["label", write(tmp_path / "r.csv"), "--out", str(out), *arguments])
    assert result.exit_code == exit_code
    assert code in result.output
    assert not out.exists()


def test_labels_of_people_and_the_input_are_not_overwritten(tmp_path):
    source = write(tmp_path / "r.csv", [("1", "Glaucoma", "1")], ("study_id", "report", "label.disease.G"))
    refused = run(app, ["label", source, "--out", str(tmp_path / "out.csv")])
    assert (refused.exit_code, "label.exists" in refused.output) == (4, True)
    plain = write(tmp_path / "p.csv")
    same = run(app, ["label", plain, "--out", plain])
    assert (same.exit_code, "label.overwrite" in same.output) == (4, True)
    assert run(app, ["label", str(tmp_path / "gone.csv"), "--out", str(tmp_path / "o.csv")]).exit_code == 4


def test_a_megabyte_of_text_damages_nothing(tmp_path):
    rows = [("1", "1", "OD", "no haemorrhage. " * 70_000), ("2", "2", "OD", "Glaucoma")]
    out = tmp_path / "out.csv"
    result = run(app, ["label", write(tmp_path / "r.csv", rows), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "text.too_long: 1 rows" in result.output
    csv.field_size_limit(64_000_000)
    try:
        assert [r["label.disease.G"] for r in cells(out)] == ["", "1"]
    finally:
        csv.field_size_limit(131_072)


def test_help_has_examples():
    result = run(app, ["label", "--help"])
    assert result.exit_code == 0
    assert "fundusion label reports.csv" in result.output
