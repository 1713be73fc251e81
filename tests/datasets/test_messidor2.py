"""Messidor-2: types differ in case, ungradable pictures have no grade, pairs are one person."""


def test_the_type_in_the_table_does_not_matter(read):
    records, reading = read("messidor2")
    assert records["IM000001"].images["cfp"][0].endswith("IM000001.JPG")
    assert records["IM000001"].labels["dr_grade"] == 4.0
    assert reading.missing == ()


def test_an_ungradable_picture_has_no_grade(read):
    records, _ = read("messidor2")
    assert dict(records["IM000002"].labels) == {"gradable": "ungradable"}


def test_the_two_eyes_of_an_examination_share_a_group(read):
    records, _ = read("messidor2")
    pair = {records[n].patient_id for n in ("IM000001", "IM000002")}
    assert pair == {"pair:im000001"}
    assert (records["IM000001"].laterality.value, records["IM000002"].laterality.value) == ("OS", "OD")
    assert records["20051020_43808_0100_PP"].patient_id is None


def test_without_the_table_of_pairs_nobody_is_invented(fake_of):
    from fundusion.datasets.messidor2 import messidor2

    base = fake_of("messidor2").base
    (base / "messidor-2.csv").unlink()
    reading = messidor2(base)
    assert {r.patient_id for r in reading} == {None}
    assert any("messidor-2.csv is not there" in note for note in reading.notes)
