"""Prompts: checked before anything is computed, scaled with the image, and drawn around known masks for training."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Prompts
from fundusion.layers.prompting import boxes_from_truth, checked_images, checked_prompts, scaled_mask, scaled_prompts

IMAGES = torch.zeros(2, 3, 20, 30)


@pytest.mark.parametrize("nothing", [None, Prompts()])
def test_without_a_prompt_the_box_is_the_whole_image(nothing):
    assert checked_prompts(nothing, IMAGES).boxes.tolist() == [[0, 0, 29, 19]] * 2


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        (Prompts(boxes=torch.zeros(1, 4)), "boxes"),
        (Prompts(boxes=torch.zeros(2, 1, 4)), "boxes"),
        (Prompts(boxes=torch.full((2, 4), float("nan"))), "finite"),
        (Prompts(boxes=torch.tensor([[5.0, 5.0, 3.0, 9.0]] * 2)), "x1 >= x0"),
        (Prompts(points=torch.zeros(2, 1, 2)), "belong together"),
        (Prompts(points=torch.zeros(2, 2, 2), point_labels=torch.ones(2, 1, dtype=torch.long)), "as many labels"),
        (Prompts(points=torch.zeros(2, 1, 2), point_labels=torch.full((2, 1), 2)), "labels of points"),
        (Prompts(masks=torch.zeros(2, 20, 30)), "masks"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(prompts, words):
    with pytest.raises(InvalidInput, match=words):
        checked_prompts(prompts, IMAGES)


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)]
)
def test_images_of_another_kind_are_refused(images):
    with pytest.raises(InvalidInput, match="floats"):
        checked_images(images)


def test_doubles_and_whole_numbers_are_brought_to_the_kind_of_the_images():
    found = checked_prompts(Prompts(boxes=torch.tensor([[1, 2, 3, 4]] * 2)), IMAGES)
    assert found.boxes.dtype == torch.float32


def test_places_are_scaled_by_axis():
    prompts = Prompts(
        boxes=torch.tensor([[20.0, 30.0, 200.0, 240.0]]),
        points=torch.tensor([[[8.0, 16.0]]]),
        point_labels=torch.tensor([[1]]),
    )
    found = scaled_prompts(prompts, 96 / 256, 0.5)
    torch.testing.assert_close(found.boxes, torch.tensor([[7.5, 15.0, 75.0, 120.0]]))
    assert found.points.tolist() == [[[3.0, 8.0]]]
    assert found.point_labels is prompts.point_labels


def test_the_official_scaling_of_a_box(golden_root):
    from safetensors.torch import load_file

    wanted = load_file(golden_root / "medsegx/tiny_medsegx.safetensors")["box_256_to_96"]
    found = scaled_prompts(Prompts(boxes=torch.tensor([[20.0, 30.0, 200.0, 240.0]])), 96 / 256, 96 / 256)
    torch.testing.assert_close(found.boxes, wanted)


def test_a_mask_prompt_covers_what_the_image_covers_and_nothing_else():
    found = scaled_mask(torch.full((1, 1, 40, 80), 5.0), 8, cut=(4, 8))
    assert found.shape == (1, 1, 8, 8)
    torch.testing.assert_close(found[0, 0, :4], torch.full((4, 8), 5.0))
    assert bool((found[0, 0, 4:] == -20).all())
    assert scaled_mask(None, 8) is None


def test_boxes_around_known_masks():
    masks = torch.zeros(2, 1, 20, 30)
    masks[0, 0, 4:9, 10:16] = 1
    masks[1, 0, 0, 29] = 1
    assert boxes_from_truth(masks).tolist() == [[10, 4, 15, 8], [29, 0, 29, 0]]
    assert boxes_from_truth(masks, margin_px=3).tolist() == [[7, 1, 18, 11], [26, 0, 29, 3]]
    drawn = [boxes_from_truth(masks[:1], jitter_px=4, generator=torch.Generator().manual_seed(s)) for s in range(30)]
    moved = (torch.cat(drawn) - torch.tensor([10.0, 4.0, 15.0, 8.0])) * torch.tensor([-1.0, -1.0, 1.0, 1.0])
    assert set(moved.flatten().tolist()) == {0, 1, 2, 3}
    with pytest.raises(InvalidInput, match="empty"):
        boxes_from_truth(torch.zeros(1, 1, 4, 4))
