"""Drawn eyes: the same by seed, truth that fits the pixels, modalities that do not disturb each other."""

import time

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.datasets.synthetic import draw_cohort, draw_eye, draw_photograph, synthetic, write_cohort
from fundusion.metrics.classification import auroc

ALL = ("cfp", "oct", "ffa", "ultrasound", "text", "table")


def same(a, b):
    return all(
        x.pixels.tobytes() == y.pixels.tobytes()
        for m in a.images
        for x, y in zip(a.images[m], b.images[m], strict=True)
    )


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not():
    one, two, other = (draw_eye(s, size=96, modalities=ALL).study for s in (4, 4, 5))
    assert same(one, two)
    assert (one.report, one.metadata, one.labels) == (two.report, two.metadata, two.labels)
    assert not same(one, other)


def test_leaving_out_a_modality_changes_no_other():
    full, part = draw_eye(4, size=96, modalities=ALL).study, draw_eye(4, size=96, modalities=("oct", "table")).study
    assert set(part.images) == {"oct"}
    assert same(part, full)
    assert part.labels == full.labels
    assert part.report is None


def test_eyes_of_a_cohort_do_not_depend_on_its_size_or_on_what_is_missing():
    long = list(draw_cohort(6, seed=2, size=64))
    short = list(draw_cohort(3, seed=2, size=64, missing=0.5))
    for a, b in zip(short, long, strict=False):
        assert a.study.study_id == b.study.study_id
        assert a.study.labels == b.study.labels
        assert same(a.study, b.study)
        assert a.study.modalities
    assert long[0].facts.patient == long[1].facts.patient
    assert long[0].study.patient_id == long[1].study.patient_id


def test_truth_lies_where_the_pixels_show_it(generator):
    pixels, truth = draw_photograph(generator, size=384, laterality="OD", grade=3, cup_to_disc=0.7)
    inside = truth.field.mask(pixels.shape[:2])
    grey = pixels.astype(float).mean(2)
    assert grey[~inside].mean() < 0.15 * grey[inside].mean()
    disc, green = truth.disc.mask(grey.shape), pixels[..., 1].astype(float)
    assert green[disc & (truth.vessel_mask == 0)].mean() > 1.3 * green[inside].mean()
    # Vessels are darker than what is around them.
    import cv2

    around = cv2.dilate((truth.vessel_mask > 0).astype(np.uint8), np.ones((9, 9))) > 0
    ring = around & (truth.vessel_mask == 0) & inside & ~disc
    assert green[(truth.vessel_mask > 0) & ~disc].mean() < green[ring].mean()
    assert truth.cup_to_disc == pytest.approx(0.7, abs=0.02)
    # In a right eye the disc lies to the right of the fovea.
    assert truth.disc.center[1] > truth.fovea.center[1]
    assert truth.counts["MA"] > 0
    assert truth.lesions["MA"].any()


def test_the_left_eye_is_the_other_way_round_and_grade_nought_is_clean(generator):
    _, truth = draw_photograph(generator, size=96, laterality="OS", grade=0)
    assert truth.disc.center[1] < truth.fovea.center[1]
    assert sum(truth.counts.values()) == 0
    assert not any(m.any() for m in truth.lesions.values())


def test_a_photograph_of_512_px_takes_less_than_three_tenths_of_a_second():
    draw_photograph(np.random.default_rng(0), size=512)
    times = []
    for seed in range(3):
        began = time.process_time()
        draw_photograph(np.random.default_rng(seed), size=512, grade=3)
        times.append(time.process_time() - began)
    # Processor time, doubled for slow machines.
    assert min(times) < 0.6


def test_each_label_is_shown_by_what_the_table_in_the_module_says():
    eyes = list(draw_cohort(700, seed=5, size=48, modalities=("table",)))
    labels = [e.study.labels["systemic"] for e in eyes]

    def area(name, sign):
        return auroc([float(s[name]) for s in labels], [sign(e) for e in eyes])

    assert area("glaucoma", lambda e: e.facts.large_cup + e.facts.high_pressure) > 0.85
    assert area("glaucoma", lambda e: float(e.facts.large_cup)) < 0.88
    assert area("subretinal_fluid", lambda e: float(e.facts.fluid)) > 0.9
    assert abs(area("subretinal_fluid", lambda e: e.facts.patient.age) - 0.5) < 0.08
    assert area("vascular_risk", lambda e: 1.2 * e.facts.patient.hba1c + 0.035 * e.facts.patient.sbp) > 0.8
    assert area("retinal_tear", lambda e: float(e.facts.flashes)) > 0.85


@pytest.mark.parametrize(
    "options",
    [
        {"size": 10},
        {"modalities": ("xray",)},
        {"grade": 7},
        {"language": "fr"},
        {"laterality": "middle"},
        {"oct_frames": 0},
    ],
)
def test_wrong_wishes_are_named(options):
    with pytest.raises(InvalidInput):
        draw_eye(1, **{"modalities": ("oct",), **options})


def test_a_folder_is_filled_once_and_read_back(tmp_path):
    records = synthetic(tmp_path / "d", count=6, size=64, modalities=("cfp", "table"))
    again = synthetic(tmp_path / "d", count=99)
    assert [r.study_id for r in records] == [r.study_id for r in again]
    drawn = list(draw_cohort(6, seed=0, size=64, modalities=("cfp", "table")))
    from fundusion.readers import read_study

    for record, eye in zip(records, drawn, strict=True):
        study = read_study(record)
        assert same(study, eye.study)
        assert dict(study.metadata) == pytest.approx(dict(eye.study.metadata), nan_ok=True)
    by_patient = {}
    for r in records:
        by_patient.setdefault(r.patient_id, set()).add(r.split)
    assert all(len(s) == 1 for s in by_patient.values())


def test_another_folder_is_not_drawn_into(tmp_path):
    (tmp_path / "thesis.docx").write_text("x")
    with pytest.raises(Exception, match="other files"):
        synthetic(tmp_path)
    assert not (tmp_path / "manifest.csv").exists()


def test_write_cohort_reports_progress_and_writes_jpeg(tmp_path):
    seen = []
    manifest = write_cohort(
        tmp_path, 2, size=64, modalities=("cfp",), jpeg_quality=90, progress=lambda d, t: seen.append((d, t))
    )
    assert seen == [(1, 2), (2, 2)]
    assert list(manifest.parent.rglob("*.jpg"))
