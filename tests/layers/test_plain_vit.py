import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.layers.plain_vit import PlainViT, as_map, make_blocks, resized_positions


@pytest.fixture
def body():
    torch.manual_seed(0)
    return PlainViT(image_size=64, embed_dim=16, depth=3, num_heads=2, masked=True).eval()


def test_the_two_position_rules_differ_and_keep_the_class_row():
    table = torch.randn(1, 17, 8, generator=torch.Generator().manual_seed(0))
    dino, size = (resized_positions(table, (6, 5), rule=r) for r in ("dino", "size"))
    assert dino.shape == size.shape == (1, 31, 8)
    assert torch.equal(dino[:, 0], table[:, 0])
    assert 1e-4 < float((dino - size).abs().max()) < 1.0
    assert resized_positions(table, (4, 4), rule="dino") is table
    with pytest.raises(InvalidInput, match="class row"):
        resized_positions(table[:, :16], (2, 2))


def test_levels_end_in_the_whole_forward_pass(body):
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found, grid = body.levels(images, (0, -1))
        raw, _ = body.levels(images, (2,), norm=False)
    assert grid == (4, 4)
    torch.testing.assert_close(found[1], body(images))
    torch.testing.assert_close(body.norm(raw[0]), found[1])
    assert as_map(found[1][:, 1:], grid).shape == (2, 16, 4, 4)
    assert torch.equal(as_map(found[1][:, 1:], grid)[:, :, 1, 2], found[1][:, 1 + 6])


def test_attention_rows_sum_to_one_and_are_those_of_the_block(body):
    images = torch.rand(1, 3, 64, 64)
    attention = body.last_attention(images)
    torch.testing.assert_close(attention.sum(-1), torch.ones(1, 2, 17))
    block = body.blocks[-1]
    x, _ = body.levels(images, (1,), norm=False)
    y = block.norm1(x[0])
    v = block.attn.qkv(y).reshape(1, 17, 3, 2, 8).permute(2, 0, 3, 1, 4)[2]
    torch.testing.assert_close(
        block.attn.proj((attention @ v).transpose(1, 2).reshape(1, 17, 16)), block.attn(y), rtol=1e-4, atol=1e-5
    )


def test_a_hidden_patch_does_not_reach_the_answer(body):
    images = torch.rand(1, 3, 64, 64)
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 1, 1] = True
    other = images.clone()
    other[..., 16:32, 16:32] = 9.0
    torch.testing.assert_close(body(images, mask=mask), body(other, mask=mask))
    assert not torch.allclose(body(images), body(other))


def test_drop_path_grows_with_depth_and_odd_sides_are_refused(body):
    rates = [getattr(b.drop_path1, "drop_prob", 0.0) for b in make_blocks(3, 16, 2, drop_path=0.2)]
    assert rates == pytest.approx([0.0, 0.1, 0.2])
    with pytest.raises(InvalidInput, match="multiples of 16"):
        body(torch.rand(1, 3, 60, 64))
