"""Position tables, padding to whole patches, maps that add up to the pooled vector."""

import pytest
import torch
from torch.nn import functional as F

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models
from fundusion.layers.transformer import (
    map_with_mean,
    pyramid,
    pyramid_taps,
    resize_positions,
    run_blocks,
    sincos_positions,
)


def test_the_fixed_table_tells_places_apart_and_holds_the_column_first():
    table = sincos_positions(16, (3, 4))
    assert table.shape == (1, 13, 16)
    assert not table[0, 0].any()
    places = table[0, 1:].reshape(3, 4, 16)
    assert torch.equal(places[0, 1, :8], places[2, 1, :8])
    assert torch.equal(places[1, 0, 8:], places[1, 3, 8:])
    assert float(torch.cdist(table[0], table[0]).fill_diagonal_(1).min()) > 0.01
    with pytest.raises(InvalidInput, match="multiple of 4"):
        sincos_positions(6, (2, 2))


def test_resizing_keeps_the_class_row_and_is_plain_bicubic():
    table = torch.randn(1, 1 + 16, 8, generator=torch.Generator().manual_seed(0))
    wide = resize_positions(table, (4, 7))
    assert torch.equal(wide[:, 0], table[:, 0])
    square = table[:, 1:].reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
    expected = F.interpolate(square, size=(4, 7), mode="bicubic", align_corners=False)
    torch.testing.assert_close(wide[:, 1:].reshape(1, 4, 7, 8).permute(0, 3, 1, 2), expected)
    with pytest.raises(InvalidInput, match="square"):
        resize_positions(torch.zeros(1, 1 + 15, 8), (4, 4))


def test_tokens_are_those_of_timm_and_odd_sizes_are_padded():
    torch.manual_seed(0)
    body = models.create("vit.test", image_size=64).body.eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        x, grid, maps = run_blocks(body, images, taps=(0,))
        torch.testing.assert_close(body.norm(x), body.forward_features(images))
        assert grid == (4, 4)
        assert [tuple(m.shape) for m in maps] == [(2, 16, 4, 4)]
        padded = F.pad(images[..., :50, :], (0, 0, 0, 14))
        torch.testing.assert_close(run_blocks(body, images[..., :50, :])[0], run_blocks(body, padded)[0])
    with pytest.raises(InvalidInput, match=r"\(T, 3, H, W\)"):
        run_blocks(body, torch.rand(2, 1, 64, 64))


def test_a_moved_map_has_the_pooled_vector_as_its_mean():
    tokens, pooled = torch.randn(2, 6, 5), torch.randn(2, 5)
    moved = map_with_mean(tokens, pooled, (2, 3))
    torch.testing.assert_close(moved.mean((2, 3)), pooled)
    torch.testing.assert_close(moved[0, :, 0, 1] - moved[0, :, 1, 2], tokens[0, 1] - tokens[0, 5])


def test_the_pyramid_is_fine_to_coarse():
    assert pyramid_taps(24) == (7, 15)
    maps = pyramid([torch.rand(1, 4, 3, 3), torch.rand(1, 4, 3, 3)], torch.rand(1, 4, 3, 3))
    assert [m.shape[-1] for m in maps] == [12, 6, 3]
