"""RFMiD: numbers begin anew in each part; MH is media haze, MHL macular hole."""

from fundusion.datasets.rfmid import FINDINGS, rfmid


def test_the_part_is_in_the_identifier(read):
    records, _ = read("rfmid")
    assert set(records) == {"train_1", "val_1", "test_1"}
    assert len({r.images["cfp"] for r in records.values()}) == 3


def test_media_haze_and_macular_hole_are_not_mixed_up(read):
    records, _ = read("rfmid")
    assert FINDINGS["MH"] == "media haze"
    assert FINDINGS["MHL"] == "macular hole"
    assert len(FINDINGS) == 45
    haze, hole = records["train_1"].labels["rfmid"], records["val_1"].labels["rfmid"]
    assert (haze["MH"], haze["MHL"]) == (1.0, 0.0)
    assert (hole["MH"], hole["MHL"]) == (0.0, 1.0)
    assert records["test_1"].labels["disease_risk"] == 0.0


def test_no_risk_with_a_finding_is_contradictory(fake_of, trees):
    base = fake_of("rfmid").base
    flags = [int(code == "DR") for code in trees.RFMID]
    trees.table(base / "Test_Set" / "RFMiD_Testing_Labels.csv", [["ID", "Disease_Risk", *trees.RFMID], [1, 0, *flags]])
    assert "DR is 1" in rfmid(base).contradictory[0][1]


def test_the_older_layout(tmp_path, trees):
    base = tmp_path / "RFMiD"
    for letter, part in (("a", "Training"), ("c", "Testing")):
        trees.picture(base / "1. Original Images" / f"{letter}. {part} Set" / "1.png")
        trees.table(
            base / "2. Groundtruths" / f"{letter}. RFMiD_{part}_Labels.csv",
            [["ID", "Disease_Risk", *trees.RFMID], [1, 0, *[0] * 45]],
        )
    assert [r.study_id for r in rfmid(tmp_path)] == ["train_1", "test_1"]


def test_one_part_alone(fake_of):
    assert [r.study_id for r in rfmid(fake_of("rfmid").base / "Evaluation_Set")] == ["val_1"]


def test_real_samples(real):
    reading = real("rfmid", "rfmid_samples")
    assert len(reading) == 7
    assert reading.counts()["label rfmid"]["MH"] == 1
    assert reading.missing == reading.unlisted == ()
