"""Training a segmenter: it learns, a killed run goes on exactly, and what it writes can be used."""

import json
from contextlib import nullcontext

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.layers.weights import load_state
from fundusion.segmenting import load_segmenter
from fundusion.train import loop
from fundusion.train.config import FitConfig
from fundusion.train.mask_data import MaskSet
from fundusion.train.segment_calibration import calibrate_segmenter
from fundusion.train.segmentation import SegmentConfig, prepare_segmentation, read_recipe, train_segmenter

FIT = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 2, "ema": 0.5, "checkpoint_every": 1}


@pytest.fixture(scope="module")
def tree(tmp_path_factory, draw_vessels):
    root = tmp_path_factory.mktemp("hrf")
    for number in range(1, 8):
        draw_vessels(root, number)
    return root


def quiet(title):
    return nullcontext(lambda *a, **k: None)


def config_of(tree, **changes):
    value = {
        "options": {"width": 4, "levels": 3},
        "classes": ("vessel",),
        "sets": (MaskSet(name="hrf", root=str(tree)),),
        "field_px": 64,
        "patch_px": 32,
        "patches": 2,
        "train": FitConfig(**FIT),
        **changes,
    }
    return SegmentConfig(**value)


def test_the_loss_falls_and_the_result_can_be_used(tree, tmp_path):
    config = config_of(tree, train=FitConfig(**{**FIT, "epochs": 30}), thresholds={"vessel": 0.4}, terms="mine")
    result = train_segmenter(tmp_path / "run", config=config)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert rows[-1]["dice_vessel"] == rows[-1]["dice"]
    assert rows[-1]["dice"] > 0.5
    assert result.exit_code == 0
    segmenter = load_segmenter(tmp_path / "run")
    assert segmenter.classes == ("vessel",)
    assert segmenter.facts["training_data"] == ["hrf"]
    assert (segmenter.thresholds, segmenter.facts["terms"]) == ({"vessel": 0.4}, "mine")


def test_the_kind_of_pictures_is_written_where_a_recipe_says_it(tree, tmp_path):
    for modality in ("", "ffa"):
        train_segmenter(tmp_path / f"run{modality}", config=config_of(tree, modality=modality))
        assert load_segmenter(tmp_path / f"run{modality}").facts.get("modality", "") == modality
    assert config_of(tree, modality="ffa").digest() == config_of(tree).digest()


def test_structures_that_only_teach_are_not_written(tree, tmp_path):
    sets = (MaskSet(name="hrf", root=str(tree), absent=("EX",)),)
    both = config_of(tree, classes=("EX", "vessel"), sets=sets)
    config = config_of(tree, classes=("EX", "vessel"), sets=sets, kept=("vessel",))
    assert config.digest() == both.digest()
    for name, given in (("both", both), ("kept", config)):
        train_segmenter(tmp_path / name, config=given)
    whole, cut = load_segmenter(tmp_path / "both"), load_segmenter(tmp_path / "kept")
    assert cut.classes == ("vessel",)
    assert list(cut.thresholds) == ["vessel"]
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(cut.model.segment(images), whole.model.segment(images)[:, 1:])
    with pytest.raises(InvalidInput, match="cannot be cut to vein"):
        prepare_segmentation(tmp_path / "slip", config_of(tree, kept=("vein",)), quiet)


def test_a_run_that_was_killed_goes_on_bit_for_bit(tree, tmp_path, monkeypatch):
    config = config_of(tree)
    train_segmenter(tmp_path / "whole", config=config)
    steps = []

    def killed(run, state, *rest):
        if len(steps) == 3:
            raise KeyboardInterrupt
        steps.append(1)
        return real(run, state, *rest)

    real = loop._one
    monkeypatch.setattr(loop, "_one", killed)
    with pytest.raises(KeyboardInterrupt):
        train_segmenter(tmp_path / "cut", config=config)
    monkeypatch.setattr(loop, "_one", real)
    train_segmenter(tmp_path / "cut", config=config)
    whole, cut = (load_state(tmp_path / n / "segmenter.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(whole[k], cut[k]) for k in whole)
    with pytest.raises(InvalidInput, match="another config"):
        train_segmenter(tmp_path / "cut", config=config_of(tree, patches=3))


def test_held_out_pictures_are_never_trained_on(tree, tmp_path):
    run = prepare_segmentation(tmp_path, config_of(tree), quiet)
    assert not set(run.training // 2) & set(run.held_out)
    assert set(run.training // 2) | set(run.held_out) == set(range(len(run.data)))


def test_a_digest_follows_what_decides_the_weights_only(tree):
    base = config_of(tree)
    assert config_of(tree, cache="elsewhere").digest() == base.digest()
    assert config_of(tree, sets=(MaskSet(name="hrf", root="other"),)).digest() == base.digest()
    assert config_of(tree, thresholds={"vessel": 0.3}, terms="x").digest() == base.digest()
    assert config_of(tree, zoom=1.1).digest() != base.digest()


def test_a_segmenter_may_be_used_at_another_scale_and_says_what_it_needs(tree, tmp_path):
    plain = config_of(tree)
    larger = plain.model_copy(update={"used_px": 96, "least_px": 20})
    assert larger.digest() == plain.digest()
    train_segmenter(tmp_path / "a", config=plain)
    train_segmenter(tmp_path / "b", config=larger)
    one, two = (load_segmenter(tmp_path / n) for n in "ab")
    assert (one.field_px, one.trained_px, one.least_px) == (64, 64, 32)
    assert (two.field_px, two.trained_px, two.least_px) == (96, 64, 20)
    assert one.sha256 == two.sha256
    # Calibrated where it is used.
    assert "vessel" in calibrate_segmenter(tmp_path / "b", larger)
    with pytest.raises(InvalidInput, match="at 96 px"):
        calibrate_segmenter(tmp_path / "b", plain)


def test_recipes_in_the_repository_are_valid():
    from pathlib import Path

    folder = Path(__file__).parents[2] / "recipes"
    for name in ("vessels", "artery_vein", "disc_cup", "lesions", "microaneurysms", "ffa_areas"):
        config = read_recipe(folder / f"{name}.toml", "data")
        assert all(s.root.startswith("data") for s in config.sets)


@pytest.mark.parametrize(
    ("text", "words"),
    [("classes = 3", "classes"), ("classes = ['vessel']\nsets = []\nfield_px = 50", "field_px"),
     ("classes = [", "no recipe"), ("classes = ['vessel']\nsets = []\nspeed = 1", "speed")],
)  # fmt: skip
def test_a_wrong_recipe_says_what_is_wrong(tmp_path, text, words):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(InvalidInput, match=words):
        read_recipe(tmp_path / "r.toml")
    with pytest.raises(InvalidInput, match="no recipe"):
        read_recipe(tmp_path / "absent.toml")


def test_compiling_is_asked_for_and_says_what_it_needs(tree, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("fundusion.train.segmentation.torch.compile", lambda f, **k: calls.append(k) or f)
    monkeypatch.setattr("fundusion.train.segmentation.shutil.which", lambda name: name if name == "g++" else None)
    train_segmenter(tmp_path / "compiled", config=config_of(tree, compile=True))
    train_segmenter(tmp_path / "plain", config=config_of(tree))
    assert len(calls) == 1
    one, two = (load_state(tmp_path / n / "segmenter.safetensors") for n in ("compiled", "plain"))
    assert all(torch.equal(one[k], two[k]) for k in one)
    monkeypatch.setattr("fundusion.train.segmentation.shutil.which", lambda name: None)
    with pytest.raises(InvalidInput, match=r"C\+\+ compiler"):
        train_segmenter(tmp_path / "none", config=config_of(tree, compile=True))


def test_an_option_that_came_later_and_is_not_used_lets_older_runs_go_on(tree):
    plain = config_of(tree)
    assert plain.digest() == config_of(tree, detail=1.0, compile=True).digest()
    assert plain.digest() != config_of(tree, detail=0.5).digest()
    asked = MaskSet(name="hrf", root=str(tree), most=3)
    assert plain.digest() != config_of(tree, sets=(asked,)).digest()
