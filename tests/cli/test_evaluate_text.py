"""`evaluate-text` as a user calls it: scores, page, rejected rows, tables that cannot be used."""

import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.cli.evaluate_text import read_pairs


def run(*words, code=0):
    done = CliRunner().invoke(app, ["evaluate-text", *map(str, words)])
    assert done.exit_code == code, done.output
    return done.output


def table(folder, text):
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_scores_and_a_page_with_pictures(tmp_path):
    cv2.imwrite(str(tmp_path / "eye.png"), np.full((80, 80, 3), 90, np.uint8))
    path = table(
        tmp_path,
        "study_id,text,reference,laterality,kind,image\n"
        'a,"right eye: drusen.",drusen. cataract,OD,,eye.png\n'
        "b,left eye,right eye,OD,laterality,\n",
    )
    said = run(path, "--out", tmp_path / "page.html")
    assert "finding recall" in said
    assert "answers on laterality right" in said
    assert "2 rows: 2 ok, 0 rejected, 0 pending" in said
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "data:image/jpeg;base64," in page
    scores = json.loads((tmp_path / "page.json").read_text("utf-8"))
    assert scores["descriptions"]["findings"]["recall"] == 0.5
    assert scores["answers"]["laterality"] == {"accuracy": 0.0, "answers": 1}


def test_rows_without_truth_are_rejected_and_an_empty_text_says_nothing(tmp_path):
    path = table(tmp_path, "study_id,text,reference,laterality\na,drusen,,\nb,,drusen,\nc,drusen,drusen,right\n")
    pairs, rejected = read_pairs(path)
    assert [p.study_id for p, _ in pairs] == ["b"]
    assert [name for name, _ in rejected] == ["a", "c"]
    assert "1 ok, 2 rejected" in run(path, code=3)


@pytest.mark.parametrize(
    ("text", "words"), [("study_id,text\na,b\n", "no column reference"), ("study_id,text,reference\n", "no text")]
)
def test_tables_that_cannot_be_used(tmp_path, text, words):
    assert words in run(table(tmp_path, text), code=4)
    assert "cannot be read" in run(tmp_path / "none.csv", code=4)
