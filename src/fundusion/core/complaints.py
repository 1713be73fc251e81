"""What a library logs as an error instead of raising it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def complaints_of(name: str) -> Iterator[list[str]]:
    """Collect the errors a logger is given, and keep them from being printed: they may quote what stands in a file.

    Args:
        name: Name of the logger.

    Example:
        >>> with complaints_of("some.library") as said:
        ...     logging.getLogger("some.library").error("strip 3 is missing")
        >>> said
        ['strip 3 is missing']
    """
    said: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
