import numpy as np
import pytest
import torch

from fundusion.core.registry import ImageInput, models, objectives
from fundusion.train.data import PreparedSet
from fundusion.train.pretrain_steps import IBOTStep, MAEStep, MultiMAEStep, picture_grid

INPUT = ImageInput(size=64)


@pytest.fixture
def data():
    pictures = np.random.default_rng(0).integers(0, 255, (4, 72, 72, 3), dtype=np.uint8)
    return PreparedSet(
        study_ids=("a", "b", "c"), groups=("a", "b", "c"), images={"cfp": pictures, "oct": pictures[:2]},
        starts={"cfp": np.array([0, 1, 3, 4]), "oct": np.array([0, 1, 1, 2])},
    )  # fmt: skip


def step_of(kind, system, data, inputs):
    return kind(system, data, inputs, seed=3, scale=(0.2, 1.0), mask_ratio=0.3, steps_per_epoch=2)


@pytest.fixture
def steps(data):
    torch.manual_seed(0)
    body = models.create("visionfm.test").body
    mae = objectives.create("masked_image.mae", body=body, width=16, depth=1, num_heads=2)
    ibot = objectives.create("ibot.default", body=body, embed_dim=16, outputs=16, hidden=16, bottleneck=8)
    joint = models.create("eyefm.test", modalities=("cfp", "oct"), decoder=True)
    multi = objectives.create("masked_image.multimae", model=joint, visible=8)
    return [
        step_of(MAEStep, mae, data, {"cfp": INPUT}),
        step_of(IBOTStep, ibot, data, {"cfp": INPUT}),
        step_of(MultiMAEStep, multi, data, {"cfp": INPUT, "oct": INPUT}),
    ]


def test_a_step_is_decided_by_its_number(steps):
    rows = np.array([0, 2])
    for step in steps:
        one, two, other = (step.batch(rows, n, None) for n in (5, 5, 6))
        for a, b in zip(one.pictures, two.pictures, strict=True):
            assert all(torch.equal(a[m], b[m]) for m in a)
        assert not torch.equal(one.pictures[0]["cfp"], other.pictures[0]["cfp"])
        assert bool(torch.isfinite(step.loss(one, 5).total))
    assert torch.equal(steps[0].loss(one, 5).total, steps[0].loss(one, 5).total)
    assert not torch.equal(steps[0].loss(one, 5).total, steps[0].loss(one, 6).total)


def test_half_of_the_views_are_whole_and_hidden_ones_stay_in_their_range(steps):
    images = torch.zeros(400, 3, 160, 160)
    share = steps[1]._masks(images, 0).flatten(1).float().mean(1)
    assert 0.4 < float((share == 0).float().mean()) < 0.62
    assert float(share.max()) <= 0.5
    views = steps[1].batch(np.array([0, 1]), 0, None).pictures
    assert not torch.equal(views[0]["cfp"], views[1]["cfp"])


def test_absent_modalities_are_marked(steps):
    batch = steps[2].batch(np.array([0, 1, 2]), 0, None)
    assert batch.present["oct"].tolist() == [True, False, True]
    assert float(batch.pictures[0]["oct"][1].abs().max()) == 0


def test_pictures_of_what_was_rebuilt(steps):
    rows = np.array([0, 1])
    for step, columns in zip(steps, (3, 2, 3), strict=True):
        shown = step.shown(step.still(rows))
        assert len(shown) == columns
        grid = picture_grid(shown, step.inputs)
        assert grid.dtype == np.uint8
        assert grid.shape == (2 * len(step.inputs) * 66, columns * 66, 3)
    # Visible patches are painted as they are.
    still = steps[0].still(rows).pictures[0]["cfp"]
    visible, rebuilt = (c["cfp"] for c in steps[0].shown(steps[0].still(rows))[1:])
    same = visible == still
    assert torch.equal(rebuilt[same], still[same])
    assert 0.5 < float(same.float().mean()) < 1.0
