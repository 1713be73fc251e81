"""Fingerprints -> pairs of files that show the same retina: the same bytes, a copy, or another photograph of one eye.

Pairs whose 256 bits nearly agree, upright or mirrored, are read again and compared in fine detail after registration. See
`docs/guides/check-your-data.md` for what this was measured to find and to mistake.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..batch.workers import prepare_all
from ..core.errors import FundusionError
from .fingerprint import Detail, as_variant, detail_of, masks, similarity
from .picture import normalise, open_picture
from .scan import File, Progress, Scan

#: Most differing bits of a pair that is looked at again. Copies differ by 0 to 60, strangers by 126 on average.
NEAR_BITS = 72
#: The same where the number of pairs makes every bit costly, and from how many pictures on.
NEAR_BITS_OF_MANY, MANY = 64, 20_000
#: Least similarity of fine detail of one retina. Strangers stay below 0.47, two photographs of one eye reach 0.5 to 0.85.
SAME_RETINA = 0.5
#: Least similarity of a copy that was only encoded, scaled, brightened or mirrored anew.
COPY = 0.9
#: Two of the four words are compared first when there are many; a copy has its share of differing bits in them.
_FIRST_BITS_OF_MANY = 44
_ROWS, _COLUMNS = 256, 8192
_FINE_PX = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """Two files that show the same retina.

    Args:
        first: Index of a file.
        second: Index of the other, greater than `first`.
        kind: "identical" (same bytes), "copy" (same photograph, altered), "alike" (altered strongly, or another
            photograph of the same eye).
        variant: How the second lies against the first: "upright", "mirrored", "upside down", "turned by 180".
        similarity: Of fine detail, up to 1.
    """

    first: int
    second: int
    kind: str
    variant: str = "upright"
    similarity: float = 1.0

    @property
    def words(self) -> str:
        """What to call the pair in a sentence."""
        if self.kind == "identical":
            return "the same file content"
        turned = "" if self.variant == "upright" else f", {self.variant}"
        what = "a copy" if self.kind == "copy" else "the same eye: an altered copy or another photograph"
        return f"{what}{turned} (similarity {self.similarity:.2f})"


def find_twins(found: Scan, *, workers: int = 0, progress: Progress | None = None) -> tuple[list[Twin], int]:
    """Return the pairs, and how many candidates could not be read again.

    A file of the content of another is compared by its first twin only: with k equal files there are k - 1 pairs.

    Args:
        found: Fingerprints.
        workers: Processes for the second look.
        progress: Called with (steps done, steps) of the search and then of the second look.
    """
    twins, unlike = _identical(found)
    jobs: list[tuple[int, int, tuple[str, ...]]] = []
    for modality in sorted({found.files[i][0] for i in unlike}):
        rows = np.asarray([i for i in unlike if found.files[i][0] == modality], np.int64)
        near: dict[tuple[int, int], list[str]] = defaultdict(list)
        for i, j, variant in candidates(found.circle[rows], found.box[rows], progress=progress):
            if variant not in near[i, j]:
                near[i, j].append(variant)
        jobs += [(int(rows[i]), int(rows[j]), tuple(v)) for (i, j), v in near.items()]
    jobs.sort()
    looks = [(found.files[i], found.files[j], v) for i, j, v in jobs]
    unread = 0
    for done, ((i, j, _), answer) in enumerate(
        zip(jobs, prepare_all(looks, second_look, workers=workers), strict=True), 1
    ):
        if isinstance(answer, FundusionError):
            unread += 1
        elif answer[0] >= SAME_RETINA:
            kind = "copy" if answer[0] >= COPY else "alike"
            twins.append(Twin(first=i, second=j, kind=kind, variant=answer[1], similarity=answer[0]))
        if progress:
            progress(done, len(jobs))
    return sorted(twins, key=lambda t: (t.first, t.second)), unread


def _identical(found: Scan) -> tuple[list[Twin], list[int]]:
    """Return pairs of equal content, and one file of each content that shows anything."""
    first: dict[bytes, int] = {}
    twins, unlike = [], []
    for i in np.flatnonzero(found.usable).tolist():
        content = found.digests[i].tobytes()
        if content in first:
            twins.append(Twin(first=first[content], second=i, kind="identical"))
        else:
            first[content] = i
            # A picture without any detail has no bits, and is like nothing.
            if found.box[i].any():
                unlike.append(i)
    return twins, unlike


def candidates(
    circle: npt.NDArray[np.uint64], box: npt.NDArray[np.uint64], *, progress: Progress | None = None
) -> Iterator[tuple[int, int, str]]:
    """Yield pairs `i < j` whose bits nearly agree, with the variant; memory does not grow with the number of pictures.

    Args:
        circle: `(n, 4)` hashes by circle.
        box: `(n, 4)` hashes by box; searched everywhere, those by circle only where the two differ.
        progress: Called with (rows done, rows).
    """
    many = len(box) > MANY
    limit = NEAR_BITS_OF_MANY if many else NEAR_BITS
    differ = (circle != box).any(axis=1)
    for start in range(0, len(box), _ROWS):
        rows = slice(start, min(start + _ROWS, len(box)))
        for across in range(start, len(box), _COLUMNS):
            columns = slice(across, min(across + _COLUMNS, len(box)))
            yield from _block(box, rows, columns, limit=limit, many=many)
            if differ[rows].any() or differ[columns].any():
                yield from _block(circle, rows, columns, limit=limit, many=many)
        if progress:
            progress(rows.stop, len(box))


def _block(
    bits: npt.NDArray[np.uint64], rows: slice, columns: slice, *, limit: int, many: bool
) -> Iterator[tuple[int, int, str]]:
    apart = [bits[rows, w][:, None] ^ bits[columns, w][None] for w in range(bits.shape[1])]
    for variant, mask in masks().items():
        counted = np.bitwise_count(apart[0] ^ mask[0]) + np.bitwise_count(apart[2] ^ mask[2])
        if many:
            i, j = np.nonzero(counted <= _FIRST_BITS_OF_MANY)
            rest = sum(np.bitwise_count(apart[w][i, j] ^ mask[w]).astype(np.int16) for w in (1, 3))
            keep = counted[i, j] + rest <= limit
            i, j = i[keep], j[keep]
        else:
            counted = counted.astype(np.int16)
            for w in (1, 3):
                counted += np.bitwise_count(apart[w] ^ mask[w])
            i, j = np.nonzero(counted <= limit)
        i, j = i + rows.start, j + columns.start
        later = j > i
        for a, b in zip(i[later].tolist(), j[later].tolist(), strict=True):
            yield a, b, variant


def second_look(job: tuple[File, File, Sequence[str]]) -> tuple[float, str]:
    """Return the greatest similarity of fine detail of two files over both frames and the given variants.

    Raises:
        ReadError: One of them can no longer be read.
    """
    first, second, variants = job
    ours, theirs = _frames(first), _frames(second)
    best = (-1.0, "upright")
    for variant in variants:
        for mine, other in zip(ours, theirs, strict=True):
            best = max(best, (similarity(mine, as_variant(other, variant)), variant), key=lambda b: b[0])
    return best


@lru_cache(maxsize=64)
def _frames(file: File) -> tuple[Detail, Detail]:
    circle, box = normalise(open_picture(file[1], modality=file[0]).pixels)
    by_box = detail_of(box, smooth_px=_FINE_PX)
    return (by_box if circle is box else detail_of(circle, smooth_px=_FINE_PX)), by_box
