"""A run loses nothing: bad studies, signals, kills, a full disk."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from fundusion.batch import run as module
from fundusion.batch.outputs import read_results
from fundusion.batch.run import analyze
from fundusion.core import durable
from fundusion.core.errors import ExhaustedResource, ReadError
from fundusion.core.results import Prediction, StudyResult
from fundusion.core.study import StudyRecord
from fundusion.readers.manifest import Manifest, RejectedRow

ANSWER = Prediction(
    task="gradable", kind="binary", probabilities={"ungradable": 0.25, "gradable": 0.75}, label="gradable"
)


class Fake:
    """A pipeline without a network: the name of a study says what happens to it."""

    config = {"model": "fake", "tasks": {}}

    def preparer(self):
        def prepare(record):
            if record.study_id.startswith("unreadable"):
                raise ReadError("cut off.", code="image.truncated")
            return record

        return prepare

    def analyze(self, items):
        if any(i.study_id.startswith("poison") for i in items):
            raise RuntimeError("no kernel image")
        return [self._analysis(i.study_id, "ok", "ok", "") for i in items]

    def reject(self, record, error):
        return self._analysis(record.study_id, "rejected", getattr(error, "code", "internal"), str(error))

    def _analysis(self, study_id, status, code, message):
        result = StudyResult(
            study_id=study_id,
            patient_id=None,
            laterality=None,
            status=status,
            code=code,
            message=message,
            predictions={"gradable": ANSWER} if status == "ok" else {},
        )
        return SimpleNamespace(
            result=result, headline=lambda: "fine", thumbnail=lambda: None, report_html=lambda: f"<p>{study_id}</p>"
        )


def records(names):
    return [StudyRecord(study_id=n, images={"cfp": ("x.jpg",)}) for n in names]


def test_every_study_ends_in_one_state_and_counts_add_up(tmp_path):
    names = ["a", "unreadable-1", "b", "poison", "c", "d"]
    bad = RejectedRow(origin="t.csv:9", study_id="row-9", code="manifest.row", message="no eye", hint="")
    summary = analyze(Manifest(records(names), rejected=[bad]), tmp_path, pipeline=Fake(), batch_size=4)
    assert summary.counts == {"total": 7, "ok": 4, "rejected": 3, "pending": 0}
    assert summary.exit_code == 3
    rows = read_results(tmp_path)
    assert [r["study_id"] for r in rows] == [*names, "row-9"]
    assert [r["status"] for r in rows] == ["ok", "rejected", "ok", "rejected", "ok", "ok", "rejected"]
    assert [r["code"] for r in rows if r["status"] == "rejected"] == ["image.truncated", "internal", "manifest.row"]
    assert len(list((tmp_path / "reports").iterdir())) == 7
    assert json.loads((tmp_path / "run.json").read_text())["counts"] == summary.counts


def test_a_finished_run_does_no_work_again(tmp_path):
    analyze(records("abc"), tmp_path, pipeline=Fake())
    pipeline = Fake()
    pipeline.analyze = None
    assert analyze(records("abc"), tmp_path, pipeline=pipeline).counts["ok"] == 3


def test_a_signal_stops_between_chunks_and_the_same_call_completes(tmp_path):
    names = [f"s{i}" for i in range(12)]
    pipeline, calls = Fake(), []
    original = pipeline.analyze

    def stops(items):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(items)

    pipeline.analyze = stops
    summary = analyze(records(names), tmp_path / "a", pipeline=pipeline, batch_size=3)
    assert summary.exit_code == 143
    assert summary.counts == {"total": 12, "ok": 3, "rejected": 0, "pending": 9}
    assert analyze(records(names), tmp_path / "a", pipeline=Fake(), batch_size=3).exit_code == 0
    analyze(records(names), tmp_path / "b", pipeline=Fake(), batch_size=3)
    for name in ("results.jsonl", "summary.csv", "index.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch):
    names = [f"s{i}" for i in range(9)]
    original, written = durable.os.fsync, []

    def full(descriptor):
        written.append(1)
        if len(written) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(descriptor)

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(ExhaustedResource) as caught:
        analyze(records(names), tmp_path, pipeline=Fake(), batch_size=3)
    assert caught.value.code == "disk.full"
    monkeypatch.setattr(durable.os, "fsync", original)
    ledger = module.Ledger(
        tmp_path,
        config=_config(),
        study_ids=names,
    )
    assert ledger.finished() == {0: "ok", 1: "ok", 2: "ok"}
    ledger.close()
    assert not list(tmp_path.rglob("*.part"))
    assert analyze(records(names), tmp_path, pipeline=Fake(), batch_size=3).counts["ok"] == 9


def _config():
    return {"model": "fake", "tasks": {}, "batch_size": 3, "report": True}


def command(manifest, model, out):
    return [
        sys.executable, "-m", "fundusion", "analyze", str(manifest), "--out", str(out), "--model", str(model),
        "--workers", "1", "--batch-size", "2",
    ]  # fmt: skip


def files_of(folder):
    """Everything a user reads, without `run.json`, which holds times."""
    names = [
        p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".") and p.name != "run.json"
    ]
    return {str(p.relative_to(folder)): p.read_bytes() for p in names}


def killed_and_continued(cohort, tiny_model, folder, *, trials, chance):
    clean = subprocess.run(command(cohort, tiny_model, folder / "clean"), capture_output=True, text=True, check=False)
    assert clean.returncode in (0, 3), clean.stderr
    # A run in which everything was rejected would prove nothing.
    assert sum(r["status"] == "ok" for r in read_results(folder / "clean")) >= 8
    out = folder / "torn"
    kills = 0
    for _ in range(trials):
        process = subprocess.Popen(
            command(cohort, tiny_model, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not (out / ".ledger.sqlite").exists():
            time.sleep(0.01)
        time.sleep(float(chance.random()) * 1.2)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL if chance.random() < 0.7 else signal.SIGTERM)
            kills += 1
        process.wait()
    last = subprocess.run(command(cohort, tiny_model, out), capture_output=True, text=True, check=False)
    assert last.returncode == clean.returncode, last.stderr
    assert kills > 0
    assert files_of(out) == files_of(folder / "clean")


def test_killed_and_continued_equals_a_clean_run(cohort, tiny_model, tmp_path):
    killed_and_continued(cohort, tiny_model, tmp_path, trials=2, chance=np.random.default_rng(11))


@pytest.mark.slow
def test_many_kills_equal_a_clean_run(cohort, tiny_model, tmp_path):
    killed_and_continued(cohort, tiny_model, tmp_path, trials=25, chance=np.random.default_rng())
