"""The table's heads are fitted exactly."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from fundusion.core.table import TableSchema
from fundusion.core.tasks import STANDARD_TASKS, MultiLabel
from fundusion.metrics.classification import auroc
from fundusion.network import build_network
from fundusion.train.data import PreparedSet
from fundusion.train.experts import RIDGES, best_ridge, fit_linear_experts, ridge_logistic


@pytest.mark.parametrize("ridge", [1.0, 10.0])
def test_the_fit_is_that_of_scikit_learn(generator, ridge):
    x = generator.normal(0, 1, (300, 4))
    y = (generator.random(300) < 1 / (1 + np.exp(-x @ [1, -0.5, 0, 0.2] + 1))).astype(float)
    weights, bias = ridge_logistic(np.concatenate([x, x[:5]]), np.concatenate([y, np.full(5, np.nan)]), ridge=ridge)
    peer = LogisticRegression(C=1 / ridge, tol=1e-10, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(weights, peer.coef_[0], rtol=1e-4, atol=1e-6)
    assert bias == pytest.approx(peer.intercept_[0], rel=1e-4)


def test_one_class_gives_the_smoothed_rate_and_no_weights():
    weights, bias = ridge_logistic(np.ones((9, 2)), np.zeros(9), ridge=1.0)
    assert weights.tolist() == [0, 0]
    assert 1 / (1 + np.exp(-bias)) == pytest.approx(0.05)


def test_noise_gets_a_strong_pull_and_signal_a_weak_one(generator):
    x, groups = generator.normal(0, 1, (400, 6)), np.arange(400) // 2
    noise = (generator.random((400, 1)) < 0.3).astype(float)
    signal = (x[:, :1] * 3 + generator.normal(0, 0.5, (400, 1)) > 0).astype(float)
    assert best_ridge(x, noise, groups) >= 100
    assert best_ridge(x, signal, groups) <= 3
    assert RIDGES[0] < RIDGES[-1]


def table_set(generator, schema, count=600):
    rows = [
        {"age": float(a), "sex": s, "iop": None if m else float(p)}
        for a, s, p, m in zip(
            generator.uniform(30, 90, count), generator.choice(["female", "male"], count), generator.normal(16, 4, count),
            generator.random(count) < 0.2, strict=True,
        )
    ]  # fmt: skip
    coded = [schema.encode(r) for r in rows]
    # A bent curve for women only: neither a line nor a sum of the columns shows it.
    risk = np.array([2.5 if r["sex"] == "female" and abs(r["age"] - 60) < 12 else -1.5 for r in rows])
    y = np.stack([generator.random(count) < 1 / (1 + np.exp(-risk)), generator.random(count) < 0.2], 1).astype(
        np.float32
    )
    return PreparedSet(
        study_ids=tuple(map(str, range(count))), groups=tuple(map(str, range(count))),
        table=np.stack([c for c, _ in coded]), table_mask=np.stack([m for _, m in coded]), targets={"disease": y},
    )  # fmt: skip


def test_heads_find_curves_and_products_and_missing_cells_move_nothing(generator):
    schema = TableSchema.fit(
        [
            {"age": a, "sex": s, "iop": p}
            for a, s, p in zip(range(30, 91, 6), ["female", "male"] * 6, range(10, 22), strict=False)
        ]
    )
    data = table_set(generator, schema)
    network = build_network(
        {"table": "tabular.additive"}, "late", {"disease": MultiLabel("AB")}, table=schema, seed=0
    ).eval()
    fit_linear_experts(network, data, np.arange(400))
    with torch.no_grad():
        f = network.encoders["table"].encode_table(
            torch.from_numpy(data.table[400:]), torch.from_numpy(data.table_mask[400:])
        )
        logits = network.heads["disease"]["table"](f.pooled)
    # A reader who knows the rule reaches 0.77, sex alone 0.62.
    assert auroc(data.targets["disease"][400:, 0], logits[:, 0].numpy()) > 0.7
    nothing = network.encoders["table"].encode_table(torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool))
    assert nothing.pooled.abs().sum() == 0


def test_networks_that_learn_their_table_are_left_alone(generator):
    schema = TableSchema.fit(
        [
            {"age": a, "sex": s, "iop": p}
            for a, s, p in zip(range(30, 91, 6), ["female", "male"] * 6, range(10, 22), strict=False)
        ]
    )
    data = table_set(generator, schema, 40)
    for name, fusion in (("tabular.mlp", "late"), ("tabular.additive", "gated")):
        network = build_network({"table": name}, fusion, {"disease": STANDARD_TASKS["disease"]}, table=schema, seed=0)
        before = {k: v.clone() for k, v in network.state_dict().items()}
        fit_linear_experts(network, data, np.arange(40))
        assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
