"""KeepFIT equals the official implementation on stored outputs; the axis its attention is normalised over is a switch."""

import pytest
import torch
from torch.nn import functional as F

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.registry import models
from fundusion.models.keepfit import KnowledgeAttention
from fundusion.transforms.image import model_input

from .golden import manifest


@pytest.fixture(scope="module")
def official(golden):
    return golden("keepfit/tiny")


@pytest.fixture(scope="module")
def file(golden_root, detfill, tmp_path_factory):
    """A file as released: a plain state dict of torch."""
    state = {
        k: detfill.value(k, shape) if dtype == "float32" and shape else torch.zeros(shape, dtype=getattr(torch, dtype))
        for k, (shape, dtype) in manifest(golden_root, "keepfit/manifest_tiny").items()
    }
    state["logit_scale"] = torch.tensor(2.6592600)
    path = tmp_path_factory.mktemp("keepfit") / "resnet_v2_epoch15.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def released(file):
    return models.create("keepfit.resnet_50", weights=file, pooling="mean_with_padding").eval()


@torch.no_grad()
def test_stored_outputs_are_reproduced_from_the_picture_on(released, official, is_close):
    assert released.weights_record["loaded"] == 380
    pixels = torch.from_numpy(model_input(official["raw_image_u8"].numpy(), models.card("keepfit.resnet_50").input))
    assert is_close(released.encode(pixels[None]).pooled, official["backbone_features"])
    images = released.align_images(pixels[None])
    assert is_close(images, official["image_embeds"])
    texts = released.align_texts(official["input_ids"], official["attention_mask"].bool())
    assert is_close(texts, official["text_embeds"])
    assert is_close(released.scale() * images @ texts.T, official["logits_image_by_text"])
    assert is_close(released.logit_scale, official["logit_scale"])


@torch.no_grad()
def test_attention_equals_the_official_one_and_its_axis_is_a_switch(released, file, official, is_close):
    asked = official["ek_img"], official["ek_kimg"]
    assert is_close(released.attention.weights(*asked), official["attn_weights"])
    attended = released.attention(*asked, official["ek_ktxt"])
    assert is_close(attended, official["ek_attended"])
    assert is_close(F.mse_loss(official["ek_txt"], attended), official["ek_mse"])
    # As released the two heads of one pair share one; in the paper the atlas does.
    torch.testing.assert_close(released.attention.weights(*asked).sum(0), torch.ones(6, 4))
    paper = KnowledgeAttention(512, rule="keys").eval()
    paper.load_state_dict(released.attention.state_dict())
    torch.testing.assert_close(paper.weights(*asked).sum(-1), torch.ones(2, 6))
    assert not torch.allclose(paper(*asked, official["ek_ktxt"]), attended, atol=1e-4)
    assert models.create("keepfit.test", attention="keys").attention.rule == "keys"
    with pytest.raises(InvalidInput, match="over heads"):
        models.create("keepfit.test", attention="heads")


def test_weights_are_dropped_in_training_only():
    torch.manual_seed(0)
    attention = KnowledgeAttention(8)
    q, k, v = torch.randn(3, 8), torch.randn(5, 8), torch.randn(5, 8)
    assert not torch.equal(attention(q, k, v), attention(q, k, v))
    assert torch.equal(attention.eval()(q, k, v), attention(q, k, v))
    attention(q, k, v).sum().backward()
    assert all(p.grad is not None for p in attention.parameters())


def test_files_of_flair_and_keepfit_go_both_ways(manifest_state, tmp_path):
    whole = manifest_state("keepfit/manifest_tiny")
    torch.save(whole, tmp_path / "keepfit.pth")
    flair = models.create("flair.resnet_50", weights=tmp_path / "keepfit.pth")
    assert flair.weights_record["unexpected"] == 4
    assert flair.weights_record["missing"] == []
    torch.save({k: v for k, v in whole.items() if not k.startswith("attention.")}, tmp_path / "flair.pth")
    fresh = models.create("keepfit.resnet_50", weights=tmp_path / "flair.pth")
    assert fresh.weights_record["missing"] == [f"attention.W_{x}.weight" for x in "qkvo"]
    torch.save({k: v for k, v in whole.items() if k != "attention.W_o.weight"}, tmp_path / "half.pth")
    with pytest.raises(IncompatibleWeights, match="W_o"):
        models.create("keepfit.resnet_50", weights=tmp_path / "half.pth")


def test_the_card_says_what_is_known_of_the_terms():
    card = models.card("keepfit.resnet_50")
    assert card.weights is None
    assert card.weight_license == "not stated"
    assert "MM-Retinal" in card.obtain
    assert models.card("flair.resnet_50").input == card.input
