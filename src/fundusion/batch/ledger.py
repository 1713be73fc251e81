"""One durable state per study in the output folder: pending, ok, or rejected with a code."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import Busy, ExhaustedResource, FundusionError, InvalidInput

NAME = ".ledger.sqlite"
LOCK = ".lock"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A finished study: its line of `results.jsonl`, and what the overview needs."""

    position: int
    study_id: str
    status: str
    line: str
    facts: str


class Ledger:
    """Durable states of one run; at most one process holds it.

    Args:
        folder: Output folder; created.
        config: Everything that decides the results. A folder with another configuration is refused.
        study_ids: Of all studies, in order; they decide the results too.
        resume: Whether to go on with a run of the same configuration; False asks for an empty folder.

    Raises:
        Busy: Another run holds the folder.
        InvalidInput: The folder belongs to another run (`run.other_config`), or holds results and `resume` is False.
        FundusionError: The folder cannot be written (`output.not_writable`).
    """

    def __init__(
        self, folder: Path, *, config: Mapping[str, Any], study_ids: Sequence[str], resume: bool = True
    ) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _take_lock(folder)
        except OSError as error:
            raise _not_writable(folder, error) from error
        try:
            self._open(config, study_ids, resume)
        except BaseException:
            self.close()
            raise

    def _open(self, config: Mapping[str, Any], study_ids: Sequence[str], resume: bool) -> None:
        listed = hashlib.sha256("\0".join(study_ids).encode()).hexdigest()
        wanted = {"version": VERSION, **config, "studies_sha256": listed, "studies": len(study_ids)}
        try:
            self._base = sqlite3.connect(self.folder / NAME, isolation_level=None)
            self._base.execute("pragma journal_mode=delete")
            self._base.execute("pragma synchronous=full")
            self._base.execute("create table if not exists run (config text not null)")
            self._base.execute(
                "create table if not exists item (position integer primary key, study_id text not null, status text not null, "
                "line text not null, facts text not null)"
            )
            row = self._base.execute("select config from run").fetchone()
        except sqlite3.DatabaseError as error:
            raise _translate(error, self.folder) from error
        if row is None:
            self._base.execute("insert into run values (?)", (json.dumps(wanted, sort_keys=True),))
            return
        known = json.loads(row[0])
        different = sorted(k for k in {*known, *wanted} if known.get(k) != wanted.get(k))
        if different:
            raise InvalidInput(
                f"the output folder holds a run that differs in: {', '.join(different)}.",
                code="run.other_config",
                hint="Choose another --out, or repeat the command of that run.",
            )
        if not resume:
            raise InvalidInput(
                "the output folder already holds this run.",
                code="run.exists",
                hint="Leave out --no-resume to go on with it, or choose another --out.",
            )

    def finished(self) -> dict[int, str]:
        """Return position to status of the studies that are done."""
        return dict(self._base.execute("select position, status from item"))

    def record(self, entries: Sequence[Entry]) -> None:
        """Commit several studies at once; after a kill all of them are there or none.

        Raises:
            ExhaustedResource: The volume is full; what was committed before is intact.
        """
        try:
            with self._base:
                self._base.execute("begin immediate")
                self._base.executemany(
                    "insert or ignore into item values (?, ?, ?, ?, ?)",
                    [(e.position, e.study_id, e.status, e.line, e.facts) for e in entries],
                )
        except sqlite3.DatabaseError as error:
            raise _translate(error, self.folder) from error

    def entries(self) -> Iterator[Entry]:
        """Return finished studies in the order of the input, one at a time."""
        for position, study, status, line, facts in self._base.execute("select * from item order by position"):
            yield Entry(position=position, study_id=study, status=status, line=line, facts=facts)

    def counts(self) -> dict[str, int]:
        """Return status to number."""
        return dict(self._base.execute("select status, count(*) from item group by status"))

    def codes(self) -> dict[str, int]:
        """Return code of rejection to number."""
        found: dict[str, int] = {}
        for (line,) in self._base.execute("select line from item where status = 'rejected'"):
            code = json.loads(line)["code"]
            found[code] = found.get(code, 0) + 1
        return dict(sorted(found.items()))

    def close(self) -> None:
        """Close the base and give the folder free."""
        if hasattr(self, "_base"):
            self._base.close()
        self._lock.release()


def _take_lock(folder: Path) -> Any:
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise Busy(
            f"another run is writing to {folder.name!r}.", hint="Wait until it ends, or choose another --out."
        ) from error
    return lock


def _not_writable(folder: Path, error: OSError) -> FundusionError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ExhaustedResource(
            f"the volume of {folder.name!r} is full.", code="disk.full", hint="Free space and try again."
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return InvalidInput(
        f"the output folder {folder.name!r} cannot be written: {reason}.",
        code="output.not_writable",
        hint="Choose another --out or change its access rights.",
    )


def _translate(error: sqlite3.DatabaseError, folder: Path) -> FundusionError:
    words = str(error).lower()
    if "full" in words or "disk i/o" in words:
        return ExhaustedResource(
            f"the volume of {folder.name!r} is full or failing: {error}.",
            code="disk.full",
            hint="Free space and run the same command again: finished results are kept.",
        )
    if "readonly" in words or "unable to open" in words:
        return InvalidInput(f"the output folder {folder.name!r} cannot be written.", code="output.not_writable")
    return InvalidInput(
        f"the ledger in {folder.name!r} is damaged: {error}.", code="run.damaged", hint="Choose another --out."
    )
