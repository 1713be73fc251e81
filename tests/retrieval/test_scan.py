"""The scan in 8 bits gives the answer of float32, for every k, with and without a mask, single and batched."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.retrieval import scan as module
from fundusion.retrieval.scan import ReducedScan, scan_float32
from fundusion.retrieval.vectors import HeldVectors


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def brute_force(rows, queries, k, allowed=None):
    scores = queries.astype(np.float64) @ rows.astype(np.float64).T
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.where(np.isneginf(np.take_along_axis(scores, order, 1)), -1, order), scores


def same(found, rows, queries, k, allowed=None):
    """Compare by value, because rows with equal cosines may change places."""
    wanted, scores = brute_force(rows, queries, k, allowed)
    assert found.shape[1] == k
    width = wanted.shape[1]
    assert (found[:, width:] == -1).all()
    assert ((found[:, :width] < 0) == (wanted < 0)).all()
    there = wanted >= 0
    a, b = (
        np.take_along_axis(scores, np.maximum(found[:, :width], 0), 1),
        np.take_along_axis(scores, np.maximum(wanted, 0), 1),
    )
    assert np.allclose(a[there], b[there], atol=2e-6)
    for line in found:
        assert len(set(line[line >= 0])) == (line >= 0).sum()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 60),
    dim=st.sampled_from([1, 3, 16, 64, 70]),
    batch=st.integers(1, 5),
    share=st.sampled_from([None, 0.0, 0.1, 0.7, 1.0]),
    data=st.data(),
)
def test_scan_equals_brute_force_for_every_k_up_to_the_number_of_rows(seed, count, dim, batch, share, data):
    rng = np.random.default_rng(seed)
    rows, queries = unit(rng.standard_normal((count, dim))), unit(rng.standard_normal((batch, dim)))
    k = data.draw(st.integers(1, count + 2))
    allowed = None if share is None else rng.random(count) < share
    scan = ReducedScan(HeldVectors(rows))
    same(scan.search(queries, k, allowed=allowed)[0], rows, queries, k, allowed)
    same(scan_float32(HeldVectors(rows), queries, k, allowed=allowed)[0], rows, queries, k, allowed)


@pytest.fixture(scope="module")
def clustered():
    """12,000 vectors of 40 clusters, enough for principal axes and the short cut."""
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((40, 128))
    rows = unit(centres[rng.integers(0, 40, 12_000)] + 0.7 * rng.standard_normal((12_000, 128)))
    return rows, unit(rows[rng.integers(0, 12_000, 30)] + 0.02 * rng.standard_normal((30, 128)))


def test_near_ties_in_clusters_are_found_batched_and_single(clustered):
    rows, queries = clustered
    scan = ReducedScan(HeldVectors(rows))
    assert scan.has_short_cut
    wanted, _ = brute_force(rows, queries, 10)
    batched, cosines = scan.search(queries, 10)
    assert np.mean([np.isin(a, b).mean() for a, b in zip(batched, wanted, strict=True)]) >= 0.999
    assert (np.diff(cosines, axis=1) <= 0).all()
    single = np.concatenate([scan.search(q[None], 10)[0] for q in queries])
    assert np.mean([np.isin(a, b).mean() for a, b in zip(single, wanted, strict=True)]) >= 0.99


def test_the_short_cut_is_left_where_the_leading_numbers_say_nothing():
    # All directions are alike, so half of the numbers cannot tell neighbours.
    rows = unit(np.random.default_rng(6).standard_normal((12_000, 64)))
    scan = ReducedScan(HeldVectors(rows))
    assert scan.short_cut_recall is not None
    assert not scan.has_short_cut
    queries = unit(np.random.default_rng(7).standard_normal((3, 64)))
    for query in queries:
        same(scan.search(query[None], 10)[0], rows, query[None], 10)


def test_a_mask_holds_in_the_short_cut_too(clustered):
    rows, queries = clustered
    scan = ReducedScan(HeldVectors(rows))
    allowed = np.zeros(len(rows), np.bool_)
    allowed[::500] = True
    found, _ = scan.search(queries[:1], 30, allowed=allowed)
    assert set(found[0][found[0] >= 0]) == set(range(0, 12_000, 500))
    assert (found[0] == -1).sum() == 6


def test_the_plain_product_gives_the_same_as_the_packed_one(clustered, monkeypatch):
    rows, queries = clustered
    packed = ReducedScan(HeldVectors(rows)).search(queries[:1], 20)
    monkeypatch.setattr(module, "_packing", [False])
    plain = ReducedScan(HeldVectors(rows)).search(queries[:1], 20)
    assert np.array_equal(packed[0], plain[0])


def test_memory_is_that_of_eight_bits(clustered):
    rows, _ = clustered
    assert ReducedScan(HeldVectors(rows)).memory_bytes() <= 0.376 * rows.nbytes + 4 * len(rows)


@pytest.mark.parametrize(
    ("queries", "k", "code"),
    [
        (np.zeros((1, 5)), 1, "index.query"),
        (np.full((1, 4), np.nan), 1, "model.not_finite"),
        (np.ones((1, 4)), 0, "config.k"),
    ],
)
def test_bad_queries_are_refused(queries, k, code):
    held = HeldVectors(np.eye(4, dtype=np.float32))
    for search in (ReducedScan(held).search, lambda q, n: scan_float32(held, q, n)):
        with pytest.raises(InvalidInput) as refused:
            search(queries.astype(np.float32), k)
        assert refused.value.code == code
