"""The circle through an outline: exact on exact input, unmoved by cuts, marks and noise, None where there is none."""

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
