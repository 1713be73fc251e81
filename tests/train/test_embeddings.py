"""Vectors of a frozen encoder: the mean of a picture and its mirror, found again by content and weights."""

import numpy as np
import pytest
import torch

from fundusion.core.tasks import Binary
from fundusion.datasets.folder import discover
from fundusion.network import build_network
from fundusion.train.data import prepare_set
from fundusion.train.embeddings import digest_of_module, resized, with_vectors


@pytest.fixture(scope="module")
def made(cohort):
    network = build_network({"cfp": "contrast_resnet.test"}, "concat", {"t": Binary()}, embed_dim=8, seed=0).eval()
    records = [r for r in discover([cohort]) if "cfp" in r.images][:6]
    return network, prepare_set(records, network.spec.inputs)


def test_vectors_do_not_change_under_mirroring_and_keep_their_places(made):
    from dataclasses import replace

    network, data = made
    vectors = with_vectors(network, data)
    assert vectors.images["cfp"].shape == (len(data.images["cfp"]), network.encoders["cfp"].embed_dim)
    mirrored = replace(data, images={"cfp": data.images["cfp"][:, :, ::-1].copy()})
    np.testing.assert_allclose(
        with_vectors(network, mirrored).images["cfp"], vectors.images["cfp"], rtol=1e-3, atol=1e-4
    )
    assert not np.allclose(vectors.images["cfp"][0], vectors.images["cfp"][1])


def test_the_cache_is_used_and_not_used_for_other_weights(made, tmp_path, monkeypatch):
    network, data = made
    first = with_vectors(network, data, cache=tmp_path).images["cfp"]
    encoder = network.encoders["cfp"]
    calls = []
    original = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda x: calls.append(1) or original(x))
    again = with_vectors(network, data, cache=tmp_path).images["cfp"]
    assert calls == []
    assert np.array_equal(first, again)
    before = digest_of_module(encoder)
    with torch.no_grad():
        next(encoder.parameters()).add_(0.1)
    assert digest_of_module(encoder) != before
    changed = with_vectors(network, data, cache=tmp_path).images["cfp"]
    assert calls
    assert not np.array_equal(first, changed)
    with torch.no_grad():
        next(encoder.parameters()).sub_(0.1)


def test_resizing_is_antialiased_and_leaves_the_right_size_alone():
    stripes = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    small = resized(stripes, 16)
    assert small.shape == (1, 3, 16, 16)
    assert float((small - 0.5).abs().max()) < 0.05
    assert torch.equal(resized(stripes, 64), stripes.permute(0, 3, 1, 2).float() / 255)
