"""The angle between the temporal arcades, seen from the centre of the disc."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .caliber import ACROSS, Crossings
from .outcome import Outcome, failed, finite

#: Circles in radii of the disc: 1 to 2.5 disc diameters from its centre.
ARCADE_RADII = np.linspace(2.0, 5.0, 13)
#: Sector of each arcade: from this to that angle between the vessel and the direction to the fovea, degrees.
_SECTOR = (20.0, 120.0)


def arcade_angle(found: Crossings, temporal: float, tilt_deg: float = 0.0) -> Outcome:
    """Return the angle between the widest vessel above and the widest below on the temporal side: the median over circles, degrees.

    Args:
        found: Crossings of the circles `ARCADE_RADII`, of arteries or of veins.
        temporal: +1 where temporal is to the right, -1 to the left.
        tilt_deg: How far the fovea lies below the horizontal through the disc.

    Source:
        Temporal arcade angle from the disc centre: Fledelius, Goldschmidt 2010, Acta Ophthalmologica 88:514; vessels by width on circles: Ortín Vela
        et al. 2024, doi:10.1038/s41467-024-52334-1. Here each arcade is the widest vessel 20 to 120 degrees above or below the line to the fovea.
    """
    # Towards the fovea is 0, above is positive, whichever eye it is.
    angle = found.angle_deg if temporal > 0 else 180.0 - found.angle_deg
    angle = (angle + tilt_deg + 180.0) % 360.0 - 180.0
    values = []
    for k in range(len(ARCADE_RADII)):
        here = (found.circle == k) & (found.cosine >= ACROSS)
        above, below = (_widest(found.width_px, angle, here & _within(sign * angle)) for sign in (1, -1))
        if above is not None and below is not None:
            values.append(above - below)
    if len(values) < 0.5 * len(ARCADE_RADII):
        return failed("vessels.no_arcade", len(values))
    return finite(float(np.median(values)), len(values), float(np.std(values)))


def _within(angle: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return (angle >= _SECTOR[0]) & (angle <= _SECTOR[1])


def _widest(
    widths: npt.NDArray[np.float64], angle: npt.NDArray[np.float64], use: npt.NDArray[np.bool_]
) -> float | None:
    at = np.flatnonzero(use)
    return float(angle[at[np.argmax(widths[at])]]) if len(at) else None
