"""From pixels to micrometres, by the spacing that is stated or by the disc; or to disc diameters; or to nothing."""

from __future__ import annotations

from dataclasses import dataclass

from .optic_disc import DISC_UM, Disc
from .outcome import Outcome, failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a pixel is.

    Args:
        um_per_px: Micrometres per pixel; None where it is not known.
        estimated: Whether it comes from the assumed size of a disc.
        disc_px: Diameter of the disc, pixels; None where there is none.
    """

    um_per_px: float | None = None
    estimated: bool = False
    disc_px: float | None = None

    @property
    def unit(self) -> str:
        """Unit of lengths: "um" or, where no micrometres are known, "DD" (disc diameters)."""
        return "um" if self.um_per_px is not None else "DD"

    def convert(self, found: Outcome, power: int = 1) -> Outcome:
        """Return pixels to a power as micrometres (or disc diameters) to that power, marked where the scale is an estimate.

        Source:
            Diameter of a disc 1850 um: Hubbard et al. 1999, doi:10.1016/S0161-6420(99)90525-0.

        Example:
            >>> Scale(um_per_px=2.0).convert(Outcome(3.0)).value, Scale(disc_px=8.0).convert(Outcome(2.0)).value
            (6.0, 0.25)
            >>> Scale().convert(Outcome(3.0)).failure
            'scale.absent'
        """
        if found.value is None:
            return found
        if self.um_per_px is not None:
            scaled = found.times(self.um_per_px**power)
            return scaled.flagged("scale.estimated") if self.estimated else scaled
        return found.times(self.disc_px**-power) if self.disc_px else failed("scale.absent", found.n)


def scale_of(spacing_um: float | None, disc: Disc | None, *, estimate: bool = True) -> Scale:
    """Return the scale of an eye.

    Args:
        spacing_um: Micrometres per pixel as stated; None where nothing is stated.
        disc: Its optic disc.
        estimate: Take micrometres from the assumed size of a disc; else lengths are in disc diameters.

    Source:
        Hubbard et al. 1999, doi:10.1016/S0161-6420(99)90525-0.

    Example:
        >>> scale_of(None, None).unit, scale_of(5.0, None).um_per_px
        ('DD', 5.0)
    """
    size = disc.diameter_px if disc else None
    if spacing_um is not None:
        return Scale(um_per_px=float(spacing_um), disc_px=size)
    if size is not None and estimate:
        return Scale(um_per_px=DISC_UM / size, estimated=True, disc_px=size)
    return Scale(disc_px=size)
