"""Promptable segmenters prompted by our own masks: no human, and no truth."""

import numpy as np
import pytest
import torch

from fundusion.core.errors import InvalidInput, UnknownName
from fundusion.core.registry import models
from fundusion.prompting import Prompted, box_prompts, is_promptable, load_models, refine_masks
from fundusion.segmenting import Masks, whole_frame

SHAPE = (80, 100)


class Filler(torch.nn.Module):
    """Three answers to a box: everything, an ellipse in it, nothing; keeps the boxes it saw."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(9.0))
        self.seen, self.modes = [], []

    def segment(self, images, prompts=None):
        box = prompts.boxes[0]
        self.seen.append(tuple(box.tolist()))
        self.modes.append(self.training)
        y, x = torch.meshgrid(*(torch.arange(n).float() for n in images.shape[2:]), indexing="ij")
        ellipse = ((x - (box[0] + box[2]) / 2) / (box[2] - box[0]) * 2) ** 2
        ellipse = ellipse + ((y - (box[1] + box[3]) / 2) / (box[3] - box[1]) * 2) ** 2
        signs = torch.stack([torch.ones_like(x), 1 - 2 * (ellipse > 1).float(), -torch.ones_like(x)])
        return self.scale * signs[None]


def given(**masks):
    return Masks(
        probabilities={k: m.astype(np.float32) for k, m in masks.items()},
        masks=masks,
        field=whole_frame(SHAPE),
        provenance={"segmenter": "own"},
    )


def disc(row=40, column=60, radius=12):
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


PIXELS = np.full((*SHAPE, 3), 90, np.uint8)


def test_boxes_come_from_the_masks_one_for_a_disc_one_per_lesion():
    lesions = disc(20, 20, 4) | disc(60, 30, 6)
    found = box_prompts(given(disc=disc(), exudate=lesions, cup=np.zeros(SHAPE, bool)), margin=0.0)
    assert found["disc"] == ((46, 26, 74, 54),)
    assert found["exudate"] == ((22, 52, 38, 68), (14, 14, 26, 26))
    assert found["cup"] == ()
    with pytest.raises(InvalidInput, match="vessel"):
        box_prompts(given(disc=disc()), ["vessel"])


def test_masks_are_drawn_anew_from_own_boxes_and_the_most_alike_answer_is_taken():
    model = Filler()
    masks = given(disc=disc(), cup=np.zeros(SHAPE, bool), vessel=disc(10, 10, 3))
    out = refine_masks(model, PIXELS, masks, name="filler")
    assert len(model.seen) == 1
    assert model.seen[0] == pytest.approx(out.boxes["disc"][0])
    drawn, own = out.masks.masks["disc"], masks.masks["disc"]
    assert 2 * (drawn & own).sum() / (drawn.sum() + own.sum()) > 0.75
    assert out.masks.masks["vessel"] is masks.masks["vessel"]
    assert "nothing" in out.skipped["cup"]
    assert not out.masks.masks["cup"].any()
    assert out.masks.provenance["refined_by"] == "filler"
    assert out.masks.provenance["segmenter"] == "own"
    # The model was evaluated, and left as it was; what was given is unchanged.
    assert model.modes == [False]
    assert model.training
    assert masks.masks["disc"] is own


def test_a_cup_stays_inside_its_disc_and_each_structure_may_have_its_model():
    small, large = Filler(), Filler()
    masks = given(disc=disc(radius=8), cup=disc(column=68, radius=6))
    out = refine_masks({"disc": small, "cup": large}, PIXELS, masks)
    assert len(small.seen) == len(large.seen) == 1
    assert out.masks.masks["cup"].any()
    assert not (out.masks.masks["cup"] & ~out.masks.masks["disc"]).any()
    with pytest.raises(InvalidInput, match="cup"):
        refine_masks({"disc": small}, PIXELS, masks)


@pytest.mark.parametrize("name", ["sam.test", "medsam.test", "medsegx.test"])
def test_every_family_runs_without_a_human(name):
    torch.manual_seed(0)
    out = refine_masks(models.create(name), PIXELS, given(disc=disc()))
    assert out.masks.masks["disc"].shape == SHAPE
    assert np.isfinite(out.masks.probabilities["disc"]).all()
    assert out.boxes["disc"]


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(InvalidInput, match="different size"):
        refine_masks(Filler(), PIXELS[:-1], given(disc=disc()))
    with pytest.raises(InvalidInput, match="8 bits"):
        refine_masks(Filler(), PIXELS[..., 0], given(disc=disc()))


def test_own_segmenters_and_the_promptable_one_are_told_apart():
    own, prompted = load_models("disc_cup,sam.test", prompts="auto")
    assert [s.name for s in own] == ["disc_cup"]
    assert prompted.name == "sam.test"
    assert prompted.structures(["vessel", "artery", "vein", "disc", "EX"]) == ("disc", "EX")
    own, prompted = load_models("medsegx.test", prompts="auto")
    assert "vessels" not in [s.name for s in own]
    assert "disc_cup" in [s.name for s in own]
    # MedSegX has no task for exudates.
    assert prompted.structures(["disc", "cup", "EX"]) == ("disc", "cup")
    assert load_models("disc_cup")[1] is None
    assert not is_promptable("samples")


def test_all_is_every_shipped_segmenter_of_the_pictures_that_are_used():
    photographs = [s.name for s in load_models("all")[0]]
    assert {"vessels", "disc_cup", "lesions"} <= set(photographs)
    assert [s.name for s in load_models("all", modality="ffa")[0]] == ["ffa_areas"]
    assert "ffa_areas" not in photographs
    with pytest.raises(InvalidInput, match="no segmenter of oct pictures") as caught:
        load_models("all", modality="oct")
    assert caught.value.code == "segmenter.modality"
    assert "oct-layers" in caught.value.hint


@pytest.mark.parametrize(
    ("names", "options"),
    [
        ("sam.test", {}),
        ("vessels", {"prompts": "auto"}),
        ("vessels", {"weights": "x"}),
        ("sam.test,medsam.test", {"prompts": "auto"}),
        ("sam.test", {"prompts": "truth"}),
        ("sam.test", {"prompts": "auto", "base": "x"}),
    ],
)
def test_prompts_without_a_model_and_a_model_without_prompts_are_refused(names, options):
    with pytest.raises(InvalidInput):
        load_models(names, **options)
    with pytest.raises(UnknownName):
        load_models("sam.nothing", prompts="auto")


def test_a_model_for_all_structures_serves_those_without_one_of_their_own():
    everyone = Filler()
    refined = refine_masks({"*": everyone}, PIXELS, given(disc=disc()), structures=["disc"])
    assert everyone.seen
    assert refined.masks.masks["disc"].any()
    assert Prompted(name="x", models={"disc": everyone}).structures(["cup", "disc"]) == ("disc",)
