"""An index is made, grows, and forgets. Whatever moment a kill comes, what is left can be read, and the next writer puts it in order.

A vector is written and synced before the base is told of it. Erasing deletes the lines of a patient (the base overwrites them with
zeros), then overwrites the vectors; what a kill leaves of that is done before anything else is written.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.durable import sync_folder
from ..core.errors import InvalidInput
from ..core.study import is_missing
from .index import BASE, DERIVED, FIXED, FORMAT, TABLES, Index, Item, full_disk
from .vectors import Rows

#: Share of overwritten rows from which the file of vectors is written anew.
_EMPTY_SHARE = 0.25


def create_index(folder: str | Path, facts: Mapping[str, Any]) -> Index:
    """Return a new, empty index that is open for writing.

    Args:
        folder: Created; one that holds an index is refused.
        facts: Of the model; at least those of `COMPARED`.

    Raises:
        InvalidInput: `output.exists`.
        Busy: Another run writes there.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    index = Index(target, write=True)
    try:
        if index.run("select count(*) from sqlite_master where name = 'facts'").fetchone()[0] and index.fact("format"):
            raise InvalidInput(
                f"{target.name!r} already holds an index.",
                code="output.exists",
                hint="Add to it with --add, or choose another --out.",
            )
        name = "vectors-1.f32"
        (target / name).touch()
        sync_folder(target)
        index.run("begin immediate")
        for table in TABLES:
            index.run(table)
        for key, value in {**facts, "file": name, "places": 0, "changes": 0, "format": FORMAT}.items():
            index.put(key, value)
        index.run("commit")
    except BaseException:
        index.close()
        raise
    return index


def is_begun(folder: str | Path) -> bool:
    """Return whether a folder holds an index; one that a kill left before its first fact is none yet."""
    base = Path(folder) / BASE
    if not base.is_file():
        return False
    index = Index(Path(folder), write=False)
    try:
        return bool(index.run("select count(*) from sqlite_master where name = 'facts'").fetchone()[0])
    finally:
        index.close()


def open_index(folder: str | Path, *, write: bool = False) -> Index:
    """Return an index that exists. Opened for writing it is repaired first.

    Raises:
        InvalidInput: `index.not_found`, `index.format`.
        Busy: Opened for writing while another run writes.
    """
    source = Path(folder)
    if not (source / BASE).is_file():
        raise InvalidInput(
            f"{source.name!r} holds no index.",
            code="index.not_found",
            hint="Make one with: fundusion index MANIFEST --out FOLDER",
        )
    index = Index(source, write=write)
    try:
        there = index.run("select count(*) from sqlite_master where name = 'facts'").fetchone()[0]
        version = index.fact("format") if there else None
        if version != FORMAT:
            raise InvalidInput(
                f"the index {source.name!r} has format {version!r}; this version reads {FORMAT}.",
                code="index.format",
                hint="Build it again.",
            )
        if write:
            repair(index)
    except BaseException:
        index.close()
        raise
    return index


def add(index: Index, items: Sequence[Item], vectors: Rows) -> None:
    """Add items with their vectors; all of them are there afterwards, or after a kill none.

    Args:
        items: Keys that are not there yet.
        vectors: `(n, D)` of any positive length; they are stored with length one, the length beside them.
    """
    index.need_lock()
    rows = np.ascontiguousarray(vectors, np.float32)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    if rows.shape != (len(items), index.fact("dim")) or not np.isfinite(norms).all() or (norms <= 0).any():
        raise InvalidInput(
            f"vectors of shape {rows.shape} for {len(items)} items cannot be added.", code="index.vectors"
        )
    rows = (rows / norms[:, None]).astype(np.float32)
    first = int(index.fact("places"))
    _append(index, first, rows)
    with index.change():
        for i, (item, norm) in enumerate(zip(items, norms.tolist(), strict=True)):
            fixed = [getattr(item, n) for n in FIXED]
            index.run(
                f"insert into item (place, key, {', '.join(FIXED)}, norm, crc, cells) values ({', '.join('?' * 15)})",
                (first + i, item.key, *fixed, norm, zlib.crc32(rows[i].tobytes()), _coded(index, item.cells)),
            )
            index.run("delete from rejected where key = ?", (item.key,))
        index.put("places", first + len(items))


def reject(index: Index, key: str, study_id: str, *, patient_id: str | None, code: str, message: str) -> None:
    """Note that an item could not be taken, instead of what was noted before."""
    index.need_lock()
    with index.change():
        index.run("insert or replace into rejected values (?, ?, ?, ?, ?)", (key, study_id, patient_id, code, message))


def forget(index: Index, *, patient_id: str | None = None, study_id: str | None = None) -> int:
    """Return the number of vectors that were erased: all of a patient, or of a study.

    Afterwards no file of the index holds an identifier, a cell, a word or a vector of them.

    Raises:
        InvalidInput: `index.nobody`: there is nothing of them.
    """
    index.need_lock()
    name, value = ("patient_id", patient_id) if patient_id is not None else ("study_id", study_id)
    places = [p for (p,) in index.run(f"select place from item where {name} = ? order by place", (value,))]
    (bad,) = index.run(f"select count(*) from rejected where {name} = ?", (value,)).fetchone()
    if not places and not bad:
        raise InvalidInput(
            f"the index holds nothing of {name.partition('_')[0]} {value!r}.",
            code="index.nobody",
            hint="Identifiers are compared byte for byte: '007' is not '7'.",
        )
    for path in index.folder.glob(DERIVED):
        path.unlink()
    sync_folder(index.folder)
    with index.change():
        index.run(f"insert into wipe select place from item where {name} = ?", (value,))
        index.run(f"delete from item where {name} = ?", (value,))
        index.run(f"delete from rejected where {name} = ?", (value,))
    repair(index)
    _compact(index)
    return len(places)


def repair(index: Index) -> None:
    """Finish what a kill interrupted: overwrite vectors of erased items, cut off rows that were never counted."""
    index.need_lock()
    path = index.folder / index.fact("file")
    wiped = [p for (p,) in index.run("select place from wipe order by place")]
    row = 4 * int(index.fact("dim"))
    with path.open("r+b") as stream:
        for place in wiped:
            stream.seek(place * row)
            stream.write(bytes(row))
        stream.flush()
        os.fsync(stream.fileno())
        if os.fstat(stream.fileno()).st_size > int(index.fact("places")) * row:
            stream.truncate(int(index.fact("places")) * row)
            os.fsync(stream.fileno())
    if wiped:
        with index.change():
            index.run("delete from wipe")
    for other in index.folder.glob("vectors-*"):
        if other.name != path.name:
            other.unlink()
    for part in index.folder.glob(".*.part"):
        part.unlink()


def _compact(index: Index) -> None:
    """Write the vectors anew without the overwritten ones when these are many."""
    total = int(index.fact("places"))
    (live,) = index.run("select count(*) from item").fetchone()
    if live >= total * (1 - _EMPTY_SHARE):
        return
    old = index.folder / index.fact("file")
    name = f"vectors-{int(old.stem.split('-')[1]) + 1}.f32"
    with (index.folder / name).open("wb") as stream:
        for _, block in index.vectors().blocks():
            stream.write(block.tobytes())
        stream.flush()
        os.fsync(stream.fileno())
    sync_folder(index.folder)
    with index.change():
        # Places only become smaller, so in this order none is taken twice.
        for fresh, place in enumerate(index.vectors().places.tolist()):
            index.run("update item set place = ? where place = ?", (fresh, place))
        index.put("file", name)
        index.put("places", live)
    old.unlink()


def _append(index: Index, first: int, rows: Rows) -> None:
    path = index.folder / index.fact("file")
    try:
        with path.open("r+b") as stream:
            stream.seek(first * rows.shape[1] * 4)
            stream.truncate()
            stream.write(rows.tobytes())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise full_disk(index.folder, error) from error


def _coded(index: Index, cells: Mapping[str, float | str]) -> str:
    coded: dict[str, float | str] = {}
    for name, value in cells.items():
        if is_missing(value):
            continue
        kind = "text" if isinstance(value, str) else "number"
        row = index.run("select id, kinds from columns where name = ?", (name,)).fetchone()
        if row is None:
            row = (index.run("insert into columns (name, kinds) values (?, ?)", (name, kind)).lastrowid, kind)
        elif kind not in row[1].split(","):
            index.run("update columns set kinds = ? where id = ?", (f"{row[1]},{kind}", row[0]))
        coded[str(row[0])] = value
    return json.dumps(coded, ensure_ascii=False, allow_nan=False)
