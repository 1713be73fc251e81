"""The weights in the package: whole, small, with a card, and as good as their benchmark says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import fundusion.shipped as shipped
from fundusion.core.durable import digest_of
from fundusion.core.errors import UnknownName
from fundusion.core.registry import models
from fundusion.network import load_network
from fundusion.shipped import (
    encoder_facts,
    resolve_model,
    shipped_encoders,
    shipped_facts,
    shipped_models,
    shipped_weights,
)

FOLDER = Path(shipped.__file__).parent


def test_names_resolve_to_folders_and_a_run_folder_to_its_model(tiny_model, tmp_path):
    assert "screen" in shipped_models()
    assert resolve_model("screen") == (FOLDER / "screen", "screen")
    folder, _ = resolve_model(tiny_model)
    assert (folder / "network.json").is_file()
    with pytest.raises(UnknownName, match="screen"):
        resolve_model("scren")


@pytest.mark.parametrize("name", shipped_models())
def test_weights_are_whole_and_carry_their_card(name):
    folder = FOLDER / name
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 20_000_000
    facts = shipped_facts(name)
    assert digest_of(folder / "weights.safetensors") == facts["weights_sha256"]
    card = (folder / "CARD.md").read_text("utf-8")
    for item in facts["card"]["training_data"]:
        assert item.partition(" ")[0] in card
    assert "not a medical device" in card.lower()
    assert facts["weights_sha256"][:12] in card


def test_the_screening_model_answers_what_it_says():
    network, facts = load_network(FOLDER / "screen")
    assert network.modalities == ("cfp", "table")
    assert set(network.spec.tasks) == {"disease", "dr_grade", "gradable"}
    assert facts["required"] == ["cfp"]
    assert set(network.spec.table.names) == {"age", "sex"}
    assert set(facts["thresholds"]["disease"]) == set("NDGCAHMO")
    assert all(np.isfinite(v.numpy()).all() for v in network.state_dict().values())


@pytest.mark.parametrize("name", shipped_encoders())
def test_single_encoders_are_whole_and_carry_their_card(name):
    folder = FOLDER / name
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 10_000_000
    facts = encoder_facts(name)
    assert digest_of(shipped_weights(name)) == facts["sha256"]
    assert not facts["shuffled"]
    card = (folder / "CARD.md").read_text("utf-8")
    assert all(item.partition(" ")[0] in card for item in facts["training_data"])
    assert "not a medical device" in card.lower()
    assert facts["sha256"][:12] in card
    assert facts["license"] in card
    with pytest.raises(UnknownName, match=name):
        shipped_weights("no such encoder")


def test_the_image_text_model_answers_in_words_and_says_where_it_is_from():
    model = models.create("image_text.small", weights="shipped").eval()
    assert model.weights_record["non_commercial"]
    assert "ODIR-5K" in model.weights_record["license"]
    with torch.no_grad():
        vectors = model.align_texts(*model.tokenize(["glaucoma", "a fundus photograph of glaucoma", "normal"]))
    near, far = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    assert near > 0.8 > far


def test_the_towers_of_both_shipped_models_are_the_same():
    network, _ = load_network(FOLDER / "screen")
    tower = models.create("image_text.small", weights="shipped").image_tower().state_dict()
    assert all(torch.equal(v, tower[k]) for k, v in network.encoders["cfp"].state_dict().items())


@pytest.mark.slow
def test_the_image_text_model_tells_labels_apart_on_patients_it_was_not_trained_on(data_root):
    from fundusion.core.registry import ImageInput
    from fundusion.datasets._splits import position_of
    from fundusion.datasets.odir import odir
    from fundusion.metrics.statistics import SortedAuroc
    from fundusion.train.data import prepare_set
    from fundusion.transforms.collate import normalise_images

    rule = encoder_facts("image_text")["split"]
    fraction, seed = rule["validation_fraction"], rule["seed"]
    records = [r for r in odir(data_root / "odir") if position_of(f"odir/{r.patient_id}", seed=seed) < fraction][:300]
    wanted: ImageInput = models.card("image_text.small").input
    data = prepare_set(records, {"cfp": wanted})
    model = models.create("image_text.small", weights="shipped").eval()
    pictures = normalise_images(torch.from_numpy(data.images["cfp"]), wanted)
    with torch.no_grad():
        images = torch.cat([model.align_images(p) for p in pictures.split(32)])
        texts = model.align_texts(*model.tokenize(["normal", "cataract", "pathologic myopia", "glaucoma"]))
    logits = (images @ texts.T).numpy()
    for letter, column, floor in (("C", 1, 0.95), ("M", 2, 0.95), ("G", 3, 0.7)):
        y = np.asarray([r.labels["disease"][letter] for r in records])
        assert SortedAuroc(y, logits[:, column] - logits[:, 0])(np.ones(len(y))) >= floor, letter


@pytest.mark.slow
def test_the_numbers_of_the_benchmark_hold(data_root, tmp_path):
    import subprocess
    import sys

    root = Path(__file__).parents[2]
    out = tmp_path / "odir.json"
    command = [sys.executable, "benchmarks/reproduce/odir.py", "--data", str(data_root.resolve()), "--out", str(out)]
    subprocess.run(command, cwd=root, check=True)
    answer = json.loads(out.read_text())["macro_auroc"]
    assert answer["fused"]["value"] >= 0.80
    assert answer["fused"]["value"] > answer["photograph"]["value"] > answer["table"]["value"]
