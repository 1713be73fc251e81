"""One durable state per study; one run per folder."""

import json
import subprocess
import sys

import pytest

from fundusion.batch.ledger import NAME, Entry, Ledger
from fundusion.core.errors import InvalidInput


def entry(position, status="ok", code="ok"):
    return Entry(position=position, study_id=f"s{position}", status=status, line=json.dumps({"code": code}), facts="{}")


def opened(folder, **changes):
    return Ledger(folder, **{"config": {"model": "a"}, "study_ids": ["s0", "s1", "s2"], **changes})


def test_entries_come_back_in_input_order_and_are_never_doubled(tmp_path):
    ledger = opened(tmp_path)
    ledger.record([entry(2), entry(0, "rejected", "image.corrupt")])
    ledger.record([entry(0), entry(1, "rejected", "image.corrupt")])
    ledger.close()
    again = opened(tmp_path)
    assert [e.position for e in again.entries()] == [0, 1, 2]
    assert again.finished() == {0: "rejected", 1: "rejected", 2: "ok"}
    assert again.counts() == {"ok": 1, "rejected": 2}
    assert again.codes() == {"image.corrupt": 2}
    again.close()


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"config": {"model": "b"}}, "model"), ({"study_ids": ["s0", "s1", "sx"]}, "studies_sha256")],
)
def test_a_folder_of_another_run_is_refused_and_says_what_differs(tmp_path, changes, word):
    opened(tmp_path).close()
    with pytest.raises(InvalidInput, match=word) as caught:
        opened(tmp_path, **changes)
    assert caught.value.code == "run.other_config"
    opened(tmp_path).close()


def test_no_resume_refuses_a_folder_with_results(tmp_path):
    opened(tmp_path).close()
    with pytest.raises(InvalidInput) as caught:
        opened(tmp_path, resume=False)
    assert caught.value.code == "run.exists"


def test_a_second_process_is_refused_while_the_first_runs(tmp_path):
    ledger = opened(tmp_path)
    code = (
        "import sys; from pathlib import Path; from fundusion.batch.ledger import Ledger; from fundusion.core.errors import Busy\n"
        "try: Ledger(Path(sys.argv[1]), config={'model': 'a'}, study_ids=['s0', 's1', 's2'])\n"
        "except Busy: sys.exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    ledger.close()
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


def test_a_damaged_ledger_and_a_folder_that_is_a_file_are_refused(tmp_path):
    (tmp_path / NAME).write_bytes(b"this is no data base at all" * 100)
    with pytest.raises(InvalidInput) as caught:
        opened(tmp_path)
    assert caught.value.code == "run.damaged"
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InvalidInput) as caught:
        opened(file)
    assert caught.value.code == "output.not_writable"


def test_the_lock_is_given_back_when_opening_fails(tmp_path):
    opened(tmp_path).close()
    with pytest.raises(InvalidInput):
        opened(tmp_path, config={"model": "z"})
    opened(tmp_path).close()
