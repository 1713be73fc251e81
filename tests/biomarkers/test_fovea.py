"""Foveas of drawn eyes are found where they were drawn; where nothing shows one, there is a reason."""

import csv
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fundusion.biomarkers.eye import EyeFacts, measure_eye
from fundusion.biomarkers.fovea import ERROR_DD, find_fovea
from fundusion.biomarkers.optic_disc import disc_of
from fundusion.datasets.synthetic import draw_photograph

NASAL = {"OD": 1.0, "OS": -1.0}


def drawn_eye(seed, laterality, size=512):
    pixels, truth = draw_photograph(np.random.default_rng(seed), size=size, laterality=laterality, grade=seed % 3)
    shape = pixels.shape[:2]
    disc = disc_of(truth.disc.mask(shape))
    return pixels, truth, disc, {"vessels": truth.vessel_mask > 0, "field": truth.field.mask(shape)}


def away(found, truth, disc):
    return np.hypot(*np.subtract(found.center, truth.fovea.center)) / disc.diameter_px


@pytest.mark.parametrize("laterality", ["OD", "OS"])
@pytest.mark.parametrize("stated", [True, False])
def test_foveas_of_drawn_eyes(laterality, stated):
    errors = []
    for seed in range(8):
        pixels, truth, disc, masks = drawn_eye(seed, laterality)
        found = find_fovea(pixels, disc, nasal=NASAL[laterality] if stated else None, **masks)
        errors.append(away(found, truth, disc))
    assert np.median(errors) < ERROR_DD
    assert max(errors) < 0.5


def test_the_mirror_image_and_another_size_have_the_same_fovea():
    pixels, truth, disc, masks = drawn_eye(3, "OD")
    found = find_fovea(pixels, disc, nasal=1.0, **masks)
    mirrored = {k: np.ascontiguousarray(v[:, ::-1]) for k, v in masks.items()}
    other = find_fovea(
        np.ascontiguousarray(pixels[:, ::-1]),
        disc_of(truth.disc.mask(pixels.shape[:2])[:, ::-1]),
        nasal=-1.0,
        **mirrored,
    )
    assert other.center[0] == pytest.approx(found.center[0], abs=0.05 * disc.diameter_px)
    assert pixels.shape[1] - 1 - other.center[1] == pytest.approx(found.center[1], abs=0.05 * disc.diameter_px)
    twice = {k: v.repeat(2, 0).repeat(2, 1) for k, v in masks.items()}
    large = find_fovea(
        pixels.repeat(2, 0).repeat(2, 1), disc_of(truth.disc.mask(pixels.shape[:2]).repeat(2, 0).repeat(2, 1)),
        nasal=1.0, **twice,
    )  # fmt: skip
    assert (np.array(large.center) - 0.5) / 2 == pytest.approx(np.array(found.center), abs=0.05 * disc.diameter_px)


def test_nothing_is_found_where_nothing_shows_it():
    pixels, _, disc, masks = drawn_eye(1, "OD")
    flat = np.full_like(pixels, 128)
    assert find_fovea(flat, disc, nasal=1.0, **masks) == "fovea.unsure"
    # On the nasal side the field ends before a fovea could be.
    assert find_fovea(pixels, disc, nasal=-1.0, **masks) == "fovea.outside"
    assert find_fovea(pixels, disc, nasal=1.0, field=np.zeros_like(masks["field"])) == "fovea.outside"
    half = int(min(disc.center[1], pixels.shape[1] - disc.center[1])) - 2
    around = masks["field"].copy()
    around[:, : int(disc.center[1]) - half], around[:, int(disc.center[1]) + half :] = False, False
    assert find_fovea(pixels, disc, field=around) == "fovea.side"
    assert find_fovea(pixels, disc, field=np.zeros_like(around)) == "fovea.side"


def test_what_rests_on_a_found_fovea_says_so_and_carries_its_error():
    _, truth, disc, masks = drawn_eye(2, "OD")
    masks = {**masks, "disc": truth.disc.mask(masks["field"].shape), "MA": truth.disc.mask(masks["field"].shape)}
    stated = measure_eye(masks, EyeFacts(laterality="OD", fovea=truth.fovea.center))
    found = measure_eye(masks, EyeFacts(laterality="OD", fovea=truth.fovea.center, fovea_found=True))
    for before, after in zip(stated.measurements, found.measurements, strict=True):
        rests = after.name.startswith(("disc_fovea", "arcade")) or (after.region or "").startswith("ETDRS")
        assert before.value == after.value
        assert ("fovea.found" in after.flags) == (rests and after.value is not None)
    distance = found.by_name()["disc_fovea_distance"]
    assert distance.uncertainty == pytest.approx(distance.value * ERROR_DD * disc.diameter_px / np.hypot(
        *np.subtract(truth.fovea.center, disc.center)), rel=0.01)  # fmt: skip


def test_a_found_fovea_tells_the_side_and_says_so():
    _, truth, _, masks = drawn_eye(2, "OS")
    shape = masks["field"].shape
    masks = {**masks, "disc": truth.disc.mask(shape), "cup": truth.cup.mask(shape)}
    stated = measure_eye(masks, EyeFacts(laterality="OS", fovea=truth.fovea.center))
    found = measure_eye(masks, EyeFacts(fovea=truth.fovea.center, fovea_found=True))
    assert found.nasal == stated.nasal == -1.0
    for name in ("rim_nasal", "rim_temporal", "isnt"):
        assert found.by_name()[name].value == stated.by_name()[name].value
        assert found.by_name()[name].flags == ("fovea.found",)
        assert stated.by_name()[name].flags == ()


def test_a_fovea_that_was_not_found_says_why():
    _, truth, _, masks = drawn_eye(2, "OD")
    masks = {**masks, "disc": truth.disc.mask(masks["field"].shape)}
    found = measure_eye(masks, EyeFacts(laterality="OD", no_fovea="fovea.unsure")).by_name()
    assert found["disc_fovea_distance"].failure == found["disc_fovea_angle"].failure == "fovea.unsure"


def test_places_put_by_eye_are_whole():
    path = Path(__file__).parents[2] / "benchmarks" / "reproduce" / "foveas.csv"
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    assert len(rows) == len({(r["set"], r["study_id"]) for r in rows}) > 100
    assert {r["part"] for r in rows} == {"looked at", "afterwards"}
    assert all(float(r["row"]) > 0 and float(r["col"]) > 0 for r in rows)


def test_a_tiny_disc_in_a_large_picture_takes_little_memory():
    pixels = np.full((2000, 3000, 3), 120, np.uint8)
    rows, cols = np.ogrid[:2000, :3000]
    disc = disc_of((rows - 900) ** 2 + (cols - 2000) ** 2 <= 5**2)
    tracemalloc.start()
    try:
        assert find_fovea(pixels, disc, nasal=1.0) == "fovea.unsure"
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()
