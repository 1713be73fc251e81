"""An approximate index by FAISS, only where its recall on the very vectors it searches is measured and high enough.

Sources: Douze et al. 2024, arXiv:2401.08281 (FAISS); Malkov and Yashunin 2018, arXiv:1603.09320 (HNSW); Jegou et al. 2011,
doi:10.1109/TPAMI.2010.57 (inverted lists).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.durable import digest_of, write_bytes, write_json
from ..core.errors import InvalidInput, require
from .index import Index
from .scan import scan_float32
from .vectors import Places, Rows

KINDS = ("ivf", "hnsw")
FILE, FACTS = "approximate.faiss", "approximate.json"
#: Lists or candidates that are looked at, tried one after the other until the floor is reached.
_EFFORTS = {"ivf": (4, 8, 16, 32, 64, 128), "hnsw": (32, 64, 128, 256, 512)}
_QUERIES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an approximate index was measured to find.

    Args:
        kind: "ivf" or "hnsw".
        recall: Share of the ten nearest neighbours by float32 that it found, over `queries` vectors of the index.
        floor: What was asked for.
        effort: Lists or candidates that are looked at.
        queries: Vectors that were asked for their neighbours.
        changes: State of the index it was built from.
        sha256: Of the file.
    """

    kind: str
    recall: float
    floor: float
    effort: int
    queries: int
    changes: int
    sha256: str = ""


def build_approximate(
    index: Index, kind: str, *, floor: float = 0.95, progress: Callable[[int, int], None] | None = None
) -> Measured:
    """Build it, measure its recall on vectors of the index, and write it when it reaches the floor.

    Raises:
        InvalidInput: `index.recall`: no effort reached the floor; nothing is written.
        MissingDependency: FAISS is not installed.
    """
    if kind not in KINDS:
        raise InvalidInput(
            f"there is no approximate index {kind!r}.", code="config.approximate", hint=f"Known: {', '.join(KINDS)}."
        )
    faiss = require("faiss", extra="retrieval")
    index.need_lock()
    vectors = index.vectors()
    if vectors.count < 2:
        raise InvalidInput("two vectors are needed for an approximate index.", code="index.nothing")
    made = _made(faiss, kind, vectors.dim, vectors.count)
    if kind == "ivf":
        sample = np.linspace(0, vectors.count - 1, min(vectors.count, 100_000)).astype(np.int64)
        made.train(vectors.gather(sample))
    for start, block in vectors.blocks(4096):
        made.add(block)
        if progress:
            progress(start + len(block), vectors.count)
    asked = np.unique(np.linspace(0, vectors.count - 1, min(vectors.count, _QUERIES)).astype(np.int64))
    queries = vectors.gather(asked)
    depth = min(11, vectors.count)
    truth, _ = scan_float32(vectors, queries, depth)
    tried: list[tuple[int, float]] = []
    for effort in _EFFORTS[kind]:
        _set_effort(made, kind, effort)
        _, found = made.search(queries, depth)
        tried.append((effort, _recall(truth, found, asked)))
        if tried[-1][1] >= floor:
            break
    effort, recall = tried[-1]
    if recall < floor:
        said = ", ".join(f"{e}: {r:.3f}" for e, r in tried)
        raise InvalidInput(
            f"{kind} finds {recall:.3f} of the ten nearest neighbours at most (by effort: {said}); asked for was {floor:.3f}.",
            code="index.recall",
            hint="The exact scan needs no such index; or ask for less with --floor.",
        )
    state = Measured(
        kind=kind, recall=recall, floor=floor, effort=effort, queries=len(asked), changes=int(index.fact("changes"))
    )
    (index.folder / FACTS).unlink(missing_ok=True)
    write_bytes(index.folder / FILE, faiss.serialize_index(made).tobytes())
    measured = Measured(**{**asdict(state), "sha256": digest_of(index.folder / FILE)})
    write_json(index.folder / FACTS, asdict(measured))
    return measured


class Approximate:
    """An approximate index that fits the state of its index."""

    def __init__(self, made: Any, measured: Measured) -> None:
        self._made, self.measured = made, measured

    def search(self, queries: Rows, k: int, *, allowed: npt.NDArray[np.bool_] | None = None) -> tuple[Places, Rows]:
        """Return rows and cosines as `scan_float32` does; some neighbours may be missing."""
        faiss = require("faiss", extra="retrieval")
        options: dict[str, Any] = {}
        if allowed is not None and not allowed.all():
            chosen = faiss.IDSelectorBatch(np.flatnonzero(allowed))
            if self.measured.kind == "ivf":
                options["params"] = faiss.SearchParametersIVF(sel=chosen, nprobe=self.measured.effort)
            else:
                options["params"] = faiss.SearchParametersHNSW(sel=chosen, efSearch=max(self.measured.effort, k))
        values, rows = self._made.search(np.ascontiguousarray(queries, np.float32), k, **options)
        return rows.astype(np.int64), np.where(rows >= 0, values, -np.inf).astype(np.float32)


def load_approximate(index: Index) -> Approximate:
    """Return the approximate index of an index.

    Raises:
        InvalidInput: There is none (`index.not_found`), it is older than the index (`index.stale`), was changed
            (`index.damaged`) or measured below its floor (`index.recall`).
    """
    faiss = require("faiss", extra="retrieval")
    path = index.folder / FILE
    again = "Build it with: fundusion index --approximate ivf --out FOLDER"
    if not path.is_file() or not (index.folder / FACTS).is_file():
        raise InvalidInput("this index has no approximate index.", code="index.not_found", hint=again)
    measured = Measured(**json.loads((index.folder / FACTS).read_text("utf-8")))
    if measured.changes != index.fact("changes"):
        raise InvalidInput(
            "the index has changed since its approximate index was built.", code="index.stale", hint=again
        )
    if digest_of(path) != measured.sha256:
        raise InvalidInput("the approximate index is damaged.", code="index.damaged", hint=again)
    if measured.recall < measured.floor:
        raise InvalidInput(
            f"the approximate index was measured at {measured.recall:.3f}, below {measured.floor:.3f}.",
            code="index.recall",
            hint=again,
        )
    made = faiss.deserialize_index(np.frombuffer(path.read_bytes(), np.uint8))
    _set_effort(made, measured.kind, measured.effort)
    return Approximate(made, measured)


def _made(faiss: Any, kind: str, dim: int, count: int) -> Any:
    if kind == "hnsw":
        return faiss.IndexHNSWFlat(dim, 16, faiss.METRIC_INNER_PRODUCT)
    lists = int(np.clip(4 * np.sqrt(count), 1, max(1, count // 40)))
    quantizer = faiss.IndexFlatIP(dim)
    made = faiss.IndexIVFFlat(quantizer, dim, lists, faiss.METRIC_INNER_PRODUCT)
    # The quantizer would be freed with the name of this function.
    made.own_fields = True
    quantizer.this.disown()
    return made


def _set_effort(made: Any, kind: str, effort: int) -> None:
    if kind == "hnsw":
        made.hnsw.efSearch = effort
    else:
        made.nprobe = min(effort, made.nlist)


def _recall(truth: Places, found: Places, asked: Places) -> float:
    """Return the share of true neighbours that were found; a vector is no neighbour of itself."""
    hits = total = 0
    for row, wanted, given in zip(asked, truth, found, strict=True):
        others = set(wanted.tolist()) - {int(row), -1}
        others = set([w for w in wanted.tolist() if w in others][:10])
        hits += len(others & set(given.tolist()))
        total += len(others)
    return hits / max(total, 1)
