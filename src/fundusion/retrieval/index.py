"""An index that is open: a flat file of vectors, and a base of what belongs to them.

`items.sqlite` says which rows of `vectors-N.f32` exist and what they stand for. `changes` writes.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from ..core.errors import Busy, ExhaustedResource, InvalidInput
from .condition import Column, compile_condition
from .vectors import Places, Rows, VectorFile

FORMAT = 1
BASE = "items.sqlite"
#: Files that are derived from the vectors; they go when a vector goes.
DERIVED = "approximate.*"
#: Facts that decide what a vector means.
COMPARED = ("model", "weights_sha256", "space", "preprocessing", "dim")
FIXED = ("kind", "study_id", "patient_id", "laterality", "modality", "visit", "split", "path", "digest", "report")
#: Columns that a condition can name beside those of the table.
_ASKABLE = ("study_id", "patient_id", "laterality", "modality", "visit", "split", "report")
TABLES = (
    "create table if not exists facts (name text primary key, value text not null)",
    "create table if not exists columns (id integer primary key, name text unique not null, kinds text not null)",
    "create table if not exists item (id integer primary key autoincrement, place integer unique not null, key text unique not null, "
    f"{', '.join(f'{n} text' for n in FIXED)}, norm real not null, crc integer not null, cells text not null)",
    "create index if not exists item_patient on item (patient_id)",
    "create index if not exists item_study on item (study_id)",
    "create index if not exists item_digest on item (digest)",
    "create table if not exists rejected (key text primary key, study_id text, patient_id text, code text not null, message text not null)",
    "create table if not exists wipe (place integer primary key)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What a vector stands for.

    Args:
        key: Unique in an index: kind, study, modality and number of the file.
        kind: "image" or "report".
        study_id: As in the table.
        patient_id: As in the table; None when it has none.
        laterality: "OD" or "OS".
        modality: Of an image.
        visit: As in the table.
        split: As in the table.
        path: File of an image.
        digest: SHA-256 of the file, hexadecimal.
        report: Written report of the study.
        cells: Column of the table to number or text; missing ones are left out.
    """

    key: str
    kind: str
    study_id: str
    patient_id: str | None = None
    laterality: str | None = None
    modality: str | None = None
    visit: str | None = None
    split: str | None = None
    path: str | None = None
    digest: str | None = None
    report: str | None = None
    cells: Mapping[str, float | str] = field(default_factory=dict)


class Index:
    """An index that is open. Make it with `create_index` or `open_index`; close it, or use it in a `with`."""

    def __init__(self, folder: Path, *, write: bool) -> None:
        self.folder, self.can_write = folder, write
        self._lock = FileLock(folder / ".lock") if write else None
        self._vectors: VectorFile | None = None
        if self._lock is not None:
            try:
                self._lock.acquire(timeout=0)
            except Timeout as error:
                raise Busy(
                    f"another run is writing to the index {folder.name!r}.", hint="Wait until it ends."
                ) from error
        try:
            self._base = sqlite3.connect(folder / BASE, isolation_level=None)
            self._base.create_function(
                "fold", 1, lambda v: None if v is None else str(v).casefold(), deterministic=True
            )
            self.run("pragma secure_delete=on")
            self.run("pragma journal_mode=delete")
            self.run("pragma synchronous=full")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files and give the folder free."""
        if self._vectors is not None:
            self._vectors.close()
        if hasattr(self, "_base"):
            self._base.close()
        if self._lock is not None:
            self._lock.release()

    def fact(self, name: str) -> Any:
        """Return a fact, None when it was never set."""
        row = self.run("select value from facts where name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def facts(self) -> dict[str, Any]:
        """Return everything that is known of the model and the files."""
        return {n: json.loads(v) for n, v in self.run("select name, value from facts")}

    def vectors(self) -> VectorFile:
        """Return the vectors that exist, in the order of their places, as they are now."""
        if self._vectors is None:
            places = np.array([p for (p,) in self.run("select place from item order by place")], np.int64)
            self._vectors = VectorFile(self.folder / self.fact("file"), dim=self.fact("dim"), places=places)
        return self._vectors

    def mask(self, sql: str = "1", values: Sequence[Any] = ()) -> npt.NDArray[np.bool_]:
        """Return which vectors fulfil a condition in SQL of this package; NULL is no."""
        return np.array([bool(v) for (v,) in self.run(f"select {sql} from item order by place", values)], np.bool_)

    def columns(self) -> dict[str, Column]:
        """Return what a condition can name."""
        found = {name: Column(sql=name, kinds=frozenset({"text"})) for name in _ASKABLE}
        for number, name, kinds in self.run("select id, name, kinds from columns order by id").fetchall():
            sql = f"json_extract(cells, '$.\"{int(number)}\"')"
            found[name if name not in found else f"table.{name}"] = Column(sql=sql, kinds=frozenset(kinds.split(",")))
        return found

    def items(self, rows: Places) -> list[Item]:
        """Return what some vectors stand for.

        Raises:
            InvalidInput: `index.damaged`: the bytes of one of the vectors are not those that were written.
        """
        names = dict(self.run("select id, name from columns").fetchall())
        places = self.vectors().places[rows].tolist()
        blocks = self.vectors().gather(rows)
        found = []
        for place, vector in zip(places, blocks, strict=True):
            row = self.run(f"select key, {', '.join(FIXED)}, crc, cells from item where place = ?", (place,)).fetchone()
            if row is None:
                raise InvalidInput(
                    "the index was changed while it was searched.", code="index.changed", hint="Search again."
                )
            if zlib.crc32(vector.tobytes()) != row[-2]:
                raise damaged(self.folder)
            cells = {names[int(k)]: v for k, v in json.loads(row[-1]).items()}
            found.append(Item(key=row[0], **dict(zip(FIXED, row[1:-2], strict=True)), cells=cells))
        return found

    def put(self, name: str, value: Any) -> None:
        """Set a fact, inside a change."""
        self.run("insert or replace into facts values (?, ?)", (name, json.dumps(value, ensure_ascii=False)))

    def change(self) -> _Change:
        """Return a context in which changes are made whole or not at all."""
        return _Change(self)

    def need_lock(self) -> None:
        """Refuse a change of an index that was opened for reading."""
        if not self.can_write:
            raise InvalidInput("the index was opened for reading.", code="index.read_only")

    def run(self, sql: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        """Return what the base answers to SQL of this package; values of users are bound, never written into it."""
        try:
            return self._base.execute(sql, tuple(values))
        except sqlite3.DatabaseError as error:
            if "locked" in str(error).lower():
                raise Busy(f"another run is writing to the index {self.folder.name!r}.", hint="Try again.") from error
            if "full" in str(error).lower():
                raise full_disk(self.folder, error) from error
            raise damaged(self.folder, str(error)) from error


class _Change:
    """One change of the base: whole or not at all. Each counts, so that what was derived from an older state is known as such."""

    def __init__(self, index: Index) -> None:
        self.index = index

    def __enter__(self) -> None:
        self.index.run("begin immediate")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.index.run("rollback")
            return
        self.index.put("changes", int(self.index.fact("changes") or 0) + 1)
        self.index.run("commit")
        if self.index._vectors is not None:
            self.index._vectors.close()
            self.index._vectors = None


def counts_of(index: Index) -> dict[str, int]:
    """Return the number of images, reports and rejected items."""
    found = dict(index.run("select kind, count(*) from item group by kind").fetchall())
    (bad,) = index.run("select count(*) from rejected").fetchone()
    return {"images": found.get("image", 0), "reports": found.get("report", 0), "rejected": bad}


def norms_of(index: Index) -> Rows:
    """Return the length of each vector before it was brought to one."""
    return np.array([n for (n,) in index.run("select norm from item order by place")], np.float32)


def rejected_of(index: Index) -> list[tuple[str, str, str]]:
    """Return study, code and sentence of what could not be taken."""
    return index.run("select study_id, code, message from rejected order by key").fetchall()


def mask_where(index: Index, condition: str) -> npt.NDArray[np.bool_]:
    """Return which vectors fulfil a condition of a user; see `condition`."""
    return index.mask(*compile_condition(condition, index.columns()))


def known(index: Index, key: str) -> tuple[str | None, str | None] | None:
    """Return path and digest of an item by its key; None when it is not there."""
    row = index.run("select path, digest from item where key = ?", (key,)).fetchone()
    return None if row is None else (row[0], row[1])


def verify(index: Index) -> int:
    """Return the number of vectors after comparing every one with its checksum.

    Raises:
        InvalidInput: `index.damaged`.
    """
    sums = [c for (c,) in index.run("select crc from item order by place")]
    for start, block in index.vectors().blocks():
        for i, vector in enumerate(block):
            if zlib.crc32(vector.tobytes()) != sums[start + i]:
                raise damaged(index.folder)
    return len(sums)


def need_same_model(index: Index, facts: Mapping[str, Any]) -> None:
    """Refuse a model whose vectors mean something else than those of the index.

    Raises:
        InvalidInput: `index.other_model`, with everything that differs.
    """
    known = index.facts()
    different = [n for n in COMPARED if known.get(n) != facts.get(n)]
    if different:
        said = "; ".join(f"{n}: {_short(known.get(n))} in the index, {_short(facts.get(n))} here" for n in different)
        raise InvalidInput(
            f"the index was built by something else ({said}).",
            code="index.other_model",
            hint="Vectors of different models or pixels cannot be compared: use the model of the index, or build a new index.",
        )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:160]}..."


def full_disk(folder: Path, error: Exception) -> ExhaustedResource:
    """Return the error of a volume that takes no more."""
    return ExhaustedResource(
        f"the volume of {folder.name!r} is full or failing: {error}.",
        code="disk.full",
        hint="Free space and run the same command again: finished results are kept.",
    )


def damaged(folder: Path, why: str = "a vector is not what was written") -> InvalidInput:
    """Return the error of an index whose bytes changed."""
    return InvalidInput(
        f"the index {folder.name!r} is damaged: {why}.", code="index.damaged", hint="Build the index again."
    )
