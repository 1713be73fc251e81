import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.layers.masking import block_mask, patchify, random_mask, shared_masks, standardised, unpatchify


def test_patches_are_row_column_channel_and_come_back():
    images = torch.arange(2 * 3 * 8 * 12, dtype=torch.float32).reshape(2, 3, 8, 12)
    patches = patchify(images, 4)
    assert patches.shape == (2, 6, 48)
    assert patches[0, 1, :6].tolist() == [images[0, c, 0, 4 + x].item() for x in range(2) for c in range(3)]
    assert torch.equal(unpatchify(patches, 4, (2, 3)), images)
    with pytest.raises(InvalidInput, match="multiples"):
        patchify(images, 5)


def test_standardised_patches():
    x = standardised(torch.randn(2, 5, 48) * 7 + 3)
    torch.testing.assert_close(x.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.var(-1), torch.ones(2, 5), atol=1e-4, rtol=0)
    assert bool(torch.isfinite(standardised(torch.ones(1, 1, 48))).all())


@given(st.integers(1, 40), st.floats(0, 0.99))
def test_random_masks_hide_the_share_and_keep_the_least_noise(count, ratio):
    noise = torch.rand(3, count, generator=torch.Generator().manual_seed(count))
    keep, restore, mask = random_mask(noise, ratio)
    assert keep.shape[1] == int(count * (1 - ratio))
    assert mask.sum(1).tolist() == [count - keep.shape[1]] * 3
    assert bool((mask.gather(1, keep) == 0).all())
    for row in range(3):
        hidden, seen = noise[row][mask[row] == 1], noise[row][mask[row] == 0]
        assert len(seen) == 0 or len(hidden) == 0 or seen.max() <= hidden.min()
    order = torch.argsort(noise, 1)
    assert torch.equal(order.gather(1, restore), torch.arange(count).expand(3, -1))


@given(st.integers(2, 14), st.integers(2, 14), st.floats(0, 0.9), st.integers(0, 50))
def test_block_masks_hide_exactly_the_share(rows, columns, ratio, seed):
    g = torch.Generator().manual_seed(seed)
    assert int(block_mask((rows, columns), ratio, generator=g).sum()) == int(ratio * rows * columns)


def test_block_masks_are_blocks():
    mask = block_mask((14, 14), 0.3, generator=torch.Generator().manual_seed(0))
    pairs = (mask[:, 1:] & mask[:, :-1]).sum() + (mask[1:] & mask[:-1]).sum()
    # Single positions at this share would give about 2 * 182 * 0.09 = 33 neighbours.
    assert int(pairs) > 60


@given(st.integers(1, 60), st.booleans(), st.integers(0, 30))
def test_shared_masks_show_the_asked_number_of_present_modalities_only(visible, uniform, seed):
    present = {"cfp": torch.tensor([True, True, False]), "oct": torch.tensor([True, False, True])}
    sizes = {"cfp": 16, "oct": 9}
    masks = shared_masks(present, sizes, visible, generator=torch.Generator().manual_seed(seed), uniform=uniform)
    for row in range(3):
        total = sum(int((masks[m][row] == 0).sum()) for m in sizes)
        assert total == min(visible, sum(sizes[m] for m in sizes if present[m][row]))
    assert int((masks["oct"][1] == 0).sum()) == 0
    assert int((masks["cfp"][2] == 0).sum()) == 0


def test_shares_vary_over_modalities_and_nothing_is_refused():
    present = {m: torch.ones(200, dtype=torch.bool) for m in ("cfp", "oct")}
    masks = shared_masks(present, {"cfp": 196, "oct": 196}, 98, generator=torch.Generator().manual_seed(0))
    counts = (masks["cfp"] == 0).sum(1).double()
    # Dirichlet(1, 1) is uniform: mean a half, spread 0.29.
    assert 40 < counts.mean() < 58
    assert 22 < counts.std() < 34
    with pytest.raises(InvalidInput) as caught:
        shared_masks({"cfp": torch.tensor([False])}, {"cfp": 4}, 2, generator=torch.Generator())
    assert caught.value.code == "study.empty"
