"""Prompt encoder and mask decoder: the released numbers by way of another implementation, and what prompts do."""

import pytest
import torch

from fundusion.core.interfaces import Prompts
from fundusion.layers.promptable import sam_settings
from fundusion.layers.sam_masks import SamMaskDecoder, SamPromptEncoder
from fundusion.layers.sam_names import to_transformers

from .test_sam_image import drawn

WIDTH, GRID, SIZE = 16, 3, 48


@pytest.fixture
def parts():
    torch.manual_seed(0)
    prompts = drawn(SamPromptEncoder(WIDTH, GRID, SIZE), 1)
    decoder = drawn(SamMaskDecoder(WIDTH, num_heads=2, mlp=24, score_hidden=WIDTH), 2)
    return prompts, decoder


def answer(parts, points=None, labels=None, boxes=None, masks=None):
    prompts, decoder = parts
    maps = torch.randn(2, WIDTH, GRID, GRID, generator=torch.Generator().manual_seed(3))
    given = Prompts(points=points, point_labels=labels, boxes=boxes, masks=masks)
    tokens, dense = prompts(given, 2)
    return decoder(maps, prompts.places(), tokens, dense), maps


PROMPTS = {
    "box": {"boxes": torch.tensor([[3.0, 4.0, 20.0, 30.0], [0.0, 0.0, 47.0, 47.0]])},
    "points": {"points": torch.tensor([[[3.0, 4.0], [9.0, 40.0]]] * 2), "labels": torch.tensor([[1, 0], [1, -1]])},
    "mask": {"boxes": torch.tensor([[3.0, 4.0, 20.0, 30.0]] * 2), "masks": torch.ones(2, 1, 12, 12)},
}
PROMPTS["both"] = PROMPTS["box"] | PROMPTS["points"]


@torch.no_grad()
@pytest.mark.parametrize("kind", PROMPTS)
def test_masks_and_scores_equal_those_of_transformers(parts, kind):
    transformers = pytest.importorskip("transformers")
    settings = sam_settings(8, 1, 2, (), size=SIZE, window=2, channels=WIDTH, decoder_heads=2, decoder_mlp=24)
    body = transformers.SamModel(settings).eval()
    state = {f"prompt_encoder.{k}": v for k, v in parts[0].state_dict().items()}
    state |= {f"mask_decoder.{k}": v for k, v in parts[1].state_dict().items()}
    state |= {"image_encoder.x": torch.zeros(1)}
    named = {k: v for k, v in to_transformers(state).items() if not k.startswith("vision_encoder.")}
    report = body.load_state_dict(named, strict=False)
    assert not report.unexpected_keys
    assert all(k.startswith("vision_encoder.") for k in report.missing_keys)
    for module in body.mask_decoder.transformer.modules():
        if isinstance(module, torch.nn.LayerNorm):
            # The released code has the default of torch here, transformers another one.
            module.eps = 1e-5
    given = PROMPTS[kind]
    (masks, scores), maps = answer(parts, **given)
    for several in (False, True):
        found = body(
            image_embeddings=maps,
            input_points=given["points"][:, None] if "points" in given else None,
            input_labels=given["labels"][:, None] if "labels" in given else None,
            input_boxes=given["boxes"][:, None] if "boxes" in given else None,
            input_masks=given.get("masks"),
            multimask_output=several,
        )
        which = slice(1, None) if several else slice(0, 1)
        torch.testing.assert_close(masks[:, which], found.pred_masks[:, 0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(scores[:, which], found.iou_scores[:, 0], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_every_kind_of_prompt_changes_the_masks(parts):
    plain = answer(parts)[0][0]
    found = [plain] + [answer(parts, **p)[0][0] for p in PROMPTS.values()]
    for i, one in enumerate(found):
        assert one.shape == (2, 4, 12, 12)
        assert not any(torch.allclose(one, other) for other in found[:i])


def test_masks_at_the_resolution_of_the_image():
    decoder = SamMaskDecoder(32, num_heads=2, mlp=8, score_hidden=8, keep_resolution=True)
    masks, scores = decoder(
        torch.randn(2, 32, 3, 3), torch.randn(1, 32, 3, 3), torch.randn(2, 2, 32), torch.zeros(2, 32, 3, 3)
    )
    assert masks.shape == (2, 4, 48, 48)
    assert scores.shape == (2, 4)
