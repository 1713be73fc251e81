"""HRF: mixed case of types, the class at the end of the name."""


def test_the_class_is_the_end_of_the_name(read):
    records, _ = read("hrf")
    assert {n: r.labels["hrf_class"] for n, r in records.items()} == {
        "01_dr": "diabetic_retinopathy", "01_g": "glaucoma", "01_h": "healthy",
    }  # fmt: skip
    assert records["01_dr"].images["cfp"][0].endswith("01_dr.JPG")
    assert set(records["01_dr"].masks) == {"vessels", "fov"}
    assert records["01_g"].labels["disease"] == {"G": 1.0, "N": 0.0}


def test_real(real):
    reading = real("hrf", "hrf")
    assert reading.counts()["label hrf_class"] == {"diabetic_retinopathy": 10, "glaucoma": 10, "healthy": 10}
    assert reading.counts()["mask"] == {"artery_vein": 30, "vessels": 30}
    assert reading.missing == reading.unlisted == ()
