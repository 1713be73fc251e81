"""Thickness on the ETDRS grid: known slabs give known numbers, and a missing fact gives a reason."""

import numpy as np
import pytest

from fundusion.biomarkers.lesions import SECTORS
from fundusion.biomarkers.oct_layers import (
    LAYERS,
    SURFACES,
    LayerScan,
    measure_layers,
    sector_area_mm2,
    thickness,
)
from fundusion.core.errors import InvalidInput
from fundusion.core.vocabulary import Laterality

DEPTH, WIDTH, HEIGHT = 49, 120, 200
SPACING = (125.0, 4.0, 50.0)


def slab(retina=75.0, **changes):
    rows = {n: np.full((DEPTH, WIDTH), 50.0 + retina * k / (len(SURFACES) - 1)) for k, n in enumerate(SURFACES)}
    facts = {"spacing_um": SPACING, "laterality": Laterality.RIGHT, "fovea": (24.0, 60.0)}
    return LayerScan(surfaces=changes.pop("surfaces", rows), **{**facts, **changes})


def by_name(scan):
    return {(m.name, m.region): m for m in measure_layers(scan)}


def test_an_even_slab_is_300_um_everywhere_and_has_the_volume_of_a_cylinder():
    found = by_name(slab())
    for sector in SECTORS[1:]:
        assert found["retina_thickness", sector].value == pytest.approx(300.0)
    assert found["central_subfield_thickness", "centre"].value == pytest.approx(300.0)
    assert found["macular_volume", "grid"].value == pytest.approx(0.3 * np.pi * 3**2)
    parts = [found[f"{n}_thickness", "scan"].value for n in ("nerve_fibre", "ganglion", "inner_nuclear")]
    assert parts == pytest.approx([300 / 7] * 3)
    assert sum(sector_area_mm2(s) for s in SECTORS[1:]) == pytest.approx(np.pi * 9)


def test_nasal_is_where_the_disc_is_and_superior_is_up():
    scan = slab()
    rows = {n: v.copy() for n, v in scan.surfaces.items()}
    rows["bruch"][:, 62:] += 25.0
    rows["bruch"][:20] += 5.0
    right, left = (by_name(slab(surfaces=rows, laterality=e)) for e in (Laterality.RIGHT, Laterality.LEFT))
    assert right["retina_thickness", "outer nasal"].value > 390
    assert right["retina_thickness", "outer temporal"].value < 310
    assert left["retina_thickness", "outer temporal"].value == right["retina_thickness", "outer nasal"].value
    assert right["retina_thickness", "outer superior"].value > right["retina_thickness", "outer inferior"].value
    unknown = by_name(slab(surfaces=rows, laterality=None))
    assert unknown["retina_thickness", "outer nasal"].failure == "laterality.absent"
    assert unknown["retina_thickness", "outer superior"].value is not None


def test_without_axial_spacing_there_are_pixels_and_no_sectors():
    found = by_name(slab(spacing_um=(125.0, None, 50.0)))
    whole = found["retina_thickness", "scan"]
    assert (whole.value, whole.unit) == (75.0, "px")
    for key in (("central_subfield_thickness", "centre"), ("macular_volume", "grid"), ("retina_thickness", "centre")):
        assert found[key].value is None
        assert found[key].failure == "oct.no_axial_spacing"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"spacing_um": (None, 4.0, 50.0)}, "oct.no_lateral_spacing"),
        ({"spacing_um": (125.0, 4.0, None)}, "oct.no_lateral_spacing"),
        ({"spacing_um": (450.0, 4.0, 50.0)}, "oct.sparse"),
        ({"fovea": None}, "oct.no_fovea"),
    ],
)
def test_every_missing_fact_has_its_reason(changes, code):
    found = by_name(slab(**changes))
    assert found["central_subfield_thickness", "centre"].failure == code
    assert found["macular_volume", "grid"].failure == code
    assert found["retina_thickness", "scan"].unit == "um"


def test_a_sector_outside_of_the_scan_and_columns_that_were_not_found():
    found = by_name(slab(fovea=(24.0, 40.0)))
    assert found["retina_thickness", "outer temporal"].failure == "oct.sector_outside"
    assert found["retina_thickness", "centre"].value == pytest.approx(300.0)
    assert found["macular_volume", "grid"].failure == "oct.sector_outside"
    rows = {n: v.copy() for n, v in slab().surfaces.items()}
    for v in rows.values():
        v[20:29, 50:71] = np.nan
    holed = by_name(slab(surfaces=rows))
    assert holed["retina_thickness", "centre"].failure in ("oct.not_found", "oct.sector_outside")
    nothing = by_name(slab(surfaces={n: np.full((DEPTH, WIDTH), np.nan) for n in SURFACES}))
    assert nothing["retina_thickness", "scan"].failure == "oct.not_found"
    assert all(m.value is None for k, m in nothing.items() if k[0].endswith("thickness"))


def test_surfaces_that_cross_are_no_thickness():
    rows = {n: v.copy() for n, v in slab().surfaces.items()}
    rows["bruch"][:, :30] = 10.0
    found = by_name(slab(surfaces=rows))["retina_thickness", "scan"]
    assert found.value == pytest.approx(300.0)
    assert found.flags == ("oct.columns_lost",)


def test_fluid_has_a_volume_an_area_or_only_pixels():
    wet = np.zeros((DEPTH, HEIGHT, WIDTH), bool)
    wet[10:12, 60:70, 20:30] = True
    assert by_name(slab(fluid=wet))["fluid_volume", "scan"].value == pytest.approx(200 * 125 * 4 * 50 / 1e9)
    one = LayerScan(
        surfaces={n: v[:1] for n, v in slab().surfaces.items()}, fluid=wet[10:11], spacing_um=(None, 4.0, 50.0)
    )
    assert by_name(one)["fluid_area", "scan"].value == pytest.approx(100 * 4 * 50 / 1e6)
    assert by_name(one)["central_subfield_thickness", "centre"].failure == "oct.single_scan"
    plain = by_name(slab(fluid=wet, spacing_um=(None, None, None)))["fluid_volume", "scan"]
    assert (plain.value, plain.unit, plain.flags) == (200.0, "px", ("scale.absent",))
    assert by_name(slab())["fluid_volume", "scan"].failure == "mask.absent"


def test_shapes_and_spacings_that_cannot_be_are_refused():
    with pytest.raises(InvalidInput, match="all alike"):
        LayerScan(surfaces={"ilm": np.zeros((2, 5)), "bruch": np.zeros((2, 6))})
    with pytest.raises(InvalidInput, match="mask of fluid"):
        LayerScan(surfaces={"ilm": np.zeros((2, 5))}, fluid=np.zeros((2, 9, 6), bool))
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidInput, match="not possible"):
            LayerScan(surfaces={"ilm": np.zeros((2, 5))}, spacing_um=(None, bad, None))
    values, unit = thickness([1.0, np.nan], [3.0, 4.0], 2.0)
    assert unit == "um"
    assert values[0] == 4
    assert np.isnan(values[1])
    assert all(set(pair) <= set(SURFACES) for pair in LAYERS.values())
