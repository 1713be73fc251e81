"""Who is found and who is not: conditions, the query's own patient, kinds, similarities, methods."""

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.retrieval import query as module
from fundusion.retrieval.changes import add, create_index, open_index
from fundusion.retrieval.index import Item
from fundusion.retrieval.query import Query, Searcher, picture_of, query_of_study

FACTS = {"model": "vit.test", "weights_sha256": "a" * 64, "space": "encoder", "preprocessing": {}, "dim": 6}


@pytest.fixture(scope="module")
def vectors():
    return (
        np.random.default_rng(2).standard_normal((40, 6)).astype(np.float32)
        * np.linspace(0.5, 3, 40, dtype=np.float32)[:, None]
    )


@pytest.fixture
def index(tmp_path, vectors):
    items = [
        Item(
            key=str(i), kind="report" if i % 4 == 3 else "image", study_id=f"s{i // 2}",
            patient_id=None if i >= 36 else f"p{i // 4}", digest="same" if i in (0, 8) else f"d{i}", cells={"age": float(i)},
        )
        for i in range(40)
    ]  # fmt: skip
    with create_index(tmp_path / "i", FACTS) as made:
        add(made, items, vectors)
    with open_index(tmp_path / "i") as opened:
        yield opened


def found(hits):
    return [int(h.item.key) for h in hits]


def by_cosine(vectors, query, allowed):
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order = np.argsort(-(units @ query), kind="stable")
    return [int(i) for i in order if allowed(int(i))]


def test_hits_are_those_of_brute_force_in_order_with_their_cosines(index, vectors):
    (hits,) = Searcher(index).search([Query(vector=vectors[5])], 40, find="any")
    assert found(hits) == by_cosine(vectors, vectors[5], lambda i: True)
    assert [h.rank for h in hits] == list(range(1, 41))
    assert hits[0].similarity == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("method", ["auto", "float32", "scan"])
def test_every_method_gives_the_same_when_rows_are_many(index, vectors, monkeypatch, method):
    monkeypatch.setattr(module, "_FEW_ROWS", 3)
    queries = [Query(vector=v) for v in vectors[:20]]
    searched = Searcher(index, method=method)
    for _ in range(2):
        for where, least in ((None, 0), ("age >= 10", 10)):
            answers = searched.search(queries, 5, find="any", where=where)
            for query, hits in zip(queries, answers, strict=True):
                assert found(hits) == by_cosine(vectors, query.vector, lambda i: i >= least)[:5]  # noqa: B023
    assert (searched._scan is None) == (method == "float32")


def test_nothing_of_the_querys_patient_study_or_copies_is_found(index, vectors):
    query = Query(vector=vectors[0], patient_id="p0", study_id="s0", digest="same")
    (hits,) = Searcher(index).search([query], 40, find="any")
    # Row 8 holds the same file under another patient: that patient is the same person.
    assert set(found(hits)) == set(range(40)) - set(range(4)) - set(range(8, 12))
    (hits,) = Searcher(index).search([query], 40, find="any", same_patient=True)
    assert len(hits) == 40
    (hits,) = Searcher(index).search([Query(vector=vectors[36], study_id="s18")], 40, find="any")
    # Without a patient only the study itself is known to be the same.
    assert set(found(hits)) == set(range(40)) - {36, 37}


def test_a_missing_patient_bars_nobody(index, vectors):
    (hits,) = Searcher(index).search([Query(vector=vectors[0])], 40, find="any")
    assert len(hits) == 40


def test_each_query_of_a_call_has_its_own_patient(index, vectors):
    queries = [
        Query(vector=vectors[0], patient_id="p0"),
        Query(vector=vectors[1]),
        Query(vector=vectors[20], patient_id="p5"),
    ]
    first, second, third = Searcher(index).search(queries, 40, find="any")
    assert not set(found(first)) & set(range(4))
    assert len(second) == 40
    assert not set(found(third)) & set(range(20, 24))


def test_kinds_and_conditions_are_both_kept(index, vectors):
    (hits,) = Searcher(index).search([Query(vector=vectors[0])], 40, find="report", where="age > 20 and not age > 30")
    assert sorted(found(hits)) == [23, 27]
    for options in ({"find": "drawing"}, {"where": "age > 100"}):
        with pytest.raises(InvalidInput) as refused:
            Searcher(index).search([Query(vector=vectors[0])], 3, **options)
        assert refused.value.code == "index.nothing"


def test_the_asymmetric_similarity_is_the_published_one(index, vectors, monkeypatch):
    (hits,) = Searcher(index).search([Query(vector=vectors[7])], 40, find="any", similarity="asymmetric")
    half = np.linalg.norm(vectors, axis=1) / 2
    value = half / (half + np.linalg.norm(vectors - vectors[7], axis=1))
    assert found(hits) == np.argsort(-value).tolist()
    assert [h.similarity for h in hits] == pytest.approx(np.sort(value)[::-1], abs=1e-3)
    assert found(hits) != by_cosine(vectors, vectors[7], lambda i: True)
    # Not the same from the other side: the stored vector sets the scale.
    there = next(h.similarity for h in hits if h.item.key == "30")
    (back,) = Searcher(index).search([Query(vector=vectors[30])], 40, find="any", similarity="asymmetric")
    assert next(h.similarity for h in back if h.item.key == "7") != pytest.approx(there, abs=1e-3)


def test_options_and_vectors_that_are_not_known_are_refused(index, vectors):
    for call in (
        lambda: Searcher(index, method="magic"),
        lambda: Searcher(index).search([Query(vector=vectors[0])], 3, similarity="kind"),
        lambda: Searcher(index).search([Query(vector=np.zeros(6, np.float32))], 3),
        lambda: Searcher(index).search([Query(vector=vectors[0])], 0),
        lambda: query_of_study(index, "nobody"),
    ):
        with pytest.raises(InvalidInput):
            call()


def test_a_study_of_the_index_is_its_own_query(index, vectors):
    ((item, query),) = query_of_study(index, "s1")
    assert item.key == "2"
    assert (query.patient_id, query.study_id) == ("p0", "s1")
    assert np.allclose(query.vector, vectors[2], atol=1e-6)


def test_the_file_of_a_hit_may_be_gone(tmp_path):
    (tmp_path / "a.png").touch()
    there = Item(key="a", kind="image", study_id="a", path=str(tmp_path / "a.png"))
    assert picture_of(there) == tmp_path / "a.png"
    assert picture_of(Item(key="b", kind="image", study_id="b", path=str(tmp_path / "b.png"))) is None
