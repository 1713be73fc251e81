"""`check`."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from fundusion.cli import app

run = CliRunner().invoke


def test_draw_then_check_finds_nothing_missing(tmp_path):
    drawn = run(app, ["draw", "--out", str(tmp_path / "d"), "--count", "6", "--size", "64", "--modalities", "cfp,oct"])
    assert drawn.exit_code == 0, drawn.output
    manifest = tmp_path / "d" / "manifest.csv"
    assert str(manifest) in drawn.output.replace("\n", "")
    result = run(app, ["check", str(manifest), "--out", str(tmp_path / "audit.json"), "--workers", "0"])
    audit = json.loads((tmp_path / "audit.json").read_text())
    assert (audit["studies"], audit["patients"], audit["files"]) == (6, 3, 12)
    assert audit["missing_files"] == audit["repeated_content"] == []
    # Six studies cannot hold five of each label: rare labels are all there is to look at.
    assert result.exit_code == 3
    assert all("fewer than" in p or "one value only" in p for p in audit["problems"])


def test_check_names_leaks_missing_files_and_repeated_pictures(tmp_path):
    for name, value in (("a.png", 10), ("b.png", 10), ("c.png", 90)):
        cv2.imwrite(str(tmp_path / name), np.full((80, 80, 3), value, np.uint8))
    rows = [
        ("1", "p1", "OD", "a.png", "train", "0"),
        ("2", "p1", "OS", "b.png", "test", "0"),
        ("3", "p2", "OD", "c.png", "train", "7"),
        ("4", "p3", "OD", "gone.png", "train", "1"),
    ]
    with (tmp_path / "t.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["study_id", "patient_id", "laterality", "cfp", "split", "label.dr_grade"])
        writer.writerows(rows)
    result = run(app, ["check", str(tmp_path / "t.csv"), "--workers", "0"])
    assert result.exit_code == 3
    text = " ".join(result.output.split())
    assert "patient p1 is in splits test and train" in text
    assert "4: file is missing" in text
    assert "3: dr_grade: label '7' is not in the label set" in text
    assert "1 (train) and 2 (test) are in two splits: the same file content" in text


def test_check_refuses_what_is_no_table(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    result = run(app, ["check", str(tmp_path / "t.csv"), "--workers", "0"])
    assert result.exit_code == 4
    assert "error [" in result.output


def test_fit_quality_writes_a_calibration_that_analyze_takes(tmp_path, tiny_model):
    """Labels that call every haze ungradable move the gate; the file is used by `analyze --quality`."""
    from fundusion.datasets.synthetic import write_cohort
    from fundusion.quality.calibration import QualityModel
    from fundusion.quality.degradations import degrade

    manifest = write_cohort(tmp_path / "d", 24, seed=9, size=160, modalities=("cfp",))
    with manifest.open() as stream:
        rows = list(csv.DictReader(stream))
    generator = np.random.default_rng(0)
    with (tmp_path / "l.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["study_id", "cfp", "label.gradable"])
        for i, row in enumerate(rows):
            path = manifest.parent / row["cfp"]
            if i % 2:
                pixels = cv2.imread(str(path))[..., ::-1]
                cv2.imwrite(str(path), degrade(np.ascontiguousarray(pixels), "defocus", 1.0, generator)[..., ::-1])
            writer.writerow([row["study_id"], str(path.relative_to(tmp_path)), "ungradable" if i % 2 else "gradable"])
    target = tmp_path / "quality.json"
    result = run(app, ["check", str(tmp_path / "l.csv"), "--fit-quality", str(target)])
    assert result.exit_code == 0, result.output
    assert QualityModel.load(target).notes
    out = tmp_path / "out"
    done = run(app, ["analyze", str(tmp_path / "l.csv"), "-o", str(out), "--model", str(tiny_model), "--quality",
                     str(target), "--workers", "0", "--no-report"])  # fmt: skip
    assert done.exit_code in (0, 3), done.output
    statuses = [json.loads(line)["status"] for line in (out / "results.jsonl").open()]
    agree = np.mean([(s == "rejected") == bool(i % 2) for i, s in enumerate(statuses)])
    assert agree >= 0.8


def test_out_holds_page_and_json_and_a_rerun_reads_nothing_again(tmp_path, cohort):
    out = tmp_path / "checked"
    arguments = ["check", str(cohort), "--out", str(out), "--workers", "0"]
    assert run(app, arguments).exit_code in (0, 3)
    kept = (out / ".fingerprints" / "fingerprints-1.jsonl").read_bytes()
    assert kept
    first = json.loads((out / "check.json").read_text())
    assert run(app, arguments).exit_code in (0, 3)
    assert (out / ".fingerprints" / "fingerprints-1.jsonl").read_bytes() == kept
    assert json.loads((out / "check.json").read_text()) == first
    assert (out / "check.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(("strict", "code"), [([], 3), (["--strict"], 4)])
def test_a_leak_is_refused_only_when_asked(tmp_path, cohort, strict, code):
    with cohort.open() as stream:
        picture = cohort.parent / next(csv.DictReader(stream))["cfp"]
    for name in ("a.png", "b.png"):
        shutil.copy(picture, tmp_path / name)
    (tmp_path / "t.csv").write_text("study_id,cfp,split\n1,a.png,train\n2,b.png,test\n")
    result = run(app, ["check", str(tmp_path / "t.csv"), "--workers", "0", *strict])
    assert result.exit_code == code
    assert "1 (train) and 2 (test)" in result.output


def test_known_pairs_of_real_data_are_found(data_root, tmp_path):
    """The pairs with contradictory grades that are known to be in the set, and the set that is mostly inside another."""
    wanted = ("013", "397", "021", "391", "045", "333", "001", "002", "102", "207", "224")
    for number in wanted:
        source = data_root / "idrid_grading" / "train" / f"IDRiD_{number}.jpg"
        if source.is_file():
            (tmp_path / "grading" / "train").mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tmp_path / "grading" / "train")
    with (data_root / "idrid_grading" / "labels.csv").open() as stream:
        lines = [x for x in stream if x.startswith("image") or x.split(",")[0][-7:-4] in wanted]
    (tmp_path / "grading" / "labels.csv").write_text("".join(lines))
    (tmp_path / "seg").mkdir()
    for number in ("01", "08", "10"):
        shutil.copy(data_root / "idrid_seg" / "train" / "images" / f"IDRiD_{number}.jpg", tmp_path / "seg")
    out = tmp_path / "a.json"
    result = run(app, ["check", str(tmp_path / "grading"), str(tmp_path / "seg"), "--out", str(out), "--workers", "0"])
    assert result.exit_code == 3
    told = "\n".join(json.loads(out.read_text())["problems"])
    assert "train_IDRiD_013 and grading:train_IDRiD_397 have different labels (dr_grade: 3 and 2)" in told
    assert "train_IDRiD_021 and grading:train_IDRiD_391 have different labels (dr_grade: 1 and 2)" in told
    assert "3 of 3 studies (100%) of seg are also in grading" in told
