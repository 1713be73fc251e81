"""GAMMA: a number in the table, a folder of four digits; B-scans in the order of their numbers."""

from pathlib import Path

from fundusion.datasets.gamma import gamma


def test_numbers_of_the_table_meet_folders_of_four_digits(read):
    records, _ = read("gamma")
    assert records["train_0001"].labels == {"glaucoma_stage": "non", "glaucoma": 0.0}
    assert records["train_0002"].labels == {"glaucoma_stage": "early", "glaucoma": 1.0}
    assert dict(records["test_0201"].labels) == {}


def test_scans_are_in_the_order_of_their_numbers(read):
    records, _ = read("gamma")
    assert [Path(p).name for p in records["train_0001"].images["oct"]] == ["0_image.jpg", "2_image.jpg", "10_image.jpg"]
    assert len(records["train_0001"].images["cfp"]) == 1


def test_two_marked_steps_are_contradictory(fake_of, trees):
    base = fake_of("gamma").base
    trees.table(
        base / "training" / "glaucoma_grading_training_GT.xlsx",
        [["data", "non", "early", "mid_advanced"], [1, 1, 1, 0], [2, 0, 0, 1]],
    )
    reading = gamma(base, split="train")
    assert [r.labels.get("glaucoma_stage") for r in reading] == [None, "mid_advanced"]
    assert len(reading.contradictory) == 1
