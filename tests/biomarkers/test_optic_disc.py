"""Disc, cup and fovea from ellipses that are known, and masks that hold no disc."""

import numpy as np
import pytest

from fundusion.biomarkers.optic_disc import cup_measures, disc_measures, disc_of, to_fovea


def ellipse(center, long, short, tilt_deg=0.0, shape=(300, 300)):
    """Return an ellipse whose long axis is turned counter-clockwise from the vertical."""
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(float)
    up, right = center[0] - rows, cols - center[1]
    a = np.radians(tilt_deg)
    along, across = up * np.cos(a) - right * np.sin(a), up * np.sin(a) + right * np.cos(a)
    return (along / long) ** 2 + (across / short) ** 2 <= 0.25


@pytest.mark.parametrize("tilt", [-60, -20, 0, 35, 80])
def test_size_and_tilt(tilt):
    disc = disc_of(ellipse((140, 150), 90, 70, tilt))
    assert disc.center == pytest.approx((140, 150), abs=0.3)
    assert disc.long_px == pytest.approx(90, abs=0.5)
    assert disc.short_px == pytest.approx(70, abs=0.5)
    assert disc.tilt_deg == pytest.approx(tilt, abs=1)
    assert disc_measures(disc)["disc_ovality"].value == pytest.approx(7 / 9, abs=0.01)


def test_what_is_no_disc():
    good = ellipse((140, 150), 90, 70)
    two = good | ellipse((30, 30), 60, 60)
    speck = good.copy()
    speck[5:8, 5:8] = True
    field = np.zeros_like(good)
    field[:, :150] = True
    bar = np.zeros_like(good)
    bar[140:150, 100:250] = True
    bar[100:250, 140:150] = True
    assert disc_of(np.zeros((9, 9))) == "disc.absent"
    assert disc_of(two) == "disc.several"
    assert disc_of(speck).diameter_px == pytest.approx(disc_of(good).diameter_px)
    assert disc_of(ellipse((20, 150), 90, 70)) == "disc.clipped"
    assert disc_of(good, field) == "disc.clipped"
    assert disc_of(ellipse((140, 150), 6, 6)) == "disc.size"
    assert disc_of(ellipse((150, 150), 200, 200)) == "disc.size"
    assert disc_of(bar) == "disc.shape"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.85])
def test_ratios_of_a_cup_in_the_middle(share):
    disc_mask, cup = ellipse((140, 150), 100, 80), ellipse((140, 150), 100 * share, 80 * share)
    found = cup_measures(disc_mask, cup, disc_of(disc_mask), 1.0)
    assert found["vcdr"].value == pytest.approx(share, abs=0.015)
    assert found["hcdr"].value == pytest.approx(share, abs=0.015)
    assert found["acdr"].value == pytest.approx(share**2, abs=0.015)
    assert found["rim_inferior"].value == pytest.approx(found["rim_superior"].value, abs=0.01)
    assert found["rim_nasal"].value == pytest.approx(found["rim_temporal"].value, abs=0.01)


@pytest.mark.parametrize("nasal", [1.0, -1.0])
def test_rim_by_quadrant_and_the_rule(nasal):
    disc_mask = ellipse((150, 150), 100, 100)
    # Up and to the temporal side: widest below, then above? Then nasal, and thinnest on the temporal side.
    cup = ellipse((146, 150 - 12 * nasal), 40, 46)
    found = {k: o.value for k, o in cup_measures(disc_mask, cup, disc_of(disc_mask), nasal).items()}
    assert found["rim_nasal"] > found["rim_temporal"]
    assert found["rim_inferior"] > found["rim_superior"]
    assert found["isnt"] == 0.0
    obeying = cup_measures(disc_mask, ellipse((147, 150 - 2 * nasal), 40, 56), disc_of(disc_mask), nasal)
    assert obeying["isnt"].value == 1.0


def test_without_a_side_or_a_cup():
    disc_mask = ellipse((140, 150), 100, 80)
    disc = disc_of(disc_mask)
    found = cup_measures(disc_mask, ellipse((140, 150), 50, 40), disc, None)
    assert found["isnt"].failure == found["rim_nasal"].failure == "laterality.absent"
    assert found["rim_superior"].value > 0
    assert cup_measures(disc_mask, np.zeros((300, 300)), disc, None)["vcdr"].failure == "cup.absent"
    assert cup_measures(disc_mask, ellipse((250, 250), 50, 40), disc, None)["vcdr"].failure == "cup.outside"


def test_way_to_the_fovea():
    disc = disc_of(ellipse((140, 220), 60, 60))
    found = to_fovea(disc, (160.0, 60.0), 1.0)
    assert found["disc_fovea_distance"].value == pytest.approx(np.hypot(20, 160), abs=0.1)
    assert found["disc_fovea_angle"].value == pytest.approx(np.degrees(np.arctan2(20, 160)), abs=0.1)
    assert to_fovea(disc, (160.0, 60.0), -1.0)["disc_fovea_angle"].failure == "laterality.contradiction"
    assert to_fovea(disc, (150.0, 215.0), None)["disc_fovea_distance"].failure == "fovea.distance"
