"""IDRiD: names of the two parts collide, headers have stray spaces, points are (row, column)."""

from pathlib import Path

from fundusion.datasets.idrid import idrid


def test_equal_names_of_the_parts_stay_apart(read):
    records, _ = read("idrid")
    train, test = records["train_IDRiD_001"], records["test_IDRiD_001"]
    assert (train.split, train.labels["dr_grade"], train.labels["dme_risk"]) == ("train", 3.0, 2.0)
    assert (test.split, test.labels["dr_grade"], test.labels["dme_risk"]) == ("test", 0.0, 0.0)
    assert train.images["cfp"] != test.images["cfp"]
    assert "b. Testing Set" in test.images["cfp"][0]


def test_a_grade_says_of_other_diseases_only_what_it_says(read):
    records, _ = read("idrid", split="train")
    assert records["train_IDRiD_001"].labels["disease"] == {"D": 1.0, "N": 0.0}
    # No retinopathy is not yet a normal eye.
    assert records["train_IDRiD_002"].labels["disease"] == {"D": 0.0}


def test_a_lesion_without_a_file_is_absent_and_od_is_the_disc(read):
    records, _ = read("idrid.segmentation")
    assert set(records["IDRiD_01"].masks) == {"MA", "SE", "disc"}
    assert set(records["IDRiD_55"].masks) == {"MA", "disc"}
    assert (records["IDRiD_01"].split, records["IDRiD_55"].split) == ("train", "test")


def test_points_are_row_and_column(read):
    records, _ = read("idrid.localization")
    # X is 2924 and Y is 1345 in the table.
    assert records["train_IDRiD_001"].labels == {"disc_centre_px": (1345.0, 2924.0), "fovea_px": (1347.0, 1895.0)}
    assert records["test_IDRiD_001"].labels["fovea_px"] == (1488.0, 2207.0)


def test_half_a_point_is_contradictory(fake_of, trees):
    from fundusion.datasets.idrid import idrid_localization

    base = fake_of("idrid.localization").base
    place = base / "2. Groundtruths" / "2. Fovea Center Location" / "IDRiD_Fovea_Center_Testing Set_Markups.csv"
    trees.table(place, [["Image No", "X", "Y"], ["IDRiD_001", 2207, ""]])
    reading = idrid_localization(base, split="test")
    assert "fovea_px" not in reading[0].labels
    assert any("IDRiD_001" in what for _, what in reading.contradictory)


def test_the_whole_download_holds_three_sets(tmp_path, trees):
    from fundusion.datasets._recognise import recognise, the_set_of

    for name in ("idrid", "idrid.segmentation", "idrid.localization"):
        trees.build(name, tmp_path)
    assert recognise(tmp_path) == ["idrid", "idrid.localization", "idrid.segmentation"]
    assert the_set_of(tmp_path)[0] == "idrid"
    assert len(idrid(tmp_path)) == 3


def test_real_grades(real):
    reading = real("idrid", "idrid_grading")
    assert len(reading) == 361
    assert reading.counts()["label dr_grade"] == {"0": 118, "1": 17, "2": 118, "3": 65, "4": 43}
    assert reading.missing == reading.unlisted == reading.contradictory == ()
    assert all(Path(p).is_file() for r in reading for p in r.images["cfp"])


def test_real_lesions(real):
    reading = real("idrid.segmentation", "idrid_seg")
    assert len(reading) == 51
    assert reading.counts()["mask"]["SE"] < 51
    assert reading.missing == reading.unlisted == ()
