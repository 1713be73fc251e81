"""Processes that read and prepare studies: a hang, a crash or a memory bomb costs one item, never the run."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from ..core.errors import FundusionError, ReadError

Prepare = Callable[[Any], Any]

#: Address space of a worker beyond what the interpreter itself takes, bytes.
DEFAULT_MEMORY = 6 << 30


def prepare_all(
    items: Sequence[Any] | Iterable[Any],
    prepare: Prepare,
    *,
    workers: int,
    timeout_s: float = 120.0,
    memory_bytes: int = DEFAULT_MEMORY,
    ahead: int = 32,
) -> Iterator[Any]:
    """Return what `prepare` gives for each item, in order; an error is returned in place of its result.

    Args:
        items: Inputs; taken only as far ahead as `ahead`.
        prepare: Picklable; runs in the workers.
        workers: Number of processes; 0 runs in this process, without protection.
        timeout_s: Longest time for one item; then its worker is killed and the item is `worker.timeout`.
        memory_bytes: Cap of a worker's address space; a worker that dies is replaced, its item tried once more, then
            `worker.died`.
        ahead: Most items in flight or waiting to be handed over.
    """
    if workers <= 0:
        for item in items:
            yield _guarded(prepare, item)
        return
    with _Crew(prepare, workers, timeout_s, memory_bytes) as crew:
        yield from crew.run(iter(items), max(ahead, workers))


def _guarded(prepare: Prepare, item: Any) -> Any:
    try:
        return prepare(item)
    except FundusionError as error:
        return error
    except MemoryError:
        return ReadError("the study needs more memory than a worker may use.", code="worker.memory")
    except Exception as error:
        return FundusionError(f"reading failed: {type(error).__name__}: {error}.", code="internal")


def _work(prepare: Prepare, pipe: Connection, memory_bytes: int) -> None:
    # The parent decides when to stop; a Ctrl-C in the terminal reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    with suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)
    while True:
        try:
            position, item = pipe.recv()
        except (EOFError, OSError):
            return
        result = _guarded(prepare, item)
        try:
            pipe.send((position, result))
        except (BrokenPipeError, OSError):
            return
        except Exception as error:
            pipe.send((position, FundusionError(f"a result cannot be handed over: {error}.", code="internal")))


@dataclass(slots=True)
class _Worker:
    process: Any
    pipe: Connection
    job: tuple[int, Any] | None = None
    deadline: float = 0.0


class _Crew:
    def __init__(self, prepare: Prepare, count: int, timeout_s: float, memory_bytes: int) -> None:
        # Forking a process that already runs torch threads can hang; a fork server starts clean.
        self._context = multiprocessing.get_context("forkserver")
        self._prepare, self._timeout, self._memory = prepare, timeout_s, memory_bytes
        self._workers = [self._hire() for _ in range(count)]

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            self._dismiss(worker)

    def _hire(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(self._prepare, theirs, self._memory), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process=process, pipe=ours)

    def _dismiss(self, worker: _Worker) -> None:
        worker.pipe.close()
        if worker.process.is_alive():
            worker.process.kill()
        worker.process.join(5)

    def run(self, items: Iterator[Any], ahead: int) -> Iterator[Any]:
        done: dict[int, Any] = {}
        retry: deque[tuple[int, Any]] = deque()
        tried: set[int] = set()
        following, given, exhausted = 0, 0, False
        while True:
            for worker in self._workers:
                if worker.job is not None:
                    continue
                if retry:
                    self._assign(worker, retry.popleft())
                elif not exhausted and given - following < ahead:
                    try:
                        item = next(items)
                    except StopIteration:
                        exhausted = True
                        continue
                    self._assign(worker, (given, item))
                    given += 1
            while following in done:
                yield done.pop(following)
                following += 1
            busy = [w for w in self._workers if w.job is not None]
            if not busy and not retry and exhausted and following == given:
                return
            if busy:
                self._collect(busy, done, retry, tried)

    def _assign(self, worker: _Worker, job: tuple[int, Any]) -> None:
        worker.job, worker.deadline = job, time.monotonic() + self._timeout
        with suppress(BrokenPipeError, OSError):
            worker.pipe.send(job)

    def _collect(
        self, busy: list[_Worker], done: dict[int, Any], retry: deque[tuple[int, Any]], tried: set[int]
    ) -> None:
        left = max(0.0, min(w.deadline for w in busy) - time.monotonic())
        ready = wait([w.pipe for w in busy] + [w.process.sentinel for w in busy], timeout=min(left, 1.0) + 0.01)
        for worker in busy:
            job = worker.job
            if job is None:
                continue
            if worker.pipe in ready:
                try:
                    position, result = worker.pipe.recv()
                    done[position] = result
                    worker.job = None
                    continue
                except (EOFError, OSError):
                    pass
            if worker.process.is_alive() and time.monotonic() < worker.deadline:
                continue
            late = worker.process.is_alive()
            self._dismiss(worker)
            fresh = self._hire()
            worker.process, worker.pipe, worker.job = fresh.process, fresh.pipe, None
            position = job[0]
            if late:
                done[position] = ReadError(
                    f"reading took longer than {self._timeout:g} s.",
                    code="worker.timeout",
                    hint="Check the file or raise --timeout.",
                )
            elif position in tried:
                done[position] = ReadError(
                    "reading ended the process twice.", code="worker.died", hint="Check the file."
                )
            else:
                tried.add(position)
                retry.append(job)
