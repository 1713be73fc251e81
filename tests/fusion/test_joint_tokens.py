"""The joint transformer inside a network is the published classifier; any subset of five modalities answers."""

from itertools import combinations

import pytest
import torch

from fundusion.core.errors import IncompatibleWeights
from fundusion.core.interfaces import Batch, Features
from fundusion.core.registry import fusions, models
from fundusion.core.tasks import Ordinal
from fundusion.fusion.joint_tokens import JointTokens
from fundusion.layers.weights import save_state
from fundusion.network import build_network, load_network

FIVE = ("cfp", "uwf", "external", "oct", "ffa")


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    model = models.create("eyefm.test", modalities=FIVE, decoder=True)
    save_state(tmp_path / "multimae.safetensors", {k: v.clone() for k, v in model.state_dict().items()})
    return model.eval(), str(tmp_path / "multimae.safetensors")


def network_of(path):
    encoders = {m: ("eyefm.patches", {"size": "test", "modality": m, "weights": path}) for m in FIVE}
    fusion = ("joint_tokens", {"depth": 2, "num_heads": 2, "weights": path})
    return build_network(encoders, fusion, {"dr_grade": Ordinal(5)}, embed_dim=16, seed=0).eval()


def batch_of(images, present):
    rows = {m: torch.nonzero(p)[:, 0] for m, p in present.items()}
    return Batch(
        study_ids=("a", "b"),
        modalities=FIVE,
        present=torch.stack([present[m] for m in FIVE], 1),
        images={m: images[m][rows[m]] for m in FIVE if len(rows[m])},
        owner={m: rows[m] for m in FIVE if len(rows[m])},
    )


@torch.no_grad()
def test_every_subset_answers_as_the_joint_encoder_does(checkpoint):
    model, path = checkpoint
    network = network_of(path)
    images = {m: torch.rand(2, 3, 64, 64) for m in FIVE}
    for size in range(1, 6):
        for subset in combinations(FIVE, size):
            output = network(batch_of(images, {m: torch.full((2,), m in subset) for m in FIVE}))
            tokens, _ = model.tokens({m: images[m] for m in subset})
            expected = model.encode_tokens(tokens)[:, :-1].mean(1)
            torch.testing.assert_close(output.fused.pooled, expected, rtol=1e-4, atol=1e-5)
            assert bool(torch.isfinite(output.logits["dr_grade"]).all())
    mixed = {m: torch.tensor([m != "oct", m == "oct"]) for m in FIVE}
    both = network(batch_of(images, mixed)).fused.pooled
    tokens, _ = model.tokens({"oct": images["oct"][1:]})
    torch.testing.assert_close(both[1:], model.encode_tokens(tokens)[:, :-1].mean(1), rtol=1e-4, atol=1e-5)


def test_a_saved_network_needs_the_first_weights_no_more(checkpoint, tmp_path):
    import os

    _, path = checkpoint
    network = network_of(path)
    network.save(tmp_path / "saved")
    os.remove(path)
    again, _ = load_network(tmp_path / "saved")
    images = {m: torch.rand(2, 3, 64, 64) for m in FIVE}
    batch = batch_of(images, {m: torch.tensor([True, True]) for m in FIVE})
    with torch.no_grad():
        torch.testing.assert_close(again(batch).logits["dr_grade"], network(batch).logits["dr_grade"])
    assert again.spec.encoders["cfp"][1]["weights"] == path


def test_two_pictures_of_a_study_are_read_together(checkpoint):
    model, path = checkpoint
    network = network_of(path)
    pictures = torch.rand(3, 3, 64, 64)
    batch = Batch(
        study_ids=("a", "b"), modalities=("cfp",), present=torch.tensor([[True], [True]]),
        images={"cfp": pictures}, owner={"cfp": torch.tensor([0, 0, 1])},
    )  # fmt: skip
    with torch.no_grad():
        fused = network(batch).fused.pooled
        tokens, _ = model.tokens({"cfp": pictures})
        first = model.encode_tokens(torch.cat([tokens[:1], tokens[1:2]], 1))[:, :-1].mean(1)
        second = model.encode_tokens(tokens[2:])[:, :-1].mean(1)
    torch.testing.assert_close(fused, torch.cat([first, second]), rtol=1e-4, atol=1e-5)


def test_a_table_beside_patches_is_one_token_and_wrong_weights_are_refused(checkpoint):
    torch.manual_seed(0)
    fusion = JointTokens({"cfp": 16, "table": 5}, 16, 1, 2).eval()
    features = {
        "cfp": Features(pooled=torch.rand(2, 16), tokens=torch.rand(2, 4, 16)),
        "table": Features(pooled=torch.rand(2, 5)),
    }
    present = {"cfp": torch.tensor([True, False]), "table": torch.tensor([True, True])}
    answer = fusion(features, present)
    assert answer.token_mask.sum(1).tolist() == [5, 1]
    with pytest.raises(IncompatibleWeights):
        fusions.create(
            "joint_tokens", dims={"cfp": 16}, tasks={}, embed_dim=16, depth=3, num_heads=2, weights=checkpoint[1]
        )


def test_five_modalities_pretrained_then_fine_tuned_on_drawn_eyes_answer_from_any_subset(tmp_path):
    from dataclasses import replace

    from fundusion.datasets.folder import discover
    from fundusion.datasets.synthetic import write_cohort
    from fundusion.train import train
    from fundusion.train.config import FitConfig, parse_config
    from fundusion.train.pretrain import PretrainConfig, pretrain

    manifest = write_cohort(tmp_path / "eyes", 24, seed=4, size=64, modalities=("cfp", "oct", "ffa"), missing=0.3)
    records = []
    for i, r in enumerate(discover([manifest])):
        images = dict(r.images)
        # The drawer has no ultra-wide-field and no external pictures; photographs stand in for them in some eyes.
        if "cfp" in images and i % 2:
            images |= {"uwf": images["cfp"], "external": images["cfp"]}
        records.append(replace(r, images=images, split=None))
    fit = FitConfig(epochs=2, batch_size=4, warmup_steps=2, ema=0.0)
    pretrain(records, tmp_path / "run", config=PretrainConfig(
        objective="multimae", model="eyefm.test", options={"image_size": 64}, modalities=FIVE, train=fit))  # fmt: skip
    weights = str(tmp_path / "run")
    config = parse_config({
        "data": {"side": 64, "validation_fraction": 0.3},
        "network": {
            "encoders": {m: {"name": "eyefm.patches", "size": "test", "modality": m, "weights": weights, "image_size": 64}
                         for m in FIVE},
            "fusion": {"name": "joint_tokens", "depth": 2, "num_heads": 2, "weights": weights},
            "embed_dim": 16, "modality_dropout": 0.75,
        },
        "tasks": {"dr_grade": {}}, "augment": {"strength": 0.2},
        "train": {"epochs": 1, "batch_size": 4, "warmup_steps": 2},
    })  # fmt: skip
    train(records, tmp_path / "tuned", config=config)
    network, _ = load_network(tmp_path / "tuned" / "model")
    images = {m: torch.rand(2, 3, 64, 64) for m in FIVE}
    answers = set()
    with torch.no_grad():
        for size in range(1, 6):
            for subset in combinations(FIVE, size):
                output = network(batch_of(images, {m: torch.full((2,), m in subset) for m in FIVE}))
                assert bool(torch.isfinite(output.logits["dr_grade"]).all())
                answers.add(round(output.logits["dr_grade"][0, 0].item(), 6))
    # 31 subsets, each with an answer of its own.
    assert len(answers) == 31
