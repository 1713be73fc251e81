import pytest
import torch
from safetensors.torch import load_file

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models, objectives
from fundusion.layers.masking import patchify, unpatchify
from fundusion.layers.plain_vit import PlainViT
from fundusion.objectives.masked_image import MaskedAutoencoder


@pytest.mark.parametrize("name", ["tiny", "tiny_normpix"])
def test_loss_and_prediction_equal_the_official_ones(golden_root, name):
    weights = load_file(golden_root / "retfound" / "mae_pretrain_tiny.safetensors")
    official = load_file(golden_root / "retfound" / f"mae_pretrain_{name}.safetensors")
    body = PlainViT(image_size=64, embed_dim=64, depth=3, num_heads=4)
    model = MaskedAutoencoder(body, width=32, depth=2, num_heads=4, normalised="norm" in name).eval()
    state = {k[3:]: v for k, v in weights.items() if k.startswith("sd.")}
    torch.testing.assert_close(model.decoder_pos_embed.detach(), state["decoder_pos_embed"])
    model.load_state_dict({k if k.startswith(("decoder", "mask_")) else f"body.{k}": v for k, v in state.items()})
    loss, predicted, mask = model.forward_loss(official["image"], mask_ratio=0.75, noise=official["noise"])
    assert torch.equal(mask, official["mask"])
    assert float((predicted.detach() - official["pred"]).abs().max() / official["pred"].abs().max()) < 1e-4
    torch.testing.assert_close(loss.detach(), official["loss"], rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["vit.test", "visionfm.test", "deepdr.test"])
def test_any_plain_transformer_learns_and_hidden_pixels_are_unseen(name):
    torch.manual_seed(0)
    body = models.create(name, image_size=64).body
    model = objectives.create("masked_image.mae", body=body, width=16, depth=1, num_heads=2)
    images = torch.rand(2, 3, 64, 64)
    noise = torch.rand(2, 16)
    loss, predicted, mask = model.forward_loss(images, noise=noise)
    assert mask.sum(1).tolist() == [12.0, 12.0]
    loss.backward()
    assert all(p.grad is not None for p in body.blocks.parameters())
    # Other pixels below hidden patches change the target, not the prediction.
    patches = patchify(images, 16)
    other = unpatchify(torch.where(mask[..., None] > 0, torch.rand_like(patches), patches), 16, (4, 4))
    changed, again, _ = model.forward_loss(other, noise=noise)
    torch.testing.assert_close(again, predicted)
    assert float(changed.detach()) != float(loss.detach())
    # Painting with the normalised truth gives the picture back.
    truth = patchify(images, 16)
    normal = (truth - truth.mean(-1, keepdim=True)) / (truth.var(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(model.painted(images, normal, mask), images, rtol=1e-4, atol=1e-4)


def test_masked_modalities_use_what_is_there():
    torch.manual_seed(0)
    model = models.create("eyefm.test", modalities=("cfp", "oct"), decoder=True)
    objective = objectives.create("masked_image.multimae", model=model, visible=6)
    images = {m: torch.rand(3, 3, 64, 64) for m in ("cfp", "oct")}
    present = {"cfp": torch.tensor([True, True, False]), "oct": torch.tensor([True, False, True])}
    loss, _, masks = objective.forward_loss(images, present, generator=torch.Generator().manual_seed(1))
    assert set(loss.parts) == {"cfp", "oct"}
    torch.testing.assert_close(loss.total, sum(loss.parts.values()))
    assert sum(int((m == 0).sum()) for m in masks.values()) == 18
    spoilt = {m: torch.where(present[m][:, None, None, None], x, 5.0) for m, x in images.items()}
    again, _, _ = objective.forward_loss(spoilt, present, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(again.total, loss.total)
    everything = objectives.create("masked_image.multimae", model=model, visible=99)
    whole, _, _ = everything.forward_loss(images, present, generator=torch.Generator())
    assert whole.total.item() == 0.0


def test_models_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInput, match="plain vision transformer"):
        MaskedAutoencoder(models.create("resnet.test").body)
    with pytest.raises(InvalidInput, match="decoders"):
        objectives.create("masked_image.multimae", model=models.create("eyefm.test"))
    model = MaskedAutoencoder(models.create("vit.test").body, width=16, depth=1, num_heads=2)
    with pytest.raises(InvalidInput, match="multiples"):
        model.forward_loss(torch.rand(1, 3, 40, 32))
