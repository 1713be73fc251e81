"""A folder that transformers saved is read offline; pooling is what its name says."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
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


def test_wrong_choices_are_named(tmp_path):
    with pytest.raises(InvalidInput, match="hub:owner/name"):
        models.create("bert.base", source=str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match="mean_with_padding"):
        models.create("bert.test", pooling="max")
