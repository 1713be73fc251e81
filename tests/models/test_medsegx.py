"""MedSegX: official numbers, released checkpoints, context, and answers that never saw the truth."""

import json

import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput, UnknownName
from fundusion.core.interfaces import Prompts
from fundusion.core.registry import models, objectives
from fundusion.layers.sam_image import Perceptron, SamImageEncoder
from fundusion.layers.sam_masks import SamMaskDecoder, SamPromptEncoder
from fundusion.layers.sam_names import to_transformers
from fundusion.layers.weights import save_state
from fundusion.models.medsegx import ConMoAE, MedSegX

from .golden import manifest

NAMES = {"tasks": ["OpticCup", "Liver"], "modalities": ["Fundus", "CT"]}
BOX = Prompts(boxes=torch.tensor([[10.0, 8.0, 50.0, 40.0]]))


def released_shapes(root):
    entries = json.loads((root / "medsegx/manifest_released_checkpoint_model_vit_b.json").read_text("utf-8"))
    return {k: tuple(v["shape"]) for k, v in entries.items()}


def shapes(module):
    return {k: tuple(v.shape) for k, v in module.state_dict().items()}


@pytest.fixture
def tiny(detfill):
    model = MedSegX(48, 3, 4, (1,), size=96, window=4, channels=64, decoder_mlp=64).eval()
    return detfill.fill(model)


@pytest.fixture
def small():
    """Its experts and context are not zero, as after training."""
    torch.manual_seed(0)
    model = models.create("medsegx.test").eval()
    for name, p in model.named_parameters():
        if "adapter_up" in name or "_embed." in name:
            torch.nn.init.normal_(p)
    return model


def picture(height=48, width=64, seed=1):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_a_block_of_experts_equals_the_official_one(golden, is_close):
    official = golden("medsegx/conmoae_block")
    block = ConMoAE(Perceptron(24, 96), 24, bottleneck=6, embedding=8).eval()
    block.load_state_dict({k[3:]: v for k, v in official.items() if k.startswith("sd.")})
    y, shares = block(official["x"], official["modal"], [official[f"organ{i}"] for i in range(5)])
    assert is_close(y, official["y"])
    assert is_close(shares, official["gate"])


@torch.no_grad()
def test_masks_and_losses_equal_the_official_ones(tiny, golden, golden_root, is_close):
    official = golden("medsegx/tiny_medsegx")
    assert shapes(tiny) == {k: s for k, (s, _) in manifest(golden_root, "medsegx/manifest_tiny").items()}
    found = tiny.masks(official["img"], Prompts(boxes=official["box"]), **NAMES)
    assert is_close(found.logits, official["masks"])
    assert [s.shape for s in found.shares] == [(2, 4)] * 3
    loss = objectives.create("promptable.medsegx")
    target = official["label"].float()
    assert is_close(loss.each(found.logits, target).T, official["losses"])
    assert is_close(loss([found.logits], target).total, official["loss_min"])


@torch.no_grad()
def test_segmenting_is_the_official_answer_in_house_units(tiny, golden):
    official = golden("medsegx/tiny_medsegx")
    tiny.task = "cup"
    found = tiny.segment(official["img"][:1] / 255, Prompts(boxes=official["box"][:1]))
    torch.testing.assert_close(found, official["masks"][:1], rtol=1e-3, atol=1e-3)


def test_names_and_shapes_of_the_real_size(golden_root):
    with torch.device("meta"):
        model = models.create("medsegx.vit_b")
    assert shapes(model) == {k: s for k, (s, _) in manifest(golden_root, "medsegx/manifest_full_vit_b").items()}
    trained = {k.removeprefix("sam.") for k, p in model.named_parameters() if p.requires_grad}
    assert trained == released_shapes(golden_root).keys()


def released_sam(size=128):
    """Tensors of a base SAM of the smallest size, for larger images as the released ones are."""
    torch.manual_seed(3)
    parts = {
        "image_encoder": SamImageEncoder(16, 2, 2, (1,), size=size, window=2, out=32),
        "prompt_encoder": SamPromptEncoder(32, size // 16, size),
        "mask_decoder": SamMaskDecoder(32, num_heads=2, mlp=32, score_hidden=32),
    }
    return {f"{n}.{k}": v for n, m in parts.items() for k, v in m.state_dict().items()}


@torch.no_grad()
def test_a_released_file_needs_the_base_and_both_give_the_network_back(small, tmp_path):
    trained = {n.removeprefix("sam.") for n, p in small.named_parameters() if p.requires_grad}
    file, base = tmp_path / "medsegx.pth", tmp_path / "sam.pth"
    torch.save({"model": {n: small.sam.state_dict()[n] for n in trained}, "optimizer": {}, "epoch": 29}, file)
    sam = released_sam()
    torch.save(sam, base)
    with pytest.raises(IncompatibleWeights, match="Segment Anything below it") as caught:
        models.create("medsegx.test", weights=str(file))
    assert "base=" in caught.value.hint
    model = models.create("medsegx.test", weights=str(file), base=str(base)).eval()
    assert all(torch.equal(model.sam.state_dict()[n], small.sam.state_dict()[n]) for n in trained)
    first = model.sam.image_encoder.blocks[0]
    assert torch.equal(first.mlp.mlp.lin1.weight, sam["image_encoder.blocks.0.mlp.lin1.weight"])
    assert torch.equal(first.attn.rel_pos_h, sam["image_encoder.blocks.0.attn.rel_pos_h"])
    assert model.sam.image_encoder.pos_embed.shape == (1, 4, 4, 16)
    assert model.weights_record["source"] == "medsegx.pth"
    assert model.weights_record["base"]["source"] == "sam.pth"
    # One file with everything needs no base.
    save_state(tmp_path / "whole.safetensors", {k: v.clone() for k, v in model.state_dict().items()})
    again = models.create("medsegx.test", weights=str(tmp_path / "whole.safetensors")).eval()
    assert torch.equal(again.segment(picture(), BOX), model.segment(picture(), BOX))


def test_a_base_saved_by_transformers_is_the_same_base(tmp_path):
    sam = released_sam()
    torch.save(sam, tmp_path / "sam.pth")
    save_state(tmp_path / "model.safetensors", {k: v.clone() for k, v in to_transformers(sam).items()})
    models_of = []
    for base in ("sam.pth", "model.safetensors"):
        torch.manual_seed(1)
        models_of.append(models.create("medsegx.test", base=str(tmp_path / base)).state_dict())
    assert all(torch.equal(v, models_of[1][k]) for k, v in models_of[0].items())


def test_the_base_alone_starts_a_training(tmp_path):
    sam = released_sam()
    torch.save(sam, tmp_path / "sam.pth")
    model = models.create("medsegx.test", base=str(tmp_path / "sam.pth"))
    own = model.sam.state_dict()
    assert torch.equal(own["mask_decoder.iou_token.weight"], sam["mask_decoder.iou_token.weight"])
    assert torch.equal(own["mask_decoder.output_upscaling.0.weight"], sam["mask_decoder.output_upscaling.0.weight"])
    assert float(own["image_encoder.modal_embed.weight"].abs().max()) == 0


def test_the_released_layout_of_the_real_size_loads_over_a_base_for_larger_images(golden_root, tmp_path):
    # Zero strides: the files are small although their tensors are not.
    state = {k: torch.full((), 0.25).expand(s) for k, s in released_shapes(golden_root).items()}
    assert len(state) == 398
    torch.save({"model": state, "optimizer": {}, "epoch": 29}, tmp_path / "medsegx_vit_b.pth")
    with torch.device("meta"):
        encoder = SamImageEncoder(768, 12, 12, (2, 5, 8, 11))
        parts = {
            "image_encoder": encoder,
            "prompt_encoder": SamPromptEncoder(256, 64, 1024),
            "mask_decoder": SamMaskDecoder(256),
        }
    base = {
        f"{n}.{k}": torch.full((), 0.5).expand(v.shape) for n, m in parts.items() for k, v in m.state_dict().items()
    }
    torch.save(base, tmp_path / "sam_vit_b_01ec64.pth")
    model = models.create(
        "medsegx.vit_b", weights=str(tmp_path / "medsegx_vit_b.pth"), base=str(tmp_path / "sam_vit_b_01ec64.pth")
    )
    for name, value in model.sam.state_dict().items():
        wanted = 0.25 if name in state else 0.5
        assert bool((value == wanted).all()), name
    assert model.weights_record["loaded"] == 398


@torch.no_grad()
def test_a_checkpoint_of_the_other_public_code_does_not_fit(small, tmp_path):
    state = {k: v.clone() for k, v in small.state_dict().items() if "organ_gate" not in k}
    for k in [k for k in state if "adapter_gate.weight" in k]:
        state[k] = torch.zeros(4, 7 * 16)
    save_state(tmp_path / "other.safetensors", state)
    with pytest.raises(IncompatibleWeights, match="adapter"):
        models.create("medsegx.test", weights=str(tmp_path / "other.safetensors"))


@torch.no_grad()
def test_task_and_modality_change_the_answer_and_unknown_tasks_share_the_spare_row(small):
    pixels = picture(64, 64) * 255

    def logits(task, modality="cfp"):
        return small.masks(pixels, BOX, tasks=[task], modalities=[modality]).logits

    assert not torch.allclose(logits("disc"), logits("cup"))
    assert not torch.allclose(logits("disc"), logits("disc", "ultrasound"))
    assert torch.equal(logits("FNH"), logits("HCC"))
    assert not torch.allclose(logits("FNH"), logits("StomachCancer"))
    with pytest.raises(UnknownName, match="macula"):
        logits("macula")
    with pytest.raises(UnknownName, match="oct"):
        models.create("medsegx.test", modality="oct")


@torch.no_grad()
def test_tasks_of_a_batch_do_not_mix(small):
    pixels = torch.cat([picture(64, 64, s) * 255 for s in (1, 2)])
    both = Prompts(boxes=BOX.boxes.expand(2, 4))
    found = small.masks(pixels, both, tasks=["disc", "vessel"]).logits
    for i, task in enumerate(("disc", "vessel")):
        alone = small.masks(pixels[i : i + 1], BOX, tasks=[task]).logits
        torch.testing.assert_close(found[i : i + 1], alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_without_a_box_the_whole_image_is_looked_at_and_best_is_chosen_by_expectation(small):
    image = picture()
    whole = Prompts(boxes=torch.tensor([[0.0, 0.0, 63.0, 47.0]]))
    assert torch.equal(small.segment(image), small.segment(image, whole))
    assert not torch.allclose(small.segment(image), small.segment(image, BOX))
    every = small.segment(image, BOX)
    assert every.shape == (1, 3, 48, 64)
    scores = small.masks(torch.nn.functional.interpolate(image, (64, 64), mode="bilinear", antialias=True) * 255,
                         Prompts(boxes=torch.tensor([[10.0, 8 * 64 / 48, 50.0, 40 * 64 / 48]]))).scores  # fmt: skip
    small.keep = "best"
    best = small.segment(image, BOX)
    assert best.shape == (1, 1, 48, 64)
    torch.testing.assert_close(best[:, 0], every[:, int(scores.argmax())])
    with pytest.raises(InvalidInput, match="keep"):
        models.create("medsegx.test", keep="oracle")


def test_only_experts_context_and_decoder_learn_from_a_drawn_mask():
    torch.manual_seed(0)
    model = models.create("medsegx.test").eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    image = picture(64, 64)
    target = torch.zeros(1, 1, 64, 64)
    target[..., 10:40, 12:50] = 1
    loss = objectives.create("promptable.medsegx")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    values = []
    for _ in range(4):
        total = loss([model.segment(image, BOX)], target).total
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(float(total.detach()))
    assert values[-1] < values[0] - 0.01
    after = model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert "sam.image_encoder.blocks.0.mlp.adapter_up.0.weight" in changed
    assert "sam.image_encoder.modal_embed.weight" in changed
    assert not any(
        ".attn." in k or "prompt_encoder" in k or ".mlp.mlp." in k or "neck" in k for k in changed if "decoder" not in k
    )


@torch.no_grad()
def test_sixteen_bits_do_not_blur_places(small):
    image = picture(100, 130)
    with torch.autocast("cpu", torch.bfloat16):
        places = small.sam.prompt_encoder.places()
        low = small.segment(image, BOX).float()
    assert places.dtype == torch.float32
    torch.testing.assert_close(places, small.sam.prompt_encoder.places())
    plain = small.segment(image, BOX)
    # Random weights are harsher than trained ones; the masks are the same picture all the same.
    assert float(torch.corrcoef(torch.stack([low.flatten(), plain.flatten()]))[0, 1]) > 0.98
