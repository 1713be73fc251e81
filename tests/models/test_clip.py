"""CLIP reads the files of transformers, OpenAI and open_clip; numbers of the first are those of the library itself."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models
from fundusion.layers.weights import save_state
from fundusion.models.clip import canonical_clip

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(3))
TEXTS = ["no haemorrhage", "drusen at the macula", "x"]


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = models.create("clip.test").eval()
    with torch.no_grad():
        for p in made.parameters():
            if p.ndim == 1:
                p.add_(0.1 * torch.randn_like(p))
    return made


@torch.no_grad()
def test_numbers_are_those_of_transformers(model):
    ids, mask = model.tokenize(TEXTS)
    answer = model.body(input_ids=ids, attention_mask=mask.long(), pixel_values=IMAGES)
    torch.testing.assert_close(model.align_images(IMAGES), answer.image_embeds)
    torch.testing.assert_close(model.align_texts(ids, mask), answer.text_embeds)
    logits = model.scale() * model.align_images(IMAGES) @ model.align_texts(ids, mask).T + model.shift()
    torch.testing.assert_close(logits, answer.logits_per_image)


def test_a_folder_of_transformers_is_read_with_its_tokenizer(model, tmp_path):
    model.body.save_pretrained(tmp_path)
    model._tokenizer.save_pretrained(tmp_path)
    again = models.create("clip.test", weights=tmp_path / "model.safetensors").eval()
    assert torch.equal(again.align_images(IMAGES), model.align_images(IMAGES))
    assert again.weights_record["missing"] == []
    from fundusion.layers.text_tower import read_tokenizer

    words = read_tokenizer(tmp_path)(TEXTS, padding=True, return_tensors="pt")["input_ids"]
    assert torch.equal(words, model.tokenize(TEXTS)[0])


class _Block(nn.Module):
    """A residual block with the names of OpenAI and open_clip, written with torch's own attention."""

    def __init__(self, width, heads, mlp, quick):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, mlp), "c_proj": nn.Linear(mlp, width)})
        self.quick = quick

    def forward(self, x, hidden=None):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=hidden)[0]
        y = self.mlp["c_fc"](self.ln_2(x))
        y = y * torch.sigmoid(1.702 * y) if self.quick else F.gelu(y)
        return x + self.mlp["c_proj"](y)


class _OpenClip(nn.Module):
    """The network of the paper under the names of OpenAI and open_clip."""

    def __init__(self, quick):
        super().__init__()
        v = self.visual = nn.Module()
        v.class_embedding, v.positional_embedding = nn.Parameter(torch.randn(16)), nn.Parameter(torch.randn(17, 16))
        v.conv1, v.ln_pre, v.ln_post = nn.Conv2d(3, 16, 16, 16, bias=False), nn.LayerNorm(16), nn.LayerNorm(16)
        v.transformer = nn.Module()
        v.transformer.resblocks = nn.ModuleList([_Block(16, 2, 32, quick) for _ in range(2)])
        v.proj = nn.Parameter(torch.randn(16, 8))
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList([_Block(24, 2, 32, quick) for _ in range(2)])
        self.token_embedding, self.ln_final = nn.Embedding(81, 24), nn.LayerNorm(24)
        self.positional_embedding = nn.Parameter(torch.randn(64, 24))
        self.text_projection, self.logit_scale = nn.Parameter(torch.randn(24, 8)), nn.Parameter(torch.tensor(2.0))

    def images(self, pixels):
        v = self.visual
        x = v.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([v.class_embedding.expand(len(x), 1, -1), x], 1) + v.positional_embedding
        x = v.ln_pre(x)
        for block in v.transformer.resblocks:
            x = block(x)
        return F.normalize(v.ln_post(x[:, 0]) @ v.proj, dim=-1)

    def texts(self, ids, end):
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        hidden = torch.full((ids.shape[1],) * 2, -torch.inf).triu(1)
        for block in self.transformer.resblocks:
            x = block(x, hidden)
        return F.normalize(self.ln_final(x)[torch.arange(len(ids)), end] @ self.text_projection, dim=-1)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("container", ["plain.safetensors", "training.pt"])
@torch.no_grad()
def test_files_of_openai_and_open_clip_give_the_numbers_of_their_network(tmp_path, activation, container):
    torch.manual_seed(1)
    theirs = _OpenClip(activation == "quick_gelu").eval()
    state = {**theirs.state_dict(), "input_resolution": torch.tensor(64), "context_length": torch.tensor(64)}
    if container.endswith(".pt"):
        torch.save(
            {"epoch": 3, "state_dict": {f"module.{k}": v.half() for k, v in state.items()}}, tmp_path / container
        )
        for p in theirs.parameters():
            p.copy_(p.half().float())
    else:
        save_state(tmp_path / container, state)
    ours = models.create("clip.test", weights=tmp_path / container, activation=activation).eval()
    assert ours.weights_record["missing"] == []
    ids, mask = ours.tokenize(TEXTS)
    torch.testing.assert_close(ours.align_images(IMAGES), theirs.images(IMAGES), rtol=1e-4, atol=1e-5)
    end = (ids == 3).int().argmax(1)
    torch.testing.assert_close(ours.align_texts(ids, mask), theirs.texts(ids, end), rtol=1e-4, atol=1e-5)
    assert float(ours.scale()) == pytest.approx(float(torch.tensor(2.0).exp()))
    # The activation is not in the file: the wrong one gives other numbers, silently, so it is a switch.
    other = models.create(
        "clip.test", weights=tmp_path / container, activation="gelu" if activation == "quick_gelu" else "quick_gelu"
    ).eval()
    assert not torch.allclose(other.align_images(IMAGES), theirs.images(IMAGES), atol=1e-4)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="ResNet"):
        canonical_clip({"visual.layer1.0.conv1.weight": torch.zeros(1)})
    with pytest.raises(InvalidInput, match="quick_gelu"):
        models.create("clip.test", activation="relu")
    with torch.device("meta"):
        bare = models.create("clip.base_32")
    with pytest.raises(InvalidInput, match="no tokenizer"):
        bare.tokenize(["a"])
    with pytest.raises(InvalidInput, match="at least 16 px"):
        models.create("clip.test").encode(torch.zeros(1, 3, 8, 8))


def test_pictures_are_fitted_as_released():
    card = models.card("clip.large_14_336")
    assert (card.input.size, card.input.fit, card.input.resample) == (336, "center", "bicubic")
    assert card.input.mean[0] == pytest.approx(0.48145466)


def test_adapters_sit_on_attention_too():
    from fundusion.layers.lora import add_lora

    adapted = add_lora(models.create("clip.test"), rank=2)
    names = {n for n, p in adapted.named_parameters() if p.requires_grad}
    assert any("text_model" in n and "q_proj" in n for n in names)
    assert any("vision_model" in n and "v_proj" in n for n in names)
