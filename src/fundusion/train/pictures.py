"""Prepared pictures of a training set that stay on disk: an array to look at, a cache and columns of numbers inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from ..transforms.cache import PictureCache


class CachedPictures:
    """uint8 `(T, S, S, C)` pictures that are read when they are indexed, and computed again where the cache lost them.

    No Python object is kept per picture, so memory does not grow with what has been read.

    Args:
        cache: Where they are.
        keys: `(T, 32)` uint8.
        shape: (S, S, C).
        again: Called with a position; computes the picture that the cache gave up or whose entry is damaged.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        cache: PictureCache,
        keys: npt.NDArray[np.uint8],
        shape: tuple[int, int, int],
        *,
        again: Callable[[int], npt.NDArray[np.uint8]],
    ) -> None:
        if keys.ndim != 2 or keys.shape[1] != 32 or keys.dtype != np.uint8:
            raise InvalidInput(f"expected keys (T, 32) uint8, got {keys.dtype} {keys.shape}.", code="cache.keys")
        self.cache, self.keys, self._again = cache, keys, again
        self.shape = (len(keys), *shape)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: Any) -> npt.NDArray[np.uint8]:
        if isinstance(index, int | np.integer):
            return self._one(range(len(self))[index])
        rows = np.arange(len(self))[index]
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for place, row in enumerate(rows.tolist()):
            out[place] = self._one(row)
        return out

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        return (self._one(i) for i in range(len(self)))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("pictures on disk cannot be an array without a copy")
        return self[:].astype(dtype or np.uint8, copy=False)

    def _one(self, row: int) -> npt.NDArray[np.uint8]:
        key = self.keys[row].tobytes()
        found = self.cache.get(key)
        if found is None or found.shape != self.shape[1:]:
            found = self._again(row)
            self.cache.put({key: found})
        return found
