"""The weights in the package: whole, small, with a card, and as good as their benchmark says."""

import json
from pathlib import Path

import numpy as np
import pytest

import fundusion.shipped as shipped
from fundusion.core.durable import digest_of
from fundusion.core.errors import UnknownName
from fundusion.network import load_network
from fundusion.shipped import resolve_model, shipped_facts, shipped_models

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
