"""MedCLIP: tensors under the names of transformers become timm's with the same numbers; its projections do not normalise before."""

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from fundusion.core.registry import models
from fundusion.layers.weights import save_state
from fundusion.models.medclip import timm_swin

transformers = pytest.importorskip("transformers")


def _old_names(model, folder):
    """Return the tensors under the names that transformers has always written; in memory newer versions have others."""
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def swin():
    """A Swin of transformers that holds every kind of tensor: shifted windows and merging of patches."""
    torch.manual_seed(0)
    config = transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[2, 2], num_heads=[1, 2], window_size=4, initializer_range=0.2
    )
    made = transformers.SwinModel(config).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made


@torch.no_grad()
def test_a_swin_of_transformers_gives_the_same_numbers_in_timm(swin, tmp_path):
    from timm.models.swin_transformer import SwinTransformer

    body = SwinTransformer(
        img_size=64, window_size=4, embed_dim=8, depths=(2, 2), num_heads=(1, 2), num_classes=0, global_pool="",
        strict_img_size=False,
    ).eval()  # fmt: skip
    report = body.load_state_dict(timm_swin(_old_names(swin, tmp_path)), strict=True)
    assert report.missing_keys == []
    images = torch.rand(2, 3, 64, 64)
    expected = swin(pixel_values=images)
    found = body.forward_features(images)
    torch.testing.assert_close(found.flatten(1, 2), expected.last_hidden_state, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.mean((1, 2)), expected.pooler_output, rtol=1e-4, atol=1e-4)


def _released(model, folder):
    """Return the state of a model under the names of the released archive."""
    names = {
        "vision_model.projection_head_vision.projection.weight": "vision_model.projection_head.weight",
        "text_model.projection_head_text.projection.weight": "text_model.projection_head.weight",
    }
    out = {names.get(k, k): v for k, v in model.state_dict().items() if not k.startswith("vision_model.model.")}
    config = transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4
    )
    torch.manual_seed(4)
    swin = transformers.SwinModel(config)
    out.update({f"vision_model.model.{k}": v for k, v in _old_names(swin, folder).items()})
    # At 64 px the last stage is 2 x 2 and timm makes its window as small; at the real size the windows are the same.
    out["vision_model.model.encoder.layers.3.blocks.0.attention.self.relative_position_bias_table"] = torch.ones(9, 2)
    out["text_model.model.embeddings.position_ids"] = torch.arange(64)[None]
    return out


@torch.no_grad()
def test_the_released_archive_loads_whole(tmp_path):
    torch.manual_seed(0)
    source = models.create("medclip.test")
    state = _released(source, tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    model = models.create("medclip.test", weights=tmp_path).eval()
    assert model.weights_record["missing"] == []
    assert model.weights_record["unexpected"] == 1
    body = model.vision_model.model.state_dict()
    query = state["vision_model.model.encoder.layers.1.blocks.0.attention.self.query.weight"]
    assert torch.equal(body["layers.1.blocks.0.attn.qkv.weight"][: len(query)], query)
    reduction = state["vision_model.model.encoder.layers.0.downsample.reduction.weight"]
    assert torch.equal(body["layers.1.downsample.reduction.weight"], reduction)
    ids, mask = source.tokenize(["a small bleed"])
    assert torch.equal(model.align_texts(ids, mask), source.eval().align_texts(ids, mask))


@torch.no_grad()
def test_vectors_are_normalised_once_after_the_projection():
    model = models.create("medclip.test").eval()
    images = torch.rand(2, 3, 64, 64)
    pooled = model.encode(images).pooled
    weight = model.vision_model.projection_head_vision.projection.weight
    torch.testing.assert_close(model.align_images(images), F.normalize(pooled @ weight.T, dim=-1))
    assert model.vision_model.projection_head_vision.normalise is False
    assert models.create("flair.test").vision_model.projection_head_vision.normalise is True


@torch.no_grad()
def test_padding_counts_only_as_released(tmp_path):
    default = models.create("medclip.test").eval()
    save_state(tmp_path / "a.safetensors", default.state_dict())
    released = models.create("medclip.test", weights=tmp_path / "a.safetensors", pooling="mean_with_padding").eval()
    texts = ["a bleed", "a much longer text that pads the short one beside it"]
    for model, differs in ((default, False), (released, True)):
        among, alone = model.align_texts(*model.tokenize(texts))[:1], model.align_texts(*model.tokenize(texts[:1]))
        assert (float((among - alone).abs().max()) > 1e-3) is differs


def test_the_card_says_pixels_and_terms():
    card = models.card("medclip.swin_tiny")
    assert card.input.mean == (0.5863,) * 3
    assert (card.input.fit, card.input.crop) == ("square", "none")
    assert "not stated" in card.weight_license
