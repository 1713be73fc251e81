from typer.testing import CliRunner

from fundusion.cli import app

RUN = CliRunner()


def test_adapt_prints_a_table_and_writes_a_page(cohort, tmp_path):
    done = RUN.invoke(
        app, ["adapt", "visionfm.test", str(cohort), "--protocol", "linear,knn", "--shots", "1,all", "--seeds", "2",
              "--out", str(tmp_path)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "linear" in done.output
    assert (tmp_path / "index.html").is_file()


def test_wrong_shots_are_named(cohort, tmp_path):
    done = RUN.invoke(app, ["adapt", "visionfm.test", str(cohort), "--shots", "1,few", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "'few' is no number of studies" in done.output
