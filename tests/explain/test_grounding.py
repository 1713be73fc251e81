import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Features
from fundusion.core.registry import models
from fundusion.explain.grounding import CELLS, similarity_map

ALIGNERS = [n for n in models.names() if n.endswith(".test") and "align" in models.card(n).roles]


class Colours(torch.nn.Module):
    """Red, green and blue are three directions; a place says the colour it has."""

    def __init__(self, offset=0.0):
        super().__init__()
        self.offset = offset

    def encode(self, images):
        small = torch.nn.functional.avg_pool2d(images, 8)
        return Features(pooled=small.mean((2, 3)), maps=(small,))

    def align_images(self, images):
        return torch.nn.functional.normalize(self.encode(images).pooled, dim=1) + self.offset


@pytest.fixture
def picture():
    """Blue with a red square at the top left of the middle."""
    image = torch.zeros(1, 3, 96, 96)
    image[:, 2] = 1
    image[:, :, 24:40, 24:40] = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    return image


RED = torch.tensor([1.0, 0, 0])


@pytest.mark.parametrize("method", ["map", "occlusion"])
def test_the_phrase_is_found_where_it_is(picture, method):
    found = similarity_map(Colours(), picture, RED, method=method)[0]
    row, column = divmod(int(found.argmax()), found.shape[1])
    assert 3 <= row < 5
    assert 3 <= column < 5
    assert found[0, 0] < found.max() / 2


def test_a_map_is_made_of_cosines(picture):
    found = similarity_map(Colours(), picture, RED)[0]
    assert found.shape == (12, 12)
    torch.testing.assert_close(found[3:5, 3:5], torch.ones(2, 2))
    assert float(found[8:, 8:].abs().max()) == 0
    turned = similarity_map(Colours(), picture.flip(3), RED)[0]
    torch.testing.assert_close(turned, found.flip(1))
    against = similarity_map(Colours(), picture, RED - torch.tensor([0.0, 0, 1]))[0]
    assert float(against.min()) == -1


def test_hiding_has_a_value_for_every_cell(picture):
    found = similarity_map(Colours(), picture, RED, method="occlusion")
    assert found.shape == (1, CELLS, CELLS)


@pytest.mark.parametrize("name", ALIGNERS)
def test_every_registered_model_can_be_asked_and_stays_as_it_is(name):
    torch.manual_seed(0)
    aligner = models.create(name).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    text = aligner.align_texts(*aligner.tokenize(["hard exudates"])).detach()[0]
    before = {k: v.clone() for k, v in aligner.state_dict().items()}
    hooks = sum(len(m._forward_hooks) for m in aligner.modules())
    found = similarity_map(aligner, images, text)
    assert found.shape[0] == 2
    assert bool(found.isfinite().all())
    assert float(found.abs().max()) <= 1 + 1e-5
    # The model is asked the ordinary way afterwards, and nothing hangs on it.
    torch.testing.assert_close(similarity_map(aligner, images[1:], text), found[1:], rtol=1e-3, atol=1e-4)
    assert all(torch.equal(before[k], v) for k, v in aligner.state_dict().items())
    assert hooks == sum(len(m._forward_hooks) for m in aligner.modules())
    # A place whose features are those of the whole is as like the phrase as the whole.
    features = aligner.encode(images)

    class Flat(type(aligner)):
        def encode(self, images, **_):
            one = features.pooled[:, :, None, None].expand(-1, -1, 2, 2)
            return Features(pooled=features.pooled, maps=(one,))

    aligner.__class__ = Flat
    flat = similarity_map(aligner, images, text)
    whole = aligner.align_images(images) @ text
    torch.testing.assert_close(flat, whole[:, None, None].expand(-1, 2, 2), rtol=1e-4, atol=1e-4)


def test_a_model_whose_places_cannot_be_projected_is_refused(picture):
    class Bare(Colours):
        def encode(self, images):
            return Features(pooled=super().encode(images).pooled)

    class Own(Colours):
        def align_images(self, images):
            return torch.nn.functional.normalize(images.mean((2, 3)) ** 2, dim=1)

    for aligner in (Bare(), Own()):
        with pytest.raises(InvalidInput, match="occlusion") as caught:
            similarity_map(aligner, picture, RED)
        assert caught.value.code == "explain.no_map"
        assert similarity_map(aligner, picture, RED, method="occlusion").shape == (1, CELLS, CELLS)
    with pytest.raises(InvalidInput, match="'heat'"):
        similarity_map(Colours(), picture, RED, method="heat")
