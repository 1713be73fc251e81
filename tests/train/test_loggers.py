"""Rows are whole after a kill; columns may come later."""

import csv
import json

import pytest

from fundusion.train.loggers import History, open_loggers


def test_history_is_jsonl_and_csv(tmp_path):
    history = History(tmp_path, [{"epoch": 1, "loss": 2.0}])
    history.row({"epoch": 2, "loss": 1.5, "disease.auroc": 0.7})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert rows == [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.5, "disease.auroc": 0.7}]
    with (tmp_path / "metrics.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert table[0]["disease.auroc"] == ""
    assert table[1]["disease.auroc"] == "0.7"
    with pytest.raises(ValueError, match="JSON"):
        history.row({"loss": float("nan")})


def test_nothing_is_opened_that_was_not_asked_for(tmp_path):
    assert open_loggers((), tmp_path, {}) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_tracker_that_is_not_installed_names_its_extra(tmp_path, name, monkeypatch):
    import sys

    from fundusion.core.errors import MissingDependency

    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency, match="tracking"):
        open_loggers((name,), tmp_path, {})
