"""An approximate index says what it finds of the true neighbours, and is refused below the floor, when stale or changed."""

import json

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.retrieval.approximate import FACTS, FILE, build_approximate, load_approximate
from fundusion.retrieval.changes import add, create_index, forget, open_index
from fundusion.retrieval.index import Item
from fundusion.retrieval.query import Query, Searcher
from fundusion.retrieval.scan import scan_float32

pytest.importorskip("faiss")
MODEL = {"model": "vit.test", "weights_sha256": "a" * 64, "space": "encoder", "preprocessing": {}, "dim": 32}


@pytest.fixture
def index(tmp_path):
    rng = np.random.default_rng(3)
    rows = (rng.standard_normal((20, 32))[rng.integers(0, 20, 1500)] + 0.6 * rng.standard_normal((1500, 32))).astype(
        np.float32
    )
    items = [
        Item(key=str(i), kind="image", study_id=str(i), patient_id=f"p{i % 50}", cells={"n": float(i)})
        for i in range(1500)
    ]
    with create_index(tmp_path / "i", MODEL) as made:
        add(made, items, rows)
        yield made


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_recall_is_measured_on_the_vectors_of_the_index(index, kind):
    measured = build_approximate(index, kind, floor=0.9)
    assert measured.recall >= 0.9
    assert json.loads((index.folder / FACTS).read_text())["recall"] == measured.recall
    queries = index.vectors().gather(np.arange(0, 1500, 7))
    truth, _ = scan_float32(index.vectors(), queries, 10)
    found, cosines = load_approximate(index).search(queries, 10)
    again = np.mean([np.isin(a, b).mean() for a, b in zip(found, truth, strict=True)])
    assert again >= measured.recall - 0.05
    assert np.allclose(cosines[:, 0], 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_conditions_hold(index, kind):
    build_approximate(index, kind, floor=0.5)
    query = Query(vector=index.vectors().gather(np.array([3]))[0], patient_id="p3")
    (hits,) = Searcher(index, method="approximate").search([query], 5, where="n >= 700")
    assert len(hits) == 5
    assert all(h.item.cells["n"] >= 700 and h.item.patient_id != "p3" for h in hits)


def test_below_the_floor_nothing_is_written(index, monkeypatch):
    monkeypatch.setattr("fundusion.retrieval.approximate._EFFORTS", {"ivf": (1,), "hnsw": (1,)})
    with pytest.raises(InvalidInput, match="by effort: 1: 0") as refused:
        build_approximate(index, "ivf", floor=1.0)
    assert refused.value.code == "index.recall"
    assert not (index.folder / FILE).exists()


def test_stale_changed_absent_and_below_the_floor_are_refused(index):
    def code():
        with pytest.raises(InvalidInput) as refused:
            load_approximate(index)
        return refused.value.code

    assert code() == "index.not_found"
    build_approximate(index, "hnsw", floor=0.5)
    facts = json.loads((index.folder / FACTS).read_text())
    (index.folder / FACTS).write_text(json.dumps({**facts, "floor": 1.1}))
    assert code() == "index.recall"
    (index.folder / FACTS).write_text(json.dumps(facts))
    data = bytearray((index.folder / FILE).read_bytes())
    data[-5] ^= 1
    (index.folder / FILE).write_bytes(bytes(data))
    assert code() == "index.damaged"
    add(index, [Item(key="new", kind="image", study_id="new")], np.ones((1, 32), np.float32))
    assert code() == "index.stale"


def test_erasing_takes_the_approximate_index_with_it(index):
    build_approximate(index, "ivf", floor=0.5)
    forget(index, patient_id="p7")
    assert not (index.folder / FILE).exists()
    assert not (index.folder / FACTS).exists()


def test_other_kinds_are_refused(index):
    with pytest.raises(InvalidInput, match="ivf, hnsw"):
        build_approximate(index, "magic")
    with pytest.raises(InvalidInput), open_index(index.folder) as reader:
        build_approximate(reader, "ivf")
