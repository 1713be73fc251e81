"""InstructBLIP: the question steers what the queries see, and the answer is not shown to them."""

import torch

from fundusion.core.interfaces import Turn
from fundusion.core.registry import models
from fundusion.layers.generator import pictures_of

IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def _chat(asked, said):
    return [[Turn(role="user", text=asked), Turn(role="assistant", text=said)]]


@torch.no_grad()
def test_queries_read_the_question_and_never_the_answer():
    torch.manual_seed(0)
    model = models.create("instructblip.test").eval()
    words = model.read(IMAGES, _chat("what is seen?", "drusen"))
    other = model.read(IMAGES, _chat("what is seen?", "normal"))
    assert torch.equal(words.extras["qformer_input_ids"], other.extras["qformer_input_ids"])
    asked = model._feed._tokenizer.decode(words.extras["qformer_input_ids"][0].tolist(), skip_special_tokens=True)
    assert asked == "what is seen?"
    # The same words in the prompt, another question for the queries: other logits.
    changed = model.read(IMAGES, _chat("is eye normal?", "drusen")).extras
    shown = pictures_of(IMAGES, None, 1)
    plain = model.body(**model._feed.inputs(shown, words)).logits
    steered = model.body(**{**model._feed.inputs(shown, words), **changed}).logits
    assert float((plain - steered).abs().max()) > 1e-6


def test_both_tokenizers_are_saved(tmp_path):
    model = models.create("instructblip.test")
    model.save(tmp_path)
    assert (tmp_path / "tokenizer.json").is_file()
    assert (tmp_path / "qformer_tokenizer" / "tokenizer.json").is_file()
