"""`datasets`: the list, a card, a folder into a manifest with everything that does not fit by name."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.datasets._recognise import public_sets
from fundusion.readers.manifest import read_manifest

run = CliRunner().invoke


def words(result) -> str:
    return " ".join(result.output.split())


@pytest.fixture
def aptos(tmp_path):
    """Two labelled pictures."""
    import cv2
    import numpy as np

    base = tmp_path / "aptos"
    (base / "train_images").mkdir(parents=True)
    for name in ("one", "two"):
        cv2.imwrite(str(base / "train_images" / f"{name}.png"), np.full((64, 64, 3), 90, np.uint8))
    (base / "train.csv").write_text("id_code,diagnosis\none,2\ntwo,0\n")
    return base


def test_every_set_is_listed_with_its_terms():
    result = run(app, ["datasets"])
    assert result.exit_code == 0, result.output
    assert f"{len(public_sets())} sets." in words(result)
    for text in ("odir", "fairvision", "uk_biobank", "CC BY-NC-ND", "cfp, table"):
        assert text in words(result)


@pytest.mark.parametrize("arguments", [["datasets", "idrid"], ["datasets", "show", "IDRiD"]])
def test_a_name_shows_a_card(arguments):
    result = run(app, arguments)
    assert result.exit_code == 0, result.output
    assert "terms CC BY 4.0" in words(result)
    assert "overlaps idrid.segmentation" in words(result)


def test_an_unknown_name_is_refused_with_close_ones():
    result = run(app, ["datasets", "odri"])
    assert result.exit_code == 4
    assert "Did you mean odir" in words(result)


def test_a_folder_becomes_a_manifest(aptos, tmp_path):
    out = tmp_path / "m.parquet"
    result = run(app, ["datasets", "read", "APTOS", str(aptos.parent), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "2 studies" in words(result)
    assert [(r.study_id, float(r.labels["dr_grade"])) for r in read_manifest(out)] == [("one", 2.0), ("two", 0.0)]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_each_file_that_does_not_fit_is_named(aptos, tmp_path, suffix):
    (aptos / "train_images" / "one.png").rename(aptos / "train_images" / "three.png")
    (aptos / "train.csv").write_text("id_code,diagnosis\none,2\ntwo,9\n")
    out, report = tmp_path / "elsewhere" / f"m{suffix}", tmp_path / "r" / "report.json"
    result = run(app, ["datasets", "read", "aptos", str(aptos), "--out", str(out), "--report", str(report)])
    assert result.exit_code == 3, result.output
    facts = json.loads(report.read_text())
    assert facts["listed_but_missing"] == ["train_images/one.png"]
    assert facts["present_but_unlisted"] == ["train_images/three.png"]
    assert facts["contradictory"] == [{"where": "train.csv:3", "what": "diagnosis is '9'; known are 0, 1, 2, 3, 4"}]
    for text in (
        "1 listed but missing: train_images/one.png",
        "three.png",
        "known are 0, 1, 2, 3, 4",
        "give that as --root",
    ):
        assert text in words(result)
    # The manifest lies elsewhere: its paths are relative to the set.
    assert [r.study_id for r in read_manifest(out, root=aptos)] == ["two"]


def test_twenty_are_shown_and_the_rest_is_counted(aptos, tmp_path):
    (aptos / "train.csv").write_text("id_code,diagnosis\none,2\ntwo,0\n" + "".join(f"gone{i},0\n" for i in range(25)))
    result = run(app, ["datasets", "read", "aptos", str(aptos), "--out", str(tmp_path / "m.csv")])
    assert "25 listed but missing" in words(result)
    assert "gone19" in words(result)
    assert "gone20" not in words(result)
    assert "and 5 more" in words(result)


@pytest.mark.parametrize(
    ("name", "folder", "code"),
    [("odir", "aptos", "dataset.layout"), ("aptos", "nowhere", "input.missing"), ("nosuch", "aptos", "name.unknown")],
)
def test_what_is_not_that_set_is_refused(aptos, tmp_path, name, folder, code):
    out = tmp_path / "m.csv"
    result = run(app, ["datasets", "read", name, str(tmp_path / folder), "--out", str(out)])
    assert result.exit_code == 4
    assert f"error [{code}]" in result.output
    assert "Traceback" not in result.output
    assert not out.exists()


def test_a_part_and_a_type_that_are_not_there_are_refused(aptos, tmp_path):
    result = run(app, ["datasets", "read", "aptos", str(aptos), "--split", "test", "--out", str(tmp_path / "m.csv")])
    assert (result.exit_code, "dataset.split" in result.output) == (4, True)
    result = run(app, ["datasets", "read", "aptos", str(aptos), "--out", str(tmp_path / "m.xls")])
    assert (result.exit_code, "manifest.type" in result.output) == (4, True)


def test_a_set_of_which_nothing_is_usable_writes_no_manifest(aptos, tmp_path):
    for path in (aptos / "train_images").iterdir():
        path.unlink()
    result = run(app, ["datasets", "read", "aptos", str(aptos), "--out", str(tmp_path / "m.csv")])
    assert result.exit_code == 4
    assert "dataset.empty" in result.output
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.parametrize(
    ("name", "folder"),
    [("odir", "odir"), ("idrid", "idrid_grading"), ("idrid.segmentation", "idrid_seg"), ("drive", "drive"), ("stare", "stare"),
     ("chase_db1", "chase_db1"), ("hrf", "hrf"), ("drishti_gs", "drishti_gs"), ("ffa", "ffa"), ("oct_srf", "oct_srf"),
     ("oct2017", "oct_kermany_samples"), ("rfmid", "rfmid_samples"), ("papila", "papila_clinical")],
)  # fmt: skip
def test_real_folders_become_manifests(data_root, tmp_path, name, folder):
    if not (data_root / folder).is_dir():
        pytest.skip(f"no real {folder} in the data folder")
    out = tmp_path / "m.csv"
    result = run(app, ["datasets", "read", name, str(data_root / folder), "--out", str(out)])
    assert result.exit_code == (3 if name == "papila" else 0), result.output
    assert f"{len(read_manifest(out, root=data_root / folder))} studies" in words(result)


def test_progress_is_said_on_long_reads(aptos, tmp_path, monkeypatch):
    import fundusion.cli.datasets as module

    clock = iter(range(0, 100000, 3))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    with module._counting():
        from fundusion.datasets._reading import Collector
        from fundusion.datasets._tree import Folder

        found = Collector(Folder(tmp_path))
        lines = []
        monkeypatch.setattr(module, "print_error", lines.append)
        for i in range(1000):
            found.add(str(i), images={})
    assert lines == ["records: 1000 so far"]


def test_help_has_examples():
    for arguments in (["datasets", "--help"], ["datasets", "read", "--help"]):
        assert "fundusion datasets read" in words(run(app, arguments))


def test_the_guide_shows_what_the_commands_print(data_root, tmp_path, monkeypatch):
    """Each `$ fundusion datasets ...` of the guide is run where the guide runs it: beside the folder of real sets."""
    guide = Path(__file__).resolve().parents[2] / "docs" / "guides" / "from-your-folder-to-a-manifest.md"
    (tmp_path / "clone").mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "data").symlink_to(data_root, target_is_directory=True)
    monkeypatch.chdir(tmp_path / "clone")
    ran = 0
    for block in re.findall(r"```console\n(.*?)```", guide.read_text("utf-8"), re.DOTALL):
        for command, shown in re.findall(r"^\$ fundusion (.*?)\n(.*?)(?=^\$ |\Z)", block, re.DOTALL | re.MULTILINE):
            arguments = shlex.split(command)
            folder = next((a for a in arguments if a.startswith("../shared/data/")), None)
            if folder is not None and not Path(folder).is_dir():
                pytest.skip(f"no real {Path(folder).name} in the data folder")
            result = run(app, arguments)
            assert result.exit_code in (0, 3), result.output
            assert " ".join(result.stdout.split()) == " ".join(shown.split()), command
            ran += 1
    assert ran >= 5


def test_evaluation_on_training_data_is_said(tmp_path, capsys):
    """The shipped network was trained on ODIR: a test on it is none, and a table of one's own says nothing."""
    from fundusion.cli.networks import _warn_of_overlap

    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "labels.csv").write_text("image,eye,keywords\n")
    _warn_of_overlap("screen", tmp_path / "set")
    assert "odir is itself in the training data" in capsys.readouterr().out
    (tmp_path / "own").mkdir()
    _warn_of_overlap("screen", tmp_path / "own")
    _warn_of_overlap("screen", tmp_path / "set" / "labels.csv")
    assert capsys.readouterr().out == ""


def test_a_place_that_cannot_be_written_is_refused_before_the_set_is_read(aptos, tmp_path, monkeypatch):
    import fundusion.cli.datasets as module

    monkeypatch.setattr(module, "_counting", lambda: pytest.fail("the set was read"))
    (tmp_path / "file").write_text("x")
    for out, code in ((tmp_path / "file" / "m.csv", "output.folder"), (tmp_path / "m.doc", "manifest.type")):
        result = run(app, ["datasets", "read", "aptos", str(aptos), "--out", str(out)])
        assert (result.exit_code, f"error [{code}]" in result.output) == (4, True), result.output
    monkeypatch.setattr(module.os, "access", lambda _, mode: mode != module.os.W_OK)
    result = run(app, ["datasets", "read", "aptos", str(aptos), "--out", str(tmp_path / "m.csv")])
    assert (result.exit_code, "may not be written" in result.output) == (4, True)


def test_a_full_volume_is_said_with_its_own_code(aptos, tmp_path, monkeypatch):
    import errno

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = run(app, ["datasets", "read", "aptos", str(aptos), "--out", str(tmp_path / "m.csv")])
    assert (result.exit_code, "disk.full" in result.output) == (5, True), result.output
    assert not [p for p in tmp_path.iterdir() if p.is_file()]
