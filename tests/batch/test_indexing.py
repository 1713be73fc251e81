"""Every picture and report ends ok, rejected or pending, once; a run that is stopped goes on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fundusion.batch import indexing
from fundusion.batch.indexing import index_records
from fundusion.core.errors import InvalidInput
from fundusion.core.registry import ImageInput
from fundusion.core.study import StudyRecord
from fundusion.readers.manifest import read_manifest
from fundusion.retrieval.changes import create_index, forget, open_index
from fundusion.retrieval.index import counts_of, rejected_of, verify


class Means:
    """An embedder of mean colours and lengths of words; it can be told to fail."""

    modality, reads_text, wanted = "cfp", True, ImageInput(size=16, mean=(0.0,) * 3, std=(1.0,) * 3)

    def __init__(self, stop_after=10**9, blind=False):
        self.left, self.blind, self.calls = stop_after, blind, 0

    def facts(self):
        return {"model": "means", "weights_sha256": "0", "space": "aligned", "preprocessing": {"cfp": "16"}, "dim": 3}

    def pictures(self, studies):
        self.calls += len(studies)
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        found = np.array([np.mean([f.mean((0, 1)) for f in frames], 0) for frames in studies], np.float32)
        return found * (0 if self.blind else 1)

    def texts(self, texts):
        if any("broken" in t for t in texts):
            raise ValueError("cannot read this")
        return np.array([[len(t), 1, t.count("a")] for t in texts], np.float32)


@pytest.fixture(scope="module")
def records(cohort):
    return read_manifest(cohort)


@pytest.fixture
def index(tmp_path):
    with create_index(tmp_path / "i", Means().facts()) as made:
        yield made


def adds_up(done):
    counts = done.counts
    return counts["ok"] + counts["rejected"] + counts["pending"] == counts["total"]


def test_pictures_and_reports_are_taken_with_what_the_table_says(records, index):
    shown = []
    done = index_records(records, index, Means(), progress=lambda *a: shown.append(a))
    assert done.counts == {"total": 48, "ok": 48, "rejected": 0, "pending": 0}
    assert counts_of(index) == {"images": 24, "reports": 24, "rejected": 0}
    assert shown[-1][:2] == (48, 48)
    by_key = {i.key: i for i in index.items(np.arange(48))}
    record = records[0]
    item = by_key[f"image|{record.study_id}|cfp|0"]
    assert (item.patient_id, item.report, item.path) == (record.patient_id, record.report, record.images["cfp"][0])
    assert len(item.digest) == 64
    assert item.cells["age"] == record.metadata["age"]
    assert verify(index) == 48


def test_a_run_that_was_stopped_goes_on_and_reads_nothing_twice(records, index):
    first = index_records(records, index, Means(stop_after=2))
    assert first.interrupted
    assert first.counts["pending"] > 0
    assert adds_up(first)
    finished = counts_of(index)["images"]
    assert finished > 0
    second = Means()
    done = index_records(records, index, second)
    assert (second.calls, done.already) == (24 - finished, first.counts["ok"])
    assert done.counts == {"total": 48, "ok": 48, "rejected": 0, "pending": 0}
    third = Means()
    assert index_records(records, index, third).already == 48
    assert third.calls == 0


def test_bad_items_end_rejected_with_their_codes_and_are_tried_again(records, index, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    good = records[0].images["cfp"][0]
    bad = [
        StudyRecord(study_id="cut", patient_id="c", images={"cfp": (str(tmp_path / "cut.png"),)}),
        StudyRecord(study_id="gone", images={"cfp": (str(tmp_path / "gone.png"),)}, report="fine words"),
        StudyRecord(study_id="nothing"),
        StudyRecord(study_id="other", images={"oct": (good,)}, report="  "),
        StudyRecord(study_id="words", report="broken words"),
        StudyRecord(study_id="half", images={"cfp": (good, str(tmp_path / "gone.png"))}),
    ]
    done = index_records([*bad, records[0]], index, Means())
    assert adds_up(done)
    assert done.counts == {"total": 10, "ok": 4, "rejected": 6, "pending": 0}
    assert done.codes["study.empty"] == 2
    assert done.codes["internal"] == 1
    assert {s for s, _, _ in rejected_of(index)} == {"cut", "gone", "nothing", "other", "words", "half"}
    (tmp_path / "cut.png").write_bytes(Path(good).read_bytes())
    done = index_records(bad[:1], index, Means())
    assert done.counts["ok"] == 1
    assert "cut" not in {s for s, _, _ in rejected_of(index)}


def test_rows_that_the_manifest_rejected_are_counted(tmp_path, index, cohort):
    lines = cohort.read_text("utf-8").splitlines()
    table = cohort.parent / "two.csv"
    table.write_text("\n".join([lines[0], lines[1], lines[2].replace("images/", "../elsewhere/", 1)]), "utf-8")
    done = index_records(read_manifest(table, on_bad_row="collect"), index, Means())
    assert done.counts["rejected"] >= 1
    assert adds_up(done)


def test_a_vector_without_direction_is_rejected_not_stored(records, index):
    done = index_records(records[:3], index, Means(blind=True))
    assert done.codes == {"model.not_finite": 3}
    assert counts_of(index)["images"] == 0


def test_another_picture_under_a_known_name_is_refused_and_a_moved_one_is_known(records, index, tmp_path):
    index_records(records[:2], index, Means())
    moved = tmp_path / "moved.png"
    moved.write_bytes(Path(records[0].images["cfp"][0]).read_bytes())
    same = replace(records[0], images={"cfp": (str(moved),)}, report=None)
    assert index_records([same], index, Means()).already == 1
    other = replace(records[1], images={"cfp": (str(moved),)}, report="something else")
    done = index_records([other], index, Means())
    assert done.codes == {"index.other_content": 2}
    forget(index, study_id=other.study_id)
    assert index_records([other], index, Means()).counts["ok"] == 2


def test_an_index_of_another_model_is_refused_before_anything_is_read(records, index):
    other = Means()
    other.facts = lambda: {**Means().facts(), "weights_sha256": "1"}
    with pytest.raises(InvalidInput) as refused:
        index_records(records, index, other)
    assert refused.value.code == "index.other_model"


def test_a_full_volume_keeps_what_was_finished(records, index, monkeypatch):
    from fundusion.core.errors import ExhaustedResource

    real, calls = indexing.add, []

    def add(*args):
        calls.append(1)
        if len(calls) == 2:
            raise ExhaustedResource("full", code="disk.full")
        return real(*args)

    monkeypatch.setattr(indexing, "add", add)
    with pytest.raises(ExhaustedResource):
        index_records(records, index, Means())
    folder = index.folder
    index.close()
    with open_index(folder) as reader:
        assert verify(reader) == 16
