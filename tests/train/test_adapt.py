import json
from dataclasses import replace

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.tasks import Ordinal
from fundusion.datasets.folder import discover
from fundusion.train.adapt import adapt, encoder_network, few
from fundusion.train.protocols import Settings

FAST = Settings(steps=2, batch_size=4)


@pytest.fixture(scope="module")
def records(cohort):
    return list(discover([cohort]))


def test_few_takes_the_asked_number_of_each_class():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    pool = np.arange(1, 9)
    rows = few(labels, pool, 2, 0)
    assert np.bincount(labels[rows]).tolist() == [2, 2, 2]
    assert set(rows) <= set(pool)
    assert len({tuple(few(labels, pool, 2, s)) for s in range(8)}) > 1
    assert np.bincount(labels[few(labels, pool, 3, 0)]).tolist() == [2, 2, 3]


def test_curves_with_intervals_and_a_page(records, tmp_path):
    page = adapt(
        "visionfm.test", records, tmp_path, task="dr_grade", protocols=("linear", "finetune"), shots=(1, None), seeds=3,
        settings=FAST, cache=str(tmp_path / "cache"),
    )  # fmt: skip
    result = json.loads((tmp_path / "adaptation.json").read_text())
    assert [(c["protocol"], c["shots"]) for c in result["curves"]] == [
        ("linear", 1), ("linear", None), ("finetune", 1), ("finetune", None),
    ]  # fmt: skip
    by = {(c["protocol"], c["shots"]): c["metrics"] for c in result["curves"]}
    assert set(by["linear", 1]) == {"macro AUROC", "balanced accuracy", "accuracy", "quadratic kappa"}
    assert len(by["linear", None]["accuracy"]["values"]) == 1
    assert by["linear", None]["accuracy"]["low"] is None
    assert len(by["finetune", None]["accuracy"]["values"]) == 3
    known = [r for r in records if r.labels.get("dr_grade") not in (None, "") and r.images.get("cfp")]
    assert result["learn"] == sum(r.split == "train" for r in known)
    assert result["measured"] == sum(r.split in ("val", "test") for r in known)
    text = page.read_text("utf-8")
    assert "<svg" in text
    assert "http" not in text.replace("http-equiv", "")
    again = adapt("visionfm.test", records, tmp_path / "b", protocols=("linear",), shots=(1,), seeds=3, settings=FAST)
    assert json.loads((again.parent / "adaptation.json").read_text())["curves"][0]["metrics"] == by["linear", 1]


def test_without_a_split_patients_are_divided(records, tmp_path):
    adapt("visionfm.test", [replace(r, split=None) for r in records], tmp_path, protocols=("knn",), shots=(None,))
    result = json.loads((tmp_path / "adaptation.json").read_text())
    assert result["learn"] > 0
    assert result["measured"] > 0


def test_what_cannot_be_measured_is_refused(records, tmp_path):
    with pytest.raises(InvalidInput, match="unknown protocols"):
        adapt("visionfm.test", records, tmp_path, protocols=("magic",))
    with pytest.raises(InvalidInput, match="multilabel"):
        adapt("visionfm.test", records, tmp_path, task="disease")
    with pytest.raises(InvalidInput, match="no label 'colour'"):
        adapt("visionfm.test", records, tmp_path, task="colour")
    with pytest.raises(InvalidInput, match="too few"):
        adapt("visionfm.test", [replace(r, split="train") for r in records], tmp_path)


def test_encoders_come_from_names_runs_and_networks(tiny_model):
    network = encoder_network(str(tiny_model), "cfp", Ordinal(5))
    assert network.spec.encoders["cfp"][0] == "contrast_resnet.test"
    with pytest.raises(InvalidInput, match="does not read 'oct'"):
        encoder_network(str(tiny_model), "oct", Ordinal(5))
    assert encoder_network("vit.test", "cfp", Ordinal(5)).spec.encoders["cfp"][0] == "vit.test"


def test_an_image_text_model_is_asked_with_words_beside_examples(records, tmp_path):
    from fundusion.knowledge import Knowledge
    from fundusion.knowledge.questions import prompts_of_set

    page = adapt(
        "flair.test", records, tmp_path / "a", task="dr_grade", protocols=("zeroshot", "tip_adapter", "clip_adapter"), shots=(1, None),
        seeds=2, settings=Settings(epochs=1),
    )  # fmt: skip
    found = json.loads((page.parent / "adaptation.json").read_text("utf-8"))
    assert found["prompts"]["4"][0] == "A fundus photograph of proliferative diabetic retinopathy"
    runs = {(c["protocol"], c["shots"]): len(c["metrics"]["accuracy"]["values"]) for c in found["curves"]}
    assert runs[("zeroshot", 1)] == 1
    assert runs[("clip_adapter", None)] == 2
    assert runs[("tip_adapter", None)] == 1
    wrong = prompts_of_set(Knowledge.read(), "glaucoma")
    with pytest.raises(InvalidInput, match="the task asks"):
        adapt("flair.test", records, tmp_path / "b", protocols=("zeroshot",), prompts=wrong)


def test_the_published_division_differs_between_seeds(records, tmp_path):
    page = adapt(
        "visionfm.test",
        records,
        tmp_path,
        task="referable",
        protocols=("knn",),
        shots=(None,),
        seeds=3,
        split_rule="flair",
    )
    found = json.loads((page.parent / "adaptation.json").read_text("utf-8"))
    assert found["split_rule"] == "flair"
    assert len(found["curves"][0]["metrics"]["accuracy"]["values"]) == 3
    with pytest.raises(InvalidInput, match="split rule"):
        adapt("visionfm.test", records, tmp_path, split_rule="eyes")
