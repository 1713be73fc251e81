"""Measures: finite on anything, the same at every resolution, and moved by what they are named after."""

import cv2
import numpy as np
import pytest

from fundusion.quality.degradations import degrade
from fundusion.quality.measures import MEASURES, measure
from fundusion.transforms.field_of_view import find_field_of_view


def eye(side=300):
    generator = np.random.default_rng(1)
    middle = (side - 1) / 2
    picture = np.zeros((side, side, 3), np.uint8) + np.array([165, 85, 40], np.uint8)
    cv2.circle(picture, (round(0.3 * side), round(middle)), round(0.07 * side), (235, 190, 110), -1)
    for _ in range(24):
        steps = generator.normal(0, 0.05 * side, (6, 2)) + np.array((0.06 * side, 0))
        points = np.cumsum(steps, axis=0) + np.array((0.3 * side, middle))
        cv2.polylines(picture, [points.astype(np.int32)], False, (135, 40, 25), max(1, side // 110), cv2.LINE_AA)
    grain = cv2.GaussianBlur(generator.normal(size=(side, side, 3)), (0, 0), side / 250)
    picture = np.clip(picture + 5 * grain / grain.std(), 0, 255)
    inside = np.hypot(*(np.mgrid[:side, :side] - middle)) <= 0.47 * side
    return (picture * inside[..., None]).astype(np.uint8)


def take(pixels):
    return measure(pixels, find_field_of_view(pixels))


ODD = {
    "black": np.zeros((80, 80, 3), np.uint8),
    "white": np.full((80, 80, 3), 255, np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8),
    "grey": np.random.default_rng(0).integers(0, 256, (90, 90, 1), dtype=np.uint8),
    "tiny": np.full((3, 3, 3), 9, np.uint8),
    "sliver": np.random.default_rng(0).integers(0, 256, (4, 900, 3), dtype=np.uint8),
}


@pytest.mark.parametrize("name", ODD)
def test_measures_are_finite_on_anything(name):
    values = take(ODD[name])
    assert tuple(values) == MEASURES
    assert all(np.isfinite(v) for v in values.values())


def test_measures_hardly_depend_on_resolution():
    large = eye(1200)
    small = cv2.resize(large, (300, 300), interpolation=cv2.INTER_AREA)
    a, b = take(large), take(small)
    for name in ("brightness", "unevenness", "redness", "yellowness", "coverage", "warm_share", "contrast", "vessels"):
        assert a[name] == pytest.approx(b[name], abs=0.08), name


@pytest.mark.parametrize(
    ("kind", "name", "sign"),
    [
        ("defocus", "focus_fine", -1),
        ("defocus", "vessels", -1),
        ("motion", "direction", 1),
        ("underexposure", "brightness", -1),
        ("overexposure", "bright_share", 1),
        ("uneven", "unevenness", 1),
        ("low_contrast", "contrast", -1),
        ("noise", "noise", 1),
        ("jpeg", "axis_share", 1),
        ("color_cast", "redness", -1),
        ("field_cut", "coverage", -1),
    ],
)
def test_a_degradation_moves_its_measure(kind, name, sign):
    pixels = eye()
    before, after = take(pixels)[name], take(degrade(pixels, kind, 0.9, np.random.default_rng(2)))[name]
    assert sign * (after - before) > 0.05


def test_detail_in_red_tells_a_tinted_picture_from_blood():
    pixels = eye()
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(float)[..., None]
    tinted = np.clip(luma * np.array([1.5, 0.8, 0.4]), 0, 255).astype(np.uint8)
    assert take(tinted)["red_detail"] > take(pixels)["red_detail"] + 0.1
