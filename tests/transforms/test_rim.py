"""The circle through an outline: exact on exact input, unmoved by cuts, marks and noise, None where there is none."""

import cv2
import numpy as np
import pytest

from fundusion.transforms.rim import Circle, Corner, fit_circle, polish_circle


def arc(row, column, radius, *, start=0.0, stop=2 * np.pi, count=400):
    angle = np.linspace(start, stop, count, endpoint=False)
    return np.stack([row + radius * np.sin(angle), column + radius * np.cos(angle)], axis=1)


def test_half_a_rim_gives_the_whole_circle():
    circle = fit_circle(arc(100, 120, 80, stop=np.pi), frame=(240, 260))
    # Outline pixels lie half a pixel inside the rim.
    assert (circle.row, circle.column, circle.radius) == pytest.approx((100, 120, 80.5), abs=0.05)


def test_a_straight_cut_and_a_mark_do_not_pull_the_circle():
    points = arc(100, 120, 80)
    points = points[points[:, 0] > 50]
    cut = np.stack([np.full(120, 50.0), np.linspace(60, 180, 120)], axis=1)
    mark = np.stack([np.linspace(40, 48, 12), np.full(12, 190.0)], axis=1)
    circle = fit_circle(np.concatenate([points, cut, mark]), frame=(240, 260))
    assert (circle.row, circle.column, circle.radius) == pytest.approx((100, 120, 80.5), abs=0.3)


def test_points_on_the_frame_and_too_few_points_are_no_rim():
    frame = (100, 100)
    edge = np.stack([np.zeros(300), np.linspace(0, 99, 300)], axis=1)
    assert fit_circle(edge, frame=frame) is None
    assert fit_circle(arc(50, 50, 30, count=10), frame=frame) is None


def test_a_straight_line_is_no_circle():
    line = np.stack([np.linspace(10, 90, 200), np.linspace(10, 90, 200)], axis=1)
    circle = fit_circle(line, frame=(100, 100))
    assert circle is None or circle.support < 0.3


def test_scaling_keeps_the_corner_of_the_picture():
    circle = Circle(row=9.5, column=19.5, radius=4.0).scaled(4)
    assert (circle.row, circle.column, circle.radius) == (39.5, 79.5, 16.0)
    back = circle.scaled(0.25)
    assert (back.row, back.column, back.radius) == (9.5, 19.5, 4.0)


@pytest.mark.parametrize("noise", [0.0, 6.0])
def test_the_rim_is_measured_to_a_fraction_of_a_pixel(noise):
    rows, columns = np.mgrid[:300, :340]
    distance = np.hypot(rows - 150.3, columns - 170.7)
    picture = 10 + np.clip(110.4 - distance + 0.5, 0, 1) * 120
    picture = picture + np.random.default_rng(0).normal(0, noise, picture.shape) if noise else picture
    pixels = np.clip(picture, 0, 255).astype(np.uint8)[..., None]
    corner = Corner(color=(10.0,), noise=noise)
    found = polish_circle(pixels, Circle(row=153, column=168, radius=107), corner=corner, reach_px=9)
    assert (found.row, found.column, found.radius) == pytest.approx((150.3, 170.7, 110.4), abs=0.3)
    assert found.support > 0.9


def test_no_rim_no_support():
    pixels = np.full((200, 200, 3), 90, np.uint8)
    corner = Corner(color=(90.0, 90.0, 90.0), noise=0.0)
    assert polish_circle(pixels, Circle(row=100, column=100, radius=60), corner=corner, reach_px=5).support == 0


@pytest.mark.parametrize("degrees", range(0, 180, 15))
def test_lines_of_any_direction_and_single_places_are_answered(degrees):
    """Where the equations have no answer there is no circle of sensible size, and no division by nothing."""
    along = np.linspace(-900, 900, 400)[:, None] * [np.sin(np.radians(degrees)), np.cos(np.radians(degrees))]
    for points in (along + 1000, np.full((400, 2), 1000.0)):
        circle = fit_circle(points, frame=(2000, 2000))
        assert circle is None or circle.support < 0.5 or circle.radius > 900


@pytest.mark.parametrize("seed", range(6))
def test_an_outline_with_a_fifth_of_strays_gives_the_same_circle_as_a_clean_one(seed):
    """The quick fit is left for the vote of triples where strays pull it; both ways end at the same circle."""
    generator = np.random.default_rng(seed)
    points = arc(150, 160, 100, count=600) + generator.normal(0, 0.2, (600, 2))
    clean = fit_circle(points, frame=(320, 320))
    stray = slice(100, 220)
    points[stray] += (points[stray] - [150, 160]) * generator.uniform(-0.4, -0.1, (120, 1))
    pulled = fit_circle(points, frame=(320, 320))
    for name in ("row", "column", "radius"):
        assert getattr(pulled, name) == pytest.approx(getattr(clean, name), abs=0.15)


def test_a_settled_circle_is_looked_at_once(monkeypatch):
    rows, columns = np.mgrid[:300, :340]
    pixels = (np.clip(110.4 - np.hypot(rows - 150.3, columns - 170.7) + 0.5, 0, 1) * 120).astype(np.uint8)[..., None]
    looks = []
    real = cv2.remap
    monkeypatch.setattr(cv2, "remap", lambda *a, **k: looks.append(1) or real(*a, **k))
    corner, guess = Corner(color=(0.0,), noise=0.0), Circle(row=151, column=170, radius=110)
    quick = polish_circle(pixels, guess, corner=corner, reach_px=5, settled_px=2.0)
    once = len(looks)
    exact = polish_circle(pixels, guess, corner=corner, reach_px=5)
    assert (once, len(looks) > 2) == (1, True)
    assert (quick.row, quick.column, quick.radius) == pytest.approx((exact.row, exact.column, exact.radius), abs=0.1)
