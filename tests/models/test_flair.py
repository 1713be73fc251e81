"""FLAIR equals the official implementation on stored outputs; its files load whole; its traps are switches that work both ways."""

import pytest
import torch
from safetensors.torch import save_file

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.registry import models
from fundusion.layers.text_tower import letter_tokenizer
from fundusion.transforms.image import model_input

from .golden import manifest


def _filled(golden_root, name, detfill):
    """Return the official state dict of a manifest, filled from its names."""
    return {
        k: detfill.value(k, shape) if dtype == "float32" and shape else torch.zeros(shape, dtype=getattr(torch, dtype))
        for k, (shape, dtype) in manifest(golden_root, name).items()
    }


@pytest.fixture(scope="module")
def folder(golden_root, detfill, tmp_path_factory):
    """A folder as the hub has it, with the small text tower of the stored outputs."""
    path = tmp_path_factory.mktemp("flair")
    state = _filled(golden_root, "flair/manifest_tiny", detfill)
    state["logit_scale"] = torch.tensor(2.6592600)
    save_file(state, path / "model.safetensors")
    # The settings of the hub repository say how its own program is called.
    (path / "config.json").write_text(
        '{"bert_type": "emilyalsentzer/Bio_ClinicalBERT", "norm_features": true}', "utf-8"
    )
    return path


@pytest.fixture(scope="module")
def official(golden):
    return golden("flair/tiny")


@pytest.fixture(scope="module")
def released(folder):
    return models.create("flair.resnet_50", weights=folder, pooling="mean_with_padding").eval()


@torch.no_grad()
def test_stored_outputs_are_reproduced_from_the_picture_on(released, official, is_close):
    pixels = torch.from_numpy(model_input(official["raw_image_u8"].numpy(), models.card("flair.resnet_50").input))[None]
    assert is_close(released.encode(pixels).pooled, official["backbone_features"])
    images = released.align_images(pixels)
    assert is_close(images, official["image_embeds"])
    texts = released.align_texts(official["input_ids"], official["attention_mask"].bool())
    assert is_close(texts, official["text_embeds"])
    logits = released.scale() * images @ texts.T + released.shift()
    assert is_close(logits, official["logits_image_by_text"])
    assert is_close(logits.softmax(-1), official["probs"])
    assert is_close(released.logit_scale, official["logit_scale"])


@torch.no_grad()
def test_a_prompt_depends_on_its_neighbours_only_as_released(released, folder, official):
    default = models.create("flair.resnet_50", weights=folder).eval()
    ids, mask = official["input_ids"], official["attention_mask"].bool()
    short = int(mask[0].sum())
    assert short < mask.shape[1]
    for model, differs in ((default, False), (released, True)):
        among, alone = model.align_texts(ids, mask)[:1], model.align_texts(ids[:1, :short], mask[:1, :short])
        cosine = float((among * alone).sum())
        assert (cosine < 0.999) is differs
    # Alone in a call both rules are one.
    torch.testing.assert_close(
        default.align_texts(ids[:1, :short], mask[:1, :short]), released.align_texts(ids[:1, :short], mask[:1, :short])
    )


@pytest.mark.parametrize("container", ["model.safetensors", "flair_resnet.pth"])
def test_files_of_the_real_size_load_whole(manifest_state, tmp_path, container):
    state = dict(manifest_state("flair/manifest_full"))
    # Older transformers saved this too.
    state["text_model.model.embeddings.position_ids"] = torch.arange(512)[None]
    if container.endswith(".pth"):
        torch.save(state, tmp_path / container)
    else:
        save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / container)
    model = models.create("flair.resnet_50", weights=tmp_path / container)
    assert model.weights_record["loaded"] == 520
    assert model.weights_record["missing"] == []
    assert model.weights_record["unexpected"] == 1
    assert model.text_model.model.encoder.layer[11].output.dense.weight[0, 0].item() == 0.25
    assert not model.weights_record["non_commercial"]
    with pytest.raises(InvalidInput, match="no tokenizer"):
        model.tokenize(["normal"])


def test_a_tokenizer_beside_the_weights_is_used(folder, tmp_path, golden_root, official):
    import json
    import shutil

    for name in ("model.safetensors", "config.json"):
        shutil.copy(folder / name, tmp_path)
    facts = json.loads((golden_root / "flair" / "tiny.json").read_text("utf-8"))
    (tmp_path / "vocab.txt").write_text("\n".join(facts["vocab"]), "utf-8")
    prompts = [f"A fundus photograph of {t}" for t in facts["texts"]]
    # A word list alone is read in lower case, as transformers does; settings beside it decide otherwise.
    lower = models.create("flair.resnet_50", weights=tmp_path).tokenize(prompts)[0]
    assert lower[:, 1].tolist() == [facts["vocab"].index("a")] * 4
    (tmp_path / "tokenizer_config.json").write_text(
        '{"do_lower_case": false, "tokenizer_class": "BertTokenizer"}', "utf-8"
    )
    model = models.create("flair.resnet_50", weights=tmp_path)
    ids, mask = model.tokenize(prompts)
    assert torch.equal(ids, official["input_ids"])
    assert torch.equal(mask, official["attention_mask"].bool())
    with pytest.raises(InvalidInput, match="no tokenizer in"):
        models.create("flair.resnet_50", weights=tmp_path, tokenizer=str(tmp_path.parent / "none"))


def test_long_texts_are_cut_at_77_tokens():
    made = models.create("flair.test")
    assert made.tokenize(["a " * 500])[0].shape[1] == 64
    text = {
        "vocab_size": 81,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    }
    real = models.create("flair.resnet_50", text=text)
    real._text_rule["tokenizer"] = letter_tokenizer()
    assert real.tokenize(["a " * 500])[0].shape[1] == 77


def test_the_scale_stays_in_its_bounds_and_can_leave_the_edge():
    model = models.create("flair.test")
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    assert float(model.eval().scale().detach()) == pytest.approx(100.0, abs=0.01)
    assert model.logit_scale.item() == 9.0
    model.train().scale().backward()
    assert model.logit_scale.item() == pytest.approx(4.6052)
    assert float(model.logit_scale.grad) > 0


def test_foreign_files_are_refused(tmp_path):
    save_file({"backbone.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "a.safetensors")
    with pytest.raises(IncompatibleWeights, match="no name of the file fits"):
        models.create("flair.test", weights=tmp_path / "a.safetensors")


def test_the_card_says_what_the_pixels_are():
    card = models.card("flair.resnet_50")
    assert (card.input.size, card.input.fit, card.input.crop) == (512, "corner", "none")
    assert card.input.mean == (0.0, 0.0, 0.0)
    assert card.input.std == (1.0, 1.0, 1.0)
    assert card.weight_license == "Apache-2.0"
