"""Parity with the official masked autoencoder; names of the released files; equal noise hides equal patches."""

import pytest
import timm
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models
from fundusion.layers.weights import fit_state, save_state
from fundusion.models.mae import MaskedAutoencoder

from .golden import filling_rule, manifest, relative, stored

TINY = {"image_size": 64, "patch_size": 16, "embed_dim": 64, "depth": 3, "num_heads": 4, "decoder": (32, 2, 4)}


@pytest.mark.parametrize("name", ["retfound/mae_pretrain_tiny", "retfound/mae_pretrain_tiny_normpix"])
def test_parity_with_the_official_implementation(golden_root, name):
    tensors, facts, state = stored(golden_root, name)
    model = MaskedAutoencoder(**TINY, normalise_pixels=facts["norm_pix_loss"]).eval()
    # The fixed position tables are those of the file before anything is loaded.
    assert relative(model.pos_embed, state["pos_embed"]) <= 1e-6
    assert relative(model.decoder_pos_embed, state["decoder_pos_embed"]) <= 1e-6
    assert fit_state(model, state).missing == ()
    images = tensors["image"]
    with torch.no_grad():
        made = model.reconstruct(images, ratio=facts["mask_ratio"], noise=tensors["noise"])
    assert torch.equal(made.restore, tensors["ids_restore"])
    assert torch.equal(made.mask, tensors["mask"])
    assert relative(made.latent, tensors["latent"]) <= 1e-4
    assert relative(made.predicted, tensors["pred"]) <= 1e-4
    assert float((model.loss(images, made).total - tensors["loss"]).abs() / tensors["loss"]) <= 1e-4
    from fundusion.layers.masking import patchify

    assert relative(patchify(images, 16)[:, :2], tensors["patchify"]) <= 1e-6


def test_the_filling_rule_gives_the_stored_weights(golden_root):
    rule = filling_rule(golden_root)
    tensors, _, state = stored(golden_root, "retfound/mae_pretrain_tiny")
    model = MaskedAutoencoder(**TINY)
    fixed = (model.pos_embed.clone(), model.decoder_pos_embed.clone())
    rule.fill(model)
    model.pos_embed.data, model.decoder_pos_embed.data = fixed
    torch.testing.assert_close(dict(model.state_dict()), state)
    assert torch.equal((rule.image("mae/img", (2, 3, 64, 64)) - 0.5) / 0.25, tensors["image"])


def test_names_and_shapes_are_those_of_the_released_file(golden_root):
    with torch.device("meta"):
        model = MaskedAutoencoder(image_size=224, embed_dim=1024, depth=24, num_heads=16, decoder=(512, 8, 16))
    own = {k: (tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in model.state_dict().items()}
    assert own == manifest(golden_root, "retfound/manifest_mae_vit_large_patch16")


def test_the_encoder_loads_into_timm_and_back(tmp_path):
    torch.manual_seed(0)
    model = models.create("mae.tiny_16", decoder=True, image_size=64).eval()
    save_state(tmp_path / "mae.safetensors", model.state_dict())
    images = torch.rand(2, 3, 64, 64)
    theirs = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, img_size=64).eval()
    report = fit_state(theirs, model.state_dict(), allow_unexpected=("decoder_", "mask_token"))
    assert report.missing == ()
    ours = models.create("vit.tiny_16", weights=str(tmp_path / "mae.safetensors"), image_size=64).eval()
    with torch.no_grad():
        expected = model.encode(images)
        torch.testing.assert_close(theirs.forward_features(images)[:, 1:], expected.tokens, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.encode(images).pooled, expected.pooled, rtol=1e-4, atol=1e-5)
    save_state(tmp_path / "vit.safetensors", ours.body.state_dict())
    again = models.create("mae.tiny_16", weights=str(tmp_path / "vit.safetensors"), image_size=96)
    assert again.weights_record["reshaped"] == ["pos_embed"]


def test_equal_noise_gives_equal_results_and_another_seed_others():
    torch.manual_seed(0)
    model = models.create("mae.test", decoder=True, image_size=64)
    images = torch.rand(2, 3, 64, 64)
    one, two, three = (model.reconstruct(images, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.predicted, two.predicted)
    assert not torch.equal(one.mask, three.mask)
    assert one.mask.sum(1).tolist() == [12, 12]
    assert one.latent.shape == (2, 1 + 4, 16)


def test_painting_keeps_what_was_visible_and_a_perfect_prediction_gives_the_picture():
    model = models.create("mae.test", decoder=True, image_size=64)
    images = torch.rand(2, 3, 64, 64)
    made = model.reconstruct(images, generator=torch.Generator().manual_seed(0))
    painted = model.paint(images, made)
    visible = made.mask[0].argmin()
    row, column = int(visible) // 4 * 16, int(visible) % 4 * 16
    assert torch.equal(
        painted[0, :, row : row + 16, column : column + 16], images[0, :, row : row + 16, column : column + 16]
    )
    from dataclasses import replace

    perfect = replace(made, predicted=model.target(images))
    torch.testing.assert_close(model.paint(images, perfect), images, rtol=1e-4, atol=1e-4)
    assert float(model.loss(images, perfect).total) == 0.0


def test_training_lowers_the_loss_and_an_encoder_alone_says_so():
    torch.manual_seed(0)
    model = models.create("mae.test", decoder=True, image_size=64)
    images = torch.rand(4, 3, 64, 64)
    noise = torch.rand(4, 16)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        loss = model.loss(images, model.reconstruct(images, noise=noise)).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None} == set()
    with pytest.raises(InvalidInput, match="decoder=True"):
        models.create("mae.test").reconstruct(images)
    with pytest.raises(InvalidInput, match="multiples"):
        model.reconstruct(torch.rand(1, 3, 60, 64))
