"""Pictures and bars of a report."""

import base64

import cv2
import numpy as np
import pytest

from fundusion.report.figures import data_uri, overlay, probability_bar, signed_bar, thumbnail


def decoded(uri):
    assert uri.startswith("data:image/jpeg;base64,")
    return cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_pictures_are_scaled_down_never_up_and_keep_their_colour():
    red = np.zeros((400, 1000, 3), np.uint8)
    red[..., 0] = 200
    shown = decoded(data_uri(red))
    assert shown.shape == (304, 760, 3)
    assert shown[100, 100, 0] > 190
    assert shown[100, 100, 2] < 10
    assert decoded(data_uri(red[:50, :60])).shape == (50, 60, 3)
    assert max(decoded(thumbnail(red)).shape) == 96
    assert decoded(data_uri(np.full((40, 40, 1), 90, np.uint8))).shape == (40, 40, 3)


def test_an_overlay_is_clear_where_evidence_is_weak():
    picture = np.full((20, 20, 3), 100, np.uint8)
    heat = np.zeros((20, 20), np.float32)
    heat[5, 5], heat[6, 6], heat[7, 7] = 1.0, 0.1, np.nan
    shown = overlay(picture, heat)
    assert (shown[0, 0] == 100).all()
    assert (shown[6, 6] == 100).all()
    assert (shown[7, 7] == 100).all()
    assert not (shown[5, 5] == 100).all()


def test_bars():
    assert 'width="42.0"' in probability_bar(0.42)
    assert 'x="30.0"' in probability_bar(0.42, threshold=0.3)
    assert "probability 42%, threshold 30%" in probability_bar(0.42, threshold=0.3)
    assert 'x="25.0"' in signed_bar(-0.1, scale=0.2)
    assert 'x="50.0" y="2" width="50.0"' in signed_bar(0.4, scale=0.2)
    assert 'width="0.0"' in signed_bar(0.0, scale=0.0)


@pytest.mark.parametrize("value", [-1.0, 2.0])
def test_bars_stay_in_their_track(value):
    assert 'width="0.0"' in probability_bar(value) or 'width="100.0"' in probability_bar(value)
