"""Drawn degradations: reproducible, scaled with the field, stronger with severity, nothing outside the field."""

import cv2
import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.quality.degradations import KINDS, UNGRADABLE_FROM, degrade
from fundusion.transforms.field_of_view import find_field_of_view


def eye(side=240, seed=0):
    """Draw a round field with a disc and dark branching lines."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    middle = (side - 1) / 2
    picture = np.zeros((side, side, 3), np.uint8) + np.array([165, 85, 40], np.uint8)
    cv2.circle(picture, (round(0.3 * side), round(middle)), round(0.07 * side), (235, 190, 110), -1)
    for _ in range(24):
        steps = generator.normal(0, 0.05 * side, (6, 2)) + np.array((0.06 * side, 0))
        points = np.cumsum(steps, axis=0) + np.array((0.3 * side, middle))
        cv2.polylines(picture, [points.astype(np.int32)], False, (120, 40, 25), max(1, side // 110), cv2.LINE_AA)
    inside = np.hypot(rows - middle, columns - middle) <= 0.47 * side
    return (picture * inside[..., None]).astype(np.uint8)


def draw(pixels, kind, severity, seed=3):
    return degrade(pixels, kind, severity, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_same_generator_same_picture_and_input_untouched(kind):
    pixels = eye()
    before = pixels.copy()
    first, second = draw(pixels, kind, 0.6), draw(pixels, kind, 0.6)
    assert first.dtype == np.uint8
    assert first.shape == pixels.shape
    assert np.array_equal(first, second)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_changes_nothing_and_more_changes_more(kind):
    pixels = eye()
    assert np.array_equal(draw(pixels, kind, 0.0), pixels)
    change = [np.abs(draw(pixels, kind, s).astype(float) - pixels).mean() for s in (0.15, 0.4, 0.7, 1.0)]
    assert change[0] < change[1] < change[2] <= change[3] * 1.02


@pytest.mark.parametrize("kind", KINDS)
def test_the_black_border_stays_black(kind):
    pixels = eye()
    outside = ~find_field_of_view(pixels).mask(pixels.shape)
    changed = draw(pixels, kind, 0.9)
    assert np.array_equal(changed[outside], pixels[outside])


@pytest.mark.parametrize("kind", ["defocus", "haze", "low_contrast", "underexposure"])
def test_severity_looks_the_same_at_every_resolution(kind):
    small, large = eye(240), cv2.resize(eye(240), (720, 720), interpolation=cv2.INTER_CUBIC)
    a = draw(small, kind, 0.6).astype(float)
    b = cv2.resize(draw(large, kind, 0.6), (240, 240), interpolation=cv2.INTER_AREA).astype(float)
    core = np.hypot(*(np.mgrid[:240, :240] - 119.5)) < 95
    assert np.abs(a - b)[core].mean() < 4


def sharpness(pixels):
    core = np.hypot(*(np.mgrid[:240, :240] - 119.5)) < 95
    return np.abs(cv2.Laplacian(pixels[..., 1].astype(np.float32), cv2.CV_32F))[core].mean()


def test_each_kind_does_what_it_is_called():
    pixels = eye()
    core = np.hypot(*(np.mgrid[:240, :240] - 119.5)) < 95
    assert sharpness(draw(pixels, "defocus", 0.8)) < 0.4 * sharpness(pixels)
    assert sharpness(draw(pixels, "motion", 0.8)) < 0.6 * sharpness(pixels)
    assert sharpness(draw(pixels, "noise", 0.8)) > 2 * sharpness(pixels)
    assert draw(pixels, "underexposure", 0.8)[core].mean() < 0.35 * pixels[core].mean()
    assert (draw(pixels, "overexposure", 1.0)[core][:, 1] > 250).mean() > 0.7
    assert draw(pixels, "low_contrast", 0.9)[core].std(axis=0).max() < 0.3 * pixels[core].std(axis=0).max()
    assert (draw(pixels, "field_cut", 0.9)[core].max(axis=1) < 60).mean() > 0.5
    cast = draw(pixels, "color_cast", 1.0)[core].astype(float)
    assert (cast[:, 0] - cast[:, 2]).mean() < 0.5 * (pixels[core][:, 0].astype(float) - pixels[core][:, 2]).mean()
    dark = draw(pixels, "uneven", 0.7).astype(float).sum(axis=2)
    halves = [dark[:120].sum(), dark[120:].sum(), dark[:, :120].sum(), dark[:, 120:].sum()]
    assert max(halves) > 1.5 * min(halves)


def test_grey_pictures_and_pictures_without_a_field_are_drawn_on_too():
    generator = np.random.default_rng(0)
    for pixels in (eye()[..., 1:2], np.full((60, 80, 3), 90, np.uint8)):
        for kind in KINDS:
            assert degrade(pixels, kind, 0.5, generator).shape == pixels.shape


@pytest.mark.parametrize(("kind", "severity"), [("fog", 0.5), ("noise", 1.5), ("noise", -0.1), ("noise", float("nan"))])
def test_wrong_kind_or_severity_is_refused(kind, severity):
    with pytest.raises(InvalidInput):
        draw(eye(), kind, severity)


def test_every_kind_has_a_limit():
    assert set(UNGRADABLE_FROM) == set(KINDS)
    assert all(0 < limit < 1 for limit in UNGRADABLE_FROM.values())
