"""The angle of drawn arcades, in a right and in a left eye, level and tilted."""

import numpy as np
import pytest

from fundusion.biomarkers.arcades import ARCADE_RADII, arcade_angle
from fundusion.biomarkers.caliber import crossings
from fundusion.biomarkers.vessel_graph import vessel_graph


def eye(shapes, above, below, tilt=0.0, temporal=-1.0):
    """Return crossings of two wide arcades at angles from the line to the fovea, and a thin vessel between."""
    mask = np.zeros((400, 400), bool)
    for angle, width in ((above, 8.0), (-below, 7.0), (5.0, 3.0)):
        a = np.radians(angle - tilt)
        way = np.array([-np.sin(a), temporal * np.cos(a)])
        mask |= shapes.tube([(200, 200) + 20 * way, (200, 200) + 190 * way], width)
    return crossings(vessel_graph(mask), (200.0, 200.0), ARCADE_RADII * 30.0)


@pytest.mark.parametrize("temporal", [1.0, -1.0])
@pytest.mark.parametrize(("above", "below"), [(60, 70), (45, 90), (80, 55)])
@pytest.mark.parametrize("tilt", [0.0, 8.0])
def test_arcades(shapes, above, below, tilt, temporal):
    found = arcade_angle(eye(shapes, above, below, tilt, temporal), temporal, tilt)
    assert found.value == pytest.approx(above + below, abs=2)
    assert found.n == len(ARCADE_RADII)


def test_the_nasal_side_has_no_temporal_arcades(shapes):
    found = eye(shapes, 50, 60, temporal=-1.0)
    assert arcade_angle(found, 1.0).failure == "vessels.no_arcade"
