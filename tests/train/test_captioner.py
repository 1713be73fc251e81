"""A captioner trains from a recipe, learns what drawn eyes show, stays the same when it goes on, and says what it saw."""

import json

import numpy as np
import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models
from fundusion.layers.weighed_findings import findings_of
from fundusion.train.caption_data import Told, ToldSet
from fundusion.train.captioner import (
    CaptionConfig,
    finding_rows,
    prepare_captioner,
    read_caption_recipe,
    train_captioner,
)
from fundusion.train.config import FitConfig
from fundusion.train.finding_fit import fit_findings

FIT = {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3, "warmup_steps": 2, "ema": 0.0, "clip": 1.0}


def config_of(tmp_path, **changes):
    told = {
        "model": "captioner.test",
        "tower": "",
        "drawn": 24,
        "drawn_px": 64,
        "folds": 0,
        "cache": str(tmp_path / "cache"),
    }
    return CaptionConfig(**{**told, "train": FitConfig(**FIT), **changes})


def test_a_run_writes_what_can_be_loaded_and_is_the_same_again(tmp_path):
    config = config_of(tmp_path, license="none", training_data=("drawn eyes",))
    train_captioner(tmp_path / "one", config=config)
    train_captioner(tmp_path / "two", config=config)
    facts = [json.loads((tmp_path / n / "captioner.json").read_text()) for n in ("one", "two")]
    assert facts[0] == facts[1]
    assert facts[0]["training_data"] == ["drawn eyes"]
    assert facts[0]["recipe"] == config.digest()
    model = models.create("captioner.test", weights=tmp_path / "one").eval()
    assert model.generate(torch.randn(1, 3, 64, 64), [[Turn(role="user", text="which modality?")]], max_tokens=4)
    scores = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()]
    assert any("modality" in row for row in scores)


def test_training_lowers_the_loss_and_leaves_the_tower(tmp_path):
    run = prepare_captioner(tmp_path / "run", config_of(tmp_path), lambda title: _Quiet())
    step, tower = run.step(), {k: v.clone() for k, v in run.model.tower.state_dict().items()}
    optimiser = torch.optim.AdamW([g for group in run.groups() for g in group["params"]], lr=3e-3)
    losses = []
    for number in range(12):
        loss = step.loss(step.batch(run.training[:12], number % 3, None), number).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.2
    assert all(torch.equal(v, tower[k]) for k, v in run.model.tower.state_dict().items())


def test_patients_are_on_one_side(tmp_path):
    run = prepare_captioner(tmp_path / "run", config_of(tmp_path), lambda title: _Quiet())
    groups = [t.group for t in run.data.told]
    assert not {groups[i] for i in run.training} & {groups[i] for i in run.held_out}
    assert len(run.training) + len(run.held_out) == 24


@pytest.mark.parametrize(
    ("text", "words"),
    [("model = 3", "captioner|model"), ("modle = 'x'", "modle"), ("[[", "no recipe"), ("drawn = -1", "drawn")],
)
def test_bad_recipes_are_refused(tmp_path, text, words):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=words):
        read_caption_recipe(path)
    with pytest.raises(InvalidInput, match="no recipe"):
        read_caption_recipe(tmp_path / "none.toml")


def test_too_few_pictures_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="too few"):
        train_captioner(tmp_path / "run", config=config_of(tmp_path, drawn=4))


def real(n=80):
    """Return what is told of photographs, half of them of eyes with drusen, and what was seen of them."""
    torch.manual_seed(0)
    model = models.create("captioner.test").eval()
    told = tuple(
        Told(study_id=f"s{i}", group=f"p{i // 2}", source="odir", modality="cfp", eye="OD",
             findings=("drusen",) if i % 4 < 2 else ("normal",))
        for i in range(n)
    )  # fmt: skip
    width = model.tower.embed_dim
    cells = np.random.default_rng(0).normal(size=(n, 2, 4 + model.fine_rows, width)).astype(np.float16)
    cells[[t.findings == ("drusen",) for t in told], :, :4, 3] += 4
    drawn = (Told(study_id="d", group="d", source="drawn", modality="cfp", findings=("drusen",)),)
    return model, ToldSet(told=told + drawn, cells=np.concatenate([cells, cells[:1]]))


def test_only_real_photographs_of_the_rows_that_are_given_decide_findings():
    model, data = real()
    rows = finding_rows(model, data, np.arange(20, 81))
    assert len(rows.groups) == 60
    assert "d" not in rows.groups
    assert rows.features.shape == (60, 2, model.tower.embed_dim)
    np.testing.assert_allclose(
        rows.features[0, 0], data.cells[20, 0, :4].astype(np.float32).mean(0), rtol=1e-3, atol=1e-3
    )


def test_the_head_is_saved_with_its_cuts_and_names_what_it_learned(tmp_path):
    config = config_of(tmp_path, folds=2, repeats=1, min_count=5)
    run = prepare_captioner(tmp_path / "run", config, lambda title: _Quiet())
    assert run.findings.cuts == {}
    run.model, run.data = real()
    rows = finding_rows(run.model, run.data, np.arange(80))
    run.findings = fit_findings(
        run.model.head, rows, penalty=1e-2, folds=2, repeats=1, min_count=5, min_f1=0.05, seed=0
    )
    other = models.create("captioner.test").eval()
    run.finish(other, 1)
    facts = json.loads((tmp_path / "run" / "captioner.json").read_text())
    assert set(facts["cuts"]) == {"normal", "drusen"}
    assert facts["expected"]["drusen"]["f1"] > 0.9
    assert "cataract" in facts["left_out"]
    again = models.create("captioner.test", weights=tmp_path / "run").eval()
    assert again.cuts == facts["cuts"]
    pooled = again.pooled(torch.from_numpy(run.data.cells[:80, 0]).float())
    found = findings_of(again.head.chances(pooled), again.cuts)
    assert np.mean([f == list(t.findings) for f, t in zip(found, run.data.told[:80], strict=True)]) > 0.95


class _Quiet:
    def __enter__(self):
        return lambda *a, **k: None

    def __exit__(self, *a):
        return None
