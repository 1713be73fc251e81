"""DRIVE: masks are GIF, the new download has no truth of the test part."""

from fundusion.datasets.drive import drive


def test_files_belong_together_by_their_number(read):
    records, _ = read("drive")
    assert {k: v[0].rsplit("/", 1)[-1] for k, v in records["train_21"].masks.items()} == {
        "vessels": "21_manual1.gif", "fov": "21_training_mask.gif",
    }  # fmt: skip
    assert set(records["test_01"].masks) == {"fov"}


def test_a_part_without_truth_is_said_and_not_called_missing(read):
    _, reading = read("drive")
    assert "the test part has no drawn vessels" in reading.notes
    assert reading.missing == ()


def test_one_mask_that_is_not_there_is_missing(fake_of):
    base = fake_of("drive").base
    (base / "training" / "1st_manual" / "22_manual1.gif").unlink()
    reading = drive(base)
    assert reading.missing == ("training/1st_manual/22_*",)
    assert len(reading) == 3


def test_real(real):
    reading = real("drive", "drive")
    assert reading.counts()["split"] == {"test": 8, "train": 20}
    assert reading.counts()["mask"] == {"fov": 28, "vessels": 28, "vessels_2nd": 8}
    assert reading.missing == reading.unlisted == ()
