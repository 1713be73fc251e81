"""OCTDL: several pictures of one patient, names without type."""

from fundusion.datasets.octdl import octdl


def test_pictures_of_one_patient_share_a_group(read):
    records, _ = read("octdl")
    assert records["amd_1046"].patient_id == records["amd_1047"].patient_id == "100"
    assert records["dme_11"].labels == {"oct_disease": "DME"}
    assert records["dme_11"].laterality.value == "OD"


def test_a_table_that_contradicts_the_folder(fake_of, trees):
    base = fake_of("octdl").base
    rows = [["file_name", "disease", "patient_id"], ["amd_1046", "RVO", 1], ["no_5", "NO", 2]]
    trees.table(base / "OCTDL_labels.csv", rows)
    reading = octdl(base)
    assert [dict(r.labels) for r in reading] == [{}, {"oct_disease": "NO"}]
    assert "lies in AMD" in reading.contradictory[0][1]
    assert len(reading.unlisted) == 2
