"""A folder that transformers saved is read offline; pooling is what its name says."""

import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.registry import models


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    made, path = models.create("bert.test"), tmp_path_factory.mktemp("bert")
    made.body.save_pretrained(path)
    made._tokenizer.save_pretrained(path)
    return made.eval(), path


def test_a_local_folder_gives_the_same_numbers(folder, monkeypatch):
    made, path = folder
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    read = models.create("bert.base", source=str(path)).eval()
    texts = ["no haemorrhage", "a small bleed"]
    with torch.no_grad():
        one, two = (m.encode_text(*m.tokenize(texts)) for m in (made, read))
    torch.testing.assert_close(one.pooled, two.pooled)


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_with_padding", "last4"])
def test_poolings(folder, pooling):
    made, _ = folder
    encoder = models.create("bert.test", pooling=pooling).eval()
    encoder.load_state_dict(made.state_dict())
    ids, mask = encoder.tokenize(["abc", "abc def ghi"])
    with torch.no_grad():
        answer = encoder.body(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
        pooled = encoder.encode_text(ids, mask).pooled
    last = answer.last_hidden_state
    if pooling == "last4":
        last = sum(answer.hidden_states[-4:]) / 4
    real = [int(n) for n in mask.sum(1)]
    expected = {
        "cls": last[:, 0],
        "mean_with_padding": last.mean(1),
    }.get(pooling, torch.stack([last[i, :n].mean(0) for i, n in enumerate(real)]))
    torch.testing.assert_close(pooled, expected)


@pytest.mark.parametrize("layout", ["model.safetensors", "pytorch_model.bin", "old pytorch_model.bin"])
def test_files_of_a_language_model_are_read_and_their_origin_kept(folder, tmp_path, layout):
    """Clinical models on the hub often have a torch file only, with the head of their training and old names of norms."""
    import json
    import shutil

    from safetensors.torch import load_file, save_file

    made, path = folder
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(path / name, tmp_path)
    state = {f"bert.{k}": v for k, v in load_file(path / "model.safetensors").items()}
    state["cls.predictions.bias"] = torch.zeros(81)
    if layout.startswith("old"):
        for new, old in (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")):
            state = {k.replace(new, old): v for k, v in state.items()}
    if layout == "model.safetensors":
        save_file(state, tmp_path / layout)
    else:
        torch.save(state, tmp_path / "pytorch_model.bin")
    read = models.create("bert.clinical", source=str(tmp_path)).eval()
    ids, mask = read.tokenize(["no haemorrhage", "a small bleed"])
    with torch.no_grad():
        torch.testing.assert_close(read.encode_text(ids, mask).pooled, made.encode_text(ids, mask).pooled)
    record = read.weights_record
    assert (record["missing"], record["license"], record["unexpected"]) == ([], "MIT", 1)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"


def test_a_folder_without_weights_or_with_half_of_them_is_refused(folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    _, path = folder
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(path / name, tmp_path)
    with pytest.raises(IncompatibleWeights, match="holds none of"):
        models.create("bert.base", source=str(tmp_path))
    state = load_file(path / "model.safetensors")
    state.pop("encoder.layer.3.output.dense.weight")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(IncompatibleWeights, match=r"missing .*layer\.3"):
        models.create("bert.base", source=str(tmp_path))


def test_languages_have_names():
    assert models.card("bert.clinical").weights == "hub:emilyalsentzer/Bio_ClinicalBERT"
    assert "multilingual" in models.card("bert.multilingual").weights
    assert "chinese" in models.card("bert.chinese").weights


def test_wrong_choices_are_named(tmp_path):
    with pytest.raises(InvalidInput, match="hub:owner/name"):
        models.create("bert.base", source=str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match="last<k>"):
        models.create("bert.test", pooling="max")
