"""EyeFM's copilot: tokens of pictures land in their places, and an absent picture leaves no trace."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models
from fundusion.layers.trained_parts import train_parts
from fundusion.models.eyefm_copilot import splice

ASKED = [[Turn(role="user", text="what is seen?")], [Turn(role="user", text="eye")]]


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = models.create("eyefm_copilot.test").eval()
    with torch.no_grad():
        made.body.projector.weight.mul_(10)
    return made


def _pair(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(2, 3, 64, 64, generator=generator) for m in ("oct", "cfp")}


def test_tokens_are_spliced_row_after_row_and_words_stay():
    embedded = torch.arange(12.0).reshape(2, 3, 2)
    places = torch.tensor([[False, True, False], [True, False, True]])
    tokens = -torch.arange(1.0, 7.0).reshape(3, 2)
    made = splice(embedded, places, tokens)
    assert torch.equal(made[~places], embedded[~places])
    assert torch.equal(made[places], tokens)
    # What stood in a place does not matter.
    assert torch.equal(splice(embedded.masked_fill(places[..., None], 99.0), places, tokens), made)
    for count in (2, 4):
        with pytest.raises(InvalidInput, match=f"3 places for the {count} tokens"):
            splice(embedded, places, torch.zeros(count, 2))


def test_the_prompt_holds_each_kind_between_its_marks_in_the_order_of_the_encoder(model):
    images, present = _pair(), {"cfp": torch.tensor([True, True]), "oct": torch.tensor([True, False])}
    words = model.read(images, ASKED, answers=False, present=present)
    names = model._tokenizer.convert_ids_to_tokens(words.ids[0].tolist())
    assert [names.count(m) for m in ("<im_start>", "<im_patch>", "<im_end>")] == [2, 32, 2]
    first = names.index("<im_start>")
    assert names[first : first + 19] == ["<im_start>", *["<im_patch>"] * 16, "<im_end>", "<im_start>"]
    assert int((words.ids[1] == model.body.place_id).sum()) == 16


@torch.no_grad()
def test_tokens_are_those_of_the_layer_before_the_last_without_the_global_one(model):
    images = {"cfp": torch.randn(1, 3, 64, 64)}
    tower = model.body.tower
    tokens, _ = tower.tokens(images)
    x = torch.cat([tokens, tower.global_tokens], 1)
    wanted = model.body.projector(tower.encoder[0](x)[0, :-1])
    assert len(tower.encoder) == 2
    found = model.body.picture_tokens(images, {"cfp": torch.tensor([True])})
    torch.testing.assert_close(found, wanted)


@torch.no_grad()
def test_an_absent_picture_leaves_no_trace_and_a_present_one_counts(model):
    images, present = _pair(), {"cfp": torch.tensor([True, True]), "oct": torch.tensor([True, False])}
    words = model.read(images, ASKED, answers=False, present=present)
    logits = model.token_logits(images, words, present=present)
    spoilt = {**images, "oct": torch.stack([images["oct"][0], torch.full((3, 64, 64), torch.nan)])}
    assert torch.equal(model.token_logits(spoilt, words, present=present), logits)
    alone = model.read({"cfp": images["cfp"][1:]}, ASKED[1:], answers=False)
    torch.testing.assert_close(
        model.token_logits({"cfp": images["cfp"][1:]}, alone)[0, -1], logits[1, -1], rtol=1e-4, atol=1e-5
    )
    for kind in ("cfp", "oct"):
        other = {**images, kind: images[kind] + torch.randn(1, 3, 64, 64)}
        assert not torch.allclose(model.token_logits(other, words, present=present)[0, -1], logits[0, -1], atol=1e-6)
    # A conversation in words alone is one too.
    assert len(model.generate(None, ASKED, max_tokens=2)) == 2


def test_kinds_are_checked_and_the_same_pictures_are_needed_twice(model):
    with pytest.raises(InvalidInput, match="reads cfp, uwf, external, oct, ffa, got slo"):
        model.generate({"slo": torch.zeros(2, 3, 64, 64)}, ASKED)
    words = model.read(_pair(), ASKED, answers=False)
    with pytest.raises(InvalidInput, match="64 places for the 32 tokens"):
        model.token_logits({"cfp": _pair()["cfp"]}, words)
    with pytest.raises(InvalidInput, match=r"has to be given its weights.*folder of a LLaMA"):
        models.create("eyefm_copilot.llama")


def test_training_moves_the_projector_alone(model):
    trained = train_parts(model, ("projector",))
    assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in trained}
    chat = [[*ASKED[0], Turn(role="assistant", text="drusen")]]
    from fundusion.objectives.instruction import answers

    answers()(model, {"oct": _pair()["oct"][:1]}, chat).total.backward()
    assert float(model.body.projector.weight.grad.abs().max()) > 0
    assert all(p.grad is None for p in model.body.tower.parameters())


def test_a_language_model_of_ones_own_gets_the_marks_and_is_saved_with_its_tower(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    from fundusion.layers.hub_folder import save_folder
    from fundusion.layers.letter_chat import TINY_LLAMA
    from fundusion.layers.text_tower import letter_tokenizer

    torch.manual_seed(0)
    words = letter_tokenizer()
    words.bos_token, words.eos_token = "[CLS]", "[SEP]"
    sizes = {k: v for k, v in TINY_LLAMA.items() if k != "model_type"}
    save_folder(tmp_path / "own", LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=len(words))), words)
    told = {"tower": "eyefm.test", "modalities": ("cfp", "oct"), "dtype": "float32"}
    model = models.create("eyefm_copilot.llama", weights=tmp_path / "own", **told)
    assert model.body.language_model.config.vocab_size == len(words) + 3
    images = {"oct": _pair()["oct"]}
    made = model.generate(images, ASKED, max_tokens=4)
    model.save(tmp_path / "whole")
    twin = models.create("eyefm_copilot.llama", weights=tmp_path / "whole", dtype="float32")
    assert twin.body.tower.modalities == ("cfp", "oct")
    assert twin.generate(images, ASKED, max_tokens=4) == made
