"""Segment Anything's image encoder: the released numbers by way of another implementation, and its limits."""

import pytest
import torch
from torch.nn import functional as F

from fundusion.core.errors import InvalidInput
from fundusion.layers.promptable import sam_settings
from fundusion.layers.sam_image import EncoderBlock, SamImageEncoder, relative_table, resized_tables
from fundusion.layers.sam_names import to_transformers


def drawn(module, seed=0):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * 0.3)
    return module.eval()


@torch.no_grad()
def test_maps_equal_those_of_transformers_with_windows_that_do_not_divide_the_grid():
    transformers = pytest.importorskip("transformers")
    own = drawn(SamImageEncoder(16, 2, 2, (1,), size=80, window=3, out=8))
    settings = sam_settings(16, 2, 2, (1,), size=80, window=3, channels=8, decoder_heads=2)
    other = transformers.SamModel(settings).eval().vision_encoder
    state = to_transformers({f"image_encoder.{k}": v for k, v in own.state_dict().items()})
    other.load_state_dict({k.removeprefix("vision_encoder."): v for k, v in state.items()})
    images = torch.randn(2, 3, 80, 80, generator=torch.Generator().manual_seed(1))
    maps, shares = own(images)
    assert maps.shape == (2, 8, 5, 5)
    assert shares == ()
    torch.testing.assert_close(maps, other(images).last_hidden_state, rtol=1e-4, atol=1e-4)


def test_a_relative_table_gives_the_row_of_the_distance_from_key_to_query():
    table = torch.arange(5.0)[:, None]
    found = relative_table(table, 3)[..., 0]
    assert found.tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]
    # A line stays a line when it is interpolated.
    other = relative_table(table, 2)[..., 0]
    assert other[1, 0] > other[0, 0] > other[0, 1]


def test_a_block_in_windows_mixes_only_inside_them():
    block = drawn(EncoderBlock(8, 2, window=2, grid=4))
    x = torch.randn(1, 4, 4, 8, generator=torch.Generator().manual_seed(2))
    other = x.clone()
    other[0, 0, 0, 0] += 1
    changed = (block(x)[0] - block(other)[0]).abs().sum(-1)[0] > 0
    assert changed[:2, :2].all()
    assert changed.sum() == 4


def test_tables_of_another_image_size_are_brought_to_this_one():
    large, small = (
        SamImageEncoder(8, 2, 2, (1,), size=128, window=2, out=4),
        SamImageEncoder(8, 2, 2, (1,), size=64, window=2, out=4),
    )
    drawn(large)
    state = resized_tables({f"e.{k}": v for k, v in large.state_dict().items()}, small, "e.")
    small.load_state_dict({k[2:]: v for k, v in state.items()})
    wanted = F.interpolate(large.pos_embed.permute(0, 3, 1, 2), size=(4, 4), mode="bilinear").permute(0, 2, 3, 1)
    torch.testing.assert_close(small.pos_embed, wanted)
    assert small.blocks[1].attn.rel_pos_h.shape == (7, 4)
    torch.testing.assert_close(small.blocks[0].attn.rel_pos_h, large.blocks[0].attn.rel_pos_h)
    # The middle row, distance 0, stays in the middle.
    torch.testing.assert_close(small.blocks[1].attn.rel_pos_w[3], large.blocks[1].attn.rel_pos_w[7])


def test_images_of_another_size_are_refused():
    with pytest.raises(InvalidInput, match="32, 32"):
        SamImageEncoder(8, 1, 2, (), size=32, window=2, out=4)(torch.zeros(1, 3, 32, 48))
