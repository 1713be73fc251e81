"""Layers rounded while they are read are those rounded afterwards, and the whole never lies in memory in more bits."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fundusion.core.errors import IncompatibleWeights
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models
from fundusion.layers import int8_loading
from fundusion.layers.hub_folder import memory_needed, weight_bytes
from fundusion.layers.int8 import Int8Linear, to_int8
from fundusion.layers.int8_loading import is_rounded, rounding

FAMILIES = (("blip", {}), ("blip2", {}), ("blip2", {"language": "t5"}), ("instructblip", {}), ("llava", {}), ("qwen2_5_vl", {}))  # fmt: skip
IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
ASKED = [[Turn(role="user", text="what is seen?")]]


def saved(folder, family="llava", **options):
    torch.manual_seed(0)
    models.create(f"{family}.test", **options).save(folder)
    return folder


@pytest.mark.parametrize(("family", "options"), FAMILIES)
def test_they_are_those_that_are_rounded_afterwards(family, options, tmp_path):
    folder = saved(tmp_path, family, **options)
    later = models.create(f"{family}.test", weights=folder, dtype="bfloat16").eval()
    count = to_int8(later.body)
    at_once = models.create(f"{family}.test", weights=folder, dtype="int8").eval()
    assert sum(isinstance(m, Int8Linear) for m in at_once.body.modules()) == count > 5
    expected, found = later.body.state_dict(), at_once.body.state_dict()
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name
    assert at_once.generate(IMAGES, ASKED, max_tokens=5) == later.generate(IMAGES, ASKED, max_tokens=5)
    assert not hasattr(at_once.body.config, "quantization_config")


def test_files_of_another_precision_are_read_as_they_would_be(tmp_path):
    file = saved(tmp_path) / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    later = models.create("llava.test", weights=tmp_path, dtype="bfloat16")
    to_int8(later.body)
    at_once = models.create("llava.test", weights=tmp_path, dtype="int8").body.state_dict()
    assert all(torch.equal(at_once[n], v) for n, v in later.body.state_dict().items())


def test_a_last_layer_that_shares_the_table_of_words_stays_exact(tmp_path):
    body = models.create("blip.test", weights=saved(tmp_path, "blip"), dtype="int8").body
    decoder = body.text_decoder.cls.predictions.decoder
    assert type(decoder) is nn.Linear
    assert decoder.weight is body.text_decoder.bert.embeddings.word_embeddings.weight
    assert not is_rounded(body, "text_decoder.cls.predictions.decoder.weight")


def test_numbers_that_are_none_are_refused(tmp_path):
    file = saved(tmp_path) / "model.safetensors"
    state = load_file(file)
    name = next(n for n in state if "q_proj.weight" in n and "language" in n)
    state[name][0, 0] = float("nan")
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(IncompatibleWeights, match="NaN") as caught:
        models.create("llava.test", weights=tmp_path, dtype="int8")
    assert caught.value.code == "model.not_finite"


def test_the_memory_is_told_before_loading(tmp_path):
    folder = saved(tmp_path)
    half, small = (weight_bytes(folder, torch.bfloat16, rounded=r) for r in (False, True))
    body = models.create("llava.test", weights=folder, dtype="int8").body
    held = sum(t.numel() * t.element_size() for n, t in body.state_dict().items() if not n.endswith(".scale"))
    assert half / 2 < small < half
    assert small == pytest.approx(held, rel=0.02)
    card = models.card("llava.v1_5_7b")
    assert memory_needed("published", card, "int8") < 0.6 * memory_needed("published", card, "bfloat16")


def test_an_allocator_that_gives_nothing_back_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(int8_loading, "_trimmer", lambda: None)
    assert models.create("llava.test", weights=saved(tmp_path), dtype="int8")


def test_the_settings_are_registered_once():
    assert rounding() is rounding()


_PEAK = """
import sys, threading, time
from fundusion.core.registry import models
from fundusion.layers.int8 import to_int8

def held():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("RssAnon")) / 1e3

models.create("llava.test")
before, most, done = held(), [0.0], threading.Event()
def watch():
    while not done.is_set():
        most[0] = max(most[0], held())
        time.sleep(0.002)
thread = threading.Thread(target=watch); thread.start()
model = models.create("llava.test", weights=sys.argv[1], dtype=sys.argv[2])
if sys.argv[2] == "bfloat16":
    to_int8(model.body)
done.set(); thread.join()
print(most[0] - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_the_whole_never_lies_in_memory_in_more_bits(tmp_path):
    import transformers

    model = models.create("llava.test")
    config = model.body.config
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 16, "num_attention_heads": 8,
             "num_key_value_heads": 8, "head_dim": 128}  # fmt: skip
    config.text_config = transformers.LlamaConfig(**{**config.text_config.to_dict(), **sizes})
    model.body = transformers.LlavaForConditionalGeneration(config).half()
    model.save(tmp_path)
    values = sum(p.numel() for p in model.body.parameters()) / 1e6
    peak = {
        kind: float(subprocess.check_output([sys.executable, "-c", _PEAK, str(tmp_path), kind], text=True).split()[-1])
        for kind in ("int8", "bfloat16")
    }
    # A byte a value and one layer; before, two bytes a value and a byte.
    assert peak["int8"] < 1.4 * values
    assert peak["bfloat16"] > 1.8 * values
