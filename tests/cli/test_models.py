"""`models` and `convert-weights`."""

import argparse

import torch
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.core.durable import digest_of
from fundusion.core.registry import models
from fundusion.layers.weights import load_state, save_state

run = CliRunner().invoke


def test_lists_and_cards():
    listed = run(app, ["models"])
    assert listed.exit_code == 0
    for name in ("screen", "cross_attention", "contrast_resnet.small", "bert.", "retfound.cfp", "swin.tiny"):
        assert name in listed.output
    card = run(app, ["models", "screen"])
    assert "ODIR-5K" in card.output
    assert "IDRiD" in card.output
    unknown = run(app, ["models", "contrast_resnet.smal"])
    assert unknown.exit_code == 4
    assert "contrast_resnet.small" in unknown.output


def test_filters():
    free = run(app, ["models", "--role", "encode", "--license", "commercial"]).output
    assert "swin.tiny" in free
    assert "retfound.cfp" not in free
    assert "hashing" not in free
    limited = run(app, ["models", "--license", "non-commercial"]).output
    assert "retfound.cfp" in limited
    assert "swin.tiny" not in limited
    assert "retfound.oct" not in run(app, ["models", "--modality", "cfp"]).output
    assert "Nothing fits" in run(app, ["models", "--license", "no such licence"]).output


def test_a_card_has_everything():
    text = " ".join(run(app, ["models", "retfound.cfp"]).output.split())
    for words in ("10.1038/s41586-023-06555-x", "MEH-MIDAS", "CC BY-NC 4.0", "224 x 224 px", "encoder only", "gated form",
                  "head_era", "ms per image"):  # fmt: skip
        assert words in text


def test_a_file_can_be_tried(tmp_path):
    torch.manual_seed(0)
    save_state(tmp_path / "w.safetensors", models.create("mae.test", decoder=True).state_dict())
    done = run(app, ["models", "retfound.test", "--weights", str(tmp_path / "w.safetensors")])
    assert done.exit_code == 0, done.output
    assert "missing:    2 fc_norm.weight, fc_norm.bias" in done.output
    assert "compared with nothing" in done.stdout
    digest = digest_of(tmp_path / "w.safetensors")
    pinned = run(
        app, ["models", "retfound.test", "--weights", str(tmp_path / "w.safetensors"), "--sha256", digest[:16]]
    )
    assert pinned.exit_code == 0
    assert f"{digest} (as expected)" in pinned.stdout
    other = run(app, ["models", "retfound.test", "--weights", str(tmp_path / "w.safetensors"), "--sha256", "0" * 64])
    assert other.exit_code != 0
    assert "model.digest" in other.output
    wrong = run(app, ["models", "resnet.test", "--weights", str(tmp_path / "w.safetensors")])
    assert wrong.exit_code == 4
    assert "no name of the file fits" in wrong.output


def test_pages_are_printed_as_they_are_stored():
    page = run(app, ["models", "--markdown", "licenses"])
    assert page.exit_code == 0
    assert page.output.startswith("<!-- Generated")
    assert run(app, ["models", "--markdown", "x"]).exit_code == 2


def test_old_files_are_converted_only_with_a_word(tmp_path):
    old, new = tmp_path / "old.pth", tmp_path / "new.safetensors"
    torch.save({"model": {"a": torch.ones(2)}, "args": argparse.Namespace(lr=1.0)}, old)
    refused = run(app, ["convert-weights", str(old), str(new)])
    assert refused.exit_code == 4
    assert "--i-trust-this-file" in refused.output
    assert not new.exists()
    done = run(app, ["convert-weights", str(old), str(new), "--i-trust-this-file"])
    assert done.exit_code == 0, done.output
    assert "1 tensors" in done.output
    assert torch.equal(load_state(new)["a"], torch.ones(2))
