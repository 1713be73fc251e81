"""What is fitted on held-out patients makes one modality and several calibrated, and says what each adds."""

import numpy as np
import pytest
import torch

from fundusion.core.interfaces import Features
from fundusion.core.table import TableSchema
from fundusion.core.tasks import MultiLabel, Ordinal
from fundusion.metrics.classification import auroc, expected_calibration_error
from fundusion.network import build_network
from fundusion.train.calibrate import fit_reliability, prevalence, would_add
from fundusion.train.evaluation import Encoded, fuse_subset

SCHEMA = TableSchema.fit([{"age": 40, "sex": "male"}, {"age": 60, "sex": "female"}])


def made(generator, count=3000):
    """Two modalities that see the same events with independent noise; the heads are far too sure."""
    network = build_network(
        {"cfp": "contrast_resnet.test", "table": "tabular.test"}, "late", {"t": MultiLabel("AB")}, table=SCHEMA, seed=0
    ).eval()
    y = (generator.random((count, 2)) < [0.3, 0.1]).astype(float)
    features, presence = {}, {}
    for m, noise, sure in (("cfp", 1.0, 5.0), ("table", 2.5, 5.0)):
        head = network.heads["t"][m].linear
        width = head.weight.shape[1]
        pooled = np.zeros((count, width))
        pooled[:, :2] = generator.normal(2 * y - 1, noise) * sure
        with torch.no_grad():
            head.weight.copy_(torch.eye(2, width))
            head.bias.zero_()
        features[m] = Features(pooled=torch.from_numpy(pooled).float())
        presence[m] = torch.from_numpy(generator.random(count) < 0.85)
    presence["table"] |= ~presence["cfp"]
    return network, Encoded(features=features, presence=presence), {"t": y}


def scores(network, encoded, modalities):
    return 1 / (1 + np.exp(-fuse_subset(network, encoded, modalities)["t"]))


def test_one_and_several_modalities_become_calibrated_and_fusing_helps(generator):
    network, encoded, targets = made(generator)
    before = scores(network, encoded, ["cfp", "table"])
    fit_reliability(network, encoded, targets)
    y = targets["t"][:, 0]
    for chosen in (["cfp"], ["table"], ["cfp", "table"]):
        p = scores(network, encoded, chosen)[:, 0]
        rows = ~np.isnan(p)
        assert expected_calibration_error(y[rows], p[rows]) < 0.035, chosen
    assert expected_calibration_error(y, before[:, 0]) > 0.05
    both, one = scores(network, encoded, ["cfp", "table"])[:, 0], scores(network, encoded, ["cfp"])[:, 0]
    rows = (encoded.presence["cfp"] & encoded.presence["table"]).numpy()
    assert auroc(y[rows], both[rows]) > auroc(y[rows], one[rows]) + 0.005


def test_a_modality_of_noise_loses_its_say(generator):
    network, encoded, targets = made(generator)
    noise = {
        **encoded.features,
        "table": Features(pooled=torch.randn(len(encoded), encoded.features["table"].pooled.shape[1])),
    }
    encoded = Encoded(features=noise, presence=encoded.presence)
    fit_reliability(network, encoded, targets)
    alone, both = (scores(network, encoded, m) for m in (["cfp"], ["cfp", "table"]))
    rows = (encoded.presence["cfp"] & encoded.presence["table"]).numpy()
    y = targets["t"][rows, 0]
    assert auroc(y, both[rows, 0]) > auroc(y, alone[rows, 0]) - 0.003


def test_what_a_modality_adds_is_said_in_words(generator):
    network, encoded, targets = made(generator)
    fit_reliability(network, encoded, targets)
    said = would_add(network, encoded, targets)
    assert set(said) == {"cfp", "table"}
    gains = {m: float(s.split()[5]) for m, s in said.items()}
    assert gains["cfp"] > gains["table"] > 0


def test_prevalence():
    y = np.array([[1, 0], [0, np.nan], [1, 0]], np.float32)
    assert prevalence(MultiLabel("AB"), y) == {"A": pytest.approx(2 / 3), "B": 0.0}
    # Of a grade: the share of at least this grade.
    assert prevalence(Ordinal(3), np.array([0, 1, 2, np.nan], np.float32)) == {
        "0": 1.0,
        "1": pytest.approx(2 / 3),
        "2": pytest.approx(1 / 3),
    }
    assert prevalence(Ordinal(3), np.full(3, np.nan, np.float32)) == {}
