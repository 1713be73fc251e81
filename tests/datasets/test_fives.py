"""FIVES: doubled folder, names that begin anew in test."""


def test_equal_names_of_the_parts_stay_apart(read):
    records, _ = read("fives")
    assert set(records) == {"train_1_A", "train_151_D", "test_1_A", "test_51_N"}
    assert "/test/Ground truth/1_A.png" in records["test_1_A"].masks["vessels"][0]
    assert records["test_51_N"].labels == {"fives_class": "normal", "disease": {"N": 1.0}}
