"""`measure`."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fundusion.cli import app

run = CliRunner().invoke


@pytest.fixture
def masks(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    mask = np.zeros((120, 120), np.uint8)
    mask[58:63, 5:115] = 255
    Image.fromarray(mask).save(folder / "eye.png")
    return folder


def test_a_folder_becomes_tables_and_pictures(masks, tmp_path):
    out = tmp_path / "out"
    result = run(app, ["measure", str(masks), "--out", str(out), "--pictures", "--spacing-um", "10"])
    assert result.exit_code == 0, result.output
    assert "1 measured, 0 rejected, 0 pending" in result.output
    assert (out / "measurements.csv").is_file()
    assert len(list((out / "pictures").glob("*.png"))) == 1
    again = run(app, ["measure", str(masks), "--out", str(out), "--pictures", "--spacing-um", "10", "--no-resume"])
    assert again.exit_code == 4
    assert "run.exists" in again.output


def test_a_rejected_mask_is_counted_by_its_reason(masks, tmp_path):
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(masks / "dark.png")
    result = run(app, ["measure", str(masks), "--out", str(tmp_path / "out"), "--format", "json"])
    assert result.exit_code == 3
    assert "mask.empty" in result.output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--labels", "artery=x"], 2), (["--labels", "disc=1"], 2), (["--lesion", "EX"], 2), (["--lesion", "disc=a"], 2),
        (["--green", "blue"], 2), (["--disc", "nowhere"], 4), (["--format", "xls"], 2), (["--facts", "nowhere.csv"], 4),
    ],
)  # fmt: skip
def test_wrong_options_are_told_without_a_trace(masks, tmp_path, arguments, code):
    result = run(app, ["measure", str(masks), "--out", str(tmp_path / "out"), *arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "error [" in result.output


def test_help_has_examples():
    result = run(app, ["measure", "--help"])
    assert result.exit_code == 0
    assert "Examples" in result.output


def test_a_cohort_is_written_and_eyes_are_drawn_against_it(masks, tmp_path):
    rows = ["name,patient_id,laterality,age,sex"]
    for k in range(45):
        mask = np.zeros((120, 120), np.uint8)
        mask[50 : 53 + k % 5, 5:115] = 255
        Image.fromarray(mask).save(masks / f"other{k}.png")
        rows.append(f"other{k},h{k},OD,{45 + k % 20},female")
    rows.append("eye,p,OS,55,male")
    facts = tmp_path / "facts.csv"
    facts.write_text("\n".join(rows) + "\n")
    command = ["measure", str(masks), "--facts", str(facts), "--spacing-um", "10", "--measured-with", "hand"]
    result = run(app, [*command, "--out", str(tmp_path / "healthy")])
    assert result.exit_code == 0, result.output
    assert len((tmp_path / "healthy" / "cohort.csv").read_text().splitlines()) == 47
    assert len((tmp_path / "healthy" / "patients.csv").read_text().splitlines()) == 47
    cohort = tmp_path / "healthy" / "cohort.csv"
    one = tmp_path / "one"
    one.mkdir()
    Image.open(masks / "eye.png").save(one / "eye.png")
    facts.write_text("name,patient_id,age\neye,p,55\n")
    command[1] = str(one)
    result = run(app, [*command, "--cohort", str(cohort), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    drawn = (tmp_path / "out" / "pictures" / "eye.age.svg").read_text()
    # The patient's own eye is left out of the 46.
    assert "n = 45 patients, 45 eyes" in drawn
    # Another cohort is another run.
    again = run(app, [*command, "--out", str(tmp_path / "out")])
    assert again.exit_code == 4
    assert "cohort" in again.output


@pytest.mark.parametrize(
    ("cells", "code"), [("eye,p,ten,", "facts.number"), ("eye,p,300,", "facts.age"), ("eye,p,50,other", "facts.sex")]
)
def test_facts_of_a_patient_that_make_no_sense_reject_the_eye(masks, tmp_path, cells, code):
    facts = tmp_path / "facts.csv"
    facts.write_text(f"name,patient_id,age,sex\n{cells}\n")
    result = run(app, ["measure", str(masks), "--facts", str(facts), "--out", str(tmp_path / "out")])
    assert result.exit_code == 3, result.output
    assert code in result.output


def test_a_cohort_without_ages_is_refused_before_work_begins(masks, tmp_path):
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("patient_id,vcdr\na,0.4\n")
    result = run(app, ["measure", str(masks), "--cohort", str(cohort), "--out", str(tmp_path / "out")])
    assert result.exit_code == 4
    assert "cohort.columns" in result.output
    assert not (tmp_path / "out").exists()


def test_masks_that_came_with_a_warning_are_named_on_standard_error(masks, tmp_path):
    lesions = tmp_path / "EX"
    lesions.mkdir()
    Image.open(masks / "eye.png").save(lesions / "eye.png")
    command = ["measure", str(masks), "--lesion", f"EX={lesions}"]
    quiet = run(app, [*command, "--out", str(tmp_path / "quiet")])
    assert quiet.exit_code == 0, quiet.output
    assert "not proven" not in quiet.stderr
    (lesions / "unproven.json").write_text('{"structure": "EX", "warning": "Marked in 5 of 10 healthy eyes."}')
    result = run(app, [*command, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert (
        result.stderr.count("masks of EX are not proven on pictures of other cameras. Marked in 5 of 10 healthy eyes.")
        == 1
    )
    assert "not proven" not in result.stdout
    assert "mask.unproven" in (tmp_path / "out" / "measurements.csv").read_text()
