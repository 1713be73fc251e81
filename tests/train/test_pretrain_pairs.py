"""Training of images with texts: exact resumption, the control, kept towers, every objective, and what is refused."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models
from fundusion.core.study import StudyRecord
from fundusion.datasets.folder import discover
from fundusion.layers.weights import load_state
from fundusion.train import loop
from fundusion.train.estimate import estimate
from fundusion.train.pair_config import pair_config
from fundusion.train.pretrain_pairs import prepare_pairs, pretrain_pairs

TRAIN = {"epochs": 3, "batch_size": 8, "learning_rate": 2e-3, "warmup_steps": 2, "checkpoint_every": 1}


def config_of(objective="flair", **changes):
    value = {
        "objective": objective,
        "model": "image_text.test",
        "options": {"image_size": 32},
        "data": {"side": 48},
        "train": TRAIN,
    }
    return pair_config({**value, **changes})


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Drawn eyes: half with a report and labels, half with labels only, and one with neither."""
    from fundusion.datasets.synthetic import write_cohort

    manifest = write_cohort(tmp_path_factory.mktemp("eyes"), 28, seed=2, size=48, modalities=("cfp", "text"))
    found = list(discover([manifest]))
    mixed = [r if i % 2 else replace(r, report=None) for i, r in enumerate(found)]
    return [*mixed[:-1], replace(mixed[-1], report=None, labels={})]


def quiet(title):
    return nullcontext(lambda *a, **k: None)


@pytest.mark.parametrize("objective", ["clip", "siglip", "flair", "medclip", "keepfit", "retizero"])
def test_a_killed_run_goes_on_bit_for_bit(records, tmp_path, monkeypatch, objective):
    config = config_of(objective)
    said = []
    whole = pretrain_pairs(records, tmp_path / "whole", config=config, announce=said.append)
    assert whole.epochs == 3
    assert "measured" in said[0]
    original, calls = loop._one, []

    def dies(run, state, rows, total):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(run, state, rows, total)

    monkeypatch.setattr(loop, "_one", dies)
    with pytest.raises(KeyboardInterrupt):
        pretrain_pairs(records, tmp_path / "torn", config=config)
    monkeypatch.setattr(loop, "_one", original)
    pretrain_pairs(records, tmp_path / "torn", config=config)
    one, two = (load_state(tmp_path / d / "encoder.safetensors") for d in ("whole", "torn"))
    assert all(torch.equal(one[k], two[k]) for k in one)
    fresh = models.create("image_text.test", sigmoid=objective == "siglip").state_dict()
    assert one.keys() == fresh.keys()
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").open()]
    assert all(np.isfinite(r["val_loss"]) for r in rows)
    facts = json.loads((tmp_path / "whole" / "encoder.json").read_text())
    assert facts["objective"] == objective
    with pytest.raises(InvalidInput, match="another config"):
        pretrain_pairs(records, tmp_path / "whole", config=config_of(objective, strength=0.5))


@pytest.fixture
def coloured(tmp_path):
    """Discs of two colours that labels name, one patient each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48]
    disc = ((y - 24) ** 2 + (x - 24) ** 2 < 22**2)[..., None]
    made = []
    for i in range(40):
        colour = np.array([200, 60, 30] if i % 2 else [60, 90, 200])
        pixels = np.clip(disc * (colour + rng.normal(0, 12, (48, 48, 3))), 0, 255).astype(np.uint8)
        Picture.fromarray(pixels).save(tmp_path / f"{i}.png")
        made.append(
            StudyRecord(
                study_id=str(i), patient_id=f"p{i}", images={"cfp": (str(tmp_path / f"{i}.png"),)},
                labels={"findings": ("red disc" if i % 2 else "blue disc",)},
            )
        )  # fmt: skip
    return made


def test_words_of_patients_never_seen_are_found_unless_texts_were_dealt_out(coloured, tmp_path):
    fit = {**TRAIN, "epochs": 12, "learning_rate": 1e-2}
    right = {}
    for shuffled in (False, True):
        config = config_of(train=fit, shuffled=shuffled, strength=0.0, data={"side": 48, "validation_fraction": 0.4})
        folder = tmp_path / f"run-{shuffled}"
        pretrain_pairs(coloured, folder, config=config)
        assert json.loads((folder / "encoder.json").read_text())["shuffled"] is shuffled
        run = prepare_pairs(coloured, folder, config, quiet)
        model = models.create("image_text.test", weights=folder / "encoder.safetensors").eval()
        with torch.no_grad():
            images = model.align_images(run.step().still(run.held_out, 0).images["cfp"])
            texts = model.align_texts(*model.tokenize(list(run.findings)))
        answers = (images @ texts.T).argmax(1).numpy()
        truth = np.asarray([run.said[s].findings[0] for s in run.studies[run.held_out]])
        right[shuffled] = (answers == truth).mean()
    assert len(truth) >= 8
    assert right[False] == 1.0
    assert right[True] < 1.0


def test_patients_are_divided_by_the_split_and_held_out_texts_stay(records, tmp_path):
    config = config_of(data={"side": 48, "validation_fraction": 0.3, "seed": 4})
    runs = [prepare_pairs(records, tmp_path, config.model_copy(update={"shuffled": s}), quiet) for s in (False, True)]
    for run in runs:
        groups = np.asarray(run.data.groups)[run.studies]
        assert set(groups[run.training]).isdisjoint(groups[run.held_out])
    plain, dealt = (r.said for r in runs)
    studies = runs[0].studies
    assert all(plain[s] == dealt[s] for s in studies[runs[0].held_out])
    mine, others = ([x[s].texts for s in studies[runs[0].training]] for x in (plain, dealt))
    assert sorted(mine) == sorted(others)
    assert mine != others
    # The study of which nothing is said is trained on by nobody.
    silent = runs[0].data.study_ids.index(records[-1].study_id)
    assert silent not in {*studies[runs[0].training], *studies[runs[0].held_out]}


def test_patients_of_the_part_test_are_not_looked_at_and_those_of_val_are_held_out(records, tmp_path):
    groups = list(dict.fromkeys(r.group for r in records))
    part = {groups[0]: "test", groups[1]: "val", groups[2]: "val"}
    # One study of a patient is enough.
    given, seen = [], set()
    for r in records:
        given.append(replace(r, split=part.get(r.group, "train") if r.group not in seen else "train"))
        seen.add(r.group)
    run = prepare_pairs(given, tmp_path, config_of(), quiet)
    found = np.asarray(run.data.groups)
    assert groups[0] not in found
    assert run.untouched == sum(r.group == groups[0] for r in records)
    assert set(found[run.studies[run.held_out]]) == {groups[1], groups[2]}


def test_findings_of_held_out_patients_only_are_not_known_to_the_model(records, tmp_path):
    config = config_of(data={"side": 48, "validation_fraction": 0.3, "seed": 4})
    run = prepare_pairs(records, tmp_path, config, quiet)
    place = int(run.held_out[0])
    study = run.data.study_ids[run.studies[place]]
    marked = [replace(r, labels={"findings": ("seen once",)}) if r.study_id == study else r for r in records]
    again = prepare_pairs(marked, tmp_path, config, quiet)
    assert "seen once" not in again.findings
    assert again.said[again.studies[place]].findings == ()


def test_an_estimate_changes_nothing_of_the_run(records, tmp_path):
    run = prepare_pairs(records, tmp_path, config_of("keepfit"), quiet)
    before = {k: v.clone() for k, v in run.modules().state_dict().items()}
    found = estimate(run, trials=1)
    assert all(torch.equal(before[k], v) for k, v in run.modules().state_dict().items())
    assert found.steps == 3 * (len(run.training) // 8)


def test_a_kept_tower_does_not_change_and_its_vectors_are_found_again(records, tmp_path):
    config = config_of(frozen=True, data={"side": 48, "cache": str(tmp_path / "cache")})
    pretrain_pairs(records, tmp_path / "a", config=config)
    run = prepare_pairs(records, tmp_path / "a", config, quiet)
    assert run.data.images["cfp"].ndim == 2
    state = load_state(tmp_path / "a" / "encoder.safetensors")
    start = run.network.state_dict()
    same = {k for k in state if torch.equal(state[k], start[k])}
    assert {k for k in state if k.startswith("image.")} <= same
    assert "image_projection.weight" not in same
    assert not any(k.startswith("text.first") for k in same)


def test_texts_come_from_any_source(records, tmp_path):
    class Mine:
        """A knowledge base of one's own."""

        def findings_of(self, study: StudyRecord) -> list[str]:
            return ["eye"]

        def texts_of(self, study: StudyRecord) -> list[str]:
            return [f"an eye called {study.study_id}"]

        def texts_for(self, finding: str) -> list[str]:
            return ["eye", "organ of sight"]

        def mentions(self, study: StudyRecord) -> dict[str, int]:
            return {"eye": 1}

    run = prepare_pairs(records, tmp_path, config_of(), quiet, source=Mine())
    assert list(run.findings) == ["eye"]
    assert list(run.wordings) == [["eye", "organ of sight"]]


def test_a_text_without_a_picture_is_kept_for_matching(records, tmp_path):
    alone = StudyRecord(study_id="only words", patient_id="w", report="Macular hole in this eye.")
    run = prepare_pairs([*records, alone], tmp_path, config_of("medclip"), quiet)
    assert "Macular hole in this eye." in [line.text for line in run.lines]
    assert "no finding" in run.findings


def test_refusals_say_what_to_do(records, tmp_path):
    labels_only = [replace(r, report=None) for r in records]
    silent = [replace(r, report=None, labels={}) for r in records]
    for given, config, words in (
        (records, config_of(model="hashing.test"), "no images and texts in one space"),
        (labels_only, config_of("keepfit"), "reports and studies with labels only"),
        (silent, config_of(), "too few"),
        (records, config_of(modality="ffa"), "no pictures of ffa"),
        (records, config_of(train={**TRAIN, "batch_size": 500}), "too few"),
    ):
        with pytest.raises(InvalidInput, match=words):
            prepare_pairs(given, tmp_path, config, quiet)
