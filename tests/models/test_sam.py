"""Segment Anything: sizes, the released file, and adapters on one drawn mask."""

import re

import pytest
import torch

from fundusion.core.errors import IncompatibleWeights
from fundusion.core.interfaces import Prompts, Segmenter
from fundusion.core.registry import models, objectives
from fundusion.layers.lora import add_lora, merge_lora
from fundusion.layers.sam_image import SamImageEncoder
from fundusion.layers.sam_masks import SamMaskDecoder, SamPromptEncoder

BOX = Prompts(boxes=torch.tensor([[10.0, 8.0, 50.0, 40.0]]))


def picture(seed=1):
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["sam.vit_b", "sam.vit_l", "sam.vit_h", "medsam.vit_b"])
def test_a_real_size_is_what_it_says(name):
    with torch.device("meta"):
        model = models.create(name)
    claimed = float(re.search(r"\(([\d.]+) M parameters", models.builder(name).__doc__)[1])
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(claimed, rel=1e-3)
    assert isinstance(model, Segmenter)
    assert models.card(name).weights.startswith("hub:")
    assert model.size == models.card(name).input.size == 1024


@torch.no_grad()
def test_the_released_file_loads_under_its_own_names(tmp_path):
    torch.manual_seed(3)
    parts = {
        "image_encoder": SamImageEncoder(16, 2, 2, (1,), size=64, window=2, out=32),
        "prompt_encoder": SamPromptEncoder(32, 4, 64),
        "mask_decoder": SamMaskDecoder(32, num_heads=2, mlp=32, score_hidden=32),
    }
    state = {f"{n}.{k}": v for n, m in parts.items() for k, v in m.state_dict().items()}
    torch.save(state, tmp_path / "sam_vit.pth")
    model = models.create("sam.test", weights=str(tmp_path / "sam_vit.pth")).eval()
    pixels = torch.randn(1, 3, 64, 64)
    maps, _ = parts["image_encoder"](pixels)
    tokens, dense = parts["prompt_encoder"](BOX, 1)
    masks, _ = parts["mask_decoder"](maps, parts["prompt_encoder"].places(), tokens, dense)
    found = model.body(pixel_values=pixels, input_boxes=BOX.boxes[:, None], multimask_output=True).pred_masks
    torch.testing.assert_close(found[:, 0], masks[:, 1:], rtol=1e-3, atol=1e-3)
    del state["prompt_encoder.no_mask_embed.weight"]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(IncompatibleWeights, match="no_mask_embed"):
        models.create("sam.test", weights=str(tmp_path / "less.pth"))


def test_adapters_learn_one_drawn_mask_in_three_steps_and_merge():
    torch.manual_seed(0)
    model = models.create("sam.test", multimask=True).eval()
    with torch.no_grad():
        # Fresh weights of 0.02 in the decoder give masks of 1e-5; larger ones stand for trained ones.
        for p in model.body.mask_decoder.parameters():
            p.mul_(8)
    image, target = picture(), torch.zeros(1, 1, 64, 64)
    target[..., 10:40, 12:50] = 1
    with torch.no_grad():
        before = model.segment(image, BOX)
    add_lora(model, rank=4)
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert learning
    assert all("lora_" in n for n in learning)
    assert any("vision_encoder" in n for n in learning)
    assert any("mask_decoder" in n for n in learning)
    loss = objectives.create("promptable.sam")
    optimizer = torch.optim.AdamW(learning.values(), lr=0.02)
    values = []
    for _ in range(4):
        found = model.answer(image, BOX)
        total = loss([found.logits], target, scores=found.scores).total
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(float(total.detach()))
    assert values[3] < values[0]
    assert any(float(p.grad.abs().max()) > 0 for n, p in learning.items() if "vision_encoder" in n)
    with torch.no_grad():
        after = model.segment(image, BOX)
        assert not torch.allclose(before, after)
        merge_lora(model)
        torch.testing.assert_close(model.segment(image, BOX), after, rtol=1e-3, atol=1e-4)
    assert not any("lora" in n for n in model.state_dict())
