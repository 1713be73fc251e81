"""Vectors in one flat file of float32, read by place: whole, in blocks, or a few rows, never more in memory than asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput

Rows = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
#: Rows read at once.
BLOCK = 16384


class Vectors(Protocol):
    """Unit vectors with a number each, from zero."""

    count: int
    dim: int

    def blocks(self, rows: int = BLOCK) -> Iterator[tuple[int, Rows]]: ...

    def gather(self, rows: Places) -> Rows: ...


class VectorFile:
    """Some rows of a flat file of float32. The file stays open, so that it can be read on after it was replaced.

    Args:
        path: File.
        dim: Width of a row.
        places: Rows of the file that count, ascending; None is all of them.
    """

    def __init__(self, path: str | Path, *, dim: int, places: Places | None = None) -> None:
        self.dim = dim
        self._row = 4 * dim
        self._file = os.open(path, os.O_RDONLY)
        whole = os.fstat(self._file).st_size // self._row
        if places is not None and len(places) and int(places[-1]) >= whole:
            os.close(self._file)
            raise InvalidInput(
                f"{Path(path).name!r} holds {whole} vectors, {int(places[-1]) + 1} are needed.",
                code="index.damaged",
                hint="The file was cut; build the index again.",
            )
        self.places = np.arange(whole, dtype=np.int64) if places is None else places
        self.count = len(self.places)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def blocks(self, rows: int = BLOCK) -> Iterator[tuple[int, Rows]]:
        """Give (number of the first, vectors) for all rows in order."""
        for start in range(0, self.count, rows):
            places = self.places[start : start + rows]
            first, last = int(places[0]), int(places[-1])
            if last - first + 1 == len(places):
                block = np.empty((len(places), self.dim), np.float32)
                self._read(block.reshape(-1).view(np.uint8).data, first * self._row)
            else:
                block = self.gather(np.arange(start, start + len(places), dtype=np.int64))
            yield start, block

    def gather(self, rows: Places) -> Rows:
        """Return the vectors of some rows, `(n, D)`."""
        found = np.empty((len(rows), self.dim), np.float32)
        view = found.reshape(-1).view(np.uint8).data
        for i, place in enumerate(self.places[rows].tolist()):
            self._read(view[i * self._row : (i + 1) * self._row], place * self._row)
        return found

    def _read(self, buffer: memoryview, offset: int) -> None:
        done = 0
        while done < len(buffer):
            read = os.preadv(self._file, [buffer[done:]], offset + done)
            if read <= 0:
                raise InvalidInput("the file of vectors was cut.", code="index.damaged", hint="Build the index again.")
            done += read


class HeldVectors:
    """Vectors in memory.

    Example:
        >>> HeldVectors(np.eye(3, dtype=np.float32)).gather(np.array([2]))
        array([[0., 0., 1.]], dtype=float32)
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = np.ascontiguousarray(rows, np.float32)
        self.count, self.dim = self.rows.shape

    def blocks(self, rows: int = BLOCK) -> Iterator[tuple[int, Rows]]:
        """Give (number of the first, vectors)."""
        for start in range(0, self.count, rows):
            yield start, self.rows[start : start + rows]

    def gather(self, rows: Places) -> Rows:
        """Return the vectors of some rows."""
        return self.rows[rows]
