"""Growing and forgetting: equal to an index built anew, nothing left of who was erased, readable after a kill at any write."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.retrieval import changes
from fundusion.retrieval import index as index_module
from fundusion.retrieval.changes import add, create_index, forget, is_begun, open_index, reject
from fundusion.retrieval.index import Item, counts_of, verify
from fundusion.retrieval.query import Query, Searcher

FACTS = {"model": "vit.test", "weights_sha256": "a" * 64, "space": "encoder", "preprocessing": {"cfp": "p"}, "dim": 8}
SECRETS = ("patient-of-interest", "a-very-private-word", "rare-study-name")


def item(study, patient, **more):
    return Item(key=f"image|{study}|cfp|0", kind="image", study_id=study, patient_id=patient, **more)


def vector(number):
    return np.random.default_rng(number).standard_normal(8).astype(np.float32)


def stored(number):
    """Return the bytes that an index keeps of a vector."""
    made = vector(number)[None]
    return (made / np.linalg.norm(made.astype(np.float64), axis=1)[:, None]).astype(np.float32).tobytes()


def answers(folder, query):
    with open_index(folder) as index:
        if not index.vectors().count:
            return []
        (hits,) = Searcher(index).search([Query(vector=query)], 5)
        return [(h.item, pytest.approx(h.similarity, abs=1e-6)) for h in hits]


@settings(max_examples=25)
@given(steps=st.lists(st.tuples(st.sampled_from(["add", "add", "forget"]), st.integers(0, 6)), min_size=1, max_size=25))
def test_any_sequence_of_adding_and_forgetting_equals_an_index_built_anew(tmp_path_factory, steps):
    base = tmp_path_factory.mktemp("sequence")
    kept = []
    with create_index(base / "grown", FACTS) as index:
        for number, (what, patient) in enumerate(steps):
            if what == "add":
                made = item(f"s{number}", f"p{patient}", cells={"age": float(number)})
                add(index, [made], vector(number)[None])
                kept.append((made, number))
            elif any(k.patient_id == f"p{patient}" for k, _ in kept):
                forget(index, patient_id=f"p{patient}")
                kept = [(k, n) for k, n in kept if k.patient_id != f"p{patient}"]
            else:
                with pytest.raises(InvalidInput):
                    forget(index, patient_id=f"p{patient}")
    with create_index(base / "anew", FACTS) as index:
        if kept:
            add(index, [k for k, _ in kept], np.stack([vector(n) for _, n in kept]))
    query = vector(10_000)
    assert answers(base / "grown", query) == answers(base / "anew", query)
    with open_index(base / "grown") as index:
        assert verify(index) == len(kept)


def bytes_of(folder):
    return b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


@pytest.mark.parametrize("others", [3, 40], ids=["with compaction", "without"])
def test_of_an_erased_patient_no_byte_is_left(tmp_path, others):
    folder = tmp_path / "i"
    with create_index(folder, FACTS) as index:
        secret = item(SECRETS[2], SECRETS[0], report=SECRETS[1] * 600, cells={"word": SECRETS[1]})
        copies = [
            Item(**{**{f: getattr(secret, f) for f in secret.__dataclass_fields__}, "key": f"k{i}"}) for i in range(2)
        ]
        add(index, [copies[0]], vector(1)[None])
        for number in range(others):
            add(index, [item(f"s{number}", f"p{number}")], vector(100 + number)[None])
        add(index, [copies[1]], vector(2)[None])
        reject(index, "r", SECRETS[2], patient_id=SECRETS[0], code="x", message=SECRETS[1])
        unit = [stored(1), stored(2)]
    (folder / "approximate.faiss").write_bytes(unit[0])
    before = bytes_of(folder)
    assert all(s.encode() in before for s in SECRETS)
    assert all(u in before for u in unit)
    with open_index(folder, write=True) as index:
        assert forget(index, patient_id=SECRETS[0]) == 2
        assert counts_of(index) == {"images": others, "reports": 0, "rejected": 0}
    after = bytes_of(folder)
    assert not any(s.encode() in after for s in SECRETS)
    assert not any(u in after or u[:16] in after for u in unit)
    with open_index(folder) as index:
        assert verify(index) == others


class Killed(BaseException):
    pass


def killed_at(step, work, monkeypatch):
    """Run some work that is torn at the given write, sync, rename or removal; return whether it came to its end."""
    left = [step]

    def counted(call):
        def inner(*args, **kwargs):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return call(*args, **kwargs)

        return inner

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", counted(os.fsync))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        real = index_module.Index.run
        writes = ("insert", "update", "delete", "begin", "commit")

        def run(self, sql, values=()):
            return (counted(real) if sql.startswith(writes) else real)(self, sql, values)

        patch.setattr(index_module.Index, "run", run)
        patch.setattr(changes, "sync_folder", counted(changes.sync_folder))
        try:
            work()
        except Killed:
            return False
    return True


def test_a_kill_between_any_two_writes_leaves_an_index_with_the_old_or_the_new_state(tmp_path, monkeypatch):
    old = {"s0", "s1", "s2"}
    states = {
        "add": (
            lambda i: add(i, [item("s3", "p3"), item("s4", "p4")], np.stack([vector(3), vector(4)])),
            old | {"s3", "s4"},
        ),
        "forget": (lambda i: forget(i, patient_id="p1"), old - {"s1"}),
    }
    for name, (work, new) in states.items():
        step, ended = 0, False
        while not ended:
            folder = tmp_path / f"{name}{step}"
            with create_index(folder, FACTS) as index:
                add(index, [item(f"s{i}", f"p{i}") for i in range(3)], np.stack([vector(i) for i in range(3)]))
            index = open_index(folder, write=True)
            ended = killed_at(step, lambda: work(index), monkeypatch)  # noqa: B023
            # The process is gone: its open change is rolled back by whoever opens the base next.
            index._base.close()
            index._lock.release()
            with open_index(folder) as reader:
                there = {i.study_id for i in reader.items(np.arange(reader.vectors().count))}
                assert there in (old, new), (name, step)
                assert verify(reader) == len(there)
            with open_index(folder, write=True) as index:
                if there == old:
                    work(index)
            with open_index(folder) as reader:
                assert {i.study_id for i in reader.items(np.arange(reader.vectors().count))} == new
            if name == "forget":
                assert stored(1)[:8] not in bytes_of(folder)
                assert b"p1" not in bytes_of(folder)
            step += 1
        assert step > 8


def test_what_a_kill_left_of_vectors_that_were_never_counted_is_cut_off(tmp_path):
    with create_index(tmp_path / "i", FACTS) as index:
        add(index, [item("s0", "p0")], vector(0)[None])
    path = tmp_path / "i" / "vectors-1.f32"
    with path.open("ab") as stream:
        stream.write(vector(9).tobytes())
    (tmp_path / "i" / "vectors-2.f32").write_bytes(vector(8).tobytes())
    with open_index(tmp_path / "i") as index:
        assert index.vectors().count == 1
    with open_index(tmp_path / "i", write=True):
        pass
    assert path.stat().st_size == 32
    assert not (tmp_path / "i" / "vectors-2.f32").exists()


def test_an_index_that_a_kill_left_before_its_first_fact_is_begun_again(tmp_path):
    folder = tmp_path / "i"
    folder.mkdir()
    assert not is_begun(folder)
    (folder / "items.sqlite").touch()
    (folder / "vectors-1.f32").touch()
    assert not is_begun(folder)
    create_index(folder, FACTS).close()
    assert is_begun(folder)
    with pytest.raises(InvalidInput) as refused:
        create_index(folder, FACTS)
    assert refused.value.code == "output.exists"


@pytest.mark.parametrize("bad", [np.zeros((1, 8)), np.full((1, 8), np.nan), np.ones((1, 7)), np.ones((2, 8))])
def test_vectors_that_mean_nothing_are_not_added(tmp_path, bad):
    with create_index(tmp_path / "i", FACTS) as index:
        with pytest.raises(InvalidInput):
            add(index, [item("s0", "p0")], bad.astype(np.float32))
        assert index.vectors().count == 0


def test_identifiers_are_compared_byte_for_byte(tmp_path):
    with create_index(tmp_path / "i", FACTS) as index:
        add(index, [item("s0", "007"), item("s1", "7")], np.stack([vector(0), vector(1)]))
        assert forget(index, patient_id="7") == 1
        assert [i.patient_id for i in index.items(np.arange(1))] == ["007"]
        assert forget(index, study_id="s0") == 1
