"""FIVES: doubled folder, names that begin anew in test."""


def test_equal_names_of_the_parts_stay_apart(read):
    records, _ = read("fives")
    assert set(records) == {"train_1_A", "train_151_D", "test_1_A", "test_51_N"}
    assert "/test/Ground truth/1_A.png" in records["test_1_A"].masks["vessels"][0]
    assert records["test_51_N"].labels == {"fives_class": "normal", "disease": {"N": 1.0}}


def test_folders_of_the_same_names_are_not_yet_this_set(tmp_path, trees):
    from fundusion.datasets._recognise import recognise

    trees.picture(tmp_path / "train" / "Original" / "patient7.png")
    trees.drawn(tmp_path / "train" / "Ground truth" / "patient7.png")
    assert recognise(tmp_path) == []
