"""PAPILA: three header rows, #002 and RET002, 1 is glaucoma and 2 suspect, two experts."""

from fundusion.datasets.papila import papila


def test_names_of_table_and_pictures_meet(read):
    records, _ = read("papila")
    assert set(records) == {"RET002OD", "RET004OD", "RET002OS"}
    eye = records["RET002OD"]
    assert (eye.patient_id, eye.laterality.value) == ("#002", "OD")
    assert eye.metadata["age"] == 47
    assert eye.metadata["sphere_dioptre"] == 0.75
    assert eye.metadata["iop_pneumatic_mmhg"] == 21
    # An empty cell below the third header is missing, not the cell beside it.
    assert eye.metadata["iop_perkins_mmhg"] is None
    assert records["RET004OD"].metadata["iop_perkins_mmhg"] == 16
    assert (eye.metadata["axial_length"], eye.metadata["mean_defect_db"]) == (23.64, -0.07)


def test_one_is_glaucoma_and_two_is_suspect(read):
    records, _ = read("papila")
    assert {n: r.labels["glaucoma_diagnosis"] for n, r in records.items()} == {
        "RET002OD": "suspect", "RET004OD": "glaucoma", "RET002OS": "healthy",
    }  # fmt: skip


def test_contours_of_two_experts(read):
    records, _ = read("papila")
    assert set(records["RET002OD"].masks) == {"disc", "disc_2nd", "cup", "cup_2nd"}
    assert records["RET002OD"].masks["cup_2nd"][0].endswith("RET002OD_cup_exp2.txt")


def test_the_real_table(real):
    reading = real("papila", "papila_clinical")
    # A patient stands in two rows that differ: neither is kept, both eyes are named.
    assert len(reading.contradictory) == 2
    assert all("#291" in what for _, what in reading.contradictory)
    assert len(reading) + 2 * len(reading.contradictory) == 326
    assert set(reading.counts()["label glaucoma_diagnosis"]) == {"healthy", "glaucoma", "suspect"}
    assert all(r.patient_id.startswith("#") for r in reading)


def test_a_table_alone_gives_records_without_pictures(tmp_path, trees):
    head = ["patient_id", "age", "gender", "diagnosis", "perkins_iop", "eye"]
    trees.table(tmp_path / "clinical.csv", [head, ["#024", 53, 0, 2, "", "OD"]])
    (record,) = papila(tmp_path)
    assert dict(record.images) == {}
    assert record.labels == {"glaucoma_diagnosis": "suspect"}
    assert record.metadata["iop_perkins_mmhg"] is None
