"""Numbers of a network become answers: mirrored images, calibration, NaN is never a class."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fundusion.core.errors import FundusionError
from fundusion.core.interfaces import NetworkOutput
from fundusion.core.tasks import STANDARD_TASKS, MultiLabel, Regression
from fundusion.datasets.synthetic import draw_cohort
from fundusion.inference import choose_target, encode_mirrored, infer, make_batch, predictions_of
from fundusion.network import load_network
from fundusion.transforms.prepared import prepare_study


@pytest.fixture(scope="module")
def network(tiny_model):
    return load_network(tiny_model)[0].eval()


@pytest.fixture(scope="module")
def studies(network):
    eyes = draw_cohort(4, seed=2, size=96, modalities=("cfp", "table"))
    return [prepare_study(e.study, network.spec.inputs, schema=network.spec.table) for e in eyes]


def test_features_do_not_change_when_the_picture_is_mirrored(network, studies):
    batch = make_batch(network, studies)
    turned = replace(batch, images={m: x.flip(3) for m, x in batch.images.items()})
    with torch.no_grad():
        one, two = encode_mirrored(network, batch), encode_mirrored(network, turned)
    torch.testing.assert_close(one["cfp"].pooled, two["cfp"].pooled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one["cfp"].maps[0], two["cfp"].maps[0].flip(3), rtol=1e-4, atol=1e-5)


def test_answers_do_not_depend_on_the_company(network, studies):
    together = infer(network, studies, {}, explain="cam")
    alone = [infer(network, [s], {}, explain="cam")[0] for s in studies]
    for a, b in zip(together, alone, strict=True):
        assert dict(a.predictions["disease"].probabilities) == pytest.approx(
            dict(b.predictions["disease"].probabilities), abs=1e-5
        )
        assert dict(a.shares) == pytest.approx(dict(b.shares), abs=1e-3)
        assert sum(a.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("explain", ["none", "cam", "full"])
def test_the_depth_of_explanation(network, studies, explain):
    answer = infer(network, studies[:1], {}, explain=explain)[0]
    assert bool(answer.maps) == (explain != "none")
    columns = [e for e in answer.explanations if getattr(e, "columns", None)]
    assert bool(columns) == (explain == "full")


def test_a_network_that_gives_nan_gives_no_answer(network, studies):
    import copy

    broken = copy.deepcopy(network)
    with torch.no_grad():
        next(iter(broken.heads["disease"].parameters())).fill_(float("nan"))
    with pytest.raises(FundusionError) as caught:
        infer(broken, studies, {})
    assert caught.value.code == "model.not_finite"


def output_of(logits):
    return NetworkOutput(logits=logits, fused=None, features={}, presence={})


def test_thresholds_and_units():
    tasks = {"disease": MultiLabel("AB"), "age": Regression(unit="years", center=60, scale=10)}
    output = output_of({"disease": torch.tensor([[0.0, -2.0], [0.0, 2.0]]), "age": torch.tensor([[0.5], [-1.0]])})
    rows = predictions_of(tasks, output, {"thresholds": {"disease": {"A": 0.6, "B": 0.1}}})
    assert rows[0]["disease"].probabilities["A"] == pytest.approx(0.5)
    assert rows[0]["disease"].label == "B"
    assert rows[1]["disease"].label == "B"
    assert (rows[0]["age"].value, rows[0]["age"].unit) == (pytest.approx(65), "years")
    assert rows[1]["age"].value == pytest.approx(50)


def test_an_ordinal_answer_is_the_grade_of_its_probabilities():
    # CORN: P(>=1) = 0.88, P(>=2 | >=1) = 0.88, P(>=3 | >=2) = 0.12: most mass on grade 2.
    logits = torch.tensor([[2.0, 2.0, -2.0, -2.0]])
    row = predictions_of({"dr_grade": STANDARD_TASKS["dr_grade"]}, output_of({"dr_grade": logits}), {})[0]["dr_grade"]
    s = 1 / (1 + np.exp(-2))
    assert row.probabilities["2"] == pytest.approx(s * s * s, rel=1e-5)
    assert row.label == "2"
    assert choose_target(STANDARD_TASKS["dr_grade"], row) is not None
