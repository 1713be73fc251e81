"""A language model with an encoder reads the prompt whole and learns the last answer as the library does."""

import pytest
import torch
import torch.nn.functional as F
from transformers import T5Tokenizer

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Decoding, Turn
from fundusion.core.registry import models, objectives
from fundusion.layers.chat import answer_tokens
from fundusion.layers.encoder_decoder import TRAINED_LENGTH, EncoderDecoderChat, plain_chat
from fundusion.layers.generator import pictures_of
from fundusion.layers.lora import LANGUAGE_TARGETS, add_lora, merge_lora
from fundusion.layers.query_feed import PlacedPictures

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def ask(text):
    return Turn(role="user", text=text)


def say(text):
    return Turn(role="assistant", text=text)


ASKED = [[ask("what is seen?")], [ask("eye")]]
CHATS = [[*ASKED[0], say("drusen")], [*ASKED[1], say("normal eye")]]


@pytest.fixture(params=["blip2.test", "instructblip.test"])
def model(request):
    torch.manual_seed(0)
    made = models.create(request.param, language="t5").eval()
    assert isinstance(made, EncoderDecoderChat)
    return made


@torch.no_grad()
def test_the_loss_is_the_librarys(model):
    words = model.read(IMAGES, CHATS)
    wanted, counts = answer_tokens(words)
    logits = model.token_logits(IMAGES, words)[:, :-1]
    ours = F.cross_entropy(logits[counts], wanted[counts])
    # As the processor of the library writes it: place tokens, the words, the end; labels are the answer and its end.
    read, place = model._tokenizer, model.body.config.image_token_index
    prompts = [[place] * 4 + read(t, add_special_tokens=False).input_ids + [3] for t in ("what is seen?", "eye")]
    labels = [[*read(t, add_special_tokens=False).input_ids, 3] for t in ("drusen", "normal eye")]
    width, depth = max(map(len, prompts)), max(map(len, labels))
    ids = torch.tensor([p + [0] * (width - len(p)) for p in prompts])
    told = torch.tensor([a + [-100] * (depth - len(a)) for a in labels])
    theirs = model.body(
        pixel_values=IMAGES, input_ids=ids, attention_mask=(ids != 0).long(), labels=told, **words.extras
    ).loss
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_answers_are_the_librarys(model):
    words = model.read(IMAGES, ASKED, answers=False)
    prompt = model._prompt(words)
    assert [row[mask][-1].item() for row, mask in zip(prompt.ids, prompt.mask, strict=True)] == [3, 3]
    given = model._feed.prompt(pictures_of(IMAGES, None, 2), prompt)
    whole = model.body.generate(**given, max_new_tokens=6, do_sample=False)
    said = [model._tokenizer.decode(row.tolist(), skip_special_tokens=True).strip() for row in whole]
    assert model.generate(IMAGES, ASKED, max_tokens=6, decoding=Decoding()) == said


@torch.no_grad()
def test_the_first_token_of_an_answer_is_told_by_the_end_of_the_prompt(model):
    words = model.read(IMAGES, ASKED, answers=False)
    first = model.token_logits(IMAGES, words)[:, -1]
    learned = model.read(IMAGES, CHATS)
    place = (learned.answer.int().argmax(1) - 1).tolist()
    logits = model.token_logits(IMAGES, learned)
    torch.testing.assert_close(torch.stack([logits[i, p] for i, p in enumerate(place)]), first)
    assert not bool(logits[0, : place[0]].any())


@torch.no_grad()
def test_of_a_longer_conversation_the_last_answer_is_learned_and_the_others_are_read(model):
    first, other = ([ask("eye"), say(word), ask("what is seen?"), say("drusen")] for word in ("normal", "drusen"))
    words = model.read(IMAGES, [first, other])
    told = [
        model._tokenizer.decode(row[marks].tolist()) for row, marks in zip(words.ids, words.answer & words.mask, strict=True)
    ]  # fmt: skip
    assert told == ["drusen [SEP]"] * 2
    same = IMAGES[:1].expand(2, -1, -1, -1)
    logits, (_, counts) = model.token_logits(same, words), answer_tokens(words)
    assert float((logits[0, :-1][counts[0]] - logits[1, :-1][counts[1]]).abs().max()) > 1e-6


def test_an_answer_is_watched_token_by_token(model):
    seen = []
    said = model.generate(IMAGES[:1], ASKED[:1], max_tokens=5, watch=lambda rows: seen.append(rows[0]), seed=1,
                          decoding=Decoding(temperature=3.0))  # fmt: skip
    assert len(seen) == 5
    assert seen[-1].strip() == said[0]


def test_prompt_and_answer_each_have_the_room_that_was_trained(model):
    assert model.limit == TRAINED_LENGTH
    with pytest.raises(InvalidInput, match="answer of 513") as caught:
        model.generate(IMAGES[:1], ASKED[:1], max_tokens=TRAINED_LENGTH + 1)
    assert caught.value.code == "text.too_long"


def test_conversations_are_not_packed(model):
    assert not model.packs


def test_adapters_of_encoder_and_decoder_train_and_merge(model):
    add_lora(model, rank=2, targets=LANGUAGE_TARGETS)
    names = {n for n, p in model.named_parameters() if p.requires_grad and ".lora_A." in n}
    for layer in ("encoder.block.0.layer.0.SelfAttention.q", "decoder.block.1.layer.1.EncDecAttention.v",
                  "decoder.block.0.layer.2.DenseReluDense.wi_0"):  # fmt: skip
        assert any(layer in n for n in names), layer
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    values = []
    for _ in range(4):
        loss = objectives.create("instruction.answers")(model, IMAGES, CHATS).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < values[0]
    words = model.read(IMAGES, CHATS)
    with torch.no_grad():
        adapted = model.token_logits(IMAGES, words)
        merged = merge_lora(model).token_logits(IMAGES, words)
    assert float((adapted - merged).abs().max()) <= 1e-5


@torch.no_grad()
def test_words_are_those_of_t5s_own_tokenizer(tmp_path):
    pieces = ["<pad>", "</s>", "<unk>", "▁", "▁what", "▁is", "▁seen", "▁eye", "▁normal", "▁drusen", "?", *"abcdefghij"]
    words = T5Tokenizer(vocab=[(p, -float(i)) for i, p in enumerate(pieces)], extra_ids=2)
    words.add_special_tokens({"extra_special_tokens": ["<image>"]}, replace_extra_special_tokens=False)
    place, count = words.convert_tokens_to_ids("<image>"), len(words)
    torch.manual_seed(0)
    model = models.create("blip2.test", language="t5")
    body, config = model.body, model.body.config
    config.image_token_index = config.image_token_id = place
    config.text_config.eos_token_id = words.eos_token_id
    body.language_model.config.eos_token_id = words.eos_token_id
    made = plain_chat(body, words, PlacedPictures("<image>", 4, 64, required=True, model="BLIP-2")).eval()
    shown = (
        made._prompt(made.read(IMAGES[:1], [[ask("what is seen? </s> <extra_id_0>")]], answers=False)).ids[0].tolist()
    )
    assert count <= 103
    assert shown[:4] == [place] * 4
    assert shown.count(words.eos_token_id) == 1
    assert shown[-1] == words.eos_token_id
    assert words.convert_ids_to_tokens(shown[4:8]) == ["▁what", "▁is", "▁seen", "?"]
    learned = made.read(IMAGES[:1], [[ask("eye"), say("normal eye")]])
    assert words.convert_ids_to_tokens(learned.ids[0][learned.answer[0]].tolist()) == ["▁normal", "▁eye", "</s>"]
    made.save(tmp_path)
    again = models.create("blip2.flan_t5_xl", weights=tmp_path, dtype="float32")
    assert again.generate(IMAGES[:1], [[ask("eye")]], max_tokens=4) == made.generate(
        IMAGES[:1], [[ask("eye")]], max_tokens=4
    )
