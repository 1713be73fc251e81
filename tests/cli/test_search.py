"""What the commands print and refuse."""

import json

import pytest
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.retrieval.changes import open_index

RUN = CliRunner()


@pytest.fixture(scope="module")
def folder(cohort, tmp_path_factory):
    target = tmp_path_factory.mktemp("index") / "i"
    done = RUN.invoke(app, ["index", str(cohort), "--model", "flair.test", "--out", str(target)])
    assert done.exit_code == 0, done.output
    assert "48 items: 48 ok, 0 rejected, 0 pending" in done.output
    return target


def searched(folder, *words):
    return RUN.invoke(app, ["search", *words, "--index", str(folder)])


def test_the_same_command_finds_everything_done_and_other_studies_need_add(folder, cohort, tmp_path):
    done = RUN.invoke(app, ["index", str(cohort), "--out", str(folder)])
    assert done.exit_code == 0
    assert "(48 were there)" in done.output
    lines = cohort.read_text("utf-8").splitlines()
    other = cohort.parent / "part.csv"
    other.write_text("\n".join(lines[:3]) + "\n", "utf-8")
    done = RUN.invoke(app, ["index", str(other), "--out", str(folder)])
    assert (done.exit_code, "output.exists" in done.output) == (4, True)
    assert RUN.invoke(app, ["index", str(other), "--add", "--out", str(folder)]).exit_code == 0
    done = RUN.invoke(app, ["index", str(other), "--add", "--out", str(tmp_path / "none")])
    assert "index.not_found" in done.output
    assert not (tmp_path / "none").exists()


def test_hits_are_printed_and_written(folder, tmp_path):
    with open_index(folder) as index:
        (item,) = [i for i in index.items(range(1)) if i.kind == "image"]
    done = searched(
        folder, str(item.path), "--k", "3", "--out", str(tmp_path / "h.json"), "--html", str(tmp_path / "h.html")
    )
    assert done.exit_code == 0, done.output
    ((query,),) = [json.loads((tmp_path / "h.json").read_text("utf-8"))]
    assert [h["rank"] for h in query["hits"]] == [1, 2, 3]
    assert all(h["patient_id"] != item.patient_id and h["kind"] == "image" for h in query["hits"])
    assert query["hits"][0]["study_id"] in done.output
    assert item.path not in (tmp_path / "h.html").read_text("utf-8")
    done = searched(folder, str(item.path), "--k", "1", "--same-patient")
    assert "1.0000" in done.output


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (["no_such_eye.png"], "input.missing", 4),
        ([], "input.empty", 4),
        (["drusen", "--find", "cats"], "config.find", 2),
        (["drusen", "--where", "agee > 3"], "where.column", 4),
        (["drusen", "--method", "magic"], "config.method", 2),
        (["drusen", "--model", "flair.test", "--weights", "none.safetensors"], "error", 4),
        (["drusen", "--model", "vit.test"], "config.space", 2),
        (["   "], "text.empty", 4),
        (["--study", "nobody"], "index.nobody", 4),
    ],
)
def test_what_cannot_be_searched_is_refused_with_a_code(folder, words, code, exit_code):
    done = searched(folder, *words)
    assert code in done.output
    assert done.exit_code == exit_code
    assert "Traceback" not in done.output


def test_words_find_reports(folder, tmp_path):
    done = searched(folder, "macular oedema", "--find", "reports", "--k", "2", "--out", str(tmp_path / "h.json"))
    assert done.exit_code == 0, done.output
    ((query,),) = [json.loads((tmp_path / "h.json").read_text("utf-8"))]
    assert {h["kind"] for h in query["hits"]} == {"report"}


def test_rejected_pictures_end_in_code_3(cohort, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "t.csv").write_text("study_id,cfp\na,bad.png\n", "utf-8")
    done = RUN.invoke(app, ["index", str(tmp_path / "t.csv"), "--model", "vit.test", "--out", str(tmp_path / "i")])
    assert done.exit_code == 3
    assert "1 items: 0 ok, 1 rejected, 0 pending" in done.output


def test_an_index_needs_something_to_do_and_options_have_values(tmp_path):
    assert "config.index" in RUN.invoke(app, ["index", "--out", str(tmp_path / "i")]).output
    done = RUN.invoke(app, ["index", str(tmp_path), "--option", "size", "--out", str(tmp_path / "i")])
    assert (done.exit_code, "config.option" in done.output) == (2, True)
