"""Every vector, every time: a scan in 8-bit numbers whose best rows are ranked again by their float32 vectors on disk.

Nothing is clustered or sampled, so nothing has to be tuned. Vectors are turned so that their leading numbers carry most (principal
axes), then rounded to 8 bits with a scale per vector. Many queries at once are one integer matrix product. A single query is bound
by memory, so it reads the leading numbers of all vectors first and the rest only of the best `CANDIDATES`; that short cut is taken
only where it found the same neighbours as the whole scan for vectors of this very index.

Sources: Gholami et al. 2021, arXiv:2103.13630 (symmetric rounding to 8 bits); Jolliffe 2002, doi:10.1007/b98835 (principal axes).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.errors import InvalidInput
from .vectors import BLOCK, Places, Rows, Vectors

Progress = Callable[[int, int], None]
Mask = npt.NDArray[np.bool_]

#: Rows that a single query looks at in full.
CANDIDATES = 2048
#: Share of the ten neighbours of the whole scan that the short cut must find for the index's own vectors.
SHORT_CUT_FLOOR = 0.995
#: Share of the leading numbers.
_LEADING = 1 / 2
_GROUP = 64
#: Rows scored at once; their scores stay in the cache of the processor.
_STEP = 8192
_SPREAD = 8192
_BATCH = 128
_SAMPLE = 20_000


def scan_float32(vectors: Vectors, queries: Rows, k: int, *, allowed: Mask | None = None) -> tuple[Places, Rows]:
    """Return the best rows by one pass over the float32 vectors: nothing to prepare, as fast as the disk.

    Args:
        vectors: Searched.
        queries: `(B, D)` float32 of unit length.
        k: Rows wanted per query.
        allowed: bool per row; None allows all.

    Returns:
        Rows `(B, k)` by falling cosine, -1 where fewer are allowed, and the cosines.

    Example:
        >>> from fundusion.retrieval.vectors import HeldVectors
        >>> rows, cosines = scan_float32(HeldVectors(np.eye(3, dtype=np.float32)), np.eye(3, dtype=np.float32)[:1], 2)
        >>> rows.tolist(), cosines.tolist()
        ([[0, 1]], [[1.0, 0.0]])
    """
    asked = _checked(vectors, queries, k)
    best = _Best(len(queries), k)
    for start, block in vectors.blocks():
        scores = asked @ torch.from_numpy(block).T
        if allowed is not None:
            scores.masked_fill_(~torch.from_numpy(allowed[start : start + len(block)]), -torch.inf)
        best.add(*scores.topk(min(k, len(block)), dim=1), start)
    return best.answer()


class ReducedScan:
    """Vectors in 8 bits in memory, ready for many queries.

    Args:
        vectors: Read once now, and a few rows per query later.
        progress: Called with (rows done, rows).
    """

    def __init__(self, vectors: Vectors, *, progress: Progress | None = None) -> None:
        self.vectors = vectors
        self._axes = _principal_axes(vectors)
        self._leading = int(vectors.dim * _LEADING) // 16 * 16 if self._axes is not None else 0
        self._codes = torch.empty((vectors.count, vectors.dim), dtype=torch.int8)
        self._scales = torch.empty(vectors.count)
        self._heads: list[tuple[int, _Head]] = []
        for start, block in vectors.blocks():
            codes, scales = _rounded(self._turned(torch.from_numpy(block)))
            self._codes[start : start + len(block)] = codes
            self._scales[start : start + len(block)] = scales
            if progress:
                progress(min(start + len(block), vectors.count), vectors.count)
        if self._leading:
            rows = 4 * BLOCK
            self._heads = [
                (a, _Head(self._codes[a : a + rows, : self._leading].contiguous(), self._scales[a : a + rows]))
                for a in range(0, vectors.count, rows)
            ]
        #: Share of neighbours that the short cut found in the self-check; None when it is not used for so few rows.
        self.short_cut_recall = self._check_short_cut()

    @property
    def has_short_cut(self) -> bool:
        """Whether single queries read the leading numbers first."""
        return self.short_cut_recall is not None and self.short_cut_recall >= SHORT_CUT_FLOOR

    def memory_bytes(self) -> int:
        """Return the size of what is held in memory."""
        heads = sum(part.rows * self._leading for _, part in self._heads)
        return self._codes.numel() + 4 * self._scales.numel() + heads

    def search(self, queries: Rows, k: int, *, allowed: Mask | None = None) -> tuple[Places, Rows]:
        """Return the best rows and their cosines; see `scan_float32`, whose answer it gives."""
        asked = _checked(self.vectors, queries, k)
        barred = None if allowed is None else ~torch.from_numpy(np.ascontiguousarray(allowed))
        rows: list[Places] = []
        cosines: list[Rows] = []
        depth = min(self.vectors.count, max(64, 4 * k))
        for start in range(0, len(asked), _BATCH):
            part = asked[start : start + _BATCH]
            if len(part) == 1 and self.has_short_cut:
                found = self._single(part, depth, barred)
            else:
                found = self._many(part, depth, barred)
            answer = self._ranked(part, found, k)
            rows.append(answer[0])
            cosines.append(answer[1])
        if not rows:
            return np.zeros((0, k), np.int64), np.zeros((0, k), np.float32)
        return np.concatenate(rows), np.concatenate(cosines)

    def _turned(self, rows: Tensor) -> Tensor:
        if self._axes is None:
            return rows
        # The turn in bfloat16 is as exact as the 8 bits that follow.
        return (rows.bfloat16() @ self._axes).float()

    def _many(self, queries: Tensor, depth: int, barred: Tensor | None) -> Tensor:
        """Return the rows `(B, depth)` with the best rounded scores; -1 where none is left."""
        codes, _ = _rounded(self._turned(queries))
        turned = codes.T.contiguous()
        best = _Best(len(queries), depth)
        # Rows from everywhere tell early which scores cannot be among the best, in whatever order the vectors lie.
        spread = torch.arange(0, self.vectors.count, max(1, self.vectors.count // _SPREAD))
        scores = self._scores(turned, spread, barred)
        least = scores.topk(min(depth, len(spread)), dim=0).values[-1] if len(spread) >= depth else None
        for start in range(0, self.vectors.count, _STEP):
            rows = slice(start, min(start + _STEP, self.vectors.count))
            best.add_columns(self._scores(turned, rows, barred), start, least)
        return best.rows.masked_fill(best.scores == -torch.inf, -1)

    def _scores(self, turned: Tensor, rows: slice | Tensor, barred: Tensor | None) -> Tensor:
        """Return rounded scores `(N, B)` up to a factor per query; those of barred rows are minus infinity."""
        scores = torch._int_mm(self._codes[rows], turned) * self._scales[rows, None]
        return scores if barred is None else scores.masked_fill_(barred[rows, None], -torch.inf)

    def _single(self, query: Tensor, depth: int, barred: Tensor | None) -> Tensor:
        """Return the same for one query by the leading numbers of all rows and the rest of the best."""
        turned = self._turned(query)
        head, _ = _rounded(turned[:, : self._leading])
        scores = torch.empty(self.vectors.count)
        for start, part in self._heads:
            scores[start : start + part.rows] = part.scores(head)
        if barred is not None:
            scores.masked_fill_(barred, -torch.inf)
        chosen = _greatest(scores, min(self.vectors.count, max(CANDIDATES, 8 * depth)))
        whole, _ = _rounded(turned)
        full = torch._int_mm(self._codes.index_select(0, chosen), whole.T.contiguous())[:, 0] * self._scales[chosen]
        full.masked_fill_(scores[chosen] == -torch.inf, -torch.inf)
        better = full.topk(min(depth, len(chosen)))
        return chosen[better.indices].masked_fill(better.values == -torch.inf, -1)[None]

    def _ranked(self, queries: Tensor, found: Tensor, k: int) -> tuple[Places, Rows]:
        """Return the best of some rows by their float32 vectors."""
        wanted, where = torch.unique(found.clamp(min=0), return_inverse=True)
        exact = torch.from_numpy(self.vectors.gather(wanted.numpy()))
        scores = torch.bmm(exact[where], queries[:, :, None])[..., 0].masked_fill(found < 0, -torch.inf)
        best = _Best(len(queries), k)
        # Rows in order, so that equal scores come in the order of the rows whatever the rounded scores were.
        order = found.argsort(1)
        values, at = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
        best.scores[:, : values.shape[1]] = values[:, :k]
        best.rows[:, : values.shape[1]] = found.gather(1, order).gather(1, at)[:, :k]
        return best.answer()

    def _check_short_cut(self) -> float | None:
        count = self.vectors.count
        if not self._heads or count <= 4 * CANDIDATES:
            return None
        rows = np.linspace(0, count - 1, 48).astype(np.int64)
        queries = torch.from_numpy(self.vectors.gather(rows))
        whole = self._many(queries, 11, None)
        found = [self._single(q[None], 64, None)[0] for q in queries]
        hits = [torch.isin(w, f).float().mean() for w, f in zip(whole, found, strict=True)]
        return float(torch.stack(hits).mean())


class _Head:
    """Leading numbers of some rows, laid out for the integer product of the processor where that is exact."""

    def __init__(self, codes: Tensor, scales: Tensor) -> None:
        self.rows, self.scales = len(codes), scales
        self._packed = _pack(codes)
        self._plain = codes if self._packed is None else None

    def scores(self, query: Tensor) -> Tensor:
        """Return `(N,)`: product with one query `(1, D)` int8, times the scale of each row."""
        if self._packed is None:
            return torch._int_mm(self._plain, query.T.contiguous())[:, 0].float() * self.scales
        return _packed_scores(query, self._packed, self.scales)


def _pack(codes: Tensor) -> Tensor | None:
    if not _packing_is_exact():
        return None
    return torch.ops.onednn.qlinear_prepack(codes, [1, codes.shape[1]])


def _packed_scores(query: Tensor, packed: Any, scales: Tensor) -> Tensor:
    asked = (query.to(torch.int16) + 128).to(torch.uint8)
    none = torch.zeros(len(scales), dtype=torch.int64)
    return torch.ops.onednn.qlinear_pointwise(
        asked, 1.0, 128, packed, scales, none, None, 1.0, 0, torch.float32, "none", [], ""
    )[0]  # fmt: skip


_packing: list[bool] = []


def _packing_is_exact() -> bool:
    """Return whether the packed product exists here and gives whole numbers right; some processors saturate. Asked once."""
    if not _packing:
        codes = torch.full((64, 64), 127, dtype=torch.int8)
        codes[::2] = -127
        query = torch.full((1, 64), 127, dtype=torch.int8)
        try:
            packed = torch.ops.onednn.qlinear_prepack(codes, [1, 64])
            found = _packed_scores(query, packed, torch.ones(64))
            _packing.append(bool((found == codes.float() @ query[0].float()).all()))
        except (AttributeError, RuntimeError, NotImplementedError, TypeError):
            _packing.append(False)
    return _packing[0]


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 `(N, D)` and the scale per row that brings them back."""
    scales = rows.abs().amax(1).clamp_min(1e-30) / 127
    return (rows / scales[:, None]).round_().to(torch.int8), scales


def _principal_axes(vectors: Vectors) -> Tensor | None:
    """Return bfloat16 `(D, D)`, the strongest axis first; None where there is too little to gain or to learn from."""
    if vectors.dim < 64 or vectors.dim % 16 or vectors.count < 4 * vectors.dim:
        return None
    rows = np.linspace(0, vectors.count - 1, min(vectors.count, _SAMPLE)).astype(np.int64)
    sample = torch.from_numpy(vectors.gather(rows))
    _, axes = torch.linalg.eigh((sample.T @ sample).double())
    return axes.flip(1).bfloat16().contiguous()


def _greatest(scores: Tensor, k: int) -> Tensor:
    """Return where the k greatest of `(N,)` are, in no order: they lie in the k groups with the greatest maxima."""
    size = 16
    groups = len(scores) // size
    if groups < 4 * k:
        return scores.topk(k, sorted=False).indices
    chosen = scores[: groups * size].view(size, groups).amax(0).topk(k, sorted=False).indices
    places = (torch.arange(size)[:, None] * groups + chosen).reshape(-1)
    places = torch.cat([places, torch.arange(groups * size, len(scores))])
    return places[scores[places].topk(k, sorted=False).indices]


class _Best:
    """The best rows so far, per query."""

    def __init__(self, queries: int, k: int) -> None:
        self.scores = torch.full((queries, k), -torch.inf)
        self.rows = torch.full((queries, k), -1, dtype=torch.int64)

    def add(self, scores: Tensor, rows: Tensor, offset: int) -> None:
        """Take in rows of a block; of equal scores the earlier row stays first."""
        together = torch.cat([self.scores, scores], 1)
        self.scores, at = (v[:, : self.scores.shape[1]] for v in together.sort(dim=1, descending=True, stable=True))
        self.rows = torch.cat([self.rows, rows + offset], 1).gather(1, at)

    def add_columns(self, scores: Tensor, offset: int, least: Tensor | None) -> None:
        """Take in scores `(N, B)` of a block.

        Only groups of rows whose greatest score could still count are looked at: after a few blocks these are few.

        Args:
            scores: Of the block.
            offset: Row of the first.
            least: `(B,)`, a score that the last of the best is known to reach; None when nothing is known.
        """
        count, width = scores.shape
        limit = self.scores[:, -1] if least is None else torch.maximum(self.scores[:, -1], least)
        groups = count // _GROUP
        if count % _GROUP == 0:
            parts = scores.view(groups, _GROUP, width)
            group, query = (parts.amax(1) >= limit).nonzero(as_tuple=True)
        if count % _GROUP or 4 * len(group) > groups * width:
            values, rows = scores.topk(min(self.scores.shape[1], count), dim=0)
            self.add(values.T, rows.T, offset)
            return
        inner = parts[group, :, query]
        which, place = (inner >= limit[query, None]).nonzero(as_tuple=True)
        if not len(which):
            return
        owner = query[which]
        order = owner.argsort(stable=True)
        owner = owner[order]
        sizes = owner.bincount(minlength=width)
        column = torch.arange(len(owner)) - (sizes.cumsum(0) - sizes)[owner]
        values = torch.full((width, int(sizes.max())), -torch.inf)
        rows = torch.full_like(values, -1, dtype=torch.int64)
        values[owner, column] = inner[which, place][order]
        rows[owner, column] = (group[which] * _GROUP + place)[order]
        self.add(values, rows, offset)

    def answer(self) -> tuple[Places, Rows]:
        """Return rows and scores as arrays; rows that are barred are -1."""
        return self.rows.masked_fill(self.scores == -torch.inf, -1).numpy(), self.scores.numpy()


def _checked(vectors: Vectors, queries: Rows, k: int) -> Tensor:
    if queries.ndim != 2 or queries.shape[1] != vectors.dim:
        raise InvalidInput(f"expected queries of shape (B, {vectors.dim}), got {queries.shape}.", code="index.query")
    if not np.isfinite(queries).all():
        raise InvalidInput("a query holds a number that is not finite.", code="model.not_finite")
    if k < 1:
        raise InvalidInput(f"k must be at least 1, got {k}.", code="config.k")
    return torch.from_numpy(np.ascontiguousarray(queries, np.float32))
