"""A tree: parents first, thinner branches by the cube law, arteries thinner than veins."""

import numpy as np
import pytest

from fundusion.datasets._drawn.anatomy import draw_layout
from fundusion.datasets._drawn.vessels import grow_vessels
from fundusion.datasets.synthetic import draw_photograph


def test_the_tree_is_a_tree():
    layout = draw_layout(np.random.default_rng(3), cup_to_disc=0.4)
    vessels = grow_vessels(np.random.default_rng(3), layout)
    assert len(vessels) > 20
    for i, vessel in enumerate(vessels):
        assert vessel.parent < i
    again = grow_vessels(np.random.default_rng(3), layout)
    assert all((a.points == b.points).all() for a, b in zip(vessels, again, strict=True))


def test_segments_have_the_length_of_their_points_and_branch_thinner():
    _, truth = draw_photograph(np.random.default_rng(8), size=512)
    assert {s.kind for s in truth.vessels} == {"artery", "vein"}
    for segment in truth.vessels:
        along = np.hypot(*np.diff(segment.points, axis=0).T).sum()
        assert segment.length_px == pytest.approx(along, rel=0.02)
        assert (segment.parent is None) == (segment.angle_deg is None)
        assert segment.widths_px.min() >= 0.4
    trunk = [s.widths_px.mean() for s in truth.vessels if s.order == 0]
    twigs = [s.widths_px.mean() for s in truth.vessels if s.order == 2]
    assert np.mean(twigs) < 0.7 * np.mean(trunk)
    widths = {
        k: np.mean([s.widths_px.mean() for s in truth.vessels if s.kind == k and s.order == 0])
        for k in ("artery", "vein")
    }
    assert widths["artery"] < widths["vein"]


def test_narrowing_makes_arteries_narrower_only():
    layout = draw_layout(np.random.default_rng(3), cup_to_disc=0.4)
    usual, narrow = (grow_vessels(np.random.default_rng(3), layout, narrowing=n) for n in (0.0, 0.4))
    for a, b in zip(usual, narrow, strict=True):
        ratio = float(b.widths.mean() / a.widths.mean())
        if a.kind == "vein":
            assert ratio == 1.0
        elif a.parent < 0:
            # Twigs end at the thinnest vessel that is drawn; trunks follow the number.
            assert ratio == pytest.approx(0.6, abs=0.05)
