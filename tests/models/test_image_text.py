"""The small image-text model: one space for maps, words and vectors; its shipped weights and towers of other networks."""

import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, UnknownName
from fundusion.core.interfaces import Aligner, Encoder, TextEncoder
from fundusion.core.registry import models
from fundusion.layers.weights import save_state


@pytest.fixture
def model():
    torch.manual_seed(0)
    return models.create("image_text.test").eval()


def test_it_has_all_three_roles_and_unit_vectors(model):
    assert isinstance(model, Aligner)
    assert isinstance(model, Encoder)
    assert isinstance(model, TextEncoder)
    images = torch.rand(3, 3, 64, 64)
    texts = model.align_texts(*model.tokenize(["drusen", "", "macular hole"]))
    torch.testing.assert_close(model.align_images(images).norm(dim=1), torch.ones(3))
    torch.testing.assert_close(texts.norm(dim=1), torch.tensor([1.0, 0.0, 1.0]))
    assert model.shift().item() == 0
    assert model.scale().item() == pytest.approx(1 / 0.07, rel=1e-5)


def test_a_text_does_not_depend_on_its_neighbours(model):
    together = model.align_texts(*model.tokenize(["drusen", "a very long text about the macula and the vessels of it"]))
    alone = model.align_texts(*model.tokenize(["drusen"]))
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-6)


def test_vectors_of_a_kept_tower_are_as_good_as_pictures(model):
    images = torch.rand(2, 3, 64, 64)
    vectors = model.image_tower().encode(images).pooled
    torch.testing.assert_close(model.align_images(vectors), model.align_images(images), rtol=1e-4, atol=1e-5)


def test_the_factor_of_similarities_stays_below_a_hundred(model):
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    assert model.scale().item() == pytest.approx(100.0, rel=1e-4)
    with torch.no_grad():
        model.logit_scale.fill_(-3.0)
    assert model.scale().item() == pytest.approx(1.0)


def test_the_sigmoid_variant_starts_as_published():
    model = models.create("image_text.test", sigmoid=True)
    assert (model.scale().item(), model.shift().item()) == (pytest.approx(10.0), -10.0)
    assert model.shift().requires_grad
    assert not models.create("image_text.test").shift().requires_grad


def test_weights_of_a_file_and_refusals(model, tmp_path):
    save_state(tmp_path / "w.safetensors", model.state_dict())
    twin = models.create("image_text.test", weights=tmp_path / "w.safetensors").eval()
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(twin.align_images(images), model.align_images(images))
    save_state(tmp_path / "half.safetensors", {"offset": torch.zeros(())})
    with pytest.raises(IncompatibleWeights, match="missing"):
        models.create("image_text.test", weights=tmp_path / "half.safetensors")
    with pytest.raises(UnknownName):
        models.create("image_text.small", image_weights="no such network")


def test_the_image_tower_of_a_network_is_taken_over_exactly():
    from fundusion.network import load_network
    from fundusion.shipped import resolve_model

    network, _ = load_network(resolve_model("screen")[0])
    model = models.create("image_text.small", image_weights="screen")
    own = network.encoders["cfp"].state_dict()
    assert all(torch.equal(own[k].float(), v.float()) for k, v in model.image.state_dict().items())
