"""A step is a function of (seed, step): batches, what is spoilt, hidden or mixed."""

import numpy as np
import pytest
import torch

from fundusion.datasets.folder import discover
from fundusion.train.config import parse_config
from fundusion.train.run import prepare_run
from fundusion.train.steps import Step, generators_of


def quiet(title):
    from contextlib import nullcontext

    return nullcontext(lambda *a, **k: None)


def made(cohort, folder, **augment):
    config = parse_config(
        {
            "data": {"side": 40},
            "network": {"encoders": {"cfp": "contrast_resnet.test", "table": "tabular.test"}, "fusion": "late"},
            "tasks": {
                "dr_grade": {},
                "gradable": {},
                "sex": {"kind": "binary", "labels": ["female", "male"], "auxiliary": True, "column": "sex"},
            },
            "table": {"cell_dropout": 0.4},
            "augment": {"strength": 1.0, **augment},
            "train": {"batch_size": 4, "sizes": [[32, 1]]},
        }
    )
    run = prepare_run(list(discover([cohort])), folder, config, quiet)
    step = Step(config, run.network, run.auxiliary, run.main_loss, run.auxiliary_loss, data=run.data)
    return run, step


@pytest.fixture(scope="module")
def plain(cohort, tmp_path_factory):
    return made(cohort, tmp_path_factory.mktemp("a"))


def same(a, b):
    return torch.equal(a.images["cfp"], b.images["cfp"]) and torch.equal(a.table_mask, b.table_mask)


def test_the_same_step_is_the_same_whatever_came_before(plain):
    _, step = plain
    rows = np.arange(8)
    first = step.batch(rows, 5, 32)
    step.batch(rows, 6, 32)
    assert same(first, step.batch(rows, 5, 32))
    assert not same(first, step.batch(rows, 6, 32))
    assert generators_of(1, 2)[1].random() == generators_of(1, 2)[1].random()
    assert generators_of(1, 2)[1].random() != generators_of(1, 3)[1].random()


def test_hidden_cells_leave_one_and_never_make_one(plain):
    run, step = plain
    rows = np.arange(len(run.data))
    kept = torch.stack([step.batch(rows, s, 32).table_mask for s in range(6)])
    known = torch.from_numpy(run.data.table_mask)
    assert not bool((kept & ~known).any())
    assert torch.equal(kept.any(2), known.any(1).expand(6, -1))
    assert kept.sum() < 0.8 * 6 * known.sum()


def test_a_spoilt_picture_teaches_gradable_and_nothing_else(cohort, tmp_path):
    run, step = made(cohort, tmp_path, degrade=0.5)
    rows = np.arange(len(run.data))
    batch = step.batch(rows, 0, 32)
    bad = batch.targets["gradable"] == 0
    assert 0 < int(bad.sum()) < len(rows)
    assert bool(torch.isnan(batch.targets["dr_grade"][bad]).all())
    assert torch.equal(
        batch.targets["dr_grade"][~bad].isnan(), torch.from_numpy(run.data.targets["dr_grade"])[~bad].isnan()
    )


def test_losses_are_finite_parts_sum_and_auxiliary_heads_take_part(cohort, tmp_path):
    run, step = made(cohort, tmp_path, mixup=0.4, mixup_rate=1.0, degrade=0.2)
    for number in range(3):
        loss = step.loss(step.batch(np.arange(8), number, 32), number)
        assert bool(torch.isfinite(loss.total))
        torch.testing.assert_close(loss.total, sum(loss.parts.values()))
        assert any(k.startswith("aux.") for k in loss.parts)
    loss.total.backward()
    assert run.auxiliary.heads["sex"].linear.weight.grad is not None
