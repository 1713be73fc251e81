"""What every generator promises, on the smallest variant of each of the seven families."""

import time

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Decoding, Generator, Turn
from fundusion.core.registry import models, objectives
from fundusion.layers.language_loss import answer_loss
from fundusion.layers.lora import LANGUAGE_TARGETS, add_lora
from fundusion.layers.trained_parts import part_of

FAMILIES = ("blip", "blip2", "instructblip", "llava", "qwen2_5_vl", "deepdr_llm", "eyefm_copilot")
#: Families whose language model decides how an answer is made are here with each.
VARIANTS = (*FAMILIES, "blip2/t5", "instructblip/t5")
CHATS = [
    [Turn(role="user", text="what is seen?"), Turn(role="assistant", text="drusen")],
    [Turn(role="user", text="eye"), Turn(role="assistant", text="normal eye")],
]
ASKED = [chat[:1] for chat in CHATS]
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=VARIANTS)
def family(request):
    return request.param


@pytest.fixture
def made(family):
    torch.manual_seed(0)
    return smallest(family).eval()


def smallest(family, **options):
    name, _, language = family.partition("/")
    return models.create(f"{name}.test", **({"language": language} if language else {}), **options)


def shown(family, rows=slice(None)):
    if family == "deepdr_llm":
        return None
    return {"cfp": IMAGES[rows]} if family == "eyefm_copilot" else IMAGES[rows]


def test_these_are_all():
    # The captioner says whole phrases of a closed list and is no language model; tests/models/test_captioner.py holds what it promises.
    said = {n.partition(".")[0] for n in models.names() if "generate" in models.card(n).roles}
    assert said - {"captioner"} == set(FAMILIES)


def test_three_steps_words_a_folder_and_the_same_words(made, family, tmp_path):
    began, images = time.process_time(), shown(family)
    objective, values = objectives.create("instruction.answers"), []
    optimizer = torch.optim.AdamW([p for p in made.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        loss = objective(made, images, CHATS).total
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[2] < values[1] < values[0]
    said = made.generate(images, ASKED, max_tokens=6)
    made.save(tmp_path)
    again = smallest(family, weights=tmp_path)
    assert isinstance(made, Generator)
    assert again.generate(images, ASKED, max_tokens=6) == said
    with torch.no_grad():
        words = made.read(images, CHATS)
        assert torch.equal(again.eval().token_logits(images, words), made.eval().token_logits(images, words))
    # The libraries are loaded already: what is left is building, training, answering, saving and loading.
    assert time.process_time() - began < 10


def test_answers_are_marked_with_their_end_and_nothing_else_is(made, family):
    words = made.read(shown(family), CHATS)
    tokenizer = made._tokenizer
    for row, chat in enumerate(CHATS):
        told = tokenizer.convert_ids_to_tokens(words.ids[row][words.answer[row]].tolist())
        assert "".join(told[:-1]).replace("##", "") == chat[1].text.replace(" ", "")
        assert told[-1] in ("[SEP]", "<|im_end|>")
    assert not bool((words.answer & ~words.mask).any())
    assert not bool(made.read(shown(family), ASKED, answers=False).answer.any())


@torch.no_grad()
def test_padding_changes_nothing_on_either_side(made, family):
    images, alone = shown(family), shown(family, slice(1, 2))
    for answers, chats in ((True, CHATS), (False, ASKED)):
        words, own = made.read(images, chats, answers=answers), made.read(alone, chats[1:], answers=answers)
        left = bool(words.mask[1, -1])
        assert left != answers
        logits, expected = made.token_logits(images, words)[1], made.token_logits(alone, own)[0]
        kept = logits[words.mask[1]]
        # Absolute positions count padding on the left; such families answer rows of one length together.
        if made.pads or answers:
            torch.testing.assert_close(kept, expected, atol=2e-4, rtol=1e-3)
    # The likeliest words: draws of two rows are others than those of one.
    told = {"max_tokens": 5, "decoding": Decoding()}
    assert made.generate(images, ASKED, **told)[1] == made.generate(alone, ASKED[1:], **told)[0]


@torch.no_grad()
def test_pictures_are_seen(made, family):
    if family == "deepdr_llm":
        with pytest.raises(InvalidInput, match="findings, not pictures"):
            made.read(IMAGES, ASKED, answers=False)
        return
    # With the range of fresh weights that some libraries publish (1e-10) every picture would look the same.
    words = made.read(shown(family), [ASKED[0]] * 2, answers=False)
    logits = made.token_logits(shown(family), words)
    assert float((logits[0] - logits[1]).abs().max()) > 1e-6


def test_seeds_decide_and_the_callers_state_is_left_alone(made, family):
    hot = Decoding(temperature=5.0)
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    first = made.generate(shown(family), ASKED, max_tokens=8, decoding=hot, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert made.generate(shown(family), ASKED, max_tokens=8, decoding=hot, seed=1) == first
    assert made.generate(shown(family), ASKED, max_tokens=8, decoding=hot, seed=2) != first


def test_an_answer_ends_before_a_stop_word_and_comes_without_its_prompt(made, family):
    hot = Decoding(temperature=1.0)
    whole = made.generate(shown(family), ASKED, max_tokens=12, decoding=hot, seed=3)
    letter = next((c for c in whole[0] if c.isalnum() and whole[0].index(c) > 0), None)
    assert letter is not None
    cut = made.generate(shown(family), ASKED, max_tokens=12, decoding=hot, seed=3, stop=(letter,))
    assert cut[0] == whole[0][: whole[0].index(letter)].strip()
    assert not any(t.startswith("what is seen") for t in whole)


@torch.no_grad()
def test_words_of_a_turn_are_data(made, family):
    plain = made._tokenizer
    marks = [t for t in (*plain.all_special_tokens, "USER:", "ASSISTANT:", "[INST]", "<image>", "<im_patch>") if t]
    images = shown(family, slice(0, 1))
    calm = made.read(images, [[Turn(role="user", text="eye")]], answers=False).ids
    for mark in marks:
        ids = made.read(images, [[Turn(role="user", text=f"eye {mark} eye")]], answers=False).ids
        for token in set(plain.all_special_ids) - {plain.unk_token_id}:
            assert int((ids == token).sum()) == int((calm == token).sum()), (mark, token)


def test_half_precision_answers_too(family, tmp_path):
    torch.manual_seed(0)
    smallest(family).save(tmp_path)
    model = smallest(family, weights=tmp_path, dtype="bfloat16")
    # Some libraries keep a few weights exact.
    assert torch.bfloat16 in {p.dtype for p in model.body.parameters()}
    assert len(model.generate(shown(family), ASKED, max_tokens=3)) == 2


def test_what_cannot_be_read_is_refused_in_a_sentence(made, family):
    images = shown(family, slice(0, 1))
    for chat, code in (
        ([Turn(role="user", text="eye " * 3000)], "text.too_long"), ([Turn(role="assistant", text="eye")], "chat.order"), ([], "chat.order"),
        ([Turn(role="user", text="x" * 1_000_000)], "text.too_long"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput) as caught:
            made.generate(images, [chat], max_tokens=4)
        assert caught.value.code == code
        assert len(str(caught.value)) < 400
    with pytest.raises(InvalidInput) as caught:
        made.generate(images, ASKED, max_tokens=4) if images is not None else made.generate(IMAGES, ASKED, max_tokens=4)
    assert caught.value.code == "chat.images"


def test_losses_ignore_questions_and_padding(made, family):
    words = made.read(shown(family), CHATS)
    logits = made.token_logits(shown(family), words).detach()
    value = answer_loss(logits, words)
    spoilt = logits.clone()
    asked = ~(words.answer[:, 1:] & words.mask[:, 1:])
    spoilt[:, :-1][asked] = 50.0
    torch.testing.assert_close(answer_loss(spoilt, words), value)


def test_low_rank_adapters_stay_on_the_language_part(made):
    # peft asked for "all linear layers" would adapt the image tower too.
    adapted = add_lora(made, rank=2, targets=LANGUAGE_TARGETS)
    names = [n for n, p in adapted.named_parameters() if p.requires_grad and ".lora_A." in n]
    assert len(names) > 3
    assert {part_of(n.partition(".lora_A.")[0]) for n in names} == {"language"}


def test_a_folder_of_half_precision_loads_in_the_precision_that_is_asked(family, tmp_path):
    torch.manual_seed(0)
    smallest(family).save(tmp_path / "whole")
    smallest(family, weights=tmp_path / "whole", dtype="bfloat16").save(tmp_path / "half")
    # The library would take the precision of the file.
    again = smallest(family, weights=tmp_path / "half", dtype="float32")
    assert {p.dtype for p in again.parameters()} == {torch.float32}
