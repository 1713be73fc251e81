"""The gate: real photographs pass, spoiled ones and pictures of other things do not, and reasons say why."""

import time

import cv2
import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.study import Image
from fundusion.quality.degradations import KINDS, UNGRADABLE_FROM, degrade
from fundusion.quality.gradability import REASON_OF_KIND, REASONS, QualityModel, assess, fit_quality
from fundusion.transforms.field_of_view import find_field_of_view


def cfp(pixels):
    return Image(pixels=pixels, modality="cfp")


def read(path):
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])


def in_circle(pixels):
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    middle = [(n - 1) / 2 for n in pixels.shape[:2]]
    inside = np.hypot(rows - middle[0], columns - middle[1]) <= 0.48 * min(pixels.shape[:2])
    return (pixels * inside[..., None]).astype(np.uint8)


def page():
    picture = np.full((400, 500, 3), 245, np.uint8)
    for y in range(30, 380, 22):
        cv2.putText(picture, "visual acuity 0.8, pressure 15 mmHg", (10, y), 0, 0.6, (20, 20, 20), 1)
    return picture


def outer_eye():
    rows, columns = np.mgrid[:400, :560]
    y, x = (rows - 200) / 200, (columns - 280) / 280
    picture = np.zeros((400, 560, 3)) + np.array((205, 155, 125)) - 20 * np.abs(y)[..., None]
    opening = np.abs(y) < 0.5 * np.sqrt(np.clip(1 - (x / 0.8) ** 2, 0, 1))
    distance = np.hypot(rows - 200, columns - 290)
    picture[opening] = (228, 215, 208)
    picture[opening & (distance < 85)] = (95, 65, 40)
    picture[opening & (distance < 35)] = (10, 10, 10)
    return np.clip(picture + np.random.default_rng(0).normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


GENERATOR = np.random.default_rng(0)
RAMP = np.linspace(0, 1, 400)[:, None, None]
FOREIGN = {
    "black": np.zeros((400, 500, 3), np.uint8),
    "white": np.full((400, 500, 3), 255, np.uint8),
    "flat orange": np.zeros((400, 500, 3), np.uint8) + np.array((170, 90, 40), np.uint8),
    "flat orange circle": in_circle(np.zeros((400, 500, 3), np.uint8) + np.array((170, 90, 40), np.uint8)),
    "noise": GENERATOR.integers(0, 256, (400, 500, 3), dtype=np.uint8),
    "noise in a circle": in_circle(GENERATOR.integers(0, 256, (400, 500, 3), dtype=np.uint8)),
    "warm noise": np.clip(GENERATOR.normal((170, 90, 40), 20, (400, 500, 3)), 0, 255).astype(np.uint8),
    "grey": GENERATOR.integers(0, 256, (400, 500, 1), dtype=np.uint8),
    "ramp": (RAMP * np.array((200, 110, 50)) * np.ones((1, 500, 1))).astype(np.uint8),
    "page": page(),
    "outer eye": outer_eye(),
    "outer eye in a circle": in_circle(outer_eye()),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_pictures_of_nothing_are_not_a_fundus(name):
    verdict = assess(cfp(FOREIGN[name]))
    assert not verdict.gradable
    assert "quality.not_fundus" in verdict.reasons
    assert verdict.score < 0.5


# These are kept out of the fit by name (`KEPT_BACK` of the recipe).
@pytest.mark.parametrize("name", ["chelsea", "astronaut", "coffee", "rocket", "text", "moon", "hubble_deep_field"])
def test_photographs_of_other_things_are_not_a_fundus(name):
    data = pytest.importorskip("skimage.data")
    pixels = getattr(data, name)()
    pixels = np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[..., None])
    verdict = assess(cfp(pixels[..., :3]))
    assert not verdict.gradable
    assert verdict.reasons[0] == "quality.not_fundus"


@pytest.mark.parametrize("name", ["chelsea", "astronaut", "rocket"])
def test_a_cat_behind_a_round_aperture_gets_no_diagnosis(name):
    data = pytest.importorskip("skimage.data")
    assert not assess(cfp(in_circle(getattr(data, name)()[..., :3]))).gradable


def test_a_real_fundus_that_is_in_no_training_set_is_accepted():
    data = pytest.importorskip("skimage.data")
    verdict = assess(cfp(np.ascontiguousarray(data.retina())))
    assert verdict.gradable
    assert verdict.score > 0.5


@pytest.mark.parametrize(
    ("pattern", "share"),
    [("oct_srf/labelled/*.jpg", 1.0), ("oct_kermany_samples/*.jpeg", 1.0), ("ffa/seg/images/*.jpg", 1.0)],
)
def test_other_modalities_given_as_photographs_are_not_a_fundus(data_root, pattern, share):
    verdicts = [assess(cfp(read(p))) for p in sorted(data_root.glob(pattern))[:20]]
    assert verdicts
    assert np.mean([not v.gradable and v.reasons[0] == "quality.not_fundus" for v in verdicts]) >= share


@pytest.mark.parametrize(
    ("pattern", "step", "refused"),
    [("odir/images/*.jpg", 36, 0.04), ("idrid_grading/train/*.jpg", 10, 0.02), ("hrf/images/*.jpg", 5, 0.0)],
)
def test_real_photographs_pass(data_root, pattern, step, refused):
    paths = sorted(data_root.glob(pattern))[7::step]
    assert len(paths) >= 5
    verdicts = [assess(cfp(read(p))) for p in paths]
    assert np.mean([not v.gradable for v in verdicts]) <= refused


def test_degraded_photographs_are_refused_named_and_score_lower_with_severity(data_root):
    paths = sorted(data_root.glob("odir/images/*.jpg"))[3::270][:12]
    photographs = [p for p in map(read, paths) if assess(cfp(p)).score > 0.9]
    assert len(photographs) >= 8
    refused, named = {}, {}
    for kind in KINDS:
        scores = {}
        for severity in (0.1, UNGRADABLE_FROM[kind], 1.0):
            bad = [degrade(p, kind, severity, np.random.default_rng(i)) for i, p in enumerate(photographs)]
            verdicts = [assess(cfp(b)) for b in bad]
            scores[severity] = np.mean([v.score for v in verdicts])
        refused[kind] = np.mean([not v.gradable for v in verdicts])
        named[kind] = np.mean(
            [REASON_OF_KIND[kind] in v.reasons or v.reasons[:1] == ("quality.not_fundus",) for v in verdicts]
        )
        mild, middle, severe = scores.values()
        assert mild > middle > severe, kind
        assert mild > 0.75, kind
    assert np.mean(list(refused.values())) >= 0.95
    assert min(refused.values()) >= 0.7
    assert np.mean(list(named.values())) >= 0.85


def test_every_reason_has_words_and_every_kind_a_reason():
    assert set(REASON_OF_KIND) == set(KINDS)
    assert set(REASON_OF_KIND.values()) <= set(REASONS)
    for code, (title, hint) in REASONS.items():
        assert code.split(".")[0] in ("quality", "fov")
        assert title[0].islower()
        assert hint.endswith(".")


def test_verdict_is_the_same_each_time_and_with_a_field_found_before(data_root):
    pixels = read(next(iter(sorted(data_root.glob("idrid_grading/train/*.jpg")))))
    first, second = assess(cfp(pixels)), assess(cfp(pixels), field=find_field_of_view(pixels))
    assert first == second
    assert first.gradable
    assert {"brightness", "focus_fine", "coverage", "fundus"} <= set(first.measures)


def test_small_pictures_are_refused_with_the_reason():
    verdict = assess(cfp(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)))
    assert (verdict.gradable, verdict.reasons) == (False, ("quality.too_small",))


@pytest.mark.parametrize(
    ("pixels", "gradable", "reasons"),
    [
        (np.zeros((300, 300, 1), np.uint8), False, ("quality.empty",)),
        (np.full((300, 300, 1), 200, np.uint8), False, ("quality.empty",)),
        (
            np.tile(np.repeat(np.array([100, 108], np.uint8), 30)[:, None], (5, 300))[..., None],
            False,
            ("quality.no_contrast",),
        ),
        (np.random.default_rng(0).integers(0, 256, (5, 64, 64)).astype(np.uint16) * 200, True, ()),
        (np.zeros((5, 64, 64), np.uint16), False, ("quality.empty",)),
    ],
    ids=["black", "flat", "faint", "volume", "empty volume"],
)
def test_other_modalities_only_have_to_be_a_picture(pixels, gradable, reasons):
    verdict = assess(Image(pixels=pixels, modality="oct"))
    assert (verdict.gradable, verdict.reasons) == (gradable, reasons)


def test_one_empty_frame_does_not_spoil_a_volume():
    volume = np.random.default_rng(0).integers(0, 256, (5, 64, 64)).astype(np.uint8)
    volume[2] = 0
    verdict = assess(Image(pixels=volume, modality="oct"))
    assert verdict.gradable
    assert verdict.measures["empty_frames"] == 1


def test_own_labels_change_the_verdict_and_survive_a_file(data_root, tmp_path):
    generator = np.random.default_rng(0)
    paths = sorted(data_root.glob("odir/images/*.jpg"))[5::60][:60]
    labelled = []
    for i, path in enumerate(paths):
        # A reader who wants sharper photographs than the shipped limit.
        severity = 0.3 if i % 2 else 0.05
        labelled.append((cfp(degrade(read(path), "defocus", severity, generator)), severity < 0.2))
    model = fit_quality(labelled[:40])
    model.save(tmp_path / "mine.json")
    mine = QualityModel.load(tmp_path / "mine.json")
    wanted = [label for _, label in labelled[40:]]
    before = np.mean([assess(i).gradable == w for (i, _), w in zip(labelled[40:], wanted, strict=True)])
    after = np.mean([assess(i, model=mine).gradable == w for (i, _), w in zip(labelled[40:], wanted, strict=True)])
    assert after >= 0.7
    assert after > before
    assert not assess(cfp(FOREIGN["noise"]), model=mine).gradable


def test_fitting_refuses_other_modalities_and_one_class():
    with pytest.raises(InvalidInput, match="colour fundus"):
        fit_quality([(Image(pixels=np.zeros((80, 80, 1), np.uint8), modality="oct"), True)])
    with pytest.raises(InvalidInput, match="at least ten"):
        fit_quality([(cfp(FOREIGN["noise"]), True)] * 12)


def test_one_megapixel_is_fast():
    image = cfp(cv2.resize(in_circle(FOREIGN["warm noise"]), (1200, 900)))
    assess(image)
    times = []
    for _ in range(5):
        start = time.process_time()
        assess(image)
        times.append(time.process_time() - start)
    # The aim is 25 ms; the limit leaves room for a slow or busy machine.
    assert min(times) < 0.1
