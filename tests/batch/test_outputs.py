"""Tables and pages a run leaves: missing stays empty, nothing a table program would run."""

import csv
import io
import json

from fundusion.batch.ledger import Entry, Ledger
from fundusion.batch.outputs import _csv_line, export, read_results

LINE = {
    "study_id": "=cmd()",
    "patient_id": "007",
    "laterality": None,
    "status": "ok",
    "code": "ok",
    "message": "",
    "quality": None,
    "predictions": {"disease": {"label": "D", "decision": "positive", "probabilities": {"N": 0.1, "D": 0.0}}},
    "modalities": {"cfp": {"present": True, "used": True, "share": 1.0}, "table": {"present": True, "used": False}},
}


def test_summary_and_index(tmp_path):
    ledger = Ledger(tmp_path, config={}, study_ids=["=cmd()", "b"])
    ledger.record(
        [Entry(position=0, study_id="=cmd()", status="ok", line=json.dumps(LINE), facts='{"headline": "<b>"}')]
    )
    export(ledger, tasks={"disease": ["N", "D", "G"]}, total=2, run={"config": {}}, reports=False)
    ledger.close()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text())))
    assert len(rows) == 1
    row = rows[0]
    assert (row["study_id"], row["patient_id"], row["laterality"], row["gradable"]) == ("'=cmd()", "007", "", "")
    assert (row["disease.p.D"], row["disease.p.G"], row["modalities_used"]) == ("0.0", "", "cfp")
    assert read_results(tmp_path) == [LINE]
    page = (tmp_path / "index.html").read_text()
    assert "&lt;b&gt;" in page
    assert json.loads((tmp_path / "run.json").read_text())["counts"] == {
        "total": 2, "ok": 1, "rejected": 0, "pending": 1,
    }  # fmt: skip


def test_prediction_sets_have_a_column_where_they_were_asked_for(tmp_path):
    said = {"t": {"label": "a", "probabilities": {"a": 0.9}, "prediction_set": ["a", "b"]}}
    lines = [said, {"t": {**said["t"], "prediction_set": []}}, {}]
    ledger = Ledger(tmp_path, config={}, study_ids=["0", "1", "2"])
    ledger.record(
        [
            Entry(position=i, study_id=str(i), status="ok", line=json.dumps({**LINE, "predictions": p}), facts="{}")
            for i, p in enumerate(lines)
        ]
    )
    run = {"config": {"prediction_sets": ["t"], "command": "fundusion zeroshot"}}
    export(ledger, tasks={"t": ["a", "b"]}, total=3, run=run, reports=False)
    ledger.close()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text())))
    # No label fits is not the same as no answer.
    assert [r["t.set"] for r in rows] == ["a|b", "none", ""]
    assert "fundusion zeroshot" in (tmp_path / "index.html").read_text()


def test_an_empty_word_is_an_empty_cell_and_a_formula_is_text():
    assert _csv_line(["", None, "+1", -1, "a-b"]) == b",,'+1,-1,a-b\n"
