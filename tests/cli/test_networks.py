"""`train`, `evaluate`, `predict`, `embed` on drawn eyes."""

import csv
import json

import polars
import pytest
from typer.testing import CliRunner

from fundusion.cli import app

run = CliRunner().invoke
TOML = """
[data]
manifest = "manifest.csv"
side = 40
[network]
encoders = {{ cfp = "contrast_resnet.test", table = "tabular.test", text = "hashing.test" }}
fusion = "{fusion}"
embed_dim = 8
[tasks.dr_grade]
[tasks.referable]
kind = "binary"
labels = ["0", "1"]
[train]
sizes = [[32, 2]]
batch_size = 4
warmup_steps = 1
[model]
required = ["cfp"]
"""


@pytest.fixture(scope="module")
def trained(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = cohort.parent / "train.toml"
    config.write_text(TOML.format(fusion="gated"))
    result = run(app, ["train", str(config), "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


def test_the_run_folder_is_complete(trained):
    names = {p.name for p in trained.iterdir()}
    assert {"config.toml", "metrics.jsonl", "metrics.csv", "checkpoint.json", "environment.txt", "model"} <= names
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").open()]
    assert [r["epoch"] for r in rows] == [1, 2]


def test_evaluate_writes_metrics_with_intervals_or_reasons(trained, cohort, tmp_path):
    result = run(app, ["evaluate", str(trained), str(cohort), "--out", str(tmp_path), "--resamples", "100"])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "metrics.json").read_text()
    assert "NaN" not in text
    answer = json.loads(text)
    assert set(answer["tasks"]) == {"dr_grade", "referable"}
    for task in answer["tasks"].values():
        for value in task["metrics"].values():
            assert "undefined" in value or value["low"] is None or value["low"] <= value["value"] <= value["high"]
        assert {"cfp", "table", "text", "cfp+table", "cfp+table+text"} <= {
            "+".join(sorted(k.split("+"))) for k in task["ablation"]
        }
    assert (tmp_path / "evaluation.html").read_text().count("data:image/png") >= 3


def test_predict_and_embed_write_a_row_per_study(trained, cohort, tmp_path):
    done = run(app, ["predict", str(trained), str(cohort), "--out", str(tmp_path / "p.csv")])
    assert done.exit_code == 0, done.output
    with (tmp_path / "p.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 24
    assert sum(float(rows[0][f"dr_grade.{i}"]) for i in range(5)) == pytest.approx(1, abs=1e-5)
    done = run(app, ["embed", str(cohort), "--model", str(trained), "--out", str(tmp_path / "e.parquet")])
    assert done.exit_code == 0, done.output
    frame = polars.read_parquet(tmp_path / "e.parquet")
    assert frame["study_id"].to_list() == [r["study_id"] for r in rows]
    assert {len(v) for v in frame["fused"].to_list()} == {8}
    assert {r["status"] for r in rows} == {"ok"}
    (cohort.parent / "bad.png").write_bytes(b"no picture")
    (cohort.parent / "bad.csv").write_text(f"study_id,cfp\nbad,bad.png\n{rows[0]['study_id']},images/none.png\n")
    done = run(app, ["predict", str(trained), str(cohort.parent / "bad.csv"), "--out", str(tmp_path / "b.csv")])
    assert done.exit_code == 3
    with (tmp_path / "b.csv").open() as stream:
        assert [(r["study_id"], r["status"], r["code"]) for r in csv.DictReader(stream)] == [
            ("bad", "rejected", "image.not_an_image"),
            (rows[0]["study_id"], "rejected", "file.missing"),
        ]
    wrong = run(app, ["predict", str(trained), str(cohort), "--out", str(tmp_path / "p.doc")])
    assert wrong.exit_code == 2
    assert ".parquet" in wrong.output


def test_a_misspelt_key_is_named_with_the_right_one(tmp_path):
    (tmp_path / "c.toml").write_text(TOML.format(fusion="gated").replace("batch_size", "batchsize"))
    result = run(app, ["train", str(tmp_path / "c.toml"), "--out", str(tmp_path / "r")])
    assert result.exit_code == 2
    assert "batch_size" in result.output
    missing = run(app, ["train", str(tmp_path / "none.toml"), "--out", str(tmp_path / "r")])
    assert missing.exit_code == 2
