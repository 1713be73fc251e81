"""`analyze`: records through a pipeline into a folder, in chunks that are committed whole.

A chunk is a fixed piece of the input order. Numbers of a network depend in their last digits on which studies share a batch, so a chunk
that was interrupted is computed again whole: the results of an interrupted and continued run equal those of a clean one byte for byte.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..core.durable import write_bytes, write_text
from ..core.errors import FundusionError
from ..core.results import StudyResult
from ..core.study import StudyRecord
from ..readers.manifest import Manifest, RejectedRow
from ..report.render import safe_file_name
from ..report.serialise import result_line
from .ledger import Entry, Ledger
from .outputs import export
from .workers import prepare_all

Progress = Callable[[int, int, Mapping[str, int]], None]


class Analyzer(Protocol):
    """What a run needs of a pipeline."""

    config: dict[str, Any]

    def preparer(self) -> Callable[[StudyRecord], Any]: ...

    def analyze(self, items: Sequence[Any]) -> list[Any]: ...

    def reject(self, record: StudyRecord, error: Exception) -> Any: ...


class Interrupted(Exception):
    """A signal asked the run to stop; what is finished is kept."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a run came to.

    Args:
        folder: With the results.
        counts: total, ok, rejected, pending.
        codes: Code of rejection to number.
        exit_code: 0, 3, 130 or 143.
        seconds: Spent by this call: "total", "studies" (their number), and in all of them by step.
    """

    folder: Path
    counts: dict[str, int]
    codes: dict[str, int] = field(default_factory=dict)
    exit_code: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def analyze(
    records: Manifest | Sequence[StudyRecord],
    out: str | Path,
    *,
    pipeline: Analyzer,
    workers: int = 0,
    batch_size: int = 16,
    resume: bool = True,
    report: bool = True,
    pictures: bool = False,
    timeout_s: float = 120.0,
    progress: Progress | None = None,
) -> RunSummary:
    """Return the summary of a run over all records; results are in the folder.

    Args:
        records: Studies; rows a manifest rejected become rejected studies.
        out: Output folder, of this run alone.
        pipeline: Prepares, analyses and rejects.
        workers: Processes that read; 0 reads in this one.
        batch_size: Studies per forward pass; part of the configuration.
        resume: Go on with an interrupted run of the same configuration.
        report: Write a page per study.
        pictures: Write the pictures of each measured photograph as PNG and SVG.
        timeout_s: Longest time to read one study.
        progress: Called with (done, total, counts).

    Raises:
        Busy, InvalidInput: Refused before work began.
        ExhaustedResource: The volume is full; finished results are kept.
    """
    items: list[StudyRecord | RejectedRow] = [*records, *(records.rejected if isinstance(records, Manifest) else ())]
    config = {**pipeline.config, "batch_size": batch_size, "report": report, **({"pictures": True} if pictures else {})}
    spent: dict[str, float] = {}
    began = time.time()
    folder = Path(out)
    with stoppable() as stop:
        ledger = Ledger(folder, config=_plain(config), study_ids=[i.study_id for i in items], resume=resume)
        code = 0
        try:
            if report:
                (folder / "reports").mkdir(exist_ok=True)
            if pictures:
                (folder / "pictures").mkdir(exist_ok=True)
            try:
                _work(
                    items, ledger, pipeline, workers, batch_size, (report, pictures), timeout_s, progress, stop, spent
                )
            except Interrupted as signalled:
                code = 128 + signalled.number
            counts = ledger.counts()
            export(
                ledger,
                tasks=pipeline.config.get("tasks", {}),
                total=len(items),
                run={
                    "config": _plain(config),
                    "versions": _versions(),
                    "timings": {"seconds": round(time.time() - began, 3), **{k: round(v, 3) for k, v in spent.items()}},
                },
                reports=report,
            )
            codes = ledger.codes()
        finally:
            ledger.close()
    numbers = {"total": len(items), "ok": counts.get("ok", 0), "rejected": counts.get("rejected", 0)}
    numbers["pending"] = numbers["total"] - numbers["ok"] - numbers["rejected"]
    if code == 0 and numbers["rejected"]:
        code = 3
    return RunSummary(
        folder=folder, counts=numbers, codes=codes, exit_code=code, seconds={"total": time.time() - began, **spent}
    )


def _work(
    items: list[StudyRecord | RejectedRow],
    ledger: Ledger,
    pipeline: Analyzer,
    workers: int,
    batch_size: int,
    files: tuple[bool, bool],
    timeout_s: float,
    progress: Progress | None,
    stop: Callable[[], None],
    spent: dict[str, float],
) -> None:
    finished = set(ledger.finished())
    chunks = [range(i, min(i + batch_size, len(items))) for i in range(0, len(items), batch_size)]
    open_chunks = [c for c in chunks if not finished.issuperset(c)]
    positions = [p for c in open_chunks for p in c]
    records = (items[p] for p in positions if isinstance(items[p], StudyRecord))
    prepared = prepare_all(
        records, pipeline.preparer(), workers=workers, timeout_s=timeout_s, ahead=max(2 * batch_size, 2 * workers)
    )
    done = len(finished)
    if progress:
        progress(done, len(items), ledger.counts())
    for chunk in open_chunks:
        stop()
        analyses = _chunk([items[p] for p in chunk], prepared, pipeline, stop)
        stop()
        entries = [
            _entry(p, a, ledger.folder, files) for p, a in zip(chunk, analyses, strict=True) if p not in finished
        ]
        for analysis in analyses:
            spent["studies"] = spent.get("studies", 0) + 1
            for step, seconds in getattr(analysis, "seconds", {}).items():
                spent[step] = spent.get(step, 0.0) + seconds
        ledger.record(entries)
        done += len(entries)
        if progress:
            progress(done, len(items), ledger.counts())


def _chunk(
    items: Sequence[StudyRecord | RejectedRow], prepared: Iterator[Any], pipeline: Analyzer, stop: Callable[[], None]
) -> list[Any]:
    results: list[Any] = [None] * len(items)
    usable: list[tuple[int, Any]] = []
    for i, item in enumerate(items):
        if isinstance(item, RejectedRow):
            error = FundusionError(item.message, code=item.code, hint=item.hint)
            results[i] = pipeline.reject(StudyRecord(study_id=item.study_id), error)
            continue
        ready = next(prepared)
        stop()
        if isinstance(ready, Exception):
            results[i] = pipeline.reject(item, ready)
        else:
            usable.append((i, ready))
    for i, analysis in zip([i for i, _ in usable], _answer(items, usable, pipeline), strict=True):
        results[i] = analysis
    return results


def _answer(items: Sequence[Any], usable: list[tuple[int, Any]], pipeline: Analyzer) -> list[Any]:
    """Answer all at once; when that fails, one by one, so that a bad study takes no other with it."""
    try:
        return pipeline.analyze([ready for _, ready in usable])
    except Exception:
        answers = []
        for i, ready in usable:
            try:
                answers += pipeline.analyze([ready])
            except Exception as error:
                answers.append(pipeline.reject(items[i], error))
        return answers


def _entry(position: int, analysis: Any, folder: Path, files: tuple[bool, bool]) -> Entry:
    result: StudyResult = analysis.result
    report, pictures = files
    facts: dict[str, Any] = {"headline": analysis.headline(), "thumbnail": analysis.thumbnail()}
    study = getattr(analysis, "study", None)
    if result.measurements and study is not None:
        facts |= {k: _known(study.metadata.get(k), kind) for k, kind in (("age", (int, float)), ("sex", str))}
    if pictures:
        for end, data in analysis.pictures().items():
            write_bytes(folder / "pictures" / f"{safe_file_name(result.study_id)}.{end}", data)
    if report:
        name = f"{safe_file_name(result.study_id)}.html"
        write_text(folder / "reports" / name, analysis.report_html())
        facts["report"] = name
    return Entry(
        position=position,
        study_id=result.study_id,
        status=result.status,
        line=result_line(result),
        facts=json.dumps(facts, ensure_ascii=False),
    )


def _known(value: Any, kind: Any) -> Any:
    """Return a cell of the patient table, or None where it is missing or of another kind."""
    return value if isinstance(value, kind) and value == value and not isinstance(value, bool) else None


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(config))
    return plain


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("fundusion", "torch", "numpy", "timm", "opencv-python-headless", "simplejpeg"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Give a function that raises `Interrupted` once SIGTERM or SIGINT came. Work in flight is not torn apart."""
    received: list[int] = []
    previous: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        received.append(number)

    def check() -> None:
        if received:
            raise Interrupted(received[0])

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            previous[number] = signal.signal(number, note)
        except ValueError:
            # Not in the main thread: the host program decides.
            continue
    try:
        yield check
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
