"""Features are computed once; every set of modalities is what the network says when the others are hidden."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.tasks import STANDARD_TASKS, Ordinal
from fundusion.datasets.folder import discover
from fundusion.network import load_network
from fundusion.train.data import prepare_set
from fundusion.train.evaluation import _of_split, encode_rows, evaluate, events_of, fuse_subset, probabilities_of


@pytest.fixture(scope="module")
def made(cohort, tiny_model):
    network, facts = load_network(tiny_model)
    data = prepare_set(
        list(discover([cohort])), network.spec.inputs, tasks=network.spec.tasks, schema=network.spec.table
    )
    return network, facts, data


def test_a_subset_equals_the_network_with_the_rest_hidden(made):
    network, _, data = made
    rows = np.arange(len(data))
    encoded = encode_rows(network, data, rows)
    hidden = replace(data, table_mask=np.zeros_like(data.table_mask))
    alone = encode_rows(network, hidden, rows)
    one, two = fuse_subset(network, encoded, ["cfp"]), fuse_subset(network, alone, network.modalities)
    there = encoded.presence["cfp"].numpy()
    np.testing.assert_allclose(one["disease"][there], two["disease"][there], atol=1e-5)
    # A study that has nothing of the subset has no answer, not a zero.
    table = fuse_subset(network, encoded, ["table"])["disease"]
    assert (np.isnan(table).any(1) == ~encoded.presence["table"].numpy()).all()


def test_batches_in_which_nobody_has_a_modality_are_joined(made, monkeypatch):
    from fundusion.train import evaluation

    network, _, data = made
    whole = encode_rows(network, data, np.arange(len(data)))
    monkeypatch.setattr(evaluation, "_BATCH", 2)
    order = np.argsort(data.table_mask.any(1), kind="stable")
    some = replace(data, table_mask=data.table_mask & (np.arange(len(data)) % 3 == 0)[:, None])
    parts = encode_rows(network, some, order)
    assert parts.presence["table"].sum() < whole.presence["table"].sum()
    torch.testing.assert_close(parts.features["cfp"].pooled, whole.features["cfp"].pooled[order], rtol=1e-3, atol=1e-4)


def test_probabilities_keep_unanswered_rows_missing(made):
    network, facts, data = made
    encoded = encode_rows(network, data, np.arange(len(data)))
    p = probabilities_of(network, facts, fuse_subset(network, encoded, ["table"]))
    empty = ~encoded.presence["table"].numpy()
    for name in STANDARD_TASKS:
        assert (np.isnan(p[name]).all(1) == empty).all()
        assert np.nanmin(p[name]) >= 0


def test_events_of_an_ordinal_task():
    y = np.array([0.0, 2.0, np.nan])
    coral = events_of(Ordinal(4, method="coral"), y)
    np.testing.assert_array_equal(coral, [[0, 0, 0], [1, 1, 0], [np.nan] * 3])
    corn = events_of(Ordinal(4), y)
    # Grade 0 is asked the first threshold only; grade 2 all three.
    np.testing.assert_array_equal(corn, [[0, np.nan, np.nan], [1, 1, 0], [np.nan] * 3])


def test_held_out_patients_are_those_of_the_training(cohort, tmp_path):
    from fundusion.train import train
    from fundusion.train.config import parse_config
    from fundusion.train.run import prepare_run

    records = [replace(r, split=None) for r in discover([cohort])]
    config = parse_config(
        {
            "data": {"side": 32, "validation_fraction": 0.4},
            "network": {"encoders": {"cfp": "contrast_resnet.test"}, "fusion": "concat", "embed_dim": 8},
            "tasks": {"dr_grade": {}},
            "train": {"batch_size": 4, "sizes": [[32, 1]], "warmup_steps": 1},
        }
    )
    records = [r for r in records if "cfp" in r.images]
    from contextlib import nullcontext

    run = prepare_run(records, tmp_path, config, lambda t: nullcontext(lambda *a, **k: None))
    train(records, tmp_path, config=config)
    _, facts = load_network(tmp_path / "model")
    expected = {run.data.study_ids[i] for i in run.held_out}
    assert {r.study_id for r in _of_split(records, "held_out", facts)} == expected
    page = evaluate(tmp_path, records, tmp_path / "e", split="held_out", n_resamples=50)
    assert page.is_file()
    with pytest.raises(InvalidInput) as caught:
        evaluate(tmp_path, records, tmp_path / "f", split="validation")
    assert caught.value.code == "evaluate.split"
