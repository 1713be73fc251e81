"""BRSET: a mark before the first header, codes 1 and 2, the publisher's spelling, a stray word."""


def test_codes_become_words(read):
    records, _ = read("brset")
    right, left = records["img00001"], records["img00002"]
    assert (right.laterality.value, left.laterality.value) == ("OD", "OS")
    assert right.patient_id == left.patient_id == "1"
    assert right.metadata == {"age": 48.0, "sex": "male", "diabetes_duration": 12.0, "camera": "Canon CR"}
    assert right.labels["anatomy"] == {"optic_disc": 0.0, "vessels": 0.0, "macula": 1.0}
    assert (right.labels["gradable"], left.labels["gradable"]) == ("gradable", "ungradable")


def test_the_spelling_of_the_publisher_is_found(read):
    records, _ = read("brset")
    assert records["img00002"].labels["quality_faults"] == {
        "focus": 1.0, "illumination": 0.0, "image_field": 0.0, "artifacts": 1.0,
    }  # fmt: skip


def test_a_stray_word_is_not_known_and_said(read):
    records, reading = read("brset")
    value = records["img00002"].labels["anatomy"]["optic_disc"]
    assert value != value
    assert reading.contradictory == (("labels_brset.csv:3", "optic_disc is 'bv'; known are 1, 2"),)


def test_two_scales_of_retinopathy_are_kept_apart(read):
    records, _ = read("brset")
    assert (records["img00001"].labels["dr_grade"], records["img00001"].labels["dr_sdrg"]) == (2.0, 2.0)
    assert records["img00001"].labels["brset"]["diabetic_retinopathy"] == 1.0
