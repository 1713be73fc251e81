"""MedSAM: its own preparation unless told otherwise."""

import torch

from fundusion.core.interfaces import Prompts
from fundusion.core.registry import models

BOX = Prompts(boxes=torch.tensor([[10.0, 8.0, 60.0, 40.0]]))


@torch.no_grad()
def test_brightness_and_contrast_of_the_picture_do_not_count_but_do_for_sam():
    image = torch.rand(1, 3, 48, 96, generator=torch.Generator().manual_seed(1))
    for name, option, same in (
        ("medsam.test", {}, True),
        ("medsam.test", {"preparation": "sam"}, False),
        ("sam.test", {"preparation": "medsam"}, True),
    ):
        torch.manual_seed(0)
        model = models.create(name, **option).eval()
        a, b = model.answer(image, BOX).low, model.answer(image * 0.2 + 0.1, BOX).low
        close = float((a - b).abs().max() / a.abs().max()) < 1e-2
        assert close == same


@torch.no_grad()
def test_the_box_is_scaled_by_side():
    torch.manual_seed(0)
    model = models.create("medsam.test").eval()
    seen = {}
    body, eye = model.body.forward, model.body.vision_encoder.forward
    model.body.forward = lambda **k: seen.update(k) or body(**k)
    model.body.vision_encoder.forward = lambda x: seen.update(pixels=x) or eye(x)
    model.segment(torch.rand(1, 3, 32, 128), Prompts(boxes=torch.tensor([[16.0, 8.0, 64.0, 24.0]])))
    assert seen["input_boxes"].tolist() == [[[8.0, 16.0, 32.0, 48.0]]]
    assert seen["multimask_output"] is False
    assert seen["pixels"].shape == (1, 3, 64, 64)
    assert models.card("medsam.test").input.fit == "stretch"
