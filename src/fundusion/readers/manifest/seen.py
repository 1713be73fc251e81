"""Which studies a table has had already, in memory that does not grow with the table."""

from __future__ import annotations

import sqlite3

from ...core.errors import ExhaustedResource


class SeenStudies:
    """Identifier -> line and digest of its row, kept in a private temporary database that vanishes when it is closed."""

    def __init__(self) -> None:
        # An empty name is a private database that moves to a temporary file when its cache is full.
        self._base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("PRAGMA synchronous = OFF")
        self._base.execute("PRAGMA cache_size = -16000")
        self._base.execute("CREATE TABLE seen (study BLOB PRIMARY KEY, digest BLOB, line INTEGER) WITHOUT ROWID")
        self._base.execute("BEGIN")

    def add(self, study: str, digest: bytes, line: int) -> tuple[int, bool] | None:
        """Return None for a new study, else the line it stood in and whether that row had the same content.

        Example:
            >>> seen = SeenStudies()
            >>> seen.add("1", b"a", 2), seen.add("1", b"a", 3), seen.add("1", b"b", 4)
            (None, (2, True), (2, False))
        """
        key = study.encode("utf-8", "surrogatepass")
        try:
            done = self._base.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (key, digest, line))
            if done.rowcount:
                return None
            first, known = self._base.execute("SELECT line, digest FROM seen WHERE study = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise ExhaustedResource(
                f"the list of studies cannot grow: {error}.",
                code="disk.full",
                hint="Free space in the folder for temporary files (TMPDIR).",
            ) from error
        return int(first), known == digest

    def close(self) -> None:
        """Give the memory and the temporary file back."""
        self._base.close()
