"""REFUGE: grey levels of the masks, the fovea as (row, column), labels of the test part in a table."""

import numpy as np
from PIL import Image

from fundusion.core.registry import datasets
from fundusion.datasets.refuge import refuge


def test_labels_come_from_folder_and_table(read):
    records, _ = read("refuge")
    assert {n: r.labels.get("glaucoma") for n, r in records.items()} == {
        "train_g0001": 1.0, "train_n0001": 0.0, "val_V0001": None, "test_T0001": 1.0,
    }  # fmt: skip
    assert records["train_g0001"].labels["fovea_px"] == (1052.13, 1057.95)
    assert records["test_T0001"].labels["fovea_px"] == (810.0, 800.0)


def test_masks_keep_their_grey_levels_and_the_card_says_what_they_mean(read):
    records, _ = read("refuge")
    levels = set(np.unique(np.asarray(Image.open(records["val_V0001"].masks["disc_cup"][0]))).tolist())
    assert levels == {0, 128, 255}
    assert datasets.card("refuge").masks["disc_cup"] == "0 cup, 128 disc rim, 255 background"
    assert "disc_cup" not in records["test_T0001"].masks


def test_folder_and_table_that_disagree_are_contradictory(fake_of, trees):
    base = fake_of("refuge").base
    folder = next(p for p in base.rglob("Glaucoma") if "Training400" in p.parent.name)
    trees.picture(folder / "n0002.jpg")
    reading = refuge(base)
    assert "glaucoma" not in next(r for r in reading if r.study_id == "train_n0002").labels
    assert any("n0002" in where for where, _ in reading.contradictory)


def test_the_plain_layout(tmp_path, trees):
    for part, name in (("train", "g0001"), ("val", "V0001")):
        trees.picture(tmp_path / part / "images" / f"{name}.jpg")
        trees.drawn(tmp_path / part / "mask" / f"{name}.bmp", levels=(0, 128, 255, 255))
    reading = refuge(tmp_path)
    assert [(r.study_id, set(r.masks)) for r in reading] == [("train_g0001", {"disc_cup"}), ("val_V0001", {"disc_cup"})]
