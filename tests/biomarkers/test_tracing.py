"""Pieces between ends and branchings: each pixel once, spurs cut, slanting crossings are one node."""

import numpy as np
import pytest

from fundusion.biomarkers.skeleton import TABLES, thin
from fundusion.biomarkers.tracing import trace
from fundusion.biomarkers.vessel_graph import vessel_graph


def pieces(mask):
    skeleton, kept = thin(mask)
    return trace(skeleton.ravel(), kept, skeleton.shape[1], TABLES)


def test_a_cross_has_four_arms_and_a_ring_has_no_end():
    mask = np.zeros((41, 41), bool)
    mask[20, 5:36] = mask[5:36, 20] = True
    graph = vessel_graph(mask)
    assert sorted(graph.arms.tolist()) == [1, 1, 1, 1, 4]
    rows, cols = np.ogrid[:41, :41]
    r = np.hypot(rows - 20, cols - 20)
    nodes, arms, _, _, ends = pieces((r < 13) & (r > 10))
    assert len(nodes) == len(arms) == 0
    assert ends.tolist() == [[-1, -1]]


def test_pixels_belong_to_one_piece_each(drawn):
    _, masks, _ = drawn
    nodes, arms, pixels, starts, ends = pieces(masks["artery"])
    assert len(np.unique(pixels)) == len(pixels)
    assert starts[-1] == len(pixels)
    assert (np.bincount(ends[ends >= 0], minlength=len(nodes)) == arms).all()


def test_roughness_of_the_wall_makes_no_branch(shapes):
    mask = shapes.line(17, 9.0)
    noise = np.random.default_rng(0).random(mask.shape) < 0.1
    edge = mask ^ np.pad(mask, 1)[:-2, 1:-1]
    graph = vessel_graph(mask | (edge & noise))
    assert graph.arms.max() < 3
    assert graph.lengths_px.sum() == pytest.approx(240, abs=4)


def test_two_lines_that_cross_at_a_slant_make_one_node(shapes):
    mask = shapes.line(0, 8.0) | shapes.line(42, 8.0)
    graph = vessel_graph(mask)
    assert sorted(graph.arms.tolist()) == [1, 1, 1, 1, 4]
