"""Generators by name, folder and hub id: which one is meant, what memory it needs, adapters, precisions, pictures, prompts that fit."""

import json
from dataclasses import replace

import pytest
import torch

from fundusion.core.errors import ExhaustedResource, IncompatibleWeights, InvalidInput, UnknownName
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models
from fundusion.layers.int8 import is_int8
from fundusion.layers.lora import LANGUAGE_TARGETS, add_lora, save_lora
from fundusion.narrative import generators
from fundusion.narrative.generators import choose, is_generator, memory_words, open_generator
from fundusion.readers.manifest import read_manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    where = tmp_path_factory.mktemp("llava")
    models.create("llava.test").save(where)
    return where


@pytest.fixture(scope="module")
def record(cohort):
    return next(r for r in read_manifest(cohort) if "cfp" in r.images and "oct" in r.images)


def test_names_families_folders_and_hub_ids_are_told_from_screening_models(folder, tiny_model):
    for name in ("llava", "llava.v1_5_7b", "qwen2_5_vl.3b", "llava-hf/llava-1.5-7b-hf", "hub:a/b", str(folder)):
        assert is_generator(name), name
    for name in ("screen", str(tiny_model), "vit.test", "nothing", "./a/b"):
        assert not is_generator(name), name


def test_a_path_with_a_slip_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(generators, "fetch_folder", lambda name: pytest.fail("fetched"))
    assert not is_generator("runs/asistant")
    assert is_generator("llava-hf/llava-1.5-7b-hf")
    with pytest.raises(UnknownName):
        choose("runs/asistant")
    assert not is_generator("../a")


def test_what_is_meant(folder, tmp_path):
    # A family is its variant that needs the least memory.
    assert (choose("llava").name, choose("llava").weights) == ("llava.v1_5_7b", "published")
    assert choose("qwen2_5_vl").name == "qwen2_5_vl.3b"
    assert choose("qwen2_5_vl.3b").weights == "published"
    assert choose("llava.test").weights is None
    assert choose(str(folder)).name == "llava.v1_5_7b"
    assert choose("llava-hf/llava-1.5-7b-hf").name == "llava.v1_5_7b"
    with pytest.raises(UnknownName, match="Known: llava"):
        choose("llava.v9")
    with pytest.raises(UnknownName, match="no generator"):
        choose("parrot")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(IncompatibleWeights, match="--model eyefm_copilot"):
        choose(str(tmp_path))
    (tmp_path / "modeling_x.py").write_text("raise SystemExit")
    with pytest.raises(InvalidInput, match="holds code") as caught:
        choose(str(tmp_path))
    assert caught.value.code == "model.code"


@pytest.mark.parametrize("family", ["deepdr_llm", "eyefm_copilot"])
def test_folders_of_families_on_a_llama_are_known_by_what_lies_beside(family, tmp_path):
    models.create(f"{family}.test").save(tmp_path)
    assert choose(str(tmp_path)).name == f"{family}.llama"


@pytest.mark.parametrize("family", ["blip2", "instructblip"])
def test_a_language_model_with_an_encoder_is_known_by_the_settings(family, tmp_path):
    models.create(f"{family}.test", language="t5").save(tmp_path)
    found = choose(str(tmp_path))
    assert found.name == f"{family}.flan_t5_xl"
    turns = [Turn(role="user", text="what is seen?")]
    worder = open_generator(found, precision="int8")
    images = torch.zeros(1, 3, 64, 64)
    said, _ = worder.write([turns], {"cfp": images}, words=4)
    assert isinstance(said, str)
    # The library asks the last layer of a perceptron for its weight at every token: it stays as it is.
    assert type(worder.model.body.language_model.decoder.block[0].layer[2].DenseReluDense.wo) is torch.nn.Linear
    assert is_int8(worder.model.body)


def test_a_repository_nobody_wrote_a_card_for_is_known_by_its_settings(folder, monkeypatch):
    monkeypatch.setattr(generators, "fetch_folder", lambda name: folder)
    found = choose("somebody/eye-llava")
    assert (found.name, found.weights, found.title) == (
        "llava.v1_5_7b",
        "hub:somebody/eye-llava",
        "hub:somebody/eye-llava",
    )


def test_memory_is_told_before_loading_and_refused_when_it_is_not_there(folder, monkeypatch):
    found = choose(str(folder))
    assert "need" in memory_words(found, "fp32")
    # Rounded while it is read; adapters are merged first, so that the whole is there before it is rounded.
    assert "while loading" not in memory_words(found, "int8")
    assert "while loading" in memory_words(replace(found, adapter=folder / "adapter.safetensors"), "int8")
    # From the card, before anything is fetched: 7,063 million weights of two bytes.
    monkeypatch.setattr(generators, "free_bytes", lambda: 4_000_000_000)
    monkeypatch.setenv("FUNDUSION_WEIGHTS", str(folder / "none"))
    with pytest.raises(ExhaustedResource, match=r"need 14\.1 GB \(bf16\); 4\.0 GB are free") as caught:
        memory_words(choose("llava.v1_5_7b"), "bf16")
    assert caught.value.code == "memory.weights"
    with pytest.raises(InvalidInput, match="fp32, bf16, int8"):
        memory_words(found, "int4")
    assert "once its files are here" in memory_words(choose("llava.test"), None)


def test_precisions_and_seeds(folder):
    wishes, picture = [[Turn(role="user", text="eye")]], {"cfp": torch.randn(1, 3, 64, 64)}
    texts = {}
    for precision in ("fp32", "bf16", "int8"):
        worder = open_generator(choose(str(folder)), precision=precision)
        texts[precision] = worder.write(wishes, picture, words=4)[0]
        assert worder.write(wishes, picture, words=4)[0] == texts[precision]
        assert not worder.is_fresh
        assert worder.origin.startswith(folder.name)
    assert len(texts) == 3
    assert open_generator(choose("llava.test")).is_fresh


def test_adapters_change_the_words_and_those_of_another_base_are_refused(folder, tmp_path):
    torch.manual_seed(1)
    base = models.create("llava.v1_5_7b", weights=str(folder), dtype="float32")
    adapted = add_lora(base, rank=2, targets=LANGUAGE_TARGETS)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if ".lora_B" in name:
                p.normal_(std=0.5)
    save_lora(tmp_path / "adapter.safetensors", adapted)
    wishes = [[Turn(role="user", text="what is seen?")]]
    picture = torch.randn(1, 3, 64, 64)
    wanted = adapted.eval().generate(picture, wishes, max_tokens=26)
    chosen = choose(str(folder), adapter=tmp_path)
    worder = open_generator(chosen, precision="fp32")
    assert worder.write(wishes, {"cfp": picture}, words=9)[0] == wanted[0]
    assert (
        open_generator(choose(str(folder)), precision="fp32").write(wishes, {"cfp": picture}, words=9)[0] != wanted[0]
    )
    # Rounded after the adapters were added, so that int8 has them too.
    assert not any(".lora_" in n for n, _ in open_generator(chosen, precision="int8").model.named_parameters())
    torch.manual_seed(5)
    models.create("llava.test").save(tmp_path / "other")
    with pytest.raises(IncompatibleWeights) as caught:
        open_generator(choose(str(tmp_path / "other"), adapter=tmp_path), precision="fp32")
    assert caught.value.code == "model.base"
    with pytest.raises(InvalidInput, match="no adapters in"):
        choose(str(folder), adapter=tmp_path / "other")


def test_pictures_are_those_the_model_wants(record, folder, tmp_path):
    llava = open_generator(choose(str(folder)), precision="fp32")
    (shown,) = llava.pictures(record).values()
    assert shown.shape == (1, 3, 64, 64)
    copilot = open_generator(choose("eyefm_copilot.test"))
    both = copilot.pictures(record)
    assert set(both) == {"cfp", "oct"}
    assert copilot.write([[Turn(role="user", text="eye")]], both, words=2)[1] == 0
    assert open_generator(choose("deepdr_llm.test")).pictures(record) == {}


def test_the_longest_prompt_that_fits_is_used_and_none_is_said_so(folder):
    worder = open_generator(choose(str(folder)), precision="fp32")
    long, short = ([Turn(role="user", text="eye " * n)] for n in (2100, 5))
    assert worder.write([long, short], {}, words=3)[1] == 1
    with pytest.raises(InvalidInput, match="this model reads"):
        worder.write([long], {}, words=3)


def test_a_captioner_is_not_told_findings_and_needs_a_picture():
    blip = open_generator(choose("blip.test"))
    assert blip.lengths == ("none",)
    with pytest.raises(InvalidInput, match="BLIP describes pictures"):
        blip.write([[Turn(role="user", text="")]], {}, words=3)


def test_a_report_page_is_worded_by_a_generator_and_says_so(record, folder, tiny_model, monkeypatch):
    from fundusion.pipeline import Pipeline

    pipeline, worder = Pipeline.load(tiny_model, explain="none"), open_generator(choose(str(folder)), precision="fp32")
    plain = pipeline(record)
    assert "fixed rules" in plain.report_html()
    monkeypatch.setattr(
        worder, "write", lambda wishes, pictures, **_: ("The image is gradable. The left eye has a macular hole.", 0)
    )
    pipeline.narrate, pipeline.narrator = generators.narrate_with(worder), worder.origin
    page = pipeline(record).report_html()
    assert f"Worded by {worder.origin}" in page
    assert "The image is gradable." in page
    assert "macular hole" not in page
    # Another narrator is another run.
    assert pipeline.config["narrator"] == worder.origin
    assert set(worder.pictures_of(plain.study)) == {"cfp"}

    # A generator that cannot read the study leaves it to the templates.
    def refuses(wishes, pictures, **_):
        raise InvalidInput("no picture", code="chat.images")

    monkeypatch.setattr(worder, "write", refuses)
    assert "fixed rules" in pipeline(record).report_html()
