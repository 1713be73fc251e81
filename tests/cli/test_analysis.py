"""`analyze` and `demo` as a user calls them."""

import csv
import json
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from fundusion.cli import app

run = CliRunner().invoke


@pytest.fixture(scope="module")
def analyzed(cohort, tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("analyzed") / "out"
    result = run(app, ["analyze", str(cohort), "-o", str(out), "--model", str(tiny_model), "--workers", "0"])
    return result, out


def test_files_and_counts(analyzed, cohort):
    result, out = analyzed
    assert result.exit_code in (0, 3), result.output
    rows = [json.loads(line) for line in (out / "results.jsonl").open()]
    with cohort.open() as stream:
        listed = [r["study_id"] for r in csv.DictReader(stream)]
    assert [r["study_id"] for r in rows] == listed
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert counts["ok"] + counts["rejected"] + counts["pending"] == counts["total"] == len(listed)
    assert counts["ok"] == sum(r["status"] == "ok" for r in rows) > 0
    assert len(list((out / "reports").glob("*.html"))) == len(listed)
    assert result.exit_code == (3 if counts["rejected"] else 0)
    assert "index.html" in result.output
    assert "Not a medical device" in result.output


def test_the_same_command_again_is_quick_and_changes_nothing(analyzed, cohort, tiny_model):
    _, out = analyzed
    before = (out / "results.jsonl").read_bytes()
    again = run(app, ["analyze", str(cohort), "-o", str(out), "--model", str(tiny_model), "--workers", "0"])
    assert again.exit_code in (0, 3)
    assert (out / "results.jsonl").read_bytes() == before
    other = run(app, ["analyze", str(cohort), "-o", str(out), "--model", str(tiny_model), "--explain", "none"])
    assert other.exit_code == 4
    assert "run.other_config" in other.output


def test_files_of_every_kind_in_one_call(cohort, tiny_model, tmp_path):
    pictures = sorted((cohort.parent / "images").rglob("*cfp*.png")) or sorted(
        (cohort.parent / "images").rglob("*.png")
    )
    good, bad = tmp_path / "eye_left.png", tmp_path / "page.jpg"
    shutil.copyfile(pictures[0], good)
    bad.write_text("<html>404</html>")
    out = tmp_path / "out"
    result = run(
        app,
        ["analyze", str(good), str(bad), "-o", str(out), "--model", str(tiny_model), "--no-report", "--workers", "0"],
    )
    assert result.exit_code == 3, result.output
    rows = {r["study_id"]: r for r in map(json.loads, (out / "results.jsonl").open())}
    assert rows["page"]["code"] == "image.not_an_image"
    assert rows["page"]["hint"]
    assert [r["laterality"] for n, r in rows.items() if n.startswith("eye")] == ["OS"]
    assert not (out / "reports").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.jpg"], 4, "input.missing"),
        (["."], 4, "input.empty"),
        ([".", "--explain", "all"], 2, "config.explain"),
        ([".", "--batch-size", "0"], 2, "batch-size"),
        ([], 2, "Missing argument"),
    ],
)
def test_wrong_calls_say_what_is_wrong(tmp_path, monkeypatch, arguments, code, words):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    result = run(app, ["analyze", *arguments, "--out", str(tmp_path / "o")])
    assert result.exit_code == code, result.output
    assert words in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "o" / "results.jsonl").exists()


def test_a_model_that_does_not_exist_is_refused_before_work(cohort, tmp_path):
    result = run(app, ["analyze", str(cohort), "-o", str(tmp_path / "o"), "--model", "scren"])
    assert result.exit_code == 4
    assert "screen" in result.output


def test_demo_on_drawn_eyes_works_offline_with_the_shipped_model(tmp_path):
    command = [sys.executable, "-m", "fundusion", "demo", "--count", "2", "--out", "d", "--data", "nothing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Drawn eyes" in done.stdout
    assert str(tmp_path / "d" / "index.html") in done.stdout
    assert (tmp_path / "d" / "index.html").is_file()


@pytest.fixture
def photographs(drawn_photograph, tmp_path):
    """A table of three drawn eyes, one too small to be measured and one black."""
    import cv2

    folder = tmp_path / "photographs"
    folder.mkdir()
    pixels = drawn_photograph()[..., ::-1]
    for name, picture in (("a", pixels), ("small", pixels[::4, ::4]), ("black", pixels * 0)):
        cv2.imwrite(str(folder / f"{name}.png"), picture)
    lines = ["study_id,patient_id,laterality,cfp,meta.age,meta.sex", "a,p1,OD,a.png,61,female", "small,p2,OD,small.png,50,male",
             "black,p3,OS,black.png,50,male"]  # fmt: skip
    (folder / "eyes.csv").write_text("\n".join(lines) + "\n")
    return folder / "eyes.csv"


@pytest.fixture
def by_color(color_segmenter, monkeypatch):
    from fundusion.core.results import Quality
    from fundusion.measuring import Measurer

    # A drawn eye is no photograph; the gate is not what is tested here.
    def verdict(image, **_):
        dark = image.pixels.max() < 10
        return Quality(gradable=not dark, score=0.1 if dark else 0.9, reasons=("quality.dark",) if dark else ())

    monkeypatch.setattr("fundusion.preparation.assess", verdict)
    monkeypatch.setattr(Measurer, "shipped", classmethod(lambda cls, **_: cls(names=(color_segmenter(512),))))


def test_measured_eyes_become_tables_pages_and_pictures(photographs, by_color, tiny_model, tmp_path):
    command = ["analyze", str(photographs), "--model", str(tiny_model), "--workers", "0", "--pictures"]
    done = run(app, [*command, "-o", str(tmp_path / "out")])
    assert done.exit_code == 3, done.output
    assert "s per study" in done.output
    out = tmp_path / "out"
    with (out / "eyes.csv").open() as stream:
        eyes = {r["name"]: r for r in csv.DictReader(stream)}
    assert float(eyes["a"]["vcdr"]) == pytest.approx(0.5, abs=0.03)
    assert eyes["small"]["vcdr"] == ""
    assert (eyes["black"]["status"], eyes["black"]["code"]) == ("rejected", "quality.ungradable")
    with (out / "measurements.csv").open() as stream:
        reasons = {r["reason"] for r in csv.DictReader(stream) if r["name"] == "small"}
    assert reasons == {"The field of view has fewer than half of the pixels that the segmenter was trained on."}
    with (out / "summary.csv").open() as stream:
        summary = {r["study_id"]: r for r in csv.DictReader(stream)}
    assert summary["a"]["photographs_measured"] == "1"
    assert float(summary["a"]["measured.EX_count"]) == 2
    assert str(tmp_path) not in (out / "results.jsonl").read_text()
    assert summary["black"]["measured.vcdr"] == ""
    names = {p.name for p in (out / "pictures").iterdir()}
    assert {"a.cfp.0.structures.png", "a.cfp.0.zones.svg"} <= names
    assert "Nothing was measured" in (out / "reports" / "black.html").read_text()
    # What is written as a cohort can be compared with; the patient's own eye does not count.
    against = run(app, [*command, "-o", str(tmp_path / "b"), "--cohort", str(out / "cohort.csv")])
    assert against.exit_code == 3, against.output
    assert "1 eyes of this patient" in (tmp_path / "b" / "reports" / "a.html").read_text()


def test_measuring_again_changes_no_byte_and_other_settings_are_refused(photographs, by_color, tiny_model, tmp_path):
    command = ["analyze", str(photographs), "--model", str(tiny_model), "--workers", "0"]
    for folder in ("x", "y"):
        assert run(app, [*command, "-o", str(tmp_path / folder)]).exit_code == 3
    for name in (
        "results.jsonl",
        "summary.csv",
        "eyes.csv",
        "measurements.csv",
        "cohort.csv",
        "patients.csv",
        "reports/a.html",
    ):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes(), name
    other = run(app, [*command, "-o", str(tmp_path / "x"), "--no-measure"])
    assert other.exit_code == 4
    assert "measure" in other.output
    plain = run(app, [*command, "-o", str(tmp_path / "z"), "--no-measure"])
    assert plain.exit_code == 3
    assert not (tmp_path / "z" / "eyes.csv").exists()


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ("patient_id,age\na,40\n", "cohort.columns"),
        ("patient_id,age,vcdr\na,,0.4\n", "cohort.age"),
        (None, "input.missing"),
    ],
)
def test_a_cohort_that_cannot_be_used_is_refused_before_work_begins(photographs, tiny_model, tmp_path, table, code):
    path = tmp_path / "cohort.csv"
    if table is not None:
        path.write_text(table)
    done = run(
        app,
        ["analyze", str(photographs), "-o", str(tmp_path / "out"), "--model", str(tiny_model), "--cohort", str(path)],
    )
    assert done.exit_code == 4
    assert code in done.output
    assert not (tmp_path / "out").exists()
