"""JSIEC-1000: the folder is the label."""

from fundusion.datasets.jsiec import jsiec


def test_the_number_of_the_folder_is_no_part_of_the_label(read):
    records, reading = read("jsiec")
    assert sorted(r.labels["finding"] for r in records.values()) == [
        "Bietti crystalline dystrophy",
        "DR2",
        "MH",
        "Normal",
    ]
    assert "4 of 39 folders are there" in reading.notes


def test_a_picture_in_two_folders_is_said(fake_of, trees):
    base = fake_of("jsiec").base
    trees.picture(base / "8.MH" / "2a.JPG")
    assert jsiec(base).contradictory[0][0] == "2a.JPG"
