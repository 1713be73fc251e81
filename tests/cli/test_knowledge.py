from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.knowledge import Knowledge

RUN = CliRunner()


def run(*arguments):
    return RUN.invoke(app, ["knowledge", *map(str, arguments)])


def test_findings_and_sets_are_listed():
    done = run()
    assert done.exit_code == 0
    assert f"{len(Knowledge.read())} findings" in done.output
    assert "macular_hole" in done.output
    assert "rfmid" in run("--sets").output


def test_one_finding_is_shown_with_its_source_and_codes():
    done = run("糖尿病视网膜病变")
    assert done.exit_code == 0
    assert "diabetic_retinopathy" in done.output
    assert "not yet checked" in done.output
    assert "doi:10.1016" in done.output


def test_a_copy_can_be_edited_and_checked(tmp_path):
    mine = tmp_path / "mine.toml"
    assert run("--copy", mine).exit_code == 0
    assert run("--file", mine).exit_code == 0
    again = run("--copy", mine)
    assert again.exit_code == 4
    assert "exists" in again.output
    mine.write_text(mine.read_text() + '\n[new]\nen = "drusen"\n')
    done = run("--file", mine)
    assert done.exit_code == 4
    assert "has the name 'drusen'" in done.output


def test_an_unknown_finding_gets_close_names():
    done = run("maccular hole")
    assert done.exit_code == 4
    assert "macular hole" in done.output
