"""OCT2017: a folder whose name ends in a space, patients in the names."""

from fundusion.datasets.oct2017 import oct2017


def test_the_middle_number_is_the_patient(read):
    records, _ = read("oct2017")
    first = records["train_CNV-1016042-1"]
    assert (first.patient_id, first.labels["oct_disease"]) == ("1016042", "CNV")
    assert "OCT2017 /train" in first.images["oct"][0]


def test_a_patient_in_train_and_test_is_contradictory(fake_of, trees):
    base = fake_of("oct2017").base
    trees.picture(base / "OCT2017 " / "test" / "CNV" / "CNV-1016042-9.jpeg")
    assert ("patient 1016042", "stands in test and train") in oct2017(base).contradictory


def test_a_name_that_contradicts_its_folder_has_no_label(fake_of, trees):
    base = fake_of("oct2017").base
    trees.picture(base / "OCT2017 " / "val" / "DME" / "NORMAL-5-1.jpeg")
    reading = oct2017(base, split="val")
    assert dict(next(r for r in reading if "NORMAL" in r.study_id).labels) == {}
    assert "name says NORMAL" in reading.contradictory[0][1]


def test_real_samples(real):
    reading = real("oct2017", "oct_kermany_samples")
    assert sorted(r.labels["oct_disease"] for r in reading) == ["CNV", "DME", "DRUSEN", "NORMAL"]
    assert {r.patient_id for r in reading} == {"1016042", "1081406", "1083159", "1017237"}
