"""The guides say what is true: the configuration of "Use published weights" trains from a checkpoint made here."""

import json
import re
from pathlib import Path

import torch
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.core.registry import models
from fundusion.layers.weights import save_state

GUIDE = (Path(__file__).resolve().parent.parent / "docs" / "guides" / "published-weights.md").read_text("utf-8")


def test_retfound_is_fine_tuned_as_the_guide_says(cohort, tmp_path, monkeypatch):
    run = CliRunner().invoke
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    # A masked autoencoder with its decoder, as published files are.
    save_state("retfound_cfp.safetensors", models.create("mae.test", decoder=True).state_dict())
    text = re.search(r"```toml\n(.*?)```", GUIDE, re.S)[1]
    assert "retfound.cfp" in text
    text = text.replace("retfound.cfp", "retfound.test").replace("studies.csv", cohort.as_posix())
    text = text.replace("[network]", "side = 40\n[network]\nembed_dim = 8")
    Path("retfound.toml").write_text(text + "[train]\nsizes = [[32, 1]]\nbatch_size = 8\nwarmup_steps = 1\n")
    done = run(app, ["train", "retfound.toml", "--out", "run"])
    assert done.exit_code == 0, done.output
    saved = json.loads(Path("run/model/network.json").read_text())
    origin = saved["encoder_weights"]["cfp"]
    assert origin["source"] == "retfound_cfp.safetensors"
    assert origin["missing"] == ["fc_norm.weight", "fc_norm.bias"]
    Path("retfound_cfp.safetensors").unlink()
    done = run(app, ["predict", "run", str(cohort), "--out", "p.csv"])
    assert done.exit_code == 0, done.output
    assert "CC BY-NC 4.0" in Path("p.csv").read_text()
    done = run(app, ["analyze", "--model", "run", str(cohort), "--out", "results", "--workers", "1", "--no-measure"])
    assert done.exit_code in (0, 3), done.output
    answered = json.loads(Path("results/run.json").read_text())
    assert answered["counts"]["pending"] == 0
    assert answered["counts"]["ok"] > 0
    rows = [json.loads(line) for line in Path("results/results.jsonl").read_text().splitlines()]
    for row in (r for r in rows if r["status"] == "ok"):
        assert "dr_grade" in row["predictions"]
        assert "CC BY-NC 4.0" in json.dumps(row["provenance"])


def test_the_commands_of_the_guide_exist():
    commands = {c.name or c.callback.__name__ for c in app.registered_commands}
    assert set(re.findall(r"^fundusion ([\w-]+)", GUIDE, re.M)) <= commands
    assert (Path(__file__).resolve().parent.parent / "MODEL_LICENSES.md").is_file()
