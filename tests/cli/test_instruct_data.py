"""`instruct-data`: sets from drawn eyes that training reads, files as downloaded, pairs and feedback."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.readers.conversations import read_conversations


@pytest.fixture(scope="module")
def eyes(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("eyes") / "eyes"
    shutil.copytree(cohort.parent, folder)
    return folder / cohort.name


def run(*words, code=0):
    done = CliRunner().invoke(app, ["instruct-data", *map(str, words)])
    assert done.exit_code == code, done.output
    return done.output


def rows_of(file):
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_a_set_from_drawn_eyes_is_read_back_whole_and_patients_are_in_one_part(eyes):
    out = eyes.parent / "talk.jsonl"
    said = run(eyes, "--out", out, "--per-study", "5")
    rows = rows_of(out)
    assert f"{len(rows)} items" in said
    assert {r["language"] for r in rows} == {"en", "zh"}
    found = read_conversations(out)
    assert len(found.items) == len(rows)
    assert found.rejected == ()
    parts = {}
    for row in rows:
        parts.setdefault(row["patient_id"], set()).add(row["split"])
    assert all(len(p) == 1 for p in parts.values())
    # What is known of a finding is not learned as something the picture shows.
    assert all((row["kind"] == "definition") == (row["images"] == {}) for row in rows)
    again = eyes.parent / "again.jsonl"
    run(eyes, "--out", again, "--per-study", "5")
    assert again.read_bytes() == out.read_bytes()


def test_parts_are_made_where_the_table_has_none(eyes):
    table = eyes.parent / "plain.csv"
    lines = eyes.read_text("utf-8").splitlines()
    assert lines[0].endswith(",split")
    table.write_text("\n".join(line.rpartition(",")[0] for line in lines), "utf-8")
    out = eyes.parent / "parts.jsonl"
    run(table, "--out", out, "--validation", "0.3", "--test", "0.3", "--language", "en")
    rows = rows_of(out)
    assert {r["split"] for r in rows} == {"train", "val", "test"}
    assert {r["language"] for r in rows} == {"en"}


def test_pairs(eyes):
    out = eyes.parent / "pairs.jsonl"
    assert " description" in run(eyes, "--out", out, "--pairs", "--per-study", "2")
    assert all(i.chosen and i.refused and i.chosen != i.refused for i in read_conversations(out).items)


def test_files_as_downloaded_are_checked_item_by_item(eyes):
    picture = next((eyes.parent / "images").glob("*_cfp.png"))
    good = {
        "id": "1",
        "image": f"images/{picture.name}",
        "conversations": [{"from": "human", "value": "<image>\nEye?"}, {"from": "gpt", "value": "Left."}],
    }
    file = eyes.parent / "llava.json"
    file.write_text(json.dumps([good, {**good, "id": "2", "image": "images/none.png"}]))
    out = eyes.parent / "checked.jsonl"
    said = run(file, "--out", out, code=3)
    assert "1 items" in said
    assert "file.missing" in said
    (row,) = rows_of(out)
    assert row["images"] == {"cfp": f"images/{picture.name}"}
    (lost,) = json.loads((eyes.parent / "checked.jsonl.rejected.json").read_text())
    assert (lost["item_id"], lost["code"]) == ("2", "file.missing")
    # What was written is read again to the same.
    second = eyes.parent / "twice.jsonl"
    run(out, "--out", second)
    assert rows_of(second) == [row]


def test_feedback_becomes_pairs_and_answers(tmp_path):
    file = tmp_path / "edits.jsonl"
    file.write_text(
        '{"draft": "Drusen.", "final": "No drusen.", "status": "edited"}\n{"draft": "A.", "status": "rejected"}\n'
    )
    out = tmp_path / "learned.jsonl"
    assert "1 pairs, 1 answers, 1 drafts without" in run(file, "--feedback", "--out", out)
    assert len(read_conversations(out).items) == 2


def test_bad_input_is_said(eyes, tmp_path):
    assert "instruct.folder" in run(eyes, "--out", tmp_path / "x.jsonl", code=4)
    assert "config.language" in run(eyes, "--out", eyes.parent / "x.jsonl", "--language", "fr", code=2)
    empty = tmp_path / "t.csv"
    empty.write_text("study_id,laterality\na,OD\n")
    assert "instruct.empty" in run(empty, "--out", tmp_path / "x.jsonl", code=4)
    assert "input.missing" in run(tmp_path / "none.jsonl", "--out", tmp_path / "x.jsonl", code=4)
