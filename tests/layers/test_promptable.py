"""Segment Anything of transformers: the two preparations, weights from every kind of file, adapters on few masks."""

import pytest
import torch
from torch.nn import functional as F

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.interfaces import Prompts
from fundusion.core.registry import models
from fundusion.layers.promptable import prepare_medsam, prepare_sam, settings_of

BOX = Prompts(boxes=torch.tensor([[10.0, 8.0, 60.0, 40.0]]))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return models.create("sam.test").eval()


def picture(height=48, width=96, seed=1):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_sam_scales_the_long_side_and_pads_after_standardising():
    found = prepare_sam(torch.ones(1, 3, 50, 100), 64)
    assert found.pixels.shape == (1, 3, 64, 64)
    assert found.covered == (32, 64)
    assert found.factors == (0.64, 0.64)
    assert bool((found.pixels[:, :, 32:] == 0).all())
    torch.testing.assert_close(found.pixels[0, 0, 0, 0], torch.tensor((1 - 0.485) / 0.229))


def test_sam_agrees_with_the_processor_of_transformers():
    transformers = pytest.importorskip("transformers")
    processor = transformers.SamImageProcessor(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    images = (picture(60, 100) * 255).round()
    wanted = processor(images[0].byte(), return_tensors="pt")["pixel_values"]
    found = prepare_sam(images / 255, 64).pixels
    # Their values are rounded to whole numbers of 255 on the way.
    assert float((found - wanted).abs().max()) < 1.01 / 255 / 0.224


def test_medsam_ignores_the_aspect_and_stretches_every_picture_alone():
    images = torch.cat([picture() * 0.5 + 0.2, picture(seed=2)])
    found = prepare_medsam(images, 64)
    assert found.pixels.shape == (2, 3, 64, 64)
    assert found.covered == (64, 64)
    assert found.factors == (64 / 96, 64 / 48)
    for one in found.pixels:
        assert float(one.min()) == 0
        assert float(one.max()) == pytest.approx(1)
    # Brightness and contrast of the whole picture are gone, what the other pictures are does not matter.
    torch.testing.assert_close(prepare_medsam(images[:1] * 0.3 + 0.1, 64).pixels, found.pixels[:1], rtol=0, atol=1e-5)
    assert bool((prepare_medsam(torch.full((1, 3, 9, 9), 0.4), 16).pixels == 0).all())


@torch.no_grad()
def test_the_image_is_visible_to_fresh_weights(model):
    a, b = (model.body.vision_encoder(prepare_sam(picture(seed=s), 64).pixels).last_hidden_state for s in (1, 2))
    assert float(a.std()) > 0.1
    assert float((a - b).abs().mean()) > 0.01
    assert model.body.config.vision_config.initializer_range == 0.02


@torch.no_grad()
def test_masks_are_those_of_the_library_brought_back_by_its_processor(model):
    transformers = pytest.importorskip("transformers")
    images = picture()
    ready = prepare_sam(images, 64)
    low = model.body(
        pixel_values=ready.pixels, input_boxes=(BOX.boxes * (64 / 96))[:, None], multimask_output=False
    ).pred_masks
    processor = transformers.SamImageProcessor(pad_size={"height": 64, "width": 64})
    wanted = processor.post_process_masks(
        low, [[48, 96]], [[32, 64]], binarize=False, pad_size={"height": 64, "width": 64}
    )
    torch.testing.assert_close(model.segment(images, BOX)[0], wanted[0][0], rtol=1e-4, atol=1e-8)


@torch.no_grad()
def test_medsam_scales_probabilities(model):
    torch.manual_seed(0)
    other = models.create("medsam.test").eval()
    answer = other.answer(picture(), BOX)
    wanted = F.interpolate(torch.sigmoid(answer.low), size=(48, 96), mode="bilinear")
    torch.testing.assert_close(torch.sigmoid(other.segment(picture(), BOX)), wanted, rtol=0, atol=1e-6)


@torch.no_grad()
def test_prompts_and_the_number_of_masks(model):
    torch.manual_seed(0)
    several = models.create("sam.test", multimask=True).eval()
    assert several.segment(picture(), BOX).shape == (1, 3, 48, 96)
    assert several.answer(picture(), BOX).scores.shape == (1, 3)
    points = Prompts(points=torch.tensor([[[5.0, 6.0]]]), point_labels=torch.tensor([[1]]))
    found = [model.segment(picture(), p) for p in (None, BOX, points, Prompts(masks=torch.randn(1, 1, 48, 96)))]
    for i, one in enumerate(found):
        assert not any(torch.equal(one, other) for other in found[:i])


def test_weights_from_folder_file_and_released_names(model, tmp_path):
    from fundusion.layers.weights import save_state

    model.body.save_pretrained(tmp_path / "hf")
    for source in (tmp_path / "hf", tmp_path / "hf" / "model.safetensors"):
        torch.manual_seed(5)
        again = models.create("sam.test", weights=str(source)).eval()
        assert torch.equal(again.segment(picture(), BOX), model.segment(picture(), BOX))
    assert again.weights_record["loaded"] == len(model.body.state_dict())
    any_size = models.create("sam.any", source=str(tmp_path / "hf")).eval()
    assert torch.equal(any_size.segment(picture(), BOX), model.segment(picture(), BOX))
    fresh = models.create("sam.any", source=str(tmp_path / "hf"), fresh=True).eval()
    assert not torch.equal(fresh.segment(picture(), BOX), model.segment(picture(), BOX))
    broken = dict(model.body.state_dict())
    del broken["mask_decoder.iou_token.weight"]
    save_state(tmp_path / "broken.safetensors", {k: v.clone() for k, v in broken.items()})
    with pytest.raises(IncompatibleWeights, match="iou_token"):
        models.create("sam.test", weights=str(tmp_path / "broken.safetensors"))


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"config\.json"):
        settings_of(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InvalidInput, match="bert"):
        settings_of(str(tmp_path))
    with pytest.raises(InvalidInput, match="preparation"):
        models.create("sam.test", preparation="other")


@torch.no_grad()
@pytest.mark.parametrize("name", ["sam.test", "medsam.test"])
def test_sixteen_bits_give_the_same_picture(name):
    torch.manual_seed(0)
    model = models.create(name).eval()
    plain = model.segment(picture(), BOX)
    with torch.autocast("cpu", torch.bfloat16):
        low = model.segment(picture(), BOX)
    assert low.dtype == torch.float32
    assert float(torch.corrcoef(torch.stack([low.flatten(), plain.flatten()]))[0, 1]) > 0.98
