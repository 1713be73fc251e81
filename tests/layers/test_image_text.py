"""Projections give unit vectors, temperatures stay in bounds, and a file is read once for sizes and weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fundusion.core.registry import Card
from fundusion.layers.backbones import StagedEncoder, create_body
from fundusion.layers.checkpoints import Rules
from fundusion.layers.image_text import Checkpoint, ImageTextModel, Projection, bounded_scale
from fundusion.layers.text_tower import letter_tokenizer, letter_tower
from fundusion.layers.weights import save_state

CARD = Card(title="A", weight_license="MIT")


def _model():
    return ImageTextModel(
        create_body("resnet18", global_pool=""), StagedEncoder, letter_tower(pooler=True, layers=(1, -1)), align_dim=8
    )


@pytest.mark.parametrize("normalise", [True, False])
@torch.no_grad()
def test_projection(normalise):
    torch.manual_seed(0)
    head, x = Projection(6, 4, normalise=normalise), 3 * torch.randn(5, 6)
    first = F.normalize(x, dim=-1) if normalise else x
    torch.testing.assert_close(head(x), F.normalize(first @ head.projection.weight.T, dim=-1))
    torch.testing.assert_close(head(x).norm(dim=-1), torch.ones(5))


def test_a_scale_outside_its_bounds_is_brought_back_only_in_training():
    for value, expected in ((9.0, 100.0), (-3.0, 1.0), (2.0, 7.389)):
        number = nn.Parameter(torch.tensor(value))
        assert bounded_scale(number, training=False).item() == pytest.approx(expected, abs=0.01)
        assert number.item() == value
        scale = bounded_scale(number, training=True)
        scale.backward()
        assert number.grad.item() == pytest.approx(expected, abs=0.01)
        assert 0 <= number.item() <= 4.6053


def test_names_are_those_of_the_published_files():
    names = set(_model().state_dict())
    assert {
        "logit_scale", "vision_model.model.conv1.weight", "vision_model.projection_head_vision.projection.weight",
        "text_model.model.embeddings.word_embeddings.weight", "text_model.projection_head_text.projection.weight",
    } <= names  # fmt: skip
    # A tower that is made on demand gives no tensor a second name.
    assert all(n.split(".")[0] in ("logit_scale", "vision_model", "text_model") for n in names)


def test_a_file_tells_the_sizes_of_its_text_tower(tmp_path):
    model = _model()
    letter_tokenizer().save_pretrained(tmp_path)
    save_state(tmp_path / "model.safetensors", model.state_dict())
    file = Checkpoint(tmp_path, card=CARD, rules=Rules())
    text = file.text(sizes={"num_attention_heads": 2}, tokenizer=None, pooling="mean", layers=(1, -1), max_tokens=9)
    assert text.body.config.num_hidden_layers == 4
    assert text.tokenize(["a " * 50])[0].shape == (1, 9)
    again = ImageTextModel(create_body("resnet18", global_pool=""), StagedEncoder, text, align_dim=8)
    file.fill(again)
    assert again.weights_record["missing"] == []
    assert again.image_tower().weights_record["source"] == "model.safetensors"
    ids, mask = model.tokenize(["abc"])
    with torch.no_grad():
        assert torch.equal(again.eval().align_texts(ids, mask), model.eval().align_texts(ids, mask))


def test_nothing_is_loaded_without_weights():
    file = Checkpoint(None, card=CARD, rules=Rules())
    model = _model()
    file.fill(model)
    assert not hasattr(model, "weights_record")
    assert file.state == {}
