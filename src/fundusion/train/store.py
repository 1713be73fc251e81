"""Blocks of one shape by key on disk, memory-mapped; a kill leaves whole blocks, a flipped bit is found."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from ..core.durable import write_json
from ..core.errors import InvalidInput

_KEY = 32
_RECORD = _KEY + 4


class BlockStore:
    """Arrays of one shape and type, found by a key that names content, preprocessing and model.

    A block is appended and synced before its key, so a key always stands for a whole block. Each key carries a checksum of its block.

    Args:
        folder: Of all stores; this one gets its own below it, named by `purpose`, shape and type.
        purpose: What decides the blocks beside the content: preprocessing signature, digest of the model. Another purpose is another store.
        shape: Of a block.
        dtype: Of a block.
    """

    def __init__(self, folder: str | Path, *, purpose: str, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.purpose = purpose
        name = hashlib.sha256(f"{purpose}|{self.shape}|{self.dtype}".encode()).hexdigest()[:16]
        self.folder = Path(folder) / name
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = {"purpose": purpose, "shape": list(self.shape), "dtype": str(self.dtype)}
        description = self.folder / "store.json"
        if description.is_file():
            if json.loads(description.read_text("utf-8")) != facts:
                raise InvalidInput(
                    f"the store {name} belongs to something else.",
                    code="cache.mismatch",
                    hint="Delete the cache folder.",
                )
        else:
            write_json(description, facts)
        self._size = int(np.prod(self.shape)) * self.dtype.itemsize
        self._index: dict[bytes, tuple[int, int]] = {}
        # Two runs may share a cache; each appends after what the other has written.
        self._lock = FileLock(self.folder / ".lock")
        with self._lock:
            self._read_index()

    def _read_index(self) -> None:
        path = self.folder / "index.bin"
        data = path.read_bytes() if path.is_file() else b""
        blocks = self.folder / "data.bin"
        whole = min(len(data) // _RECORD, (blocks.stat().st_size if blocks.is_file() else 0) // max(self._size, 1))
        # What a kill left half written is cut off before more is appended.
        if len(data) != whole * _RECORD:
            with path.open("r+b") as stream:
                stream.truncate(whole * _RECORD)
        for i in range(len(self._index), whole):
            record = data[i * _RECORD : (i + 1) * _RECORD]
            self._index[record[:_KEY]] = (i, int.from_bytes(record[_KEY:], "big"))

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: str) -> bool:
        return self._digest(key) in self._index

    @staticmethod
    def _digest(key: str) -> bytes:
        return hashlib.sha256(key.encode("utf-8")).digest()

    def put(self, blocks: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Add blocks; keys that are there are left as they are."""
        with self._lock:
            self._read_index()
            self._append({self._digest(k): v for k, v in blocks.items() if self._digest(k) not in self._index})

    def _append(self, fresh: Mapping[bytes, npt.NDArray[np.generic]]) -> None:
        if not fresh:
            return
        start = len(self._index)
        coded = []
        for array in fresh.values():
            if array.shape != self.shape:
                raise InvalidInput(f"a block has shape {array.shape}, the store {self.shape}.")
            coded.append(np.ascontiguousarray(array, self.dtype).tobytes())
        path = self.folder / "data.bin"
        with path.open("r+b" if path.is_file() else "w+b") as stream:
            stream.seek(start * self._size)
            stream.truncate()
            stream.writelines(coded)
            stream.flush()
            os.fsync(stream.fileno())
        sums = [zlib.crc32(c) for c in coded]
        with (self.folder / "index.bin").open("ab") as stream:
            stream.write(b"".join(k + s.to_bytes(4, "big") for k, s in zip(fresh, sums, strict=True)))
            stream.flush()
            os.fsync(stream.fileno())
        for i, (key, total) in enumerate(zip(fresh, sums, strict=True)):
            self._index[key] = (start + i, total)

    def get(self, keys: Sequence[str], *, verify: bool = True) -> npt.NDArray[np.generic]:
        """Return the blocks of keys, `(n, *shape)`.

        Raises:
            InvalidInput: A key is not there, or its block is damaged (`cache.damaged`).
        """
        found = []
        for key in keys:
            entry = self._index.get(self._digest(key))
            if entry is None:
                raise InvalidInput(f"no block for {key[:60]!r}.", code="cache.miss")
            found.append(entry)
        if not found:
            return np.zeros((0, *self.shape), self.dtype)
        # A kill may have left part of a block at the end; only whole ones are mapped.
        mapped = np.memmap(self.folder / "data.bin", self.dtype, "r", shape=(len(self._index), *self.shape))
        result = mapped[[position for position, _ in found]]
        if verify:
            for array, (_, total) in zip(result, found, strict=True):
                if zlib.crc32(np.ascontiguousarray(array).tobytes()) != total:
                    raise InvalidInput(
                        "a block of the cache is damaged.", code="cache.damaged", hint="Delete the cache folder."
                    )
        return np.asarray(result)
