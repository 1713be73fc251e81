"""Folders of models: no code, no pickles, nothing missing, and memory counted before anything is loaded."""

import json
import shutil

import pytest
import torch

from fundusion.core.errors import ExhaustedResource, IncompatibleWeights, InvalidInput
from fundusion.core.registry import models
from fundusion.layers import hub_folder
from fundusion.layers.hub_folder import check_folder, check_memory, dtype_of, free_bytes, weight_bytes
from fundusion.layers.weights import load_state, save_state


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("made") / "llava"
    models.create("llava.test").save(folder)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def _settings(folder, **changed):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **changed}), "utf-8")


def test_a_folder_with_code_is_refused_and_the_code_does_not_run(folder, tmp_path):
    (folder / "modeling.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", "utf-8")
    with pytest.raises(InvalidInput, match=r"modeling\.py") as caught:
        models.create("llava.test", weights=folder)
    assert caught.value.code == "model.code"
    (folder / "modeling.py").unlink()
    _settings(folder, auto_map={"AutoModel": "modeling.Net"})
    with pytest.raises(InvalidInput, match="auto_map"):
        models.create("llava.test", weights=folder)
    assert not (tmp_path / "ran").exists()


def test_the_needed_memory_is_said_before_loading(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("FUNDUSION_HOME", str(tmp_path / "home"))
    state = load_state(folder / "model.safetensors")
    count = sum(v.numel() for v in state.values())
    assert weight_bytes(folder, torch.float32) == 4 * count
    assert weight_bytes(folder, torch.bfloat16) == 2 * count
    monkeypatch.setattr(hub_folder, "free_bytes", lambda: 1000)
    monkeypatch.setattr(hub_folder, "_load", lambda *a: pytest.fail("was loaded"))
    with pytest.raises(ExhaustedResource, match=r"need 0\.0 GB .* 0\.0 GB are free") as caught:
        models.create("llava.test", weights=folder)
    assert caught.value.code == "memory.weights"
    # A model of the hub is refused before it is fetched: its card knows the number of its weights.
    with pytest.raises(ExhaustedResource, match=r"llava-1\.5-7b-hf' need 14\.1 GB"):
        models.create("llava.v1_5_7b", weights="published")
    with pytest.raises(ExhaustedResource, match=r"need 28\.3 GB"):
        models.create("llava.v1_5_7b", weights="published", dtype="float32")


def test_free_memory_is_known_or_nothing_is_refused(monkeypatch):
    assert free_bytes() is None or free_bytes() > 1e6
    monkeypatch.setattr(hub_folder, "free_bytes", lambda: None)
    check_memory(10**18, "x")


def test_pickles_other_models_and_damaged_folders_are_refused(folder):
    with pytest.raises(IncompatibleWeights, match="needed is a 'blip'"):
        models.create("blip.test", weights=folder)
    whole = load_state(folder / "model.safetensors")
    name = next(k for k in whole if k.endswith("q_proj.weight"))
    save_state(folder / "model.safetensors", {k: v for k, v in whole.items() if k != name}, metadata={"format": "pt"})
    with pytest.raises(IncompatibleWeights, match="1 tensors are missing"):
        models.create("llava.test", weights=folder)
    broken = {**whole, name: torch.full_like(whole[name], torch.nan)}
    save_state(folder / "model.safetensors", broken, metadata={"format": "pt"})
    with pytest.raises(IncompatibleWeights, match="NaN"):
        models.create("llava.test", weights=folder)
    (folder / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(IncompatibleWeights, match="forged"):
        models.create("llava.test", weights=folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(IncompatibleWeights, match="no safetensors") as caught:
        models.create("llava.test", weights=folder)
    assert caught.value.code == "model.unsafe_format"


def test_words_and_settings_are_needed(folder, tmp_path):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    with pytest.raises(InvalidInput, match="no tokenizer"):
        models.create("llava.test", weights=folder)
    (folder / "config.json").write_text("{", "utf-8")
    with pytest.raises(InvalidInput, match="damaged"):
        check_folder(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InvalidInput, match=r"no config\.json"):
        check_folder(folder)
    with pytest.raises(InvalidInput, match="no folder 'none'"):
        models.create("llava.test", weights=tmp_path / "none")
    with pytest.raises(InvalidInput, match="no published weights"):
        models.create("llava.test", weights="published")


def test_precision_is_asked_by_name_and_a_digest_can_be_pinned(made):
    assert dtype_of("float32") is torch.float32
    with pytest.raises(InvalidInput, match="float16"):
        dtype_of("float16")
    found = models.create("llava.test", weights=made).weights_record
    assert found["source"] == "llava"
    assert models.create("llava.test", weights=made, sha256=found["sha256"]).weights_record["digest_verified"]
    with pytest.raises(IncompatibleWeights, match="wanted"):
        models.create("llava.test", weights=made, sha256="0" * 64)


def test_nothing_is_fetched_unasked_and_a_copy_in_the_weights_folder_is_used(made, tmp_path, monkeypatch):
    import huggingface_hub

    def fetch(*a, **k):
        raise OSError("no network\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setenv("FUNDUSION_HOME", str(tmp_path))
    monkeypatch.setattr(hub_folder, "free_bytes", lambda: None)
    for name in ("blip.captioning_base", "blip2.opt_2_7b", "instructblip.vicuna_7b", "llava.v1_5_7b", "qwen2_5_vl.7b"):
        with pytest.raises(InvalidInput, match=r'has to be given its weights.*"published" fetches hub:'):
            models.create(name)
        with pytest.raises(IncompatibleWeights, match="could not be fetched: no network") as caught:
            models.create(name, weights="published")
        assert caught.value.code == "model.not_found"
    shutil.copytree(made, tmp_path / "weights" / "owner--name")
    found = models.create("llava.test", weights="hub:owner/name")
    assert found.weights_record["source"] == "hub:owner/name"
    for wrong in ("hub:owner", "hub:/name", "hub:owner/name/file"):
        with pytest.raises(InvalidInput, match="no hub id"):
            models.create("llava.test", weights=wrong)


def test_weights_in_several_files_are_counted_by_their_index(made, tmp_path):
    from fundusion.layers.hub_folder import shards

    folder = shutil.copytree(made, tmp_path / "copy")
    state = load_state(folder / "model.safetensors")
    whole, names = weight_bytes(folder, torch.float32), sorted(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, own in parts.items():
        save_state(folder / file, {k: state[k] for k in own}, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {k: f for f, own in parts.items() for k in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    assert [f.name for f in shards(folder)] == ["a.safetensors", "b.safetensors"]
    assert weight_bytes(folder, torch.float32) == whole
    (folder / "model.safetensors").unlink()
    torch.testing.assert_close(
        models.create("llava.test", weights=folder).state_dict(), models.create("llava.test", weights=made).state_dict()
    )
    (folder / "b.safetensors").unlink()
    with pytest.raises(IncompatibleWeights, match=r"'b\.safetensors' is missing"):
        models.create("llava.test", weights=folder)
