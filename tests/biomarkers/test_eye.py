"""A drawn eye against its truth, and input that is wrong in every way: a reason, never an exception, -1 or NaN."""

import math

import numpy as np
import pytest

from fundusion.biomarkers.eye import EyeFacts, measure_eye, prepare
from fundusion.biomarkers.outcome import REASONS


def by_name(masks, facts=None, **more):
    return measure_eye(masks, facts, **more).by_name()


def test_errors_on_drawn_eyes_are_those_that_are_told(benchmarks):
    table = benchmarks("biomarker_truth").errors(2, size=768)
    most = {
        "density_artery": 0.02, "density_vein": 0.02, "length_vessels": 0.05, "width_artery": 0.12, "width_vein": 0.12,
        "tortuosity_weighted_vessels": 0.25, "fractal_dimension_vessels": 0.03, "fractal_dimension_skeleton_vessels": 0.02,
        "lacunarity_vessels": 0.02, "bifurcation_angle_vessels": 0.06, "branching_coefficient_vessels": 0.05, "bifurcations_vessels": 0.1,
        "curvature_vessels": 0.15, "squared_curvature_vessels": 0.25, "total_curvature_vessels": 0.15, "inflections_vessels": 0.2,
        "tortuosity_vessels": 0.2,
        "crae_zone_b": 0.08, "crve_zone_b": 0.03, "avr_zone_b": 0.08, "arcade_angle_artery": 0.02, "arcade_angle_vein": 0.02,
        "disc_height": 0.01, "disc_width": 0.01, "disc_area": 0.005, "disc_ovality": 0.005, "vcdr": 0.03, "acdr": 0.01,
        "disc_fovea_distance": 0.002, "disc_fovea_angle": 0.01,
    }  # fmt: skip
    for name, limit in most.items():
        assert table[name]["n"] >= 1, name
        assert table[name]["worst"] < limit, name


def test_every_value_has_its_unit_region_source_and_number(measured):
    for name, m in measured.items():
        assert m.unit
        assert m.region
        assert m.source
        if m.value is not None:
            assert math.isfinite(m.value)
            assert m.n is not None, name
    assert measured["crae_zone_b"].unit == "um"
    assert "scale.estimated" in measured["crae_zone_b"].flags
    assert measured["disc_height"].failure == "scale.circular"
    assert measured["avr_zone_b"].flags == ()


def test_units_follow_what_is_known(drawn):
    truth, masks, _ = drawn
    fovea = truth.fovea.center
    stated = by_name(masks, EyeFacts(spacing_um=10.0, fovea=fovea))
    twice = by_name(masks, EyeFacts(spacing_um=20.0, fovea=fovea))
    diameters = by_name(masks, EyeFacts(fovea=fovea, estimate_scale=False))
    for name in ("width_artery", "crae_zone_b", "disc_fovea_distance", "length_vein"):
        assert twice[name].value == pytest.approx(2 * stated[name].value)
        assert stated[name].flags == ()
        assert diameters[name].unit == "DD"
        assert diameters[name].value == pytest.approx(stated[name].value / 10 / (2 * truth.disc.radius_px), rel=0.01)
    assert twice["curvature_vein"].value == pytest.approx(stated["curvature_vein"].value / 2)
    assert stated["curvature_vein"].unit == "1/mm"
    assert twice["disc_area"].value == pytest.approx(4 * stated["disc_area"].value)
    assert diameters["crae_hubbard_zone_b"].failure == "scale.no_micrometres"
    assert stated["tortuosity_vein"].value == diameters["tortuosity_vein"].value


def test_mirror_image_of_the_other_eye_has_the_same_numbers(drawn):
    truth, masks, facts = drawn
    row, col = truth.fovea.center
    mirrored = {k: np.ascontiguousarray(m[:, ::-1]) for k, m in masks.items()}
    one = by_name(masks, facts)
    two = by_name(mirrored, EyeFacts(laterality="OS", fovea=(row, masks["disc"].shape[1] - 1 - col)))
    for name, m in one.items():
        if name == "disc_tilt":
            continue
        if m.value is None:
            assert two[name].failure == m.failure, name
        else:
            assert two[name].value == pytest.approx(m.value, rel=2e-3, abs=1e-9), name


def wrong(masks, truth):
    """Give name, masks, facts and what must fail with which code."""
    shape = masks["disc"].shape
    fovea = truth.fovea.center
    empty, full, single = np.zeros(shape, bool), np.ones(shape, bool), np.zeros(shape, bool)
    single[200, 200] = True
    two = masks["disc"] | np.roll(masks["disc"], (-150, -150), (0, 1))
    border = np.pad(masks["disc"], ((0, 0), (512 - int(truth.disc.center[1]), 0)))[:, :512]
    good = EyeFacts(laterality="OD", fovea=fovea)
    yield (
        {**masks, "artery": empty},
        good,
        {"tortuosity_artery": "mask.empty", "crae_zone_b": "mask.empty", "avr_zone_b": "mask.empty"},
    )
    yield {**masks, "vein": full}, good, {"density_vein": "mask.full", "crve_zone_b": "mask.full"}
    yield (
        {**masks, "artery": single},
        good,
        {"tortuosity_artery": "vessels.none", "bifurcations_artery": "vessels.none"},
    )
    yield (
        {**masks, "disc": two},
        good,
        {"crae_zone_b": "disc.several", "vcdr": "disc.several", "disc_fovea_distance": "disc.several"},
    )
    yield {**masks, "disc": empty}, good, {"crae_zone_b": "disc.absent", "arcade_angle_vein": "disc.absent"}
    yield (
        {**masks, "disc": border, "field": full},
        good,
        {"disc_ovality": "disc.clipped", "crve_zone_c": "disc.clipped"},
    )
    yield masks, EyeFacts(laterality="OS", fovea=fovea), {
        "disc_fovea_distance": "laterality.contradiction", "isnt": "laterality.contradiction", "arcade_angle_artery": "laterality.contradiction"
    }  # fmt: skip
    yield {k: m for k, m in masks.items() if k != "disc"}, good, {"width_artery": "scale.absent", "vcdr": "disc.absent"}
    yield masks, EyeFacts(ungradable=True), {"tortuosity_vein": "quality.ungradable", "vcdr": "quality.ungradable"}
    yield (
        {**masks, "vein": masks["vein"][:100]},
        good,
        {"tortuosity_vein": "mask.size", "crve_zone_b": "mask.size", "avr_zone_b": "mask.size"},
    )
    yield {**masks, "cup": masks["cup"][:50, :50]}, good, {"vcdr": "mask.size"}
    yield {**masks, "cup": empty}, good, {"vcdr": "cup.absent"}
    yield {**masks, "artery": np.full(shape, np.nan)}, good, {"tortuosity_artery": "mask.values"}
    yield {**masks, "artery": np.zeros((3, 4, 5))}, good, {"tortuosity_artery": "mask.shape"}
    yield masks, EyeFacts(fovea=(9999.0, 5.0)), {"disc_fovea_distance": "fovea.outside", "isnt": "laterality.absent"}
    yield masks, EyeFacts(fovea=truth.disc.center), {"disc_fovea_distance": "fovea.distance"}
    yield {}, None, {"tortuosity_artery": "mask.absent", "crae_zone_b": "mask.absent", "vcdr": "disc.absent"}
    yield masks, EyeFacts(spacing_um=math.nan, fovea=fovea), {}
    yield masks, EyeFacts(spacing_um=-1.0, fovea=fovea), {}


def test_bad_input_gives_reasons(drawn):
    truth, masks, _ = drawn
    for given, facts, expected in wrong(masks, truth):
        found = by_name(given, facts)
        for name, code in expected.items():
            assert found[name].failure == code, (name, code, found[name])
        for m in found.values():
            assert m.value is None or math.isfinite(m.value)
            assert m.failure is None or m.failure in REASONS
            assert m.value != -1 or m.name == "disc_tilt"


@pytest.mark.parametrize("structure", ["artery", "vein", "vessels", "disc", "cup", "field", "EX"])
@pytest.mark.parametrize("shape", ["empty", "full", "pixel", "corner", "frame", "noise"])
def test_any_mask_of_a_structure_gives_numbers_or_reasons(drawn, structure, shape):
    """One structure is wrong, the others are good: what does not need it keeps its number."""
    _, masks, facts = drawn
    size = masks["disc"].shape
    made = np.zeros(size, bool)
    if shape == "full":
        made[:] = True
    elif shape == "pixel":
        made[300, 217] = True
    elif shape == "corner":
        made[0, 0] = made[-1, -1] = made[0, -1] = True
    elif shape == "frame":
        made[:3] = made[-3:] = True
        made[:, :3] = made[:, -3:] = True
    elif shape == "noise":
        made = np.random.default_rng(0).random(size) < 0.3
    found = measure_eye({**masks, structure: made}, facts).measurements
    good = measure_eye(masks, facts).by_name()
    for m in found:
        assert (m.value is None) != (m.failure is None), m
        assert m.failure is None or m.failure in REASONS
        assert m.value is None or (
            math.isfinite(m.value) and (m.value >= 0 or m.name in ("disc_tilt", "disc_fovea_angle"))
        )
        assert all(f in REASONS for f in m.flags)
        if structure == "cup" and m.name.endswith(("_artery", "_vein", "_vessels")):
            assert m.value == good[m.name].value
        if structure == "artery" and m.name.endswith("_vein"):
            assert m.value == good[m.name].value
    rows = {m.name: m for m in found if not (m.region or "").startswith("ETDRS")}
    if structure == "disc" and shape in ("empty", "pixel"):
        assert rows["vcdr"].value is rows["crae_zone_b"].value is None
    if structure == "EX" and shape in ("empty", "pixel", "corner"):
        assert rows["EX_count"].value == {"empty": 0, "pixel": 1, "corner": 3}[shape]


def test_lesions_by_sector(drawn):
    truth, masks, facts = drawn
    found = measure_eye({**masks, "MA": truth.lesions["MA"], "EX": np.zeros((3, 3))}, facts)
    rows = {(m.name, m.region): m for m in found.measurements}
    assert rows["MA_count", "field"].value == truth.counts["MA"]
    parts = [m.value for (name, region), m in rows.items() if name == "MA_count" and region.startswith("ETDRS")]
    assert len(parts) == 10
    assert sum(parts) == truth.counts["MA"]
    assert rows["EX_area", "field"].failure == "mask.size"
    no_place = measure_eye({**masks, "MA": truth.lesions["MA"]}, EyeFacts(laterality="OD"))
    assert {(m.name, m.region): m.failure for m in no_place.measurements}["MA_count", "ETDRS centre"] == "fovea.absent"


def test_a_probability_map_widens_what_it_leaves_open(drawn):
    import cv2

    _, masks, facts = drawn
    soft = {k: cv2.GaussianBlur(masks[k].astype(np.float32), (0, 0), 1.5) for k in ("artery", "vein")}
    hard = {**masks, **{k: p >= 0.5 for k, p in soft.items()}}
    plain, open_ = by_name(hard, facts), by_name(hard, facts, probabilities=soft)
    assert open_["width_vein"].value == plain["width_vein"].value
    assert open_["width_vein"].uncertainty >= plain["width_vein"].uncertainty
    assert plain["density_vein"].uncertainty is None
    assert open_["density_vein"].uncertainty > 0.001
    faint = by_name(hard, facts, probabilities={"artery": 0.55 * hard["artery"]})
    assert "mask.unsure" in faint["tortuosity_artery"].flags


def test_a_mask_of_all_vessels_alone_is_measured(drawn):
    _, masks, _ = drawn
    found = by_name({"vessels": masks["artery"] | masks["vein"]})
    assert found["tortuosity_vessels"].value > 1
    assert found["density_vessels"].flags == ("field.absent",)
    assert found["density_artery"].failure == "mask.absent"
    more = {**masks, "vessels": masks["artery"] | masks["vein"]}
    more["vessels"][100:110] = True
    assert set(measure_eye(more).graphs) == {"artery", "vein", "vessels"}
    assert set(measure_eye(masks).graphs) == {"artery", "vein"}
    assert prepare() >= 0
