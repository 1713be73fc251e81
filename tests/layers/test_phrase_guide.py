"""Whatever a decoder likes, its answer names the decided findings, each once, and is a sentence that is read back."""

import itertools

import pytest
import torch

from fundusion.layers.eye_words import FINDINGS, LANGUAGES, WORDS
from fundusion.layers.phrase_guide import PhraseGuide
from fundusion.layers.word_tokenizer import WordTokenizer
from fundusion.readers.report import read_report

WORDS_OF = WordTokenizer(WORDS)
DECIDED = ([], ["normal"], ["drusen"], ["dr2", "membrane", "cataract"], ["glaucoma_suspect", "laser"])


def walked(guide, generator):
    """Return an answer of tokens drawn by chance among those that may follow."""
    said = []
    for _ in range(60):
        may = guide.allowed(said).nonzero()[:, 0]
        assert len(may)
        said.append(int(may[int(torch.randint(len(may), (1,), generator=generator))]))
        if said[-1] == WORDS_OF.eos_token_id:
            return said[:-1]
    raise AssertionError("an answer has no end")


@pytest.mark.parametrize(
    ("keys", "language", "kind"), list(itertools.product(DECIDED, LANGUAGES, ("caption", "findings")))
)
def test_every_walk_ends_and_names_what_was_decided(keys, language, kind):
    guide = PhraseGuide(WORDS_OF, keys, kind=kind, language=language)
    index = LANGUAGES.index(language)
    wanted = {(f.code, f.status) for k in keys for f in read_report(FINDINGS[k][index]).findings}
    for seed in range(12):
        said = walked(guide, torch.Generator().manual_seed(seed))
        text = WORDS_OF.decode(said)
        told = text.split(":" if language == "en" else "：")[-1]
        assert text[-1] in ".。"
        assert {(f.code, f.status) for f in read_report(told).findings} == wanted
        names = [n for n in told.rstrip(".。").replace("、", ",").split(",") if n]
        assert len(names) == max(1, len(keys))
        # The opening names no finding.
        assert kind == "caption" or told == text
        other = [n[index] for k, n in FINDINGS.items() if k not in keys]
        tokens = [WORDS_OF.decode([i]) for i in said]
        assert not set(tokens) & set(other)


def test_order_is_free():
    firsts = set()
    guide = PhraseGuide(WORDS_OF, ["drusen", "cataract"], kind="findings", language="en")
    for seed in range(20):
        firsts.add(WORDS_OF.decode(walked(guide, torch.Generator().manual_seed(seed))[:1]))
    assert firsts == {"drusen", "cataract"}
