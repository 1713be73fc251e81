"""What a person sees: errors with a code and a way out, progress that ends, tables."""

from types import SimpleNamespace

import pytest

from fundusion.cli import screen
from fundusion.core.errors import Busy, ExhaustedResource, FundusionError, IncompatibleWeights, InvalidInput, ReadError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("x", code="config.invalid"), 2),
        (InvalidInput("x"), 4),
        (ReadError("x", code="input.missing"), 4),
        (IncompatibleWeights("x"), 4),
        (Busy("x"), 4),
        (ExhaustedResource("x"), 5),
        (MemoryError(), 5),
        (FundusionError("x", code="train.not_finite"), 1),
        (RuntimeError("x"), 1),
    ],
)
def test_exit_codes(error, code):
    assert screen.exit_code_of(error) == code


def test_an_error_names_code_message_and_way_out_without_a_trace(capsys):
    assert screen.fail(InvalidInput("no eye.", code="study.empty", hint="Give one.")) == 4
    assert capsys.readouterr().err == "error [study.empty]: no eye.\n  Give one.\n"
    screen.fail(RuntimeError("boom"))
    written = capsys.readouterr().err
    assert "error [internal]: RuntimeError: boom" in written
    assert "--debug" in written


def test_progress_without_a_terminal_ends_with_the_total(capsys):
    with screen.progress("studies") as show:
        for i in range(1, 6):
            show(i, 5, {"rejected": 1})
    assert capsys.readouterr().err.strip().splitlines()[-1] == "studies: 5 of 5 rejected 1"


def test_progress_of_unknown_length_names_no_total(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 6.0])
    monkeypatch.setattr(screen, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with screen.progress("rows") as show:
        show(2000, 0)
        show(4000, 0)
    assert capsys.readouterr().err == "rows: 4000\n"


def test_a_table_shows_every_cell_and_nothing_for_none(capsys):
    screen.table([("a", 1), ("b", None)], ("name", "n"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("┃")[0].strip() == "name"
    assert [line.split("│")[1].strip() for line in lines[2:]] == ["1", ""]
