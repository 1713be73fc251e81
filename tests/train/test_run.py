"""Patients are divided, never studies; auxiliary heads stay out of the model."""

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.datasets.folder import discover
from fundusion.train.config import parse_config
from fundusion.train.run import prepare_run

VALUE = {
    "data": {"side": 32, "validation_fraction": 0.4},
    "network": {"encoders": {"cfp": "contrast_resnet.test", "table": "tabular.test"}, "fusion": "late"},
    "tasks": {
        "dr_grade": {},
        "age": {
            "kind": "regression",
            "unit": "years",
            "auxiliary": True,
            "column": "age",
            "center": 60.0,
            "scale": 10.0,
        },
    },
    "train": {"batch_size": 2, "sizes": [[32, 1]]},
}


def quiet(title):
    from contextlib import nullcontext

    return nullcontext(lambda *a, **k: None)


def test_patients_stand_on_one_side_and_auxiliary_heads_outside(cohort, tmp_path):
    from dataclasses import replace

    records = [replace(r, split=None) for r in discover([cohort])]
    run = prepare_run(records, tmp_path, parse_config(VALUE), quiet)
    patients = np.asarray(run.data.groups)
    assert set(patients[run.training]).isdisjoint(patients[run.held_out])
    assert len(run.training) + len(run.held_out) == len(run.data) == len(records)
    assert set(run.network.spec.tasks) == {"dr_grade"}
    assert set(run.auxiliary.heads) == {"age"}
    ages = [r.metadata.get("age") for r in records]
    np.testing.assert_allclose(
        run.data.targets["age"], [np.nan if a in (None, "") else float(a) for a in ages], rtol=1e-6
    )


def test_the_split_of_the_table_is_kept(cohort, tmp_path):
    records = list(discover([cohort]))
    run = prepare_run(records, tmp_path, parse_config(VALUE), quiet)
    held_out = {run.data.study_ids[i] for i in run.held_out}
    assert held_out == {r.study_id for r in records if r.split in ("val", "test")}


def test_too_few_studies_and_rejected_ones_are_errors(cohort, tmp_path):
    from dataclasses import replace

    records = list(discover([cohort]))
    with pytest.raises(InvalidInput, match="too few") as caught:
        prepare_run(records[:3], tmp_path, parse_config(VALUE), quiet)
    assert caught.value.code == "train.too_few"
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    bad = [replace(r, images={"cfp": (str(broken),)}) for r in records[:4]] + records[4:]
    with pytest.raises(InvalidInput, match="4 of 24 studies cannot be used"):
        prepare_run(bad, tmp_path, parse_config(VALUE), quiet)
    assert len((tmp_path / "rejected.json").read_text().split('"study_id"')) == 5


def test_a_patient_on_both_sides_is_refused_unless_said_so(cohort, tmp_path):
    from dataclasses import replace

    records = [replace(r, split="train" if i % 2 else "val") for i, r in enumerate(discover([cohort]))]
    with pytest.raises(InvalidInput, match="12 patients are both trained on and held out") as caught:
        prepare_run(records, tmp_path, parse_config(VALUE), quiet)
    assert caught.value.code == "split.leak"
    allowed = {**VALUE, "data": {**VALUE["data"], "allow_patient_overlap": True}}
    assert len(prepare_run(records, tmp_path, parse_config(allowed), quiet).held_out) == 12


def test_layer_decay_lowers_the_rates_of_early_layers_and_one_changes_nothing(cohort, tmp_path):
    records = list(discover([cohort]))
    rates = {}
    for decay in (1.0, 0.5):
        value = {**VALUE, "train": {**VALUE["train"], "layer_decay": decay}}
        value["network"] = {"encoders": {"cfp": "visionfm.test", "table": "tabular.test"}, "fusion": "late"}
        run = prepare_run(records, tmp_path, parse_config(value), quiet)
        factor = {id(p): g["factor"] for g in run.groups() for p in g["params"]}
        rates[decay] = {n: factor[id(p)] for n, p in run.network.named_parameters()}
    assert set(rates[1.0].values()) == {1.0}
    body = "encoders.cfp.body."
    assert [rates[0.5][body + n] for n in ("pos_embed", "blocks.0.norm1.bias", "blocks.3.mlp.fc1.weight", "norm.weight")] == [
        0.5**5, 0.5**4, 0.5, 1.0,
    ]  # fmt: skip
    assert all(f == 1.0 for n, f in rates[0.5].items() if not n.startswith("encoders.cfp."))
