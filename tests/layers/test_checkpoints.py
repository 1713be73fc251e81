"""Names, paths and hub ids; digests; licences; records. Nothing is downloaded."""

import logging
from pathlib import Path

import huggingface_hub
import pytest
import torch
from torch import nn

from fundusion.core.errors import IncompatibleWeights
from fundusion.core.registry import Card, describe_origin, is_non_commercial
from fundusion.layers.checkpoints import (
    Rules,
    canonical_names,
    find_weights,
    load_weights,
)
from fundusion.layers.weights import digest, save_state

CARD = Card(title="Tiny", weights="hub:owner/name", weight_license="CC BY-NC 4.0", obtain="Ask the owner.")


@pytest.fixture
def file(tmp_path):
    save_state(
        tmp_path / "w.safetensors", {"module.backbone.weight": torch.ones(2, 2), "module.backbone.bias": torch.zeros(2)}
    )
    return tmp_path / "w.safetensors"


RULES = Rules(prefixes=("module.", "backbone."))


def test_a_path_is_loaded_and_its_origin_is_kept(file, caplog):
    layer = nn.Linear(2, 2)
    with caplog.at_level(logging.INFO):
        report = load_weights(layer, str(file), card=CARD, rules=RULES)
    assert torch.equal(layer.weight.data, torch.ones(2, 2))
    assert set(report.loaded) == {"weight", "bias"}
    assert layer.weights_record == {
        "source": "w.safetensors", "sha256": digest(file), "digest_verified": False, "license": "CC BY-NC 4.0",
        "non_commercial": True, "loaded": 2, "missing": [], "unexpected": 0, "reshaped": [],
    }  # fmt: skip
    assert "CC BY-NC 4.0" in caplog.text
    assert "no commercial use" in describe_origin(layer.weights_record)
    assert load_weights(layer, None, card=CARD, rules=RULES) is None


def test_a_digest_the_card_knows_is_checked(file):
    good = Card(title="Tiny", sha256={"w.safetensors": digest(file)}, weight_license="MIT")
    layer = nn.Linear(2, 2)
    load_weights(layer, file, card=good, rules=RULES)
    assert layer.weights_record["digest_verified"]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(IncompatibleWeights) as caught:
        load_weights(nn.Linear(2, 2), file, card=good, rules=RULES)
    assert caught.value.code == "model.digest"


def test_a_licence_written_in_the_file_wins(tmp_path):
    save_state(tmp_path / "own.safetensors", nn.Linear(2, 2).state_dict(), metadata={"license": "Apache-2.0"})
    layer = nn.Linear(2, 2)
    load_weights(layer, tmp_path / "own.safetensors", card=CARD, rules=Rules())
    assert layer.weights_record["license"] == "Apache-2.0"
    assert not layer.weights_record["non_commercial"]


def test_published_and_hub_names_fetch_only_when_asked(file, tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUSION_HOME", str(tmp_path / "home"))
    asked = []

    def fetch(repository, name, local_dir):
        asked.append((repository, name))
        return str(file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    for wanted in ("published", "hub:owner/name", "hub:owner/name/model.safetensors"):
        layer = nn.Linear(2, 2)
        load_weights(layer, wanted, card=CARD, rules=RULES)
        assert layer.weights_record["source"] == "hub:owner/name/model.safetensors"
    assert asked == [("owner/name", "model.safetensors")] * 3
    # A file laid in the folder by hand is used without asking anybody.
    put = tmp_path / "home" / "weights" / "owner--name" / "model.safetensors"
    put.parent.mkdir(parents=True)
    put.write_bytes(file.read_bytes())
    assert find_weights("published", card=CARD, rules=RULES)[0] == put
    assert len(asked) == 3


def test_what_cannot_be_found_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUSION_HOME", str(tmp_path))

    def offline(*_args, **_options):
        raise ConnectionError("offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    none = Card(title="Tiny", obtain="Ask the owner.")
    for wanted, card in (("published", CARD), ("published", none), (str(tmp_path / "x.pth"), CARD), ("hub:name", CARD)):
        with pytest.raises(IncompatibleWeights) as caught:
            load_weights(nn.Linear(2, 2), wanted, card=card, rules=Rules())
        assert caught.value.code == "model.not_found"
        assert "Ask the owner" in str(caught.value) or "hub:owner/name/file" in str(caught.value)


def test_names_that_fall_together_are_refused():
    state = {"module.a": torch.zeros(1), "a": torch.zeros(1)}
    with pytest.raises(IncompatibleWeights, match="'a'"):
        canonical_names(state, Rules())
    renamed = canonical_names({"mlp.w12.x": torch.zeros(1)}, Rules(renames=((r"mlp\.w12\.", "mlp.fc1."),)))
    assert set(renamed) == {"mlp.fc1.x"}


@pytest.mark.parametrize(
    ("licence", "answer"),
    [("Apache-2.0 (timm); ImageNet terms", False), ("MIT (Microsoft)", False), ("CC BY 4.0", False), ("CC BY-NC-ND 4.0", True),
     ("not stated", True), ("see the page", True)],
)  # fmt: skip
def test_what_is_not_clearly_free_is_not(licence, answer):
    assert is_non_commercial(licence) is answer


def test_a_released_file_is_fetched_only_from_the_address_of_the_card(file, tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUSION_HOME", str(tmp_path / "home"))
    asked = []

    def fetch(address, target, prefix, progress):
        asked.append((address, prefix))
        Path(target).write_bytes(file.read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    name = f"w-{digest(file)[:8]}.safetensors"
    address = f"https://example.org/{name}"
    card = Card(title="Tiny", weights=address, sha256={name: digest(file)[:8]}, weight_license="MIT")
    for _ in range(2):
        layer = nn.Linear(2, 2)
        load_weights(layer, "published", card=card, rules=RULES)
        assert layer.weights_record["source"] == name
        assert layer.weights_record["digest_verified"]
    assert asked == [(address, digest(file)[:8])]
    with pytest.raises(IncompatibleWeights, match="any address"):
        load_weights(nn.Linear(2, 2), "https://example.org/other.pth", card=card, rules=RULES)
    wrong = Card(title="Tiny", weights=address, sha256={name: "00000000"})
    with pytest.raises(IncompatibleWeights) as caught:
        load_weights(nn.Linear(2, 2), "published", card=wrong, rules=RULES)
    assert caught.value.code == "model.digest"
