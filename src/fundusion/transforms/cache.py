"""Prepared pictures on disk, found by content and preprocessing, so that no epoch decodes an original twice.

Pictures are appended to packs; beside each pack stands an index of fixed records, and when each entry was last used. A record is
written after its picture, so a kill leaves at most a tail that nothing points to. Each picture carries a checksum: what a power cut or a
bad disk has damaged is a miss and is computed again. Pixels are stored as they are, so that a picture from the cache is the picture.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from ..core.errors import ExhaustedResource, InvalidInput

_RECORD = np.dtype(
    [("key", "u1", 32), ("offset", "<u8"), ("bytes", "<u4"), ("sum", "<u4"), ("shape", "<u2", 3), ("pad", "u1", 2)]
)
#: New entries are sorted into the table of the others when there are so many.
_TAIL = 4096
_PACK_BYTES = 256 << 20


def cache_key(digest: str, signature: str, plane: int = 0) -> bytes:
    """Return the key of a picture: content of its file, everything that decides its pixels, and which plane of a volume it is.

    Example:
        >>> cache_key("ab", "prepare-3") == cache_key("ab", "prepare-2", 1), len(cache_key("ab", "prepare-2"))
        (False, 32)
    """
    return hashlib.sha256(f"{digest}|{signature}|{plane}".encode()).digest()


def _checksum(flat: npt.NDArray[np.uint8]) -> int:
    """Return the CRC of the sums of blocks of 512 bytes and of what is left: several times as fast as that of every byte, and
    every flipped bit, lost page and exchanged block changes it."""
    whole = len(flat) // 512 * 512
    sums = flat[:whole].view(np.uint64).reshape(-1, 64).sum(1, dtype=np.uint64)
    return zlib.crc32(flat[whole:], zlib.crc32(sums))


class PictureCache:
    """uint8 pictures `(H, W, C)` by key, in a folder that several processes may share.

    Args:
        folder: Created when it is not there.
        max_bytes: Least recently used pictures are given up when more would be held; None keeps all.

    Example:
        >>> import tempfile
        >>> cache = PictureCache(tempfile.mkdtemp())
        >>> key = cache_key("content", "prepare-3")
        >>> cache.put({key: np.full((4, 4, 3), 7, np.uint8)})
        >>> int(cache.get(key).sum()), cache.get(cache_key("other", "prepare-3"))
        (336, None)
    """

    def __init__(self, folder: str | Path, *, max_bytes: int | None = None) -> None:
        if max_bytes is not None and max_bytes < 1:
            raise InvalidInput(f"max_bytes must be positive, got {max_bytes}.", code="cache.size")
        self.folder = Path(folder) / "pictures-1"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.max_bytes = max_bytes
        self._pack_bytes = _PACK_BYTES if max_bytes is None else max(1, min(_PACK_BYTES, max_bytes // 8))
        self._lock = FileLock(self.folder / ".lock")
        self._seen: dict[int, int] = {}
        self._maps: dict[int, mmap.mmap] = {}
        self._uses: dict[int, np.memmap] = {}
        self._clear()
        self._refresh()

    def _clear(self) -> None:
        self._seen.clear()
        self._maps.clear()
        self._uses.clear()
        self._records = np.zeros(0, _RECORD)
        self._where = np.zeros((0, 2), np.int64)
        self._sorted = np.zeros(0, np.uint64)
        self._order = np.zeros(0, np.int64)
        self._recent: dict[bytes, int] = {}
        self._checked = np.zeros(0, np.bool_)
        self._lost = np.zeros(0, np.bool_)

    def __len__(self) -> int:
        """Number of entries, counting again what was written twice."""
        return len(self._records)

    def __contains__(self, key: bytes) -> bool:
        return self._find(key) is not None

    def bytes_held(self) -> int:
        """Return the bytes of pictures in the packs on disk."""
        return sum(self._size(p.with_suffix(".bin")) for p in self.folder.glob("pack-*.idx"))

    def get(self, key: bytes) -> npt.NDArray[np.uint8] | None:
        """Return the picture, or None when it is not there or is damaged."""
        at = self._find(key)
        if at is None:
            return None
        record = self._records[at]
        pack, slot = (int(v) for v in self._where[at])
        start, size = int(record["offset"]), int(record["bytes"])
        data = self._map(pack, start + size)
        if data is None:
            self._lost[at] = True
            return None
        pixels = np.frombuffer(data, np.uint8, size, start).copy()
        if not self._checked[at]:
            # Once in a process: what lies on disk does not change between epochs. The copy is near, the file is not.
            if _checksum(pixels) != int(record["sum"]):
                self._lost[at] = True
                return None
            self._checked[at] = True
        self._touch(pack, slot)
        return pixels.reshape(record["shape"])

    def _touch(self, pack: int, slot: int) -> None:
        if (uses := self._uses.get(pack)) is not None and slot < len(uses):
            uses[slot] = time.time()

    def put(self, pictures: Mapping[bytes, npt.NDArray[np.uint8]]) -> None:
        """Add pictures; those that are there and whole are left as they are.

        Raises:
            ExhaustedResource: The volume is full; what was there is intact.
        """
        for pixels in pictures.values():
            if pixels.dtype != np.uint8 or pixels.ndim != 3:
                raise InvalidInput(f"expected uint8 (H, W, C), got {pixels.dtype} {pixels.shape}.", code="image.shape")
        with self._lock:
            self._refresh()
            fresh = {}
            for key, pixels in pictures.items():
                at = self._find(key)
                if at is None:
                    fresh[key] = np.ascontiguousarray(pixels)
                else:
                    self._touch(*(int(v) for v in self._where[at]))
            try:
                while fresh:
                    fresh = self._append(fresh)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise ExhaustedResource(
                        "the volume of the cache is full.", code="disk.full", hint="Free space, or give a smaller cap."
                    ) from error
                raise
            if self.max_bytes is not None and self.bytes_held() > self.max_bytes:
                self._evict(self.max_bytes)

    def _append(self, fresh: dict[bytes, npt.NDArray[np.uint8]]) -> dict[bytes, npt.NDArray[np.uint8]]:
        """Append pictures to the last pack until it is full; return those that are left."""
        pack = max(self._seen, default=0) or 1
        if self._size(self._path(pack, ".bin")) >= self._pack_bytes:
            pack += 1
        records, blocks, left = [], [], dict(fresh)
        with open(self._path(pack, ".bin"), "ab") as stream:
            end = stream.seek(0, os.SEEK_END)
            for key, pixels in fresh.items():
                records.append(
                    (np.frombuffer(key, np.uint8), end, pixels.nbytes, _checksum(pixels.reshape(-1)), pixels.shape, 0)
                )
                blocks.append(pixels)
                end += pixels.nbytes
                del left[key]
                if end >= self._pack_bytes:
                    break
            stream.writelines(blocks)
        self._add_records(pack, np.array(records, _RECORD))
        self._refresh()
        return left

    def _add_records(self, pack: int, records: npt.NDArray[np.void]) -> None:
        index, uses = self._path(pack, ".idx"), self._path(pack, ".use")
        whole = self._size(index) // _RECORD.itemsize
        with open(uses, "ab") as stream:
            stream.truncate(min(self._size(uses) // 8, whole) * 8)
            stream.seek(0, os.SEEK_END)
            missing = whole - stream.tell() // 8
            stream.write(np.full(missing + len(records), time.time()).tobytes())
        with open(index, "ab") as stream:
            # What a kill left half written is cut off first.
            stream.truncate(whole * _RECORD.itemsize)
            stream.write(records.tobytes())

    def _refresh(self) -> None:
        """Take in what this or another process has written since."""
        packs = sorted(int(p.stem.removeprefix("pack-")) for p in self.folder.glob("pack-*.idx"))
        if any(p not in packs for p in self._seen):
            self._clear()
        for pack in packs:
            known = self._seen.get(pack, 0)
            count = self._size(self._path(pack, ".idx")) // _RECORD.itemsize
            if count <= known:
                continue
            try:
                fresh = np.fromfile(self._path(pack, ".idx"), _RECORD, count - known, offset=known * _RECORD.itemsize)
            except FileNotFoundError:
                continue
            times = self._path(pack, ".use")
            # Without times of use the pictures are still there; they only count as unused for longest.
            if self._size(times) >= 8:
                with contextlib.suppress(OSError):
                    self._uses[pack] = np.memmap(times, np.float64, "r+", shape=(self._size(times) // 8,))
            where = np.stack([np.full(len(fresh), pack), np.arange(known, known + len(fresh))], axis=1)
            start = len(self._records)
            self._records = np.concatenate([self._records, fresh])
            self._where = np.concatenate([self._where, where])
            self._checked = np.concatenate([self._checked, np.zeros(len(fresh), np.bool_)])
            self._lost = np.concatenate([self._lost, np.zeros(len(fresh), np.bool_)])
            self._seen[pack] = known + len(fresh)
            if len(self._recent) + len(fresh) > _TAIL:
                self._recent.clear()
                heads = _heads(self._records["key"])
                self._order = np.argsort(heads, kind="stable")
                self._sorted = heads[self._order]
            else:
                self._recent.update({bytes(k): start + i for i, k in enumerate(fresh["key"])})

    def _find(self, key: bytes) -> int | None:
        at = self._recent.get(key)
        if at is not None and not self._lost[at]:
            return at
        head = np.uint64(int.from_bytes(key[:8], "little"))
        last = int(np.searchsorted(self._sorted, head, side="right"))
        # The latest of equal keys comes first: it replaced a damaged one.
        while last > 0 and self._sorted[last - 1] == head:
            last -= 1
            at = int(self._order[last])
            if not self._lost[at] and self._records["key"][at].tobytes() == key:
                return at
        return None

    def _map(self, pack: int, end: int) -> mmap.mmap | None:
        known = self._maps.get(pack)
        if known is None or len(known) < end:
            with contextlib.suppress(OSError, ValueError), open(self._path(pack, ".bin"), "rb") as stream:
                known = self._maps[pack] = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return known if known is not None and len(known) >= end else None

    def _evict(self, cap: int) -> None:
        """Give up least recently used entries until nine tenths of the cap are held; packs that lose some are written anew."""
        uses = np.full(len(self._records), np.inf)
        for pack, times in self._uses.items():
            mine = np.flatnonzero(self._where[:, 0] == pack)
            slots = self._where[mine, 1]
            uses[mine] = np.where(slots < len(times), times[np.minimum(slots, len(times) - 1)], 0.0)
        uses[self._lost | ~_latest(self._records["key"])] = -np.inf
        order = np.argsort(-uses, kind="stable")
        total = np.cumsum(self._records["bytes"][order].astype(np.int64))
        keep = np.zeros(len(order), np.bool_)
        keep[order[(total <= 0.9 * cap) & (uses[order] > -np.inf)]] = True
        following = max(self._seen) + 1
        for pack in sorted(self._seen):
            mine = np.flatnonzero(self._where[:, 0] == pack)
            kept = mine[keep[mine]]
            dead = self._size(self._path(pack, ".bin")) - int(self._records["bytes"][kept].sum())
            if len(kept) == len(mine) and dead == 0:
                continue
            if len(kept):
                self._rewrite(following, kept, uses[kept])
                following += 1
            # The index goes first: a pack without one is no pack.
            for suffix in (".idx", ".use", ".bin"):
                self._path(pack, suffix).unlink(missing_ok=True)
        for stray in self.folder.glob("pack-*.bin"):
            if not stray.with_suffix(".idx").is_file():
                stray.unlink(missing_ok=True)
        self._clear()
        self._refresh()

    def _rewrite(self, pack: int, kept: Sequence[int] | npt.NDArray[np.int64], uses: npt.NDArray[np.float64]) -> None:
        records = self._records[kept].copy()
        offset = 0
        with open(self._path(pack, ".bin"), "wb") as stream:
            for i, at in enumerate(kept):
                start, size = int(records["offset"][i]), int(records["bytes"][i])
                data = self._map(int(self._where[at, 0]), start + size)
                stream.write(data[start : start + size] if data is not None else b"\0" * size)
                records["offset"][i] = offset
                offset += size
            stream.flush()
            os.fsync(stream.fileno())
        self._path(pack, ".use").write_bytes(uses.tobytes())
        part = self._path(pack, ".part")
        part.write_bytes(records.tobytes())
        os.replace(part, self._path(pack, ".idx"))

    def _path(self, pack: int, suffix: str) -> Path:
        return self.folder / f"pack-{pack:06d}{suffix}"

    @staticmethod
    def _size(path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def __reduce__(self) -> tuple[object, ...]:
        # Maps of files do not travel between processes; each opens its own.
        return _opened, (str(self.folder.parent), self.max_bytes)


def _opened(folder: str, max_bytes: int | None) -> PictureCache:
    return PictureCache(folder, max_bytes=max_bytes)


def _heads(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(keys[:, :8]).view("<u8").ravel().astype(np.uint64)


def _latest(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which rows are the last of their key."""
    rows = np.ascontiguousarray(keys).view("V32").ravel()
    _, first = np.unique(rows[::-1], return_index=True)
    latest = np.zeros(len(rows), np.bool_)
    latest[len(rows) - 1 - first] = True
    return latest
