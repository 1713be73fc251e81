"""What is told of pictures is true of them: keywords, grades, mirror images, drawn eyes; what was seen is found again."""

import numpy as np
import pytest
import torch

from fundusion.core.registry import ImageInput, models
from fundusion.core.study import StudyRecord
from fundusion.core.vocabulary import Laterality
from fundusion.layers.eye_words import FINDINGS
from fundusion.train.caption_data import (
    KEYWORDS,
    Told,
    drawing_keys,
    drawn_eye,
    drawn_grades,
    drawn_pixels,
    questions_about,
    see,
    told_of,
    told_of_drawn,
)

WANTED = ImageInput(size=64)


def test_keywords_become_findings_and_unknown_words_make_no_normal_eye():
    assert set(KEYWORDS.values()) <= set(FINDINGS)
    one = StudyRecord(
        study_id="a",
        patient_id="7",
        laterality=Laterality.RIGHT,
        labels={"findings": ("drusen", "lens dust", "laser spot")},
    )
    told = told_of(one, "odir")
    assert (told.findings, told.eye, told.group) == (("drusen", "laser"), "OD", "7")
    assert told.complete
    assert told_of(StudyRecord(study_id="b", labels={"findings": ("choroidal nevus",)}), "odir").findings is None


@pytest.mark.parametrize(("grade", "findings"), [(0, None), (2, ("dr2",)), ("4", ("dr4",)), (None, None)])
def test_a_grade_of_zero_says_nothing_of_other_diseases(grade, findings):
    told = told_of(StudyRecord(study_id="a", labels={"dr_grade": grade}), "idrid")
    assert told.findings == findings
    assert told.complete == (findings is None)
    # What small dots mean is not learned from real photographs.
    assert told.retinopathy is None


def test_a_mirror_image_is_of_the_other_eye_and_of_no_other_disease():
    told = Told(study_id="a", group="a", source="odir", modality="cfp", eye="OD", findings=("drusen",))
    assert told.mirrored().eye == "OS"
    assert told.mirrored().mirrored() == told
    assert "left eye" in next(a for k, _, a in questions_about(told.mirrored()) if k == "caption")
    unknown = Told(study_id="a", group="a", source="idrid", modality="cfp", findings=("dr1",))
    assert unknown.mirrored().eye is None
    assert not any(k == "laterality" for k, _, _ in questions_about(unknown))


def test_drawn_eyes_tell_what_their_picture_shows():
    grades = drawn_grades(12)
    for number, grade in enumerate(grades):
        plain, modality = drawn_eye(number, 5, grade, size=64, picture=False)
        whole, _ = drawn_eye(number, 5, grade, size=64)
        # Leaving the picture out changes no fact.
        assert plain.facts == whole.facts
        told = told_of_drawn(plain, modality)
        assert told.modality == modality
        assert (told.eye is None) == (modality == "oct")
        if modality == "cfp":
            assert told.retinopathy == (grade > 0)
            assert (f"dr{grade}" in told.findings) == (grade > 0)
        else:
            assert told.retinopathy is None


def test_grades_are_the_same_for_every_count():
    assert drawn_grades(40)[:15] == drawn_grades(15)


@torch.inference_mode()
def test_what_was_seen_is_found_again_and_small_things_only_where_asked(tmp_path):
    torch.manual_seed(0)
    model = models.create("captioner.test").eval()
    keys = drawing_keys(3, 5, size=64)
    calls = []

    def pixels(i):
        calls.append(i)
        return drawn_pixels(i, 5, 1, WANTED, size=64)

    first = see(model, keys, pixels, wanted=WANTED, cache=tmp_path)
    again = see(model, keys, pixels, wanted=WANTED, cache=tmp_path)
    assert calls == [0, 1, 2]
    assert np.array_equal(first, again)
    large = see(model, keys, pixels, wanted=WANTED, small=False, cache=tmp_path)
    assert not large[:, :, -model.fine_rows :].any()
    assert first[:, :, -model.fine_rows :].any()
    assert np.array_equal(large[:, :, : -model.fine_rows], first[:, :, : -model.fine_rows])
    assert len(set(keys)) == 3
