"""A pinned file of weights is the one that was named, in every family and through every way to build."""

import pytest
import torch

from fundusion.core.durable import digest_of
from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.pins import check_loaded, check_pin
from fundusion.core.registry import models
from fundusion.core.tasks import Ordinal
from fundusion.layers.weights import save_state
from fundusion.network import build_network, load_network

FAMILIES = [n for n in models.names() if n.endswith(".test") and "encode" in models.card(n).roles]


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    torch.save({"model": models.create("retfound.test").body.state_dict()}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_the_file_that_was_named_loads_and_its_record_says_so(file):
    digest = digest_of(file)
    free = models.create("retfound.test", weights=str(file))
    assert (free.weights_record["sha256"], free.weights_record["digest_verified"]) == (digest, False)
    for pin in (digest, digest.upper(), digest[:16]):
        assert models.create("retfound.test", weights=str(file), sha256=pin).weights_record["digest_verified"]


def test_one_flipped_bit_is_refused_before_the_file_is_opened(file, monkeypatch):
    pin = digest_of(file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("opened"))
    with pytest.raises(IncompatibleWeights, match="another file or a damaged one") as caught:
        models.create("retfound.test", weights=str(file), sha256=pin)
    assert caught.value.code == "model.digest"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_takes_a_pin(name, tmp_path):
    if "weights" not in models.builder(name).__kwdefaults__:
        with pytest.raises(InvalidInput, match="Give weights"):
            models.create(name, sha256="0" * 64)
        return
    (tmp_path / "w.safetensors").write_bytes(b"anything")
    with pytest.raises(IncompatibleWeights) as caught:
        models.create(name, weights=str(tmp_path / "w.safetensors"), sha256="0" * 64)
    assert caught.value.code == "model.digest"


def test_what_is_no_digest_and_what_cannot_be_compared():
    for pin in ("", "12ab", "g" * 64, "0" * 65, 5):
        with pytest.raises(InvalidInput) as caught:
            check_pin(pin, "w.pth")
        assert caught.value.code == "config.digest"
    with pytest.raises(InvalidInput, match="Give weights"):
        models.create("retfound.test", sha256="0" * 64)
    with pytest.raises(InvalidInput, match="cannot be compared"):
        check_loaded(object(), "0" * 64, "hub:owner/name")

    class Fetched:
        weights_record = {"source": "hub:owner/name/w.safetensors", "sha256": "ab" * 32, "digest_verified": False}

    with pytest.raises(IncompatibleWeights, match="hub:owner/name"):
        check_loaded(Fetched(), "00" * 32, "hub:owner/name")
    check_loaded(Fetched(), "ab" * 8, "hub:owner/name")
    assert Fetched.weights_record["digest_verified"]


def test_a_network_takes_pins_and_loads_again_without_the_file(file, tmp_path):
    options = {"weights": str(file), "sha256": digest_of(file)}
    network = build_network({"cfp": ("retfound.test", options)}, "concat", {"g": Ordinal(3)}, embed_dim=8)
    assert network.origins["cfp"]["digest_verified"]
    network.save(tmp_path / "net")
    file.unlink()
    again, _ = load_network(tmp_path / "net")
    assert again.origins == network.origins


@pytest.mark.parametrize("name", [n for n in FAMILIES if "weights" in models.builder(n).__kwdefaults__])
def test_every_family_takes_a_hub_id_and_says_how_to_get_what_cannot_be_fetched(name, tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUSION_HOME", str(tmp_path))
    model = models.create(name)
    whole = name.startswith(("cabnet", "eyefm", "mae")) or not hasattr(model, "body")
    state = (model if whole else model.body).state_dict()
    put = tmp_path / "weights" / "owner--name" / "model.safetensors"
    put.parent.mkdir(parents=True)
    save_state(put, {k: v.clone() for k, v in state.items()})
    again = models.create(name, weights="hub:owner/name/model.safetensors", sha256=digest_of(put))
    assert again.weights_record["source"] == "hub:owner/name/model.safetensors"
    assert again.weights_record["digest_verified"]
    with pytest.raises(IncompatibleWeights) as caught:
        models.create(name, weights="published")
    assert caught.value.code == "model.not_found"
    assert caught.value.hint
