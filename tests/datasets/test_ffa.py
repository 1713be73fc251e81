"""Angiograms of three tasks."""


def test_each_task_has_its_own_label(read):
    records, _ = read("ffa")
    assert records["phase/arterial_phase/00001"].labels == {"ffa_phase": "arterial_phase"}
    assert records["diagnosis/brvo/BRVO0002"].labels == {"ffa_diagnosis": "brvo"}
    drawn = records["seg/images/3-3_015"]
    assert (drawn.patient_id, set(drawn.masks), dict(drawn.labels)) == ("3", {"non_perfusion"}, {})
    assert records["phase/arterial_phase/00001"].patient_id is None


def test_real(real):
    reading = real("ffa", "ffa")
    assert len(reading) == 115
    assert sum(reading.counts()["label ffa_phase"].values()) == 40
    assert reading.counts()["mask"] == {"non_perfusion": 14}
    assert reading.missing == reading.unlisted == ()
