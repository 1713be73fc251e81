"""Functions that are compiled on first use, and where the machine code is kept.

Compiling takes some seconds once. The code is kept in `kernels` of FUNDUSION_HOME (by default `~/.cache/fundusion`), in a folder named by the
digest of the sources and of the compiler, so that it is never older than they are. Where that folder cannot be written, every
process compiles anew; no folder that others can write is used, because the compiler reads its files back unchecked.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.errors import require

_log = logging.getLogger(__name__)
_lock = threading.RLock()
_place: list[Path | None] = []
_kernels: list[Kernel] = []


class Kernel:
    """A function that is compiled when it is first called; its module must be importable without the compiler."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.plain = function
        self._compiled: Any = None
        _kernels.append(self)

    def __call__(self, *arguments: Any) -> Any:
        return self.compiled(*arguments)

    @property
    def compiled(self) -> Any:
        """The dispatcher of the compiler."""
        if self._compiled is None:
            with _lock:
                self._compiled = self._compiled or self._make()
        return self._compiled

    def _make(self) -> Any:
        numba = require("numba", extra="biomarkers")
        names = dict(self.plain.__globals__)
        # A compiled function sees other compiled functions only as dispatchers.
        for name in self.plain.__code__.co_names:
            if isinstance(names.get(name), Kernel):
                names[name] = names[name].compiled
        function = types.FunctionType(self.plain.__code__, names, self.__name__)
        function.__module__, function.__qualname__ = self.__module__, self.plain.__qualname__
        place = cache_folder()
        before = numba.config.CACHE_DIR
        # The setting is read when the dispatcher is made and belongs to whoever else uses the compiler.
        numba.config.CACHE_DIR = str(place or "")
        try:
            return numba.njit(cache=place is not None, nogil=True, error_model="numpy")(function)
        finally:
            numba.config.CACHE_DIR = before


def kernel(function: Callable[..., Any]) -> Kernel:
    """Return a function that is compiled on first use."""
    return Kernel(function)


def cache_folder() -> Path | None:
    """Return the folder of the machine code, created; None where nothing can be kept."""
    if not _place:
        _place.append(_usable())
    return _place[0]


def _usable() -> Path | None:
    home = os.environ.get("FUNDUSION_HOME")
    try:
        root = Path(home) if home else Path.home() / ".cache" / "fundusion"
        folder = root / "kernels" / _digest()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (OSError, RuntimeError):
        return None
    # Machine code from a folder of somebody else would be run as it is.
    return folder if not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid() else None


def _digest() -> str:
    from importlib.metadata import version

    total = hashlib.sha256(f"{version('numba')} {version('numpy')} {sys.version}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_bytes()
        if b"@kernel" in text:
            total.update(text)
    return total.hexdigest()[:16]


def is_compiled() -> bool:
    """Return whether the machine code is at hand, so that a first call takes no seconds."""
    folder = cache_folder()
    return folder is not None and (folder / "complete").is_file()


def warm_up(run: Callable[[], object]) -> float:
    """Return the seconds a first call took; a call that compiles says so in the log before it begins.

    Args:
        run: Calls every kernel once, on something small.
    """
    if not is_compiled():
        _log.info("measuring functions are compiled once; this takes about 20 seconds")
    began = time.perf_counter()
    run()
    folder = cache_folder()
    if folder is not None:
        try:
            (folder / "complete").touch()
        except OSError:
            _log.debug("the mark in %s could not be written", folder.name)
    return time.perf_counter() - began
