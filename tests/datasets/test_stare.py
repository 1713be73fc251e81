"""STARE: gzipped pixmaps, two observers, diagnoses in words."""

from fundusion.datasets.stare import stare
from fundusion.readers import read_study


def test_gzipped_pictures_are_read_as_they_are(read):
    records, _ = read("stare")
    (image,) = read_study(records["im0001"]).images["cfp"]
    assert image.pixels.shape == (64, 64, 3)


def test_the_two_observers_are_kept_apart(read):
    records, _ = read("stare")
    masks = records["im0001"].masks
    assert masks["vessels"][0].endswith("im0001.ah.ppm.gz")
    assert masks["vessels_2nd"][0].endswith("im0001.vk.ppm.gz")


def test_diagnoses_are_words(read):
    records, reading = read("stare")
    assert records["im0001"].labels == {"diagnoses": ("background diabetic retinopathy",)}
    assert records["im0002"].labels == {"diagnoses": ("choroidal neovascularization", "drusen")}
    assert "1 pictures of all-mg-codes.txt are not in this folder" in reading.notes


def test_one_observer_alone_is_said(fake_of):
    import shutil

    base = fake_of("stare").base
    shutil.rmtree(base / "labels-ah")
    reading = stare(base)
    assert reading[0].masks["vessels"][0].endswith(".vk.ppm.gz")
    assert any("second observer (vk)" in note for note in reading.notes)


def test_real(real):
    reading = real("stare", "stare")
    assert len(reading) == 14
    assert reading.counts()["mask"] == {"fov": 14, "vessels": 14}
    assert reading.counts()["label diagnoses"]["normal"] == 7
    assert reading.missing == reading.unlisted == ()
