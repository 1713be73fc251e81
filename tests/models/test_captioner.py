"""The captioner keeps the promises of a generator, reads and says phrases, and refuses weights that do not belong to it."""

import json

import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput, UnknownName
from fundusion.core.interfaces import Decoding, Generator, Turn
from fundusion.core.registry import models
from fundusion.layers.eye_words import FINDINGS, question, told_findings, told_picture
from fundusion.objectives.captioning import Captioning

IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def asked(*texts):
    return [[Turn(role="user", text=t)] for t in texts]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return models.create("captioner.test").eval()


def test_it_is_a_generator_and_answers_the_same_again(model):
    assert isinstance(model, Generator)
    questions = asked("which eye?", "describe the picture?", "哪只眼？")
    state = torch.random.get_rng_state()
    for rule in (None, Decoding(temperature=1.0, top_k=5), Decoding(beams=3)):
        first = model.generate(IMAGES, questions, max_tokens=6, decoding=rule, seed=4)
        assert first == model.generate(IMAGES, questions, max_tokens=6, decoding=rule, seed=4)
        assert len(first) == 3
    assert torch.equal(state, torch.random.get_rng_state())
    drawn = {model.generate(IMAGES[:1], questions[:1], decoding=Decoding(temperature=2.0), seed=s)[0] for s in range(5)}
    assert len(drawn) > 1


@torch.no_grad()
def test_rows_do_not_depend_on_each_other_nor_on_the_side_of_padding(model):
    chats = [[Turn(role="user", text="which eye?"), Turn(role="assistant", text="right eye.")],
             [Turn(role="user", text="is there diabetic retinopathy?"), Turn(role="assistant", text="no, drusen, cataract.")]]  # fmt: skip
    words = model.read(IMAGES[:2], chats)
    both = model.token_logits(IMAGES[:2], words)
    alone = model.token_logits(IMAGES[:1], model.read(IMAGES[:1], chats[:1]))
    torch.testing.assert_close(both[0, : alone.shape[1]], alone[0], rtol=1e-4, atol=1e-5)
    # The prompts alone are padded on the left: the word after each is the same.
    prompts = model.read(IMAGES[:2], [c[:1] for c in chats], answers=False)
    after = model.token_logits(IMAGES[:2], prompts)[:, -1]
    for row in range(2):
        last = int(words.answer[row].int().argmax()) - 1
        torch.testing.assert_close(after[row], both[row, last], rtol=1e-4, atol=1e-5)


def test_later_words_change_nothing_before_them_and_only_answers_are_marked(model):
    chat = [[Turn(role="user", text="which eye?"), Turn(role="assistant", text="right eye.")]]
    words = model.read(IMAGES[:1], chat)
    names = [model._tokenizer._names[i] for i in words.ids[0]]
    assert names == ["[START]", "which eye", "?", "right eye", ".", "[END]"]
    assert words.answer[0].tolist() == [False, False, False, True, True, True]
    with torch.no_grad():
        plain = model.token_logits(IMAGES[:1], words)
        words.ids[0, -1] = 7
        assert torch.equal(plain[0, :-1], model.token_logits(IMAGES[:1], words)[0, :-1])


def test_three_steps_of_training_reach_every_weight_of_the_decoder_and_none_of_the_tower(model):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    captions = [told_picture("cfp", "OD", ["drusen"]), told_findings(["normal"]), "右眼。"]
    describe, retinopathy = (Captioning(smoothing=0.0, prompt=question(k)) for k in ("caption", "retinopathy"))
    losses = []
    for _ in range(3):
        # What is small is shown to the question on retinopathy only.
        loss = describe(model, IMAGES, captions).total + retinopathy(model, IMAGES, ["yes.", "no.", "no."]).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    after = model.state_dict()
    still = {k for k in before if torch.equal(before[k], after[k])}
    assert all(k.startswith(("tower.", "fine_", "none", "head.")) for k in still), still
    assert "head.weight" in still
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("tower."))


def test_a_row_without_its_picture_is_a_conversation_in_words(model):
    questions = asked("which eye?", "which eye?")
    present = torch.tensor([True, False])
    mixed = model.generate(IMAGES[:2], questions, max_tokens=4, present=present)
    assert mixed[:1] == model.generate(IMAGES[:1], questions[:1], max_tokens=4)
    assert len(model.generate(None, questions, max_tokens=4)) == 2
    with pytest.raises(InvalidInput, match="one picture"):
        model.generate({"cfp": IMAGES[:1], "oct": IMAGES[:1]}, questions[:1])


def test_bad_requests_are_refused_with_a_reason(model):
    with pytest.raises(InvalidInput, match="must be positive"):
        model.generate(IMAGES[:1], asked("which eye?"), max_tokens=0)
    with pytest.raises(InvalidInput, match="must be positive"):
        model.generate(IMAGES[:1], asked("which eye?"), stop=("",))
    with pytest.raises(InvalidInput, match="this model reads 48"):
        model.generate(IMAGES[:1], asked("eye " * 60))
    with pytest.raises(InvalidInput, match="normalised images"):
        model.generate(IMAGES[:2], asked("which eye?"))


def test_stops_lengths_and_watching(model):
    whole = model.generate(IMAGES[:1], asked("which eye?"), max_tokens=8)[0]
    assert len(model._tokenizer.words_of(model.generate(IMAGES[:1], asked("which eye?"), max_tokens=1)[0])) <= 1
    seen = []
    watched = model.generate(IMAGES[:1], asked("which eye?"), max_tokens=8, watch=seen.append)
    assert watched == [whole]
    assert seen[-1][0].strip() == whole
    stop = whole.split()[-1] if whole.split() else "eye"
    assert stop not in model.generate(IMAGES[:1], asked("which eye?"), max_tokens=8, stop=(stop,))[0]


def test_words_that_imitate_marks_end_no_turn(model):
    words = model.read(IMAGES[:1], asked("which eye?[END][START]"), answers=False)
    ids = words.ids[0].tolist()
    assert ids.count(model._tokenizer.eos_token_id) == 0
    assert ids.count(model._tokenizer.start_token_id) == 1


def test_what_was_saved_answers_the_same_and_a_changed_file_is_refused(model, tmp_path):
    model.cuts = {"normal": 0.5, "drusen": 0.01}
    model.head.weight.normal_()
    model.save(tmp_path / "m")
    again = models.create("captioner.test", weights=tmp_path / "m").eval()
    assert again.cuts == model.cuts
    assert torch.equal(again.head.weight, model.head.weight)
    questions = asked("describe the picture?", "which eye?", "name the findings?")
    assert again.generate(IMAGES, questions) == model.generate(IMAGES, questions)
    facts = json.loads((tmp_path / "m" / "captioner.json").read_text())
    (tmp_path / "m" / "captioner.json").write_text(json.dumps({**facts, "words": facts["words"][::-1]}))
    with pytest.raises(IncompatibleWeights, match="list of words"):
        models.create("captioner.test", weights=tmp_path / "m")
    (tmp_path / "m" / "captioner.json").write_text(json.dumps({**facts, "sha256": "0" * 64}))
    with pytest.raises(IncompatibleWeights, match="weights"):
        models.create("captioner.test", weights=tmp_path / "m")
    with pytest.raises(UnknownName, match="no captioner"):
        models.create("captioner.test", weights=tmp_path / "none")


def named(text):
    """Return the findings of an answer."""
    told = text.replace("：", ":").split(":")[-1].rstrip(".。").replace("、", ",")
    return {n.strip() for n in told.split(",")}


def test_the_head_decides_which_findings_are_named_and_the_decoder_words_them(model, monkeypatch):
    monkeypatch.setattr(type(model), "_are_photographs", lambda self, seen: [True] * len(seen))
    wanted = asked(question("findings"), question("findings", "zh"), "which eye?")
    free = model.generate(IMAGES, wanted)
    model.cuts = {"drusen": 1e-9, "cataract": 1e-9, "normal": 10.0}
    # No rule of choosing words changes what is named; a question on something else is free.
    rules = (None, Decoding(beams=3), Decoding(temperature=3.0), Decoding(repetition_penalty=5.0))
    for rule in rules:
        english, chinese, eye = model.generate(IMAGES, wanted, decoding=rule, seed=3)
        assert named(english) == {"drusen", "cataract"}
        assert english.endswith(".")
        assert named(chinese) == {"玻璃膜疣", "白内障"}
        assert eye == free[2] or rule is not None
    (caption,) = model.generate(IMAGES[:1], asked(question("caption")), decoding=Decoding(temperature=3.0))
    assert named(caption) == {"drusen", "cataract"}
    assert caption.count(":") == 1
    seen = []
    assert named(model.generate(IMAGES[:1], wanted[:1], watch=seen.append)[0]) == {"drusen", "cataract"}
    assert seen[0][0] in ("drusen", "cataract")
    model.cuts = {"drusen": 10.0, "myopia": 10.0, "normal": 1e-9}
    assert model.generate(IMAGES[:1], wanted[:1]) == ["normal fundus."]


def test_what_is_no_photograph_is_left_to_the_decoder(model, monkeypatch):
    wanted = asked(question("findings"), question("findings", "zh"), "which eye?")
    free = model.generate(IMAGES, wanted)
    model.cuts = {"drusen": 1e-9, "cataract": 1e-9, "normal": 10.0}
    monkeypatch.setattr(type(model), "_are_photographs", lambda self, seen: [False] * len(seen))
    assert model.generate(IMAGES, wanted) == free
    monkeypatch.setattr(type(model), "_are_photographs", lambda self, seen: [True] * len(seen))
    blind = model.generate(IMAGES, wanted, present=torch.zeros(3, dtype=torch.bool))
    assert blind == model.generate(None, wanted)


def test_the_head_reads_each_picture_by_itself(model, monkeypatch):
    monkeypatch.setattr(type(model), "_are_photographs", lambda self, seen: [True] * len(seen))
    pooled = model.pooled(model.cells(IMAGES))
    model.head.weight[list(FINDINGS).index("drusen")] = (pooled[0] - pooled[1]) * 1e4
    model.head.bias[list(FINDINGS).index("drusen")] = (
        -float((pooled[0] - pooled[1]) @ (pooled[0] + pooled[1]) / 2) * 1e4
    )
    model.cuts = {"drusen": 0.5, "normal": 0.4}
    answers = model.generate(IMAGES[:2], asked(*[question("findings")] * 2))
    assert answers == ["drusen.", "normal fundus."]
    assert model.generate(IMAGES[1:2], asked(question("findings"))) == answers[1:]


@torch.no_grad()
def test_a_larger_picture_is_seen_whole_at_the_side_of_the_tower_and_its_spots_at_its_own(model):
    large = 1 + 0.5 * torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    large[:, :, :2] = -2
    whole = torch.nn.functional.interpolate(large, (64, 64), mode="area")
    seen, small = model.cells(large), model.cells(whole)
    assert seen.shape == small.shape
    torch.testing.assert_close(seen[:, : -model.fine_rows], small[:, : -model.fine_rows])
    assert not torch.equal(model.spots_of(seen), model.spots_of(small))
    assert not bool(model.cells(large, small=False)[:, -model.fine_rows :].any())


def test_spots_are_shown_to_the_question_on_retinopathy_only(model):
    cells = model.cells(IMAGES[:1])
    spots = cells.clone()
    spots[:, -model.fine_rows :] = torch.randn(spots[:, -model.fine_rows :].shape)
    with torch.no_grad():
        for kind, differs in (("modality", False), ("laterality", False), ("retinopathy", True)):
            words = model.read(None, asked(question(kind)), answers=False)
            same = torch.equal(model.answer_logits(cells, words), model.answer_logits(spots, words))
            assert same != differs


def test_every_finding_is_one_token_and_is_read_back():
    from fundusion.readers.report import read_report

    model = models.create("captioner.test")
    for key, names in FINDINGS.items():
        for name in names:
            assert model._tokenizer.words_of(name) == [name]
            assert read_report(name).findings, (key, name)
