"""What is known of each file, kept on disk as lines that are only ever added: a killed check goes on where it was."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock

from ..core.durable import sync_folder
from ..core.errors import ExhaustedResource, InvalidInput

#: Changes whenever a fingerprint of the same file may differ from what was kept.
VERSION = 1
#: Lines that are written and synced together.
_TOGETHER = 128

#: Path, modality, size in bytes, time of change in nanoseconds.
Key = tuple[str, str, int, int]


def key_of(path: str, modality: str) -> Key | None:
    """Return what tells whether a file is still the one that was looked at; None when it is not there.

    A folder counts by the sizes and the last change of the files in it.
    """
    try:
        if not os.path.isdir(path):
            found = os.stat(path)
            return path, modality, found.st_size, found.st_mtime_ns
        inner = [e.stat() for e in os.scandir(path)]
    except OSError:
        return None
    return path, modality, sum(s.st_size for s in inner), max((s.st_mtime_ns for s in inner), default=0)


class FingerprintCache:
    """Lines of `fingerprints-1.jsonl` in a folder; what has another version or a torn end is left aside.

    Args:
        folder: Created when absent.

    Raises:
        InvalidInput: The folder cannot be written (`cache.not_writable`).
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / f"fingerprints-{VERSION}.jsonl"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = not self.path.exists()
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            if new:
                sync_folder(self.path.parent)
        except OSError as error:
            raise InvalidInput(
                f"the cache folder {self.path.parent.name!r} cannot be written: {os.strerror(error.errno or 0)}.",
                code="cache.not_writable",
                hint="Choose another --cache.",
            ) from error
        # Two checks may share a folder; their lines must not be woven together.
        self._lock = FileLock(str(self.path) + ".lock", mode=0o600)
        self._waiting: list[str] = []

    def __enter__(self) -> FingerprintCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.flush()
        finally:
            os.close(self._descriptor)

    def read(self, wanted: Sequence[Key]) -> dict[Key, Mapping[str, Any]]:
        """Return what is known of the wanted files that have not changed since."""
        asked = set(wanted)
        known: dict[Key, Mapping[str, Any]] = {}
        with self.path.open("rb") as stream:
            for line in stream:
                try:
                    path, modality, size, changed, facts = json.loads(line)
                except (ValueError, TypeError):
                    # The end of a run that was killed while writing.
                    continue
                key = (path, modality, size, changed)
                if key in asked:
                    known[key] = facts
        return known

    def add(self, key: Key, facts: Mapping[str, Any]) -> None:
        """Keep facts of a file; they are on disk after the next `flush`, at the latest 128 files on."""
        self._waiting.append(json.dumps([*key, facts], ensure_ascii=True, separators=(",", ":")))
        if len(self._waiting) >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Write what waits and make it durable.

        Raises:
            ExhaustedResource: The volume is full; what was written before is intact.
        """
        if not self._waiting:
            return
        data = ("\n".join(self._waiting) + "\n").encode()
        self._waiting.clear()
        try:
            with self._lock:
                size = os.fstat(self._descriptor).st_size
                if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                    data = b"\n" + data
                while data:
                    data = data[os.write(self._descriptor, data) :]
                os.fsync(self._descriptor)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ExhaustedResource(
                f"the volume of {self.path.parent.name!r} is full.",
                code="disk.full",
                hint="Free space and run the same command again: finished files are kept.",
            ) from error
