"""Segmenters that begin from another one: the weights are taken over, what differs is refused or begins at random."""

import json

import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput, UnknownName
from fundusion.core.registry import models
from fundusion.layers.weights import digest, save_state
from fundusion.segmenting import load_segmenter
from fundusion.shipped import segmenter_facts
from fundusion.train.config import FitConfig
from fundusion.train.mask_data import MaskSet
from fundusion.train.segmentation import SegmentConfig, prepare_segmentation, read_recipe, train_segmenter
from fundusion.train.warm_start import left_out, refuse_trained_patients, seen_before, start_digest, start_from

OPTIONS = {"width": 4, "levels": 3}


def quiet(title):
    from contextlib import nullcontext

    return nullcontext(lambda *a, **k: None)


def written(folder, classes=("vessel",), **options):
    """Return a segmenter of random weights as training writes it."""
    folder.mkdir(parents=True)
    torch.manual_seed(7)
    model = models.create("unet.small", **OPTIONS, **options, classes=classes)
    save_state(folder / "segmenter.safetensors", model.state_dict(), metadata={"model": "unet.small"})
    facts = {
        "model": "unet.small", "options": {**OPTIONS, **options, "classes": list(classes)}, "classes": list(classes),
        "field_px": 64, "thresholds": dict.fromkeys(classes, 0.5), "training_data": ["drive"],
        "sha256": digest(folder / "segmenter.safetensors"),
    }  # fmt: skip
    (folder / "segmenter.json").write_text(json.dumps(facts))
    return model


def config_of(root, start, **changes):
    value = {
        "options": OPTIONS, "start": str(start), "classes": ("vessel",), "sets": (MaskSet(name="hrf", root=str(root)),),
        "field_px": 64, "patch_px": 32, "patches": 1,
        "train": FitConfig(epochs=1, batch_size=4, learning_rate=1e-3, warmup_steps=1, ema=0.5),
    }  # fmt: skip
    return SegmentConfig(**{**value, **changes})


@pytest.fixture(scope="module")
def tree(tmp_path_factory, draw_vessels):
    root = tmp_path_factory.mktemp("hrf")
    for number in range(1, 8):
        draw_vessels(root, number)
    return root


def test_training_begins_from_the_weights_and_says_so(tree, tmp_path):
    old = written(tmp_path / "old")
    run = prepare_segmentation(tmp_path / "run", config_of(tree, tmp_path / "old"), quiet)
    assert all(torch.equal(v, old.state_dict()[k]) for k, v in run.model.state_dict().items())
    train_segmenter(tmp_path / "run", config=config_of(tree, tmp_path / "old"))
    facts = load_segmenter(tmp_path / "run").facts
    assert facts["start"] == start_digest(str(tmp_path / "old"))
    # What the weights saw before they have seen still.
    assert facts["training_data"] == ["drive", "hrf"]
    assert any(
        not torch.equal(v, old.state_dict()[k]) for k, v in load_segmenter(tmp_path / "run").model.state_dict().items()
    )


def test_structures_of_both_keep_their_answer_and_new_ones_begin_at_random(tmp_path):
    old = written(tmp_path / "old", ("disc", "vessel"))
    torch.manual_seed(1)
    new = models.create("unet.small", **OPTIONS, classes=("vessel", "fovea"))
    before = new.unet1.final.weight.detach().clone()
    start_from(str(tmp_path / "old"), new, model_name="unet.small", options=OPTIONS, classes=("vessel", "fovea"))
    assert torch.equal(new.unet1.final.weight[1], before[1])
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        one, other = (m.eval().segment(images) for m in (old, new))
    torch.testing.assert_close(one[:, 1], other[:, 0])
    assert not torch.allclose(one[:, 0], other[:, 1])


def test_another_network_is_refused(tmp_path):
    written(tmp_path / "old")
    wider = {**OPTIONS, "width": 8}
    with pytest.raises(InvalidInput, match="'width': 4"):
        start_from(
            str(tmp_path / "old"),
            models.create("unet.small", **wider, classes=("vessel",)),
            model_name="unet.small",
            options=wider,
            classes=("vessel",),
        )
    written(tmp_path / "both", ("artery", "vein"), cascade=True)
    options = {**OPTIONS, "cascade": True}
    with pytest.raises(InvalidInput, match="W-Net"):
        start_from(
            str(tmp_path / "both"),
            models.create("unet.small", **options, classes=("vessel",)),
            model_name="unet.small",
            options=options,
            classes=("vessel",),
        )
    with pytest.raises(UnknownName):
        start_digest("nothing")
    with pytest.raises(InvalidInput, match=r"begins from '\.\./runs/nothing'") as caught:
        start_digest("../runs/nothing")
    assert caught.value.code == "config.start"


def test_weights_that_were_exchanged_are_refused(tree, tmp_path):
    written(tmp_path / "old")
    torch.manual_seed(8)
    other = models.create("unet.small", **OPTIONS, classes=("vessel",))
    save_state(tmp_path / "old" / "segmenter.safetensors", other.state_dict(), metadata={"model": "unet.small"})
    with pytest.raises(IncompatibleWeights) as caught:
        prepare_segmentation(tmp_path / "run", config_of(tree, tmp_path / "old"), quiet)
    assert caught.value.code == "model.digest"


def test_what_is_begun_from_decides_the_weights_and_where_it_lies_does_not(tree, tmp_path):
    written(tmp_path / "old")
    written(tmp_path / "copy")
    plain = SegmentConfig(options=OPTIONS, classes=("vessel",), sets=(MaskSet(name="hrf", root=str(tree)),))
    one, two = (plain.model_copy(update={"start": str(tmp_path / n)}) for n in ("old", "copy"))
    assert one.digest() == two.digest() != plain.digest()
    assert seen_before("") == set()


def test_a_recipe_names_a_folder_beside_it_or_a_shipped_segmenter(tmp_path):
    written(tmp_path / "runs" / "old")
    text = "classes = ['vessel']\nsets = []\nstart = '{}'"
    (tmp_path / "near.toml").write_text(text.format("runs/old"))
    (tmp_path / "shipped.toml").write_text(text.format("vessels"))
    assert read_recipe(tmp_path / "near.toml").start == str(tmp_path / "runs/old")
    assert read_recipe(tmp_path / "shipped.toml").start == "vessels"


def test_patients_that_the_first_weights_saw_are_not_held_out(tree, tmp_path):
    config = config_of(tree, "")
    train_segmenter(tmp_path / "first", config=config)
    facts = load_segmenter(tmp_path / "first").facts
    assert list(facts["held_out"]) == ["hrf"]
    assert len(facts["held_out"]["hrf"]) == 1
    begun = {"start": str(tmp_path / "first")}
    same = prepare_segmentation(tmp_path / "same", config.model_copy(update=begun), quiet)
    assert same.data.marks(same.held_out) == facts["held_out"]
    more = config.model_copy(update={**begun, "validation_fraction": 0.4})
    with pytest.raises(InvalidInput, match=r"[23] of the 3 patients") as caught:
        prepare_segmentation(tmp_path / "more", more, quiet)
    assert caught.value.code == "train.leak"
    stored = tmp_path / "first" / "segmenter.json"
    stored.write_text(json.dumps({k: v for k, v in facts.items() if k != "held_out"}))
    with pytest.raises(InvalidInput, match="does not say which patients"):
        prepare_segmentation(tmp_path / "old", config.model_copy(update=begun), quiet)


def test_what_was_left_out_before_stays_left_out():
    assert left_out("", {"drive": ["a"]}) == {"drive": ["a"]}
    shipped = segmenter_facts("vessels")["held_out"]
    both = left_out("vessels", {"drive": shipped["drive"][:1], "own": ["b"]})
    assert both == {**shipped, "drive": shipped["drive"][:1], "own": ["b"]}
    refuse_trained_patients("vessels", {"own": ["b"], "drive": shipped["drive"]})
    with pytest.raises(InvalidInput, match="1 of the 1 patients"):
        refuse_trained_patients("vessels", {"own": ["b"], "drive": ["c"]})
    refuse_trained_patients("", {"own": ["b"]})
