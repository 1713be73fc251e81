"""A vector -> the cases of an index that resemble it most, with what they stand for.

Source of the asymmetric similarity: RetiZero, Wang et al. 2025 (arXiv:2406.09317), retrieval code as released: s / (s + distance), where s is half
the length of the stored vector. Deviation: its halving of results outside the query's cluster (UMAP and HDBSCAN) is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from .approximate import load_approximate
from .index import Index, Item, mask_where, norms_of
from .scan import ReducedScan, scan_float32
from .vectors import HeldVectors, Places, Rows

METHODS = ("auto", "scan", "float32", "approximate")
SIMILARITIES = ("cosine", "asymmetric")
#: Queries from which it pays to read all vectors into 8 bits first.
_MANY = 16
_FEW_ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is searched for.

    Args:
        vector: `(D,)` of any positive length.
        patient_id: Whose eye it is; nothing of this patient is found. None when not known.
        study_id: Of the query, when it stands in the index; the study is not found.
        digest: Of the query's file; copies of it are not found.
    """

    vector: npt.NDArray[np.float32]
    patient_id: str | None = None
    study_id: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One case that was found: place in the list from 1, similarity, what it is."""

    rank: int
    similarity: float
    item: Item


class Searcher:
    """An index ready for queries; what it prepares for many queries is kept.

    Args:
        index: Open.
        method: "auto" reads the float32 vectors once for a few queries and prepares a scan for many; "scan", "float32" and
            "approximate" are taken as they are said.
        progress: Called with (rows done, rows) while a scan is prepared.
    """

    def __init__(self, index: Index, *, method: str = "auto", progress: Any = None) -> None:
        if method not in METHODS:
            raise InvalidInput(
                f"there is no method {method!r}.", code="config.method", hint=f"Known: {', '.join(METHODS)}."
            )
        self.index, self.method, self._progress = index, method, progress
        self._scan: ReducedScan | None = None

    def search(
        self,
        queries: list[Query],
        k: int = 10,
        *,
        find: str = "image",
        where: str | None = None,
        same_patient: bool = False,
        similarity: str = "cosine",
    ) -> list[list[Hit]]:
        """Return the hits of each query, the most similar first; fewer than k when fewer are allowed.

        Args:
            queries: Vectors and whose they are.
            k: Hits wanted.
            find: "image", "report" or "any".
            where: Condition on the columns of the table; see `condition`.
            same_patient: Find the patient, the study and copies of the query too.
            similarity: "cosine" or "asymmetric".

        Raises:
            InvalidInput: An unknown option or column, or nothing is left to search (`index.nothing`).
        """
        if similarity not in SIMILARITIES:
            raise InvalidInput(
                f"there is no similarity {similarity!r}.",
                code="config.similarity",
                hint=f"Known: {', '.join(SIMILARITIES)}.",
            )
        allowed = self._allowed(find, where)
        vectors = np.stack([q.vector for q in queries]).astype(np.float32)
        norms = np.linalg.norm(vectors, axis=1)
        if not np.isfinite(norms).all() or (norms <= 0).any():
            raise InvalidInput("a query has no direction.", code="model.not_finite")
        units = vectors / norms[:, None]
        # Without conditions of its own, all queries go through the index together.
        masks = [None if same_patient else self._barred(q) for q in queries]
        found: list[list[Hit]] = [[] for _ in queries]
        together = [i for i, m in enumerate(masks) if m is None or not m.any()]
        groups = [together] if together else []
        groups += [[i] for i in range(len(queries)) if i not in set(together)]
        for group in groups:
            barred = masks[group[0]] if len(group) == 1 else None
            usable = allowed if barred is None else allowed & ~barred
            if similarity == "asymmetric":
                rows, values = self._asymmetric(units[group], norms[group], k, usable)
            else:
                rows, values = self._nearest(units[group], k, usable, len(queries))
            for i, of_query, scores in zip(group, rows, values, strict=True):
                kept = of_query >= 0
                items = self.index.items(of_query[kept])
                found[i] = [
                    Hit(rank=n, similarity=float(s), item=item)
                    for n, (item, s) in enumerate(zip(items, scores[kept], strict=True), 1)
                ]
        return found

    def _allowed(self, find: str, where: str | None) -> npt.NDArray[np.bool_]:
        allowed = self.index.mask() if find == "any" else self.index.mask("kind = ?", (find,))
        if not allowed.any():
            raise InvalidInput(
                f"the index holds no {find}.", code="index.nothing",
                hint="Reports are there when the model reads text and the studies had one." if find == "report" else "Add to it with: fundusion index MANIFEST --add --out FOLDER",
            )  # fmt: skip
        if where is not None:
            allowed = allowed & mask_where(self.index, where)
            if not allowed.any():
                raise InvalidInput(
                    f"nothing in the index fulfils {where!r}.",
                    code="index.nothing",
                    hint="A cell that is missing fulfils no comparison; ask for it with `is missing`.",
                )
        return allowed

    def _barred(self, query: Query) -> npt.NDArray[np.bool_]:
        """Return what must not be found: the patient, the study and copies of the query, and whoever a copy belongs to."""
        sql = (
            "(patient_id = ?1 or study_id = ?2 or digest = ?3 or patient_id in (select patient_id from item where digest = ?3) "
            "or study_id in (select study_id from item where digest = ?3))"
        )
        return self.index.mask(f"coalesce({sql}, 0)", (query.patient_id, query.study_id, query.digest))

    def _nearest(self, units: Rows, k: int, allowed: npt.NDArray[np.bool_], total: int) -> tuple[Places, Rows]:
        vectors = self.index.vectors()
        if self.method == "approximate":
            return load_approximate(self.index).search(units, k, allowed=allowed)
        few = np.flatnonzero(allowed)
        if len(few) <= _FEW_ROWS:
            rows, values = scan_float32(HeldVectors(vectors.gather(few)), units, k)
            return np.where(rows >= 0, few[rows], -1), values
        every = None if len(few) == vectors.count else allowed
        if self.method == "float32" or (self.method == "auto" and total < _MANY and self._scan is None):
            return scan_float32(vectors, units, k, allowed=every)
        if self._scan is None:
            self._scan = ReducedScan(vectors, progress=self._progress)
        return self._scan.search(units, k, allowed=every)

    def _asymmetric(self, units: Rows, norms: Rows, k: int, allowed: npt.NDArray[np.bool_]) -> tuple[Places, Rows]:
        """Return the best by s / (s + distance); s is half the length of the stored vector, so long vectors are favoured."""
        stored = norms_of(self.index)
        best = np.full((len(units), k), -np.inf, np.float32)
        rows = np.full((len(units), k), -1, np.int64)
        for start, block in self.index.vectors().blocks():
            length = stored[None, start : start + len(block)].astype(np.float64)
            cosine = (units @ block.T).astype(np.float64)
            squared = length**2 + norms[:, None] ** 2 - 2 * length * norms[:, None] * cosine
            value = (length / 2 / (length / 2 + np.sqrt(np.maximum(squared, 0)))).astype(np.float32)
            value[:, ~allowed[start : start + len(block)]] = -np.inf
            together = np.concatenate([best, value], 1)
            places = np.concatenate([rows, np.broadcast_to(np.arange(start, start + len(block)), value.shape)], 1)
            order = np.argsort(-together, axis=1, kind="stable")[:, :k]
            best, rows = np.take_along_axis(together, order, 1), np.take_along_axis(places, order, 1)
        return np.where(np.isneginf(best), -1, rows), best


def query_of_study(index: Index, study_id: str) -> list[tuple[Item, Query]]:
    """Return the images of a study of the index as queries.

    Raises:
        InvalidInput: `index.nobody`.
    """
    rows = np.flatnonzero(index.mask("study_id = ? and kind = 'image'", (study_id,)))
    if not len(rows):
        raise InvalidInput(f"the index holds no image of study {study_id!r}.", code="index.nobody")
    found = zip(index.items(rows), index.vectors().gather(rows), norms_of(index)[rows], strict=True)
    return [
        (item, Query(vector=vector * norm, patient_id=item.patient_id, study_id=item.study_id, digest=item.digest))
        for item, vector, norm in found
    ]


def picture_of(item: Item) -> Path | None:
    """Return the file of an image when it is still there."""
    return Path(item.path) if item.path and Path(item.path.partition("#")[0]).exists() else None
