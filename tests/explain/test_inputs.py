"""Cells and phrases that decide are named, others are not."""

import numpy as np
import pytest
import torch

from fundusion.core.interfaces import Features, NetworkOutput
from fundusion.core.tasks import Binary
from fundusion.explain.inputs import column_contributions, phrase_contributions, split_phrases, strongest
from fundusion.explain.target import Target

TARGET = Target(task_name="t", task=Binary(), label="yes")


class FirstCell:
    """Table encoder that passes on the first cell, known or 0."""

    embed_dim = 1

    def encode_table(self, table, mask):
        return Features(pooled=torch.where(mask, table, torch.zeros(()))[:, :1])


def fuse(features, present):
    logits = sum(torch.where(present[m][:, None], f.pooled, torch.zeros(())) for m, f in features.items())
    return NetworkOutput(logits={"t": logits}, fused=None, features={}, presence=present)


def test_only_the_deciding_column_counts_and_unknown_cells_are_undefined():
    table = torch.tensor([[2.0, 5.0], [2.0, 0.0]])
    mask = torch.tensor([[True, True], [True, False]])
    features = {"cfp": Features(pooled=torch.zeros(2, 1)), "table": FirstCell().encode_table(table, mask)}
    present = {m: torch.ones(2, dtype=torch.bool) for m in features}
    values = column_contributions(
        features, present, TARGET, fuse=fuse, encoder=FirstCell(), table=table, table_mask=mask
    )
    assert values[0, 0] == pytest.approx(1 / (1 + np.exp(-2)) - 0.5, abs=1e-6)
    assert values[0, 1] == pytest.approx(0, abs=1e-6)
    assert np.isnan(values[1, 1])


class CountsBleeding:
    """Text encoder whose feature is the number of times a word occurs."""

    embed_dim = 1

    def tokenize(self, texts):
        ids = torch.tensor([[t.count("haemorrhage") + t.count("出血")] for t in texts])
        return ids, torch.tensor([[bool(t.strip())] for t in texts])

    def encode_text(self, ids, mask):
        return Features(pooled=ids.float())


@pytest.mark.parametrize(
    ("text", "deciding"),
    [
        ("Disc clear. One haemorrhage seen. Macula flat.", "One haemorrhage seen."),
        ("视盘清。可见出血；黄斑平。", "可见出血；"),
    ],
)
def test_the_phrase_that_decides_is_named(text, deciding):
    encoder = CountsBleeding()
    features = {"text": encoder.encode_text(*encoder.tokenize([text]))}
    present = {"text": torch.tensor([True])}
    values = phrase_contributions(0, features, present, TARGET, fuse=fuse, encoder=encoder, text=text)
    assert strongest(values, 1) == {deciding: pytest.approx(1 / (1 + np.exp(-1)) - 0.5, abs=1e-6)}
    assert sum(v != 0 for v in values.values()) == 1


def test_phrases_are_kept_in_order():
    assert split_phrases("A. B; C\nD") == ["A.", "B;", "C", "D"]
