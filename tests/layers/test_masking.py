"""Patches as vectors and back; hidden shares are exact; masks come from their noise alone."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.layers.masking import block_mask, patchify, random_mask, shared_masks, standardised, unpatchify


def test_patches_go_back_to_the_picture_and_keep_channels_last():
    images = torch.rand(2, 3, 32, 48)
    patches = patchify(images, 16)
    assert patches.shape == (2, 6, 768)
    assert torch.equal(patches[0, 1, :3], images[0, :, 0, 16])
    assert torch.equal(unpatchify(patches, 16, (2, 3)), images)
    with pytest.raises(InvalidInput, match="multiples"):
        patchify(images, 20)


def test_the_variance_is_unbiased():
    patches = torch.tensor([[[0.0, 2.0]]])
    torch.testing.assert_close(standardised(patches)[0, 0], torch.tensor([-1.0, 1.0]) / 2**0.5, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.75, 0.85])
def test_the_least_noise_stays_visible(ratio):
    noise = torch.rand(3, 16, generator=torch.Generator().manual_seed(0))
    kept, restore, mask = random_mask(noise, ratio)
    assert kept.shape == (3, int(16 * (1 - ratio)))
    assert (mask.sum(1) == 16 - kept.shape[1]).all()
    for row in range(3):
        assert set(kept[row].tolist()) == set(torch.nonzero(mask[row] == 0)[:, 0].tolist())
        if 0 < kept.shape[1] < 16:
            assert noise[row][mask[row] == 0].max() < noise[row][mask[row] == 1].min()
    assert torch.equal(restore.sort(1).values[0], torch.arange(16))
    with pytest.raises(InvalidInput, match="below 1"):
        random_mask(noise, 1.0)


def test_blocks_and_shares_hide_the_exact_number():
    generator = torch.Generator().manual_seed(0)
    for ratio in (0.1, 0.3, 0.5):
        assert int(block_mask((14, 14), ratio, generator=generator).sum()) == int(ratio * 196)
    present = {"cfp": torch.tensor([True, False]), "oct": torch.tensor([True, True])}
    masks = shared_masks(present, {"cfp": 9, "oct": 9}, 6, generator=generator)
    assert int((masks["cfp"][0] == 0).sum() + (masks["oct"][0] == 0).sum()) == 6
    assert int((masks["cfp"][1] == 0).sum()) == 0
