"""Augmentation is reproducible, keeps what it must and changes what it should."""

import pytest
import torch

from fundusion.transforms.augment import augment


@pytest.fixture
def pixels():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=generator)


def draw(pixels, seed=0, **options):
    return augment(pixels, 24, generator=torch.Generator().manual_seed(seed), **options)


def test_same_seed_same_result_and_other_seed_another(pixels):
    assert torch.equal(draw(pixels), draw(pixels))
    assert not torch.equal(draw(pixels), draw(pixels, seed=1))


def test_strength_zero_without_mirror_only_resizes():
    flat = torch.full((2, 32, 32, 3), 100, dtype=torch.uint8)
    result = draw(flat, strength=0.0, flip=False)
    assert result.shape == (2, 3, 24, 24)
    assert torch.allclose(result[:, :, 4:-4, 4:-4], torch.tensor(100 / 255), atol=1e-5)


def test_mirror_is_the_only_geometry_at_strength_zero(pixels):
    plain = draw(pixels, strength=0.0, flip=False)
    mixed = draw(pixels, strength=0.0, flip=True, seed=3)
    for one, other in zip(plain, mixed, strict=True):
        same, turned = torch.allclose(one, other, atol=1e-5), torch.allclose(one.flip(2), other, atol=1e-5)
        assert same or turned


def test_range_and_no_nan(pixels):
    result = draw(pixels, strength=2.0)
    assert torch.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= 1.2
