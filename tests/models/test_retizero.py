"""RetiZero equals the official implementation on stored outputs; its parts read different features; low-rank layers fold away."""

import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.registry import models
from fundusion.models.retizero import LoraQkv, RetiZeroImages, fold_lora, plain_state, retrieval_similarity
from fundusion.transforms.image import model_input

SMALL_TEXT = {"vocab_size": 45, "num_hidden_layers": 3, "intermediate_size": 64}


@pytest.fixture(scope="module")
def official(golden):
    return golden("retizero/tiny")


@pytest.fixture(scope="module")
def released(detfill):
    """The real image tower, every weight filled from its name; names and shapes are those of the file."""
    with torch.random.fork_rng(), torch.device("meta"):
        model = models.create("retizero.zero_shot", text=SMALL_TEXT, pooling="mean_with_padding")
    model = model.to_empty(device="cpu")
    for name, buffer in model.text_model.model.embeddings.named_buffers():
        buffer.copy_(torch.arange(buffer.shape[1])[None] if name == "position_ids" else torch.zeros_like(buffer))
    detfill.fill(model)
    with torch.no_grad():
        model.logit_scale.fill_(2.6592600)
    return model.eval()


def test_names_and_shapes_are_those_of_the_file(released, golden_root):
    from .golden import manifest

    expected = {k: shape for k, (shape, _) in manifest(golden_root, "retizero/manifest_tiny").items()}
    assert {k: tuple(v.shape) for k, v in released.state_dict().items()} == expected


@torch.no_grad()
def test_stored_outputs_are_reproduced_from_the_picture_on(released, official, is_close):
    pixels = torch.from_numpy(model_input(official["raw_image_u8"].numpy(), models.card("retizero.zero_shot").input))
    assert is_close(released.encode(pixels[None]).pooled, official["backbone_features"])
    images = released.align_images(pixels[None])
    assert is_close(images, official["image_embeds"])
    texts = released.align_texts(official["input_ids"], official["attention_mask"].bool())
    assert is_close(texts, official["text_embeds"])
    assert is_close(released.scale() * images @ texts.T, official["logits_image_by_text"])
    # Retrieval reads other features of the same weights.
    patches = RetiZeroImages(released.vision_model.model, pool="patches").encode(pixels[None])
    assert float((patches.pooled - official["backbone_features"]).abs().max()) > 1.0
    # A few places of the fold, at the real width.
    block = released.vision_model.model.lora_vit.blocks[3].attn.qkv
    x = torch.randn(1, 5, 1024, generator=torch.Generator().manual_seed(0))
    assert is_close(block.folded()(x), block(x))


def test_a_file_of_the_real_size_loads_whole_and_a_missing_block_is_named(manifest_state, tmp_path):
    state = manifest_state("retizero/manifest_tiny")
    torch.save(state, tmp_path / "RetiZero.pth")
    with torch.device("meta"):
        model = models.create("retizero.zero_shot", weights=tmp_path / "RetiZero.pth")
        tower = models.create("retizero.retrieval", weights=tmp_path / "RetiZero.pth")
    assert model.weights_record["loaded"] == 448
    assert model.weights_record["missing"] == []
    assert model.weights_record["non_commercial"]
    assert tower.weights_record["missing"] == []
    assert tower.weights_record["loaded"] == 24 * 16 + 6
    assert tower.body.lora_vit.blocks[23].attn.qkv.linear_b_v.weight[0, 0].item() == 0.25
    torch.save({k: v for k, v in state.items() if ".blocks.23." not in k}, tmp_path / "cut.pth")
    for name in ("retizero.zero_shot", "retizero.retrieval"):
        with torch.device("meta"), pytest.raises(IncompatibleWeights, match=r"missing .*blocks\.23\."):
            models.create(name, weights=tmp_path / "cut.pth")


def _trained():
    torch.manual_seed(0)
    model = models.create("retizero.test").eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoraQkv):
                module.linear_b_q.weight.normal_(std=0.3)
                module.linear_b_v.weight.normal_(std=0.3)
    return model


@torch.no_grad()
def test_folding_gives_a_plain_transformer_with_the_same_answers(tmp_path):
    from fundusion.layers.weights import save_state

    model, images = _trained(), torch.rand(2, 3, 64, 64)
    before, state = model.align_images(images), model.state_dict()
    save_state(tmp_path / "model.safetensors", state)
    folded = models.create("retizero.test", weights=tmp_path, fold=True).eval()
    assert not any("linear_a" in k for k in folded.state_dict())
    torch.testing.assert_close(folded.align_images(images), before, rtol=1e-5, atol=1e-6)
    # Without its low-rank layers the answer is another.
    for name in [k for k in state if "linear_b" in k]:
        state[name] = torch.zeros_like(state[name])
    model.load_state_dict(state)
    assert not torch.allclose(model.align_images(images), before, atol=1e-4)
    # A folded file is read as it is, and only when it is asked for: a saved network is built again without the file.
    save_state(tmp_path / "plain.safetensors", folded.state_dict())
    again = models.create("retizero.test", weights=tmp_path / "plain.safetensors", fold=True).eval()
    assert torch.equal(again.align_images(images), folded.align_images(images))
    with pytest.raises(InvalidInput, match="fold=True"):
        models.create("retizero.test", weights=tmp_path / "plain.safetensors")
    with pytest.raises(InvalidInput, match="rank=2"), torch.device("meta"):
        models.create("retizero.retrieval", weights=tmp_path / "model.safetensors")


@torch.no_grad()
def test_the_plain_state_fits_another_transformer_of_the_same_size():
    from timm.models.vision_transformer import VisionTransformer

    model, images = _trained(), torch.rand(2, 3, 64, 64)
    plain = VisionTransformer(
        img_size=64, patch_size=16, embed_dim=16, depth=2, num_heads=2, num_classes=0, global_pool="token"
    ).eval()
    plain.load_state_dict(plain_state(model.state_dict()))
    torch.testing.assert_close(plain(images), model.encode(images).pooled, rtol=1e-4, atol=1e-5)


def test_only_what_was_trained_in_the_release_is_trainable():
    names = {n for n, p in models.create("retizero.test").named_parameters() if p.requires_grad}
    image = {n for n in names if n.startswith("vision_model.model.")}
    assert image
    assert all(".qkv.linear_" in n for n in image)
    assert any(n.startswith("text_model.model.encoder") for n in names)
    free = models.create("retizero.test", freeze=False)
    assert all(p.requires_grad for p in free.vision_model.model.parameters())
    assert all(p.requires_grad for p in fold_lora(models.create("retizero.test")).vision_model.model.parameters())


@torch.no_grad()
def test_the_three_parts_are_three_models():
    model, images = _trained(), torch.rand(2, 3, 64, 64)
    body = model.vision_model.model
    cls, patches = (RetiZeroImages(body, pool=p).eval() for p in ("cls", "patches"))
    x = body.lora_vit.patch_embed(images)
    x = torch.cat([body.lora_vit.cls_token.expand(2, -1, -1), x], 1) + body.lora_vit.pos_embed
    for block in body.lora_vit.blocks:
        x = block(x)
    torch.testing.assert_close(cls.encode(images).pooled, body.lora_vit.norm(x)[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(patches.encode(images).pooled, x[:, 1:].mean(1), rtol=1e-4, atol=1e-5)
    zero_shot, retrieval, fine_tune = (models.card(f"retizero.{n}") for n in ("zero_shot", "retrieval", "fine_tune"))
    assert zero_shot.input.mean[0] == 0.485
    assert retrieval.input.mean[0] == retrieval.input.std[0] == 0.5
    assert retrieval.roles == fine_tune.roles == {"encode"}
    assert {zero_shot.input.fit, retrieval.input.fit} == {"stretch"}
    with pytest.raises(InvalidInput, match="zero-shot"):
        RetiZeroImages(body, pool="mean")


def test_fine_tuning_trains_one_layer():
    with torch.device("meta"):
        tower = models.create("retizero.fine_tune", num_classes=3)
        logits = tower.classify(torch.zeros(2, 3, 224, 224))
    assert logits.shape == (2, 3)
    assert {n for n, p in tower.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}
    with torch.device("meta"), pytest.raises(InvalidInput, match="no classifier"):
        models.create("retizero.fine_tune").classify(torch.zeros(1, 3, 224, 224))


def test_similarity_is_asymmetric_and_one_for_itself():
    e = torch.randn(6, 9, generator=torch.Generator().manual_seed(2))
    found = retrieval_similarity(e, e)
    torch.testing.assert_close(found.diag(), torch.ones(6))
    assert not torch.allclose(found, found.T)
    i, j = 1, 4
    half = e[j].norm() / 2
    torch.testing.assert_close(found[i, j], half / (half + (e[i] - e[j]).norm()))
