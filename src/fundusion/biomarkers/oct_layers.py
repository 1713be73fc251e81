"""Thickness of the layers of the macula and volume of fluid, from surfaces in B-scans: by sector of the ETDRS grid, in micrometres.

Source: grid ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9; names of surfaces Staurenghi et al. 2014, doi:10.1016/j.ophtha.2014.02.023
(IN-OCT). The retina is measured from the inner limiting membrane to Bruch's membrane; devices that stop at another surface give other numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from ..core.results import Measurement
from ..core.vocabulary import Laterality
from .lesions import ETDRS_UM, SECTORS, Grid

#: From the vitreous down.
SURFACES = ("ilm", "nfl_gcl", "ipl_inl", "inl_opl", "opl_onl", "ellipsoid", "rpe", "bruch")
#: Layer to the surfaces above and below it.
LAYERS = {
    "retina": ("ilm", "bruch"),
    "nerve_fibre": ("ilm", "nfl_gcl"),
    "ganglion": ("nfl_gcl", "ipl_inl"),
    "inner_nuclear": ("ipl_inl", "inl_opl"),
    "outer_plexiform": ("inl_opl", "opl_onl"),
    "outer_nuclear": ("opl_onl", "ellipsoid"),
}
#: Least share of a sector's area that measured columns must cover.
COVERAGE = 0.75
#: B-scans further apart than this leave the central subfield to two scans or fewer.
_WIDEST_UM = 400.0
_SOURCE = "ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScan:
    """Surfaces of a B-scan or of a volume of parallel ones.

    Args:
        surfaces: Name to row `(D, W)`, px; NaN where a column was not measured.
        fluid: bool `(D, H, W)`, or None where it was not looked for.
        spacing_um: Micrometres between B-scans, per pixel down, per pixel across; None for each that is not known.
        laterality: None leaves nasal and temporal without a number.
        fovea: (B-scan, column) of the fovea, from 0; None leaves the grid without a place.
    """

    surfaces: Mapping[str, Floats]
    fluid: npt.NDArray[np.bool_] | None = None
    spacing_um: tuple[float | None, float | None, float | None] = (None, None, None)
    laterality: Laterality | None = None
    fovea: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        shapes = {np.shape(v) for v in self.surfaces.values()}
        if not self.surfaces or len(shapes) != 1 or len(next(iter(shapes))) != 2:
            raise InvalidInput(
                f"surfaces of shape (B-scans, columns) are needed, all alike; got {sorted(shapes)}.", code="mask.size"
            )
        shape = next(iter(shapes))
        if self.fluid is not None and (self.fluid.ndim != 3 or (self.fluid.shape[0], self.fluid.shape[2]) != shape):
            raise InvalidInput(
                f"the mask of fluid is {self.fluid.shape}, the surfaces are of {shape[0]} B-scans with {shape[1]} columns.",
                code="mask.size",
            )
        for value in self.spacing_um:
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidInput(f"a spacing of {value} um is not possible.", code="config.invalid")


def thickness(top: npt.ArrayLike, bottom: npt.ArrayLike, axial_um: float | None) -> tuple[Floats, str]:
    """Return the distance of two surfaces along the scan, and its unit: "um", or "px" where the axial spacing is not known.

    Args:
        top: Rows, px; NaN where not measured.
        bottom: Of the same shape.
        axial_um: Micrometres per pixel down.

    Source:
        Definition; along the A-scan, not across a tilted retina, as devices do.

    Example:
        >>> thickness([10.0, 12.0], [60.0, 62.5], 4.0)
        (array([200., 202.]), 'um')
        >>> thickness([10.0], [60.0], None)
        (array([50.]), 'px')
    """
    found = np.asarray(bottom, np.float64) - np.asarray(top, np.float64)
    return (found, "px") if axial_um is None else (found * axial_um, "um")


def sector_means(
    values: npt.ArrayLike, grid: Grid, *, slow_um: float, fast_um: float
) -> dict[str, tuple[float | None, float, int]]:
    """Return mean, share of the area that was measured, and number of columns of every sector of the ETDRS grid.

    Args:
        values: `(D, W)`; NaN where not measured.
        grid: With the fovea in micrometres from the first column of the first B-scan, and 1 um per px.
        slow_um: Between B-scans.
        fast_um: Between columns.

    Source:
        ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9. Every column stands for slow_um * fast_um.
    """
    table = np.asarray(values, np.float64)
    rows, cols = np.mgrid[: table.shape[0], : table.shape[1]].astype(np.float64)
    place = grid.sectors(rows * slow_um, cols * fast_um)
    found: dict[str, tuple[float | None, float, int]] = {}
    for number, name in enumerate(SECTORS):
        if name == "outside":
            continue
        inside = table[place == number]
        known = inside[np.isfinite(inside)]
        share = len(known) * slow_um * fast_um / (sector_area_mm2(name) * 1e6)
        found[name] = (float(known.mean()) if len(known) else None, share, len(known))
    return found


def sector_area_mm2(sector: str) -> float:
    """Return the area of a sector of the grid.

    Source:
        ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9: circles of 1, 3 and 6 mm, rings in quarters.

    Example:
        >>> round(sector_area_mm2("centre"), 4), round(sector_area_mm2("outer nasal"), 4)
        (0.7854, 5.3014)
    """
    inner, middle, outer = (math.pi * (r / 1000) ** 2 for r in ETDRS_UM)
    return inner if sector == "centre" else (middle - inner) / 4 if sector.startswith("inner") else (outer - middle) / 4


def measure_layers(scan: LayerScan) -> list[Measurement]:
    """Return thickness by layer and sector, volume, and fluid; what cannot be measured carries the code of the reason.

    Names: `<layer>_thickness` with the sector as region ("scan" is the mean over all columns), `central_subfield_thickness`,
    `macular_volume` and `fluid_volume` in mm^3, `fluid_area` in mm^2 of a single B-scan. Without the axial spacing thickness is in pixels
    and has no volume; codes: `oct.no_axial_spacing`, `oct.no_lateral_spacing`, `oct.single_scan`, `oct.no_fovea`, `oct.sparse`,
    `oct.sector_outside`, `oct.not_found`, `laterality.absent`.

    Source:
        ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9.
    """
    found: list[Measurement] = []
    refused = _no_grid(scan)
    for layer, (top, bottom) in LAYERS.items():
        if top not in scan.surfaces or bottom not in scan.surfaces:
            continue
        values, unit = thickness(scan.surfaces[top], scan.surfaces[bottom], scan.spacing_um[1])
        values = np.where(values < 0, np.nan, values)
        found.append(_mean(f"{layer}_thickness", values, unit))
        means = {} if refused else _sectors(scan, values)
        for sector in SECTORS[1:]:
            found.append(_in_sector(f"{layer}_thickness", sector, refused, means, scan))
        if layer == "retina":
            found.append(_in_sector("central_subfield_thickness", "centre", refused, means, scan))
            found.append(_volume(refused, means))
    found.append(_fluid(scan))
    return found


def _no_grid(scan: LayerScan) -> str:
    """Return why there are no sectors, or nothing."""
    slow, axial, fast = scan.spacing_um
    count = next(iter(scan.surfaces.values())).shape[0]
    if axial is None:
        return "oct.no_axial_spacing"
    if count < 2:
        return "oct.single_scan"
    if slow is None or fast is None:
        return "oct.no_lateral_spacing"
    if slow > _WIDEST_UM:
        return "oct.sparse"
    return "oct.no_fovea" if scan.fovea is None else ""


def _sectors(scan: LayerScan, values: Floats) -> dict[str, tuple[float | None, float, int]]:
    slow, _, fast = scan.spacing_um
    if slow is None or fast is None or scan.fovea is None:
        return {}
    nasal = -1.0 if scan.laterality is Laterality.LEFT else 1.0
    grid = Grid(fovea=(scan.fovea[0] * slow, scan.fovea[1] * fast), um_per_px=1.0, nasal=nasal)
    return sector_means(values, grid, slow_um=slow, fast_um=fast)


def _in_sector(
    name: str,
    sector: str,
    refused: str,
    means: Mapping[str, tuple[float | None, float, int]],
    scan: LayerScan,
) -> Measurement:
    sided = sector.endswith(("nasal", "temporal"))
    failure = refused or ("laterality.absent" if sided and scan.laterality is None else "")
    mean, share, n = (None, 0.0, 0) if failure else means[sector]
    failure = failure or ("oct.not_found" if mean is None else "oct.sector_outside" if share < COVERAGE else "")
    return Measurement(
        name=name,
        value=None if failure else mean,
        unit="um",
        region=sector,
        source=_SOURCE,
        failure=failure or None,
        n=n,
    )


def _mean(name: str, values: Floats, unit: str) -> Measurement:
    known = values[np.isfinite(values)]
    lost = 1 - known.size / values.size
    return Measurement(
        name=name,
        value=float(known.mean()) if known.size else None,
        unit=unit,
        region="scan",
        failure=None if known.size else "oct.not_found",
        n=int(known.size),
        flags=("oct.columns_lost",) if known.size and lost > 0.1 else (),
    )


def _volume(refused: str, means: Mapping[str, tuple[float | None, float, int]]) -> Measurement:
    """Return the sum over the grid of mean thickness times area; every sector must be covered."""
    failure = refused
    total, n = 0.0, 0
    for name, (mean, share, count) in means.items():
        if mean is None or share < COVERAGE:
            failure = failure or "oct.sector_outside"
            continue
        total, n = total + mean / 1000 * sector_area_mm2(name), n + count
    return Measurement(
        name="macular_volume", value=None if failure else total, unit="mm^3", region="grid", source=_SOURCE,
        failure=failure or None, n=n,
    )  # fmt: skip


def _fluid(scan: LayerScan) -> Measurement:
    slow, axial, fast = scan.spacing_um
    single = next(iter(scan.surfaces.values())).shape[0] == 1
    name, unit = ("fluid_area", "mm^2") if single else ("fluid_volume", "mm^3")
    if scan.fluid is None:
        return Measurement(name=name, value=None, unit=unit, region="scan", failure="mask.absent")
    count = int(scan.fluid.sum())
    if axial is None or fast is None or (slow is None and not single):
        # Pixels are no area; but that there is none needs no scale.
        return Measurement(name=name, value=float(count), unit="px", region="scan", n=count, flags=("scale.absent",))
    size = axial * fast / 1e6 * (1.0 if single or slow is None else slow / 1000)
    return Measurement(name=name, value=count * size, unit=unit, region="scan", n=count)
