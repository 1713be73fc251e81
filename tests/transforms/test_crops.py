import torch

from fundusion.transforms.crops import random_colours, random_crops


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def test_crops_are_parts_of_the_picture_and_repeat_with_the_generator():
    ramp = torch.arange(64, dtype=torch.uint8)
    pictures = torch.stack(
        [ramp[None, :].expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64, dtype=torch.uint8)], -1
    )
    pictures = pictures[None].expand(200, -1, -1, -1).contiguous()
    cut = random_crops(pictures, 32, generator=g(), scale=(0.2, 0.5))
    assert cut.shape == (200, 3, 32, 32)
    assert torch.equal(cut, random_crops(pictures, 32, generator=g(), scale=(0.2, 0.5)))
    width = (cut[:, 0].amax((1, 2)) - cut[:, 0].amin((1, 2))) * 255 / 63
    height = (cut[:, 1].amax((1, 2)) - cut[:, 1].amin((1, 2))) * 255 / 63
    area = width * height
    assert float(area.min()) > 0.15
    assert float(area.max()) < 0.56
    mirrored = (cut[:, 0, 0, 0] > cut[:, 0, 0, -1]).float().mean()
    assert 0.35 < float(mirrored) < 0.65
    upright = random_crops(pictures, 32, generator=g(), scale=(0.2, 0.5), flip=False)
    assert bool((upright[:, 0, 0, 0] < upright[:, 0, 0, -1]).all())


def test_the_whole_picture_is_a_crop_too():
    pictures = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=g())
    whole = random_crops(pictures, 32, generator=g(), scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False)
    torch.testing.assert_close(whole, pictures.permute(0, 3, 1, 2) / 255, atol=1e-3, rtol=0)


def test_colours_stay_in_range_and_solarising_inverts_bright_pixels():
    images = torch.rand(100, 3, 8, 8, generator=g())
    lit = random_colours(images, generator=g(1), blur=0.0, solarise=0.0)
    assert float(lit.min()) >= 0
    assert float(lit.max()) <= 1
    unchanged = (lit - images).abs().amax((1, 2, 3)) == 0
    # A fifth keeps its light; of these four fifths stay coloured.
    assert 5 <= int(unchanged.sum()) <= 30
    assert float(random_colours(images, generator=g(1), blur=0.0, solarise=1.0).max()) <= 0.5
    blurred = random_colours(images, generator=g(1), blur=1.0, solarise=0.0)
    assert float(blurred.std()) < 0.6 * float(lit.std())


def test_fine_stripes_become_grey_and_not_other_stripes():
    stripes = (torch.arange(128) % 2 * 255).to(torch.uint8).expand(128, 128)
    pictures = stripes[None, :, :, None].expand(4, -1, -1, 3).contiguous()
    cut = random_crops(pictures, 30, generator=g(), scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert float((cut[..., 3:-3] - 0.5).abs().max()) < 0.1
