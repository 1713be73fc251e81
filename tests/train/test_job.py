"""What training jobs share: vectors and what stays still never decay; a job tells its configuration and its losses."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from torch import nn

from fundusion.train.config import FitConfig
from fundusion.train.job import PlainJob, decayed_groups
from fundusion.train.segmentation import SegmentConfig


@dataclass(slots=True)
class Small(PlainJob):
    config: SegmentConfig
    data: object


@pytest.fixture
def job():
    config = SegmentConfig(classes=("vessel",), sets=(), train=FitConfig(epochs=3))
    return Small(config, SimpleNamespace(digest="abc", rejected=("one", "two")))


def test_only_matrices_that_learn_decay():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    model[2].requires_grad_(False)
    matrices, vectors = decayed_groups(model.parameters(), 0.3)
    assert [p.shape for p in matrices["params"]] == [model[0].weight.shape]
    assert {id(p) for p in vectors["params"]} == {id(model[0].bias), id(model[1].weight), id(model[1].bias)}
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.3, 0.0)


def test_a_group_without_parameters_is_left_out():
    layer = nn.Linear(2, 2, bias=False)
    assert len(decayed_groups(layer.parameters(), 0.1)) == 1


def test_a_job_tells_what_decides_its_weights_and_what_was_left_out(job):
    assert job.digests == {"config": job.config.digest(), "data": "abc"}
    assert job.rejected == 2
    assert job.settings.epochs == 3
    assert job.toml().startswith("# {")


def test_training_switches_batch_statistics_on(job):
    modules = nn.ModuleDict({"model": nn.BatchNorm2d(3)}).eval()
    job.training_mode(modules, 0)
    assert modules["model"].training
