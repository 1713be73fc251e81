"""Pictures of a measured eye: structures in their colours, zones where they belong, side and legend in words."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from fundusion.biomarkers.eye import EyeFacts, measure_eye
from fundusion.report.eye_pictures import (
    eye_picture_files,
    sheet_size,
    structures_pixels,
    zone_files,
    zones_pixels,
)
from fundusion.report.overlays import COLOURS


def eye(size=400, *, disc=True, kinds=("artery", "vein")):
    rows, cols = np.mgrid[:size, :size]
    first = (np.abs(rows - cols) < 4) & (np.abs(cols - size / 2) < 150)
    second = (np.abs(rows + cols - size) < 5) & (np.abs(cols - size / 2) < 150)
    masks = dict(zip(kinds, (first, second), strict=True)) if len(kinds) == 2 else {"vessels": first | second}
    if disc:
        masks["disc"] = (rows - 200) ** 2 + (cols - 260) ** 2 < 30**2
        masks["cup"] = (rows - 200) ** 2 + (cols - 260) ** 2 < 14**2
    masks["EX"] = (rows - 90) ** 2 + (cols - 200) ** 2 < 6**2
    return masks


def words(data):
    return [e.text for e in ElementTree.fromstring(data).iter() if e.tag.endswith("text")]


def near(pixels, color, tolerance=60):
    return (np.abs(pixels.astype(int) - color).max(2) < tolerance).any()


def test_files_say_side_structures_and_zones():
    masks = eye()
    found = measure_eye(masks, EyeFacts(laterality="OD"))
    files = eye_picture_files("cfp.0", np.full((400, 400, 3), 90, np.uint8), masks, found, laterality="OD")
    assert sorted(files) == ["cfp.0.structures.png", "cfp.0.structures.svg", "cfp.0.zones.png", "cfp.0.zones.svg"]
    told = words(files["cfp.0.structures.svg"])
    assert told[0] == "Right eye (OD): what was marked"
    # Nasal is right in a right eye: its word is the second, at the right edge.
    assert told[1:3] == ["temporal", "nasal"]
    assert {"arteries", "veins", "optic disc", "optic cup", "possible hard exudates: 1"} <= set(told)
    zones = words(files["cfp.0.zones.svg"])
    assert {"A", "B", "C"} <= set(zones)
    assert any("0.5 disc diameters" in w for w in zones)
    assert "centre lines of arteries" in zones


def test_the_other_eye_and_no_eye():
    masks = eye()
    for side, expected in (("OS", ["nasal", "temporal"]), (None, [])):
        found = measure_eye(masks, EyeFacts(laterality=side))
        told = words(
            eye_picture_files("a", np.zeros((400, 400, 3), np.uint8), masks, found, laterality=side)["a.zones.svg"]
        )
        assert [w for w in told if w in ("nasal", "temporal")] == expected
        assert told[0].startswith("Left eye" if side else "Eye not stated")


def test_arteries_are_red_veins_blue_and_zones_around_the_disc():
    masks = eye()
    pixels = structures_pixels(np.full((400, 400, 3), 60, np.uint8), masks)
    assert near(pixels, np.multiply(COLOURS["artery"], 0.6) + 24)
    assert near(pixels, np.multiply(COLOURS["vein"], 0.6) + 24)
    found = measure_eye(masks, EyeFacts())
    zones = zones_pixels(np.zeros((400, 400, 3), np.uint8), found, masks)
    # On the ring of zone A (one disc radius from the margin) straight above the disc: 900 units for 400 px.
    row, col = 44 + round((200.5 - 2 * found.disc.diameter_px / 2) * 2.25), round(260.5 * 2.25)
    assert zones[row - 3 : row + 4, col].max() > 240
    assert (zones.shape[1], zones.shape[0]) == sheet_size(masks)


def test_without_a_disc_the_picture_says_that_there_are_no_zones():
    masks = eye(disc=False, kinds=("vessels",))
    found = measure_eye(masks, EyeFacts())
    told = words(eye_picture_files("a", np.zeros((400, 400, 3), np.uint8), masks, found)["a.zones.svg"])
    assert "no usable optic disc: no zones" in told
    assert not {"A", "B", "C"} & set(told)


@pytest.mark.parametrize("photograph", [True, False])
def test_masks_of_any_shape_are_drawn(photograph):
    masks = {k: m[:300] for k, m in eye().items()}
    found = measure_eye(masks, EyeFacts())
    pixels = np.full((300, 400, 3), 70, np.uint8) if photograph else None
    files = zone_files(pixels, found, masks)
    assert set(files) == {".png", ".svg"}
    assert files == zone_files(pixels, found, masks)


def test_empty_masks_are_no_error():
    masks = {"vessels": np.zeros((64, 64), bool), "disc": np.zeros((64, 64), bool), "EX": np.zeros((64, 64), bool)}
    found = measure_eye(masks, EyeFacts())
    told = words(eye_picture_files("a", np.zeros((64, 64, 3), np.uint8), masks, found)["a.structures.svg"])
    assert "possible hard exudates: none" in told
