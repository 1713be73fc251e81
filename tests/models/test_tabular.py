"""Cells become tokens: numbers by piecewise ramps, words by embeddings, missing cells by a learned token."""

import pytest
import torch

from fundusion.core.registry import models
from fundusion.core.table import TableSchema

SCHEMA = TableSchema.fit(
    [{"age": a, "sex": s} for a, s in ((30, "male"), (50, "female"), (70, "male"), (90, "female"))]
)


def features(encoder, *rows):
    coded = [SCHEMA.encode(r) for r in rows]
    with torch.no_grad():
        return encoder.encode_table(*(torch.stack([torch.from_numpy(c[i]) for c in coded]) for i in (0, 1)))


@pytest.mark.parametrize("name", ["tabular.mlp", "tabular.transformer"])
def test_missing_is_not_zero_and_values_are_told_apart(name):
    torch.manual_seed(0)
    encoder = models.create(name, schema=SCHEMA).eval()
    f = features(encoder, {"age": 0}, {}, {"age": 40}, {"age": 41}, {"age": 40, "sex": "male"})
    distance = torch.cdist(f.pooled, f.pooled) + torch.eye(5)
    assert float(distance.min()) > 1e-4
    assert f.tokens.shape == (5, len(SCHEMA), encoder.embed_dim)
    assert f.token_mask.tolist()[4] == [True, True]
    assert f.token_mask.tolist()[1] == [False, False]


def test_a_missing_cell_of_the_transformer_is_not_attended_to():
    torch.manual_seed(0)
    encoder = models.create("tabular.transformer", schema=SCHEMA).eval()
    before = features(encoder, {"age": 40}).pooled
    with torch.no_grad():
        encoder.columns.missing.add_(1.0)
    torch.testing.assert_close(features(encoder, {"age": 40}).pooled, before)
