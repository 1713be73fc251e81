"""Training of generators: every objective learns, runs go on exactly, only what should move moves, patients stay apart, bad items are told."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models
from fundusion.core.study import StudyRecord
from fundusion.layers.lora import load_lora
from fundusion.layers.trained_parts import part_of
from fundusion.layers.weights import load_state
from fundusion.narrative.generators import choose, open_generator
from fundusion.readers.conversations import Conversation
from fundusion.train.generator_config import generator_config
from fundusion.train.generators import caption_items, prepare_generator, train_generator

TRAIN = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(rng.integers(0, 255, (80, 80, 3), np.uint8)).save(where / f"{i}.png")
    return where


@pytest.fixture
def items(folder):
    def made(pair=False, count=10):
        found = []
        for i in range(count):
            asked, said = Turn(role="user", text="what is seen?"), f"drusen {'abc'[i % 3]}"
            turns = (asked,) if pair else (asked, Turn(role="assistant", text=said))
            found.append(
                Conversation(
                    item_id=str(i), turns=turns, images={"cfp": str(folder / f"{i}.png")}, group=f"patient:{i // 2}",
                    chosen=said if pair else None, refused="normal eye" if pair else None,
                )
            )  # fmt: skip
        return found

    return made


def config(objective, model, **options):
    train = {**TRAIN, **options.pop("train", {})}
    return generator_config({"objective": objective, "model": model, "queue": 8, "ramp": 2, "train": train, **options})


CASES = {
    "caption": ("caption", "blip.test", {}),
    "stage 1": ("blip2", "blip2.test", {}),
    "stage 2": ("blip2", "blip2.test", {"stage": 2}),
    "instruct": ("instruct", "llava.test", {}),
    "packed": ("instruct", "llava.test", {"packing": True}),
    "adapters": ("instruct", "qwen2_5_vl.test", {"lora_rank": 2}),
    "preference": ("dpo", "llava.test", {}),
    "preference, adapters": ("dpo", "llava.test", {"lora_rank": 2}),
    "copilot": ("instruct", "eyefm_copilot.test", {"parts": ("projector",)}),
    "caption, other": ("caption", "llava.test", {"train": {"epochs": 1}}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_objective_runs_and_leaves_a_folder_that_answers(case, items, tmp_path):
    objective, model, options = CASES[case]
    result = train_generator(items(objective == "dpo"), tmp_path, config=config(objective, model, **options))
    assert result.exit_code == 0
    assert all(np.isfinite(r["loss"]) and np.isfinite(r["val_loss"]) for r in _history(tmp_path))
    told = json.loads((tmp_path / "generator.json").read_text())
    assert (told["model"], told["objective"], told["adapter"]) == (model, objective, "lora_rank" in options)
    worder = open_generator(choose(str(tmp_path)))
    assert not worder.is_fresh
    picture = {"cfp": torch.randn(1, 3, 64, 64)}
    assert isinstance(worder.write([[Turn(role="user", text="eye")]], picture, words=2)[0], str)


@pytest.mark.parametrize("case", ["caption", "stage 1", "packed", "preference, adapters"])
def test_a_run_that_was_killed_goes_on_bit_for_bit(case, items, tmp_path, monkeypatch):
    objective, model, options = CASES[case]
    chosen = config(objective, model, **options, train={"checkpoint_every": 1})
    found = items(objective == "dpo")
    train_generator(found, tmp_path / "whole", config=chosen)

    from fundusion.train import loop

    real, calls = loop._one, []

    def killed(*args):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*args)

    monkeypatch.setattr(loop, "_one", killed)
    with pytest.raises(KeyboardInterrupt):
        train_generator(found, tmp_path / "cut", config=chosen)
    monkeypatch.setattr(loop, "_one", real)
    train_generator(found, tmp_path / "cut", config=chosen)
    names = ["adapter.safetensors"] if options.get("lora_rank") else ["model/model.safetensors"]
    names += ["objective.safetensors"] if (tmp_path / "whole" / "objective.safetensors").is_file() else []
    for name in names:
        whole, cut = (load_state(tmp_path / f / name) for f in ("whole", "cut"))
        assert whole.keys() == cut.keys()
        assert all(torch.equal(whole[k], cut[k]) for k in whole), name
    with pytest.raises(InvalidInput, match="run with another"):
        train_generator(found[:-1], tmp_path / "cut", config=chosen)


@pytest.mark.parametrize(
    ("case", "moved"),
    [
        ("stage 1", {"queries"}),
        ("stage 2", {"queries", "projector"}),
        ("instruct", {"projector", "language"}),
        ("copilot", {"projector"}),
    ],
)
def test_only_the_parts_of_a_stage_move(case, moved, items, tmp_path):
    objective, model, options = CASES[case]
    chosen = config(objective, model, **options)
    run = prepare_generator(items(), tmp_path, chosen, _quiet)
    before = {n: p.clone() for n, p in run.network.named_parameters()}
    train_generator(items(), tmp_path, config=chosen)
    after = dict(open_generator(choose(str(tmp_path))).model.named_parameters())
    changed = {part_of(n) for n, p in before.items() if not torch.equal(p, after[n])}
    assert changed == moved


def _quiet(title):
    from contextlib import nullcontext

    return nullcontext(lambda *a, **k: None)


def test_adapters_alone_move_merge_within_1e_5_and_belong_to_their_base(items, folder, tmp_path):
    torch.manual_seed(3)
    models.create("llava.test").save(tmp_path / "base")
    chosen = config(
        "instruct",
        "llava.v1_5_7b",
        weights=str(tmp_path / "base"),
        lora_rank=4,
        merge=True,
        train={"epochs": 5, "learning_rate": 2e-2},
    )
    train_generator(items(), tmp_path / "run", config=chosen)
    base = models.create("llava.v1_5_7b", weights=str(tmp_path / "base"), dtype="float32").eval()
    images, asked = torch.randn(2, 3, 64, 64), [[Turn(role="user", text="what is seen?")]] * 2
    words = base.read(images, asked, answers=False)
    with torch.no_grad():
        plain = base.token_logits(images, words)
        apart = load_lora(tmp_path / "run" / "adapter.safetensors", base).token_logits(images, words)
        whole = (
            models.create("llava.v1_5_7b", weights=str(tmp_path / "run" / "model"), dtype="float32")
            .eval()
            .token_logits(images, words)
        )
    assert float((apart - plain).abs().max()) > 1e-3
    assert float((apart - whole).abs().max()) <= 1e-5


def test_training_lowers_the_loss_on_the_answers(items, tmp_path):
    chosen = config("instruct", "llava.test", train={"epochs": 12, "learning_rate": 3e-3})
    train_generator(items(), tmp_path, config=chosen)
    rows = _history(tmp_path)
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]


def _history(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def test_recomputed_activations_give_the_same_gradients(items, tmp_path):
    found = {}
    for kind in (False, True):
        run = prepare_generator(items(), tmp_path, config("instruct", "llava.test", checkpointing=kind), _quiet)
        run.training_mode(run.modules(), 0)
        calls = []
        layer = run.network.body.model.language_model.layers[0].self_attn
        layer.register_forward_hook(lambda *a, c=calls: c.append(1))
        step = run.step()
        step.loss(step.batch(run.training[:4], 0, None), 0).total.backward()
        found[kind] = ({n: p.grad for n, p in run.network.named_parameters() if p.grad is not None}, len(calls))
    # Run once, and once more in the backward pass.
    assert (found[False][1], found[True][1]) == (1, 2)
    for name, grad in found[False][0].items():
        torch.testing.assert_close(found[True][0][name], grad, atol=1e-7, rtol=1e-5)


def test_checkpointing_with_adapters_reaches_them(items, tmp_path):
    run = prepare_generator(
        items(), tmp_path, config("instruct", "llava.test", checkpointing=True, lora_rank=2), _quiet
    )
    run.training_mode(run.modules(), 0)
    step = run.step()
    step.loss(step.batch(run.training[:4], 0, None), 0).total.backward()
    # The first ones are zero, as B is; B itself is not.
    grads = [p.grad.abs().sum() for n, p in run.network.named_parameters() if ".lora_B" in n]
    assert len(grads) > 5
    assert all(g > 0 for g in grads)


def test_patients_stay_apart_and_those_of_the_part_test_are_not_seen(items, tmp_path):
    found = [*items(), *(_as_test(i) for i in items()[:1])]
    run = prepare_generator(found, tmp_path, config("instruct", "llava.test"), _quiet)
    groups = [{run.items[i].group for i in rows} for rows in (run.training, run.held_out)]
    assert not groups[0] & groups[1]
    assert "patient:0" not in groups[0] | groups[1]
    assert run.untouched == 3


def _as_test(item):
    from dataclasses import replace

    return replace(item, item_id="t", split="test")


def test_items_that_cannot_be_used_are_told_and_too_many_end_it(items, folder, tmp_path):
    broken = folder / "broken.png"
    broken.write_bytes(b"\x89PNG nothing")
    bad = Conversation(item_id="bad", turns=items()[0].turns, images={"cfp": str(broken)}, group="x")
    long = Conversation(
        item_id="long", turns=(Turn(role="user", text="eye " * 2100), Turn(role="assistant", text="a")), group="y"
    )
    run = prepare_generator([*items(), bad, long], tmp_path, config("instruct", "llava.test", max_rejected=0.3), _quiet)
    assert {r.study_id: r.code for r in run.losses}.keys() == {"bad", "long"}
    assert {r["item_id"] for r in json.loads((tmp_path / "rejected.json").read_text())} == {"bad", "long"}
    with pytest.raises(InvalidInput, match="2 of 12 items cannot be used"):
        prepare_generator([*items(), bad, long], tmp_path, config("instruct", "llava.test"), _quiet)


def test_conversations_without_a_picture_are_learned_too(items, tmp_path):
    words = [
        Conversation(
            item_id=f"w{i}",
            turns=(Turn(role="user", text="eye"), Turn(role="assistant", text="normal")),
            group=f"item:{i}",
        )
        for i in range(4)
    ]
    run = prepare_generator([*items(), *words], tmp_path, config("instruct", "llava.test"), _quiet)
    step = run.step()
    rows = np.array([0, len(run.items) - 1])
    batch = step.still(rows)
    assert batch.present["cfp"].tolist() == [True, False]
    assert bool(torch.isfinite(step.loss(batch, 0).total))


def test_what_does_not_fit_is_refused(items, tmp_path):
    for told, words in (
        (("instruct", "vit.test"), "writes no words"),
        (("caption", "deepdr_llm.test"), "reads no pictures"),
        (("blip2", "llava.test"), "that of BLIP-2"),
        (("dpo", "llava.test"), "too few"),
    ):
        with pytest.raises(InvalidInput, match=words):
            prepare_generator(items(), tmp_path, config(*told), _quiet)


def test_reports_of_studies_are_captions():
    records = [
        StudyRecord(
            study_id="a", patient_id="p", images={"cfp": ("/1.png", "/2.png")}, report=" Drusen. ", split="val"
        ),
        StudyRecord(study_id="b", images={"cfp": ("/3.png",)}),
        StudyRecord(study_id="c", report="Normal."),
    ]
    (item,) = caption_items(records, "cfp")
    assert (item.item_id, item.turns[-1].text, item.images, item.group, item.split) == (
        "a",
        "Drusen.",
        {"cfp": "/1.png"},
        "p",
        "val",
    )


def test_pictures_of_kinds_that_are_not_read_are_left_out_or_told(items, tmp_path):
    from dataclasses import replace

    found = items()
    picture = found[0].images["cfp"]
    both = [replace(i, images={**i.images, "oct": picture}) for i in found]
    other = replace(found[0], item_id="oct", images={"oct": picture})
    run = prepare_generator([*both, other], tmp_path, config("instruct", "llava.test"), _quiet)
    assert set(run.data.images) == {"cfp"}
    assert {r.study_id: r.code for r in run.losses} == {"oct": "modality.unread"}
    many = prepare_generator([*both, other], tmp_path, config("instruct", "eyefm_copilot.test"), _quiet)
    assert set(many.data.images) == {"cfp", "oct"}
    step = many.step()
    batch = step.still(np.array([0, len(many.items) - 1]))
    assert {m: p.tolist() for m, p in batch.present.items()} == {"cfp": [True, False], "oct": [True, True]}
    assert bool(torch.isfinite(step.loss(batch, 0).total))


def test_adapters_are_learned_in_float32_on_a_base_of_half_precision(items, tmp_path):
    torch.manual_seed(3)
    models.create("llava.test").save(tmp_path / "base")
    chosen = config(
        "instruct", "llava.v1_5_7b", weights=str(tmp_path / "base"), lora_rank=2, train={"precision": "bf16"}
    )
    (tmp_path / "look").mkdir()
    run = prepare_generator(items(), tmp_path / "look", chosen, _quiet)
    kinds = {p.requires_grad: p.dtype for p in run.network.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    train_generator(items(), tmp_path / "run", config=chosen)
    assert all(np.isfinite(r["loss"]) for r in _history(tmp_path / "run"))
    # The base is the same in either precision.
    for precision in ("fp32", "bf16"):
        assert not open_generator(choose(str(tmp_path / "run")), precision=precision).is_fresh


def test_a_family_with_adapters_of_its_own_moves_them_alone(items, tmp_path):
    from dataclasses import replace

    found = [replace(i, images={}) for i in items()]
    chosen = config("instruct", "deepdr_llm.test", packing=True)
    before = {n: p.clone() for n, p in prepare_generator(found, tmp_path, chosen, _quiet).network.named_parameters()}
    train_generator(found, tmp_path, config=chosen)
    after = dict(open_generator(choose(str(tmp_path))).model.named_parameters())
    changed = {n for n, p in before.items() if not torch.equal(p, after[n])}
    assert changed
    assert all(".lora_" in n for n in changed)
