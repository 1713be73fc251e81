"""From a photograph to numbers: known shapes come back, and what cannot be measured says why."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fundusion.biomarkers.eye import EyeFacts
from fundusion.core.errors import UnknownName
from fundusion.core.study import Image
from fundusion.datasets.synthetic import draw_photograph
from fundusion.measuring import Measurer, _centred, _keep_one_disc, look_for_fovea
from fundusion.report.eye_pictures import eye_picture_files
from fundusion.transforms.field_of_view import find_field_of_view
from fundusion.transforms.squares import FRAME_PX, cut_squares


def squares(pixels, sides, **facts):
    return cut_squares(Image(pixels=pixels, modality="cfp", **facts), find_field_of_view(pixels), sides, name="cfp.0")


@pytest.fixture
def measured(color_segmenter, drawn_photograph):
    def run(pixels=None, laterality="OD", field_px=512, **facts):
        measurer = Measurer(names=(color_segmenter(field_px),))
        pixels = drawn_photograph() if pixels is None else pixels
        return measurer.measure(squares(pixels, measurer.sides, **facts), laterality=laterality)

    return run


def by_name(found):
    return {(m.name, m.region): m for m in found.found.measurements}


def test_known_shapes_come_back(measured):
    found = measured()
    rows = by_name(found)
    assert rows["vcdr", "disc"].value == pytest.approx(0.5, abs=0.03)
    assert rows["tortuosity_vessels", "field"].value == pytest.approx(1.0, abs=0.01)
    assert rows["EX_count", "field"].value == 2
    step = found.facts["field_px"] / FRAME_PX
    exudates = np.pi * (9**2 + 7**2) / step**2 * found.facts["um_per_px"] ** 2
    assert rows["EX_area", "field"].value == pytest.approx(exudates, rel=0.2)
    # Widths in micrometres by the disc: 8 px of 100.
    assert rows["width_vessels", "field"].value == pytest.approx(0.08 * 1850, rel=0.1)
    assert "scale.estimated" in rows["width_vessels", "field"].flags
    assert all(m.image == "cfp.0" for m in found.found.measurements)
    assert found.facts["scale"] == "estimated from the disc"
    assert found.notes == ()


def test_every_value_has_an_uncertainty_from_the_probabilities(measured):
    rows = by_name(measured())
    for key in (("vcdr", "disc"), ("density_vessels", "field"), ("EX_area", "field")):
        assert rows[key].uncertainty is not None
        assert rows[key].uncertainty > 0


def test_a_stated_spacing_is_used_and_measures_the_disc_too(measured):
    rows = by_name(measured(spacing_um=(12.0, 12.0)))
    assert rows["disc_height", "disc"].value == pytest.approx(1212, rel=0.04)
    assert rows["disc_height", "disc"].flags == ()
    # Without a spacing the disc gave the scale: its own size is then no measurement.
    assert by_name(measured())["disc_height", "disc"].failure == "scale.circular"


def test_without_a_disc_zones_and_scale_fail_and_say_so(measured, drawn_photograph):
    pixels = drawn_photograph()
    pixels[280:440, 440:600][pixels[280:440, 440:600, 2] > 60] = (150, 80, 40)
    found = measured(pixels)
    rows = by_name(found)
    assert rows["vcdr", "disc"].failure in ("disc.absent", "mask.empty")
    assert rows["width_vessels", "field"].failure == "scale.absent"
    assert rows["tortuosity_vessels", "field"].value is not None
    assert found.facts["scale"] == "none"


def test_without_a_side_nothing_is_called_nasal(measured):
    rows = by_name(measured(laterality=None))
    assert rows["rim_nasal", "disc"].failure == "laterality.absent"
    assert rows["rim_superior", "disc"].value is not None


def test_a_disc_on_the_temporal_side_is_doubted(measured):
    assert measured(laterality="OS").notes == ("cfp.0.laterality_doubtful",)
    assert measured(laterality=None).notes == ()


def test_a_tiny_picture_is_not_measured_and_says_why(measured, drawn_photograph):
    found = measured(drawn_photograph()[::4, ::4].copy())
    assert found.facts["not_looked_for"] == dict.fromkeys(("EX", "cup", "disc", "vessels"), "image.too_small")
    rows = by_name(found)
    assert {m.failure for m in rows.values()} == {"image.too_small"}
    assert ("EX_count", "field") in rows
    assert ("vcdr", "disc") in rows


def test_kinds_of_vessels_no_segmenter_tells_apart_are_left_out(measured):
    names = {n for n, _ in by_name(measured())}
    assert "crae_zone_b" not in names
    assert not [n for n in names if n.endswith(("_artery", "_vein"))]


def test_the_same_photograph_gives_the_same_numbers(measured):
    assert measured().found.measurements == measured().found.measurements


def test_the_configuration_names_what_decides(color_segmenter):
    one, other = Measurer(names=(color_segmenter(256),)), Measurer(names=(color_segmenter(512),))
    assert one.measured_with != other.measured_with
    assert one.config["segmenters"]
    assert next(iter(one.config["segmenters"].values()))["terms"] == "tests"


def test_what_a_segmenter_is_often_wrong_about_is_measured_only_when_asked(
    color_segmenter, drawn_photograph, monkeypatch
):
    from fundusion import measuring

    name = color_segmenter(512)
    facts = {**measuring._facts(name), "unproven": {"EX": "seen", "cup": "seen"}}
    monkeypatch.setattr(measuring, "_facts", lambda _: facts)
    pixels = drawn_photograph()
    held, asked = (
        m.measure(squares(pixels, m.sides), laterality="OD")
        for m in (Measurer(names=(name,)), Measurer(names=(name,), unproven=True))
    )
    rows = by_name(held)
    assert {rows[k].failure for k in (("vcdr", "disc"), ("EX_count", "field"), ("EX_area", "field"))} == {
        "segmenter.unproven"
    }
    assert {"EX", "cup"}.isdisjoint(held.masks)
    assert rows["disc_tilt", "disc"].value is not None
    assert by_name(asked)["EX_count", "field"].value == 2
    assert by_name(asked)["vcdr", "disc"].value is not None


def test_a_segmenter_that_is_often_wrong_in_all_it_finds_is_not_run(color_segmenter, drawn_photograph, monkeypatch):
    from fundusion import measuring

    name = color_segmenter(512)
    facts = {**measuring._facts(name), "unproven": dict.fromkeys(measuring._facts(name)["classes"], "seen")}
    monkeypatch.setattr(measuring, "_facts", lambda _: facts)
    held, asked = Measurer(names=(name,)), Measurer(names=(name,), unproven=True)
    assert (held.used, asked.used) == ((), (name,))
    assert held.sides
    assert held.config["segmenters"] == {}
    monkeypatch.setattr(measuring, "_loaded", lambda *_: pytest.fail("loaded"))
    rows = by_name(held.measure(squares(drawn_photograph(), held.sides), laterality="OD"))
    assert {rows[k].failure for k in (("vcdr", "disc"), ("EX_count", "field"))} == {"segmenter.unproven"}


def test_a_segmenter_of_one_structure_alone_is_preferred(color_segmenter, drawn_photograph, monkeypatch):
    from fundusion import measuring

    both, alone = color_segmenter(512), "alone"
    loaded, facts = measuring._loaded(both, "cpu"), measuring._facts(both)

    class Nothing(torch.nn.Linear):
        def segment(self, images):
            return torch.full((len(images), 1, *images.shape[2:]), -9.0)

    own = replace(loaded, name=alone, model=Nothing(1, 1), classes=("EX",), thresholds={"EX": 0.5}, inside={})
    monkeypatch.setattr(measuring, "_loaded", lambda name, _: own if name == alone else loaded)
    monkeypatch.setattr(measuring, "_facts", lambda name: {**facts, "classes": ["EX"]} if name == alone else facts)
    monkeypatch.setattr(measuring, "_title", lambda name: "a folder")
    for names, count in (((both,), 2), ((both, alone), 0), ((alone, both), 0)):
        measurer = Measurer(names=names)
        rows = by_name(measurer.measure(squares(drawn_photograph(), measurer.sides), laterality="OD"))
        assert rows["EX_count", "field"].value == count, names


def test_shipped_segmenters_are_those_of_photographs(monkeypatch):
    names = Measurer.shipped().names
    assert {"vessels", "disc_cup", "lesions", "microaneurysms"} <= set(names)
    assert "ffa_areas" not in names
    monkeypatch.setattr("fundusion.measuring.shipped_segmenters", list)
    with pytest.raises(UnknownName):
        Measurer.shipped()


def test_centred_probabilities_keep_their_order_and_their_mask():
    values = np.linspace(0, 1, 101, dtype=np.float32)
    bent = _centred(values, 0.7)
    assert (np.diff(bent) > 0).all()
    assert ((bent >= 0.5) == (values >= np.float32(0.7))).all()


def test_arteries_and_veins_are_measured_where_a_segmenter_tells_them_apart(color_segmenter, drawn_photograph):
    pixels = drawn_photograph()
    lower = pixels[360:]
    lower[(lower == (100, 20, 20)).all(2)] = (55, 20, 20)
    measurer = Measurer(names=(color_segmenter(512), color_segmenter(512, kinds=True)))
    found = measurer.measure(squares(pixels, measurer.sides), laterality="OD")
    rows = by_name(found)
    middle = FRAME_PX // 2
    assert found.masks["artery"][: middle - 20].sum() > 20 * found.masks["vein"][: middle - 20].sum()
    assert found.masks["vein"][middle + 20 :].sum() > 20 * found.masks["artery"][middle + 20 :].sum()
    assert rows["tortuosity_artery", "field"].value == pytest.approx(1.0, abs=0.02)
    # Where two rays meet at the disc one of them bends.
    assert rows["tortuosity_vein", "field"].value == pytest.approx(1.0, abs=0.03)
    # Four or five vessels of a kind cross the zone; the formula needs six, and says so.
    assert rows["crae_zone_b", "zone B"].failure == "vessels.few"
    assert rows["avr_zone_b", "zone B"].failure == "vessels.few"
    told = eye_picture_files("cfp.0", found.pixels, found.masks, found.found, laterality="OD")["cfp.0.structures.svg"]
    assert b">arteries<" in told
    assert b">vessels<" not in told


def test_what_is_asked_beside_a_disc_belongs_to_the_same_region():
    disc = np.zeros((40, 60), np.float32)
    disc[5:15, 5:15], disc[20:36, 30:56] = 0.95, 0.45
    disc[2:17, 2:17] = np.maximum(disc[2:17, 2:17], 0.42)
    cup = np.where(disc > 0.9, disc, np.float32(0))
    cup[22:30, 32:50] = 0.44
    probabilities = {"disc": disc, "cup": cup}
    _keep_one_disc({"disc": disc >= 0.5}, probabilities)
    assert probabilities["disc"][:18, :18].any()
    assert not probabilities["disc"][20:].any()
    assert not probabilities["cup"][20:].any()
    alone = {"disc": np.where(disc > 0.5, np.float32(0.45), disc)}
    _keep_one_disc({"disc": np.zeros_like(disc, bool)}, alone)
    assert alone["disc"].any()


def test_the_fovea_is_looked_for_unless_it_was_stated():
    pixels, truth = draw_photograph(np.random.default_rng(4), size=400, laterality="OS")
    shape = pixels.shape[:2]
    masks = {"disc": truth.disc.mask(shape), "vessels": truth.vessel_mask > 0}
    field = truth.field.mask(shape)
    for laterality in ("OS", None):
        found = look_for_fovea(EyeFacts(laterality=laterality), pixels, masks, field)
        assert found.fovea_found
        assert np.hypot(*np.subtract(found.fovea, truth.fovea.center)) < 0.3 * 2 * truth.disc.radius_px
    stated = EyeFacts(fovea=(5.0, 7.0))
    assert look_for_fovea(stated, pixels, masks, field) == stated
    assert look_for_fovea(EyeFacts(), pixels, {}, field).no_fovea == "fovea.absent"
    flat = look_for_fovea(EyeFacts(laterality="OS"), np.full_like(pixels, 90), masks, field)
    assert (flat.fovea, flat.no_fovea) == (None, "fovea.unsure")
