"""Surfaces out of probabilities: to a part of a pixel, in the scan's own pixels, in order, and left out where nothing was found."""

import json

import numpy as np
import pytest
import torch

from fundusion.biomarkers.oct_layers import SURFACES, measure_layers
from fundusion.core.errors import InvalidInput
from fundusion.core.study import Image
from fundusion.core.vocabulary import Laterality
from fundusion.datasets._drawn.bscan import draw_bscan_with_truth
from fundusion.layering import find_layers, layer_scan
from fundusion.segmenting import Segmenter, segment_image

SIDE = 64


class Bands(torch.nn.Module):
    """Reads surfaces off the grey levels: level 10 (k + 1) is below surface k; 200 is fluid."""

    def __init__(self, sure=30.0):
        super().__init__()
        self.sure = torch.nn.Parameter(torch.tensor(sure))

    def segment(self, images, prompts=None):
        level = images[:, :1] * 255
        steps = [(level - 10 * (k + 1) + 5) / 10 for k in range(len(SURFACES))]
        below = [
            torch.where(level > 150, torch.ones_like(s) if k < 7 else -torch.ones_like(s), s)
            for k, s in enumerate(steps)
        ]
        return self.sure * torch.cat([*below, (level - 150) / 100], 1)


def reader(**changes):
    facts = {"surfaces": list(SURFACES)}
    classes = (*SURFACES, "fluid")
    return Segmenter(
        name="bands", model=changes.pop("model", Bands()), classes=classes, field_px=SIDE,
        thresholds=dict.fromkeys(classes, 0.5), facts=facts,
    )  # fmt: skip


def banded(height=SIDE, width=SIDE, *, tilt=0.0):
    scan = np.zeros((height, width, 1), np.uint8)
    tops = np.array([10, 14, 20, 25, 30, 38, 44, 50]) * height / SIDE
    for column in range(width):
        for k, top in enumerate(tops):
            scan[round(top + tilt * column) :, column] = 10 * (k + 1)
    return scan, tops


def test_surfaces_lie_where_brightness_changes():
    scan, tops = banded()
    found = find_layers(reader(), scan, precision="fp32")
    assert found.lost == 0
    for name, top in zip(SURFACES, tops, strict=True):
        # The first row below is `top`; the surface is the edge above it.
        np.testing.assert_allclose(found.surfaces[name][0], top - 0.5, atol=0.02)
    assert not (found.fluid >= found.threshold).any()


def test_rows_and_columns_are_those_of_the_scan_whatever_its_size():
    scan, tops = banded(4 * SIDE, 2 * SIDE)
    found = find_layers(reader(), scan, flips=2, precision="fp32")
    assert found.surfaces["ilm"].shape == (1, 2 * SIDE)
    assert found.fluid.shape == (1, 4 * SIDE, 2 * SIDE)
    for name, top in zip(SURFACES, tops, strict=True):
        np.testing.assert_allclose(found.surfaces[name][0], top - 0.5, atol=0.6)


def test_fluid_counts_only_inside_the_retina():
    scan, _ = banded()
    scan[46:49, 20:30] = 200
    scan[2:5, 40:50] = 200
    found = find_layers(reader(), scan, precision="fp32")
    wet = found.fluid[0] >= found.threshold
    assert wet[46:49, 20:30].all()
    assert not wet[:9].any()


def test_columns_without_a_retina_are_left_out_and_surfaces_never_cross():
    scan, _ = banded()
    scan[:, :12] = 0
    found = find_layers(reader(), scan, precision="fp32")
    assert np.isnan(found.surfaces["ilm"][0, :12]).all()
    assert np.isfinite(found.surfaces["ilm"][0, 13:]).all()
    assert found.lost == pytest.approx(12 / SIDE, abs=0.02)
    rows = np.stack([found.surfaces[n][0, 13:] for n in SURFACES])
    assert (np.diff(rows, axis=0) >= 0).all()
    unsure = find_layers(reader(model=Bands(sure=0.02)), banded()[0], precision="fp32")
    assert unsure.lost == 1
    assert all(np.isnan(v).all() for v in unsure.surfaces.values())
    assert all(
        m.value is None
        for m in measure_layers(layer_scan(unsure, Image(pixels=scan, modality="oct")))
        if "thickness" in m.name
    )


def test_spacing_comes_from_the_file_or_not_at_all():
    scan, _ = banded()
    layers = find_layers(reader(), scan, precision="fp32")
    known = layer_scan(layers, Image(pixels=scan, modality="oct", spacing_um=(4.0, 12.0), laterality=Laterality.LEFT))
    assert known.spacing_um == (None, 4.0, 12.0)
    assert known.laterality is Laterality.LEFT
    assert layer_scan(layers, Image(pixels=scan, modality="oct")).spacing_um == (None, None, None)
    assert known.fovea is None


def test_the_pit_of_a_volume_is_its_fovea_and_a_flat_volume_has_none():
    flat = np.stack([banded()[0][..., 0]] * 9)
    pit = flat.copy()
    for scan in (3, 4, 5):
        for column in range(24, 37):
            # Inner layers are gone: the first level there is that of the fourth surface.
            pit[scan, :25, column] = 0
    image = Image(pixels=pit, modality="oct", spacing_um=(600.0, 30.0, 90.0))
    found = layer_scan(find_layers(reader(), image, precision="fp32"), image)
    assert found.fovea == pytest.approx((4, 30), abs=1.5)
    assert found.spacing_um == (600.0, 30.0, 90.0)
    image = Image(pixels=flat, modality="oct")
    assert layer_scan(find_layers(reader(), image, precision="fp32"), image).fovea is None


def test_what_is_no_scan_or_no_such_segmenter_is_refused():
    for pixels in (np.zeros((4, 40, 40), np.float32), np.zeros((20, 20, 1), np.uint8)):
        with pytest.raises(InvalidInput, match="B-scan"):
            find_layers(reader(), pixels)
    with pytest.raises(InvalidInput, match="flips"):
        find_layers(reader(), banded()[0], flips=4)
    other = Segmenter(name="x", model=Bands(), classes=("disc",), field_px=SIDE, thresholds={"disc": 0.5})
    with pytest.raises(InvalidInput, match="does not draw layers"):
        find_layers(other, banded()[0])
    with pytest.raises(InvalidInput, match="layers of B-scans"):
        segment_image(reader(), np.zeros((80, 80, 3), np.uint8))


def test_drawn_truth_reads_back_through_the_same_sums():
    pixels, truth = draw_bscan_with_truth(np.random.default_rng(0), size=96, fluid=True, oedema=True)
    again, _ = draw_bscan_with_truth(np.random.default_rng(0), size=96, fluid=True, oedema=True)
    assert np.array_equal(pixels, again)
    rows = np.stack([truth.surfaces[n] for n in SURFACES])
    assert (np.diff(rows, axis=0) >= -1e-6).all()
    assert truth.subretinal.any()
    assert truth.cysts.any()
    place = np.argwhere(truth.subretinal)
    assert (place[:, 0] <= truth.surfaces["rpe"][place[:, 1]] + 1).all()
    assert (place[:, 0] >= truth.surfaces["ellipsoid"][place[:, 1]] - 1).all()
    assert truth.spacing_um == pytest.approx((2000 / 95, 6000 / 95))
    assert json.dumps(list(truth.surfaces)) == json.dumps(list(SURFACES))
