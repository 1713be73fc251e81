from itertools import combinations

import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.registry import models
from fundusion.layers.weights import load_state
from fundusion.models.eyefm import DOMAINS, MultiMAE, MultiViT, load_multimae

TINY = {"embed_dim": 32, "depth": 2, "num_heads": 4, "image_size": 64}


@pytest.fixture
def official(golden):
    return golden("eyefm/tiny_multimae")


@pytest.fixture
def model(official):
    m = MultiMAE(**TINY, decoder_width=16, decoder_depth=1, decoder_heads=2).eval()
    own = m.state_dict()
    # The fixed positions are those of the released code before anything is loaded.
    torch.testing.assert_close(own["input_adapters.oct.pos_emb"], official["sd.input_adapters.oct.pos_emb"])
    m.load_state_dict({k[3:]: v for k, v in official.items() if k.startswith("sd.")})
    return m


def inputs(official):
    images = {m: official[f"image.{d}"] for m, d in DOMAINS.items()}
    return images, {m: official[f"mask.{d}"] for m, d in DOMAINS.items()}


@torch.no_grad()
def test_reconstruction_and_losses_equal_the_official_ones(model, official, is_close):
    images, masks = inputs(official)
    # Studies show different numbers of patches per modality, and in the second row another total than in the first.
    rebuilt = model(images, masks)
    for m, d in DOMAINS.items():
        assert is_close(rebuilt[m], official[f"pred.{d}"])
    for normalised, prefix in ((True, "loss_normpix"), (False, "loss_raw")):
        losses = model.reconstruction_losses(rebuilt, images, masks, normalised=normalised)
        for m, d in DOMAINS.items():
            assert is_close(losses[m], official[f"{prefix}.{d}"])


@torch.no_grad()
def test_studies_with_different_numbers_of_visible_patches_do_not_disturb_each_other(model, official):
    images, masks = inputs(official)
    masks = {m: x.clone() for m, x in masks.items()}
    masks["oct"][1] = 0
    both = model(images, masks)
    for row in (0, 1):
        alone = model({m: x[row : row + 1] for m, x in images.items()}, {m: x[row : row + 1] for m, x in masks.items()})
        for m in both:
            torch.testing.assert_close(both[m][row], alone[m][0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_summing_visible_patches_over_the_batch_is_a_switch(model, official):
    images, masks = inputs(official)
    one = {m: x[:1] for m, x in images.items()}, {m: x[:1] for m, x in masks.items()}
    torch.testing.assert_close(model(*one, sum_visible_over_batch=True)["cfp"], model(*one)["cfp"])
    assert not torch.allclose(model(images, masks, sum_visible_over_batch=True)["cfp"], model(images, masks)["cfp"])


@torch.no_grad()
def test_classifiers_equal_the_official_ones(official, detfill, is_close):
    for name, modalities, pool in (
        ("cfp_mean", ("cfp",), "mean"), ("cfp_global", ("cfp",), "global"), ("cfp_oct_mean", ("cfp", "oct"), "mean"),
    ):  # fmt: skip
        body = MultiMAE(modalities, **TINY, decoder_width=0)
        model = MultiViT(body, 5, pool=pool).eval()
        detfill.fill(body)
        for part in ("norm", "head"):
            detfill.fill(getattr(model, part), prefix=f"output_adapters.cls.{part}.")
        images = {m: official[f"image.{m}"] for m in modalities}
        assert is_close(model(images), official[f"clf.{name}"])


@torch.no_grad()
def test_any_subset_of_the_five_modalities_answers_and_absent_pictures_do_not_matter(official):
    torch.manual_seed(0)
    model = MultiViT(MultiMAE(**TINY, decoder_width=0), 3).eval()
    images, _ = inputs(official)
    for size in range(1, 6):
        for subset in combinations(DOMAINS, size):
            alone = model({m: images[m] for m in subset})
            present = {m: torch.full((2,), m in subset) for m in DOMAINS}
            spoilt = {m: x if m in subset else torch.full_like(x, torch.nan) for m, x in images.items()}
            torch.testing.assert_close(model(spoilt, present), alone, rtol=1e-4, atol=1e-5)
    with pytest.raises(InvalidInput) as caught:
        model(images, {m: torch.tensor([True, False]) for m in DOMAINS})
    assert caught.value.code == "study.empty"


def test_absent_studies_weigh_nothing_in_the_loss(model, official):
    images, masks = inputs(official)
    rebuilt = model(images, masks)
    present = {m: torch.tensor([True, m != "ffa"]) for m in DOMAINS} | {"uwf": torch.tensor([False, False])}
    losses = model.reconstruction_losses(rebuilt, images, masks, present=present)
    assert "uwf" not in losses
    first = model.reconstruction_losses(
        {"ffa": rebuilt["ffa"][:1]}, {"ffa": images["ffa"][:1]}, {"ffa": masks["ffa"][:1]}
    )
    torch.testing.assert_close(losses["ffa"], first["ffa"])


def test_a_checkpoint_of_the_real_size_fits(manifest_state, tmp_path):
    state = manifest_state("eyefm/manifest_pretrain_multimae_large")
    torch.save({"model": state, "epoch": 800}, tmp_path / "checkpoint.pth")
    with torch.device("meta"):
        whole = MultiMAE()
    read = load_state(tmp_path / "checkpoint.pth")
    assert {k: v.shape for k, v in whole.state_dict().items()} == {k: v.shape for k, v in read.items()}
    # One block of the real width is enough to see the numbers arrive; the names of all are compared above.
    body = MultiMAE(("oct",), depth=1, decoder_width=0)
    few = {k: v for k, v in state.items() if not k.startswith("encoder.") or k.startswith("encoder.0.")}
    torch.save({"model": few}, tmp_path / "few.pth")
    report = load_multimae(body, str(tmp_path / "few.pth"))
    assert report.missing == ()
    assert all("output_adapters" in k or "input_adapters" in k for k in report.unexpected)
    assert body.encoder[0].mlp.fc1.weight[0, 0].item() == 0.25


def test_another_size_another_modality_and_a_foreign_file(tmp_path):
    torch.manual_seed(1)
    source = MultiMAE(("cfp", "oct"), embed_dim=16, depth=2, num_heads=2, decoder_width=0, image_size=64)
    torch.save({"model": source.state_dict()}, tmp_path / "a.pth")
    encoder = models.create("eyefm.test", modality="oct", weights=str(tmp_path / "a.pth"), image_size=96).eval()
    assert encoder.encode(torch.rand(1, 3, 96, 96)).pooled.shape == (1, 16)
    assert torch.equal(encoder.input_adapters["oct"].proj.weight, source.input_adapters["oct"].proj.weight)
    assert encoder.input_adapters["oct"].pos_emb.requires_grad
    with pytest.raises(IncompatibleWeights, match="missing"):
        models.create("eyefm.test", modality="ffa", weights=str(tmp_path / "a.pth"))
    with pytest.raises(InvalidInput, match="unknown modalities"):
        MultiMAE(("octa",))
