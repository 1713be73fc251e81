"""Where the weights of an encoder came from, in the words that outputs carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.registry import is_non_commercial
from .weights import LoadReport, digest


def origin_record(
    path: str | Path, report: LoadReport, license: str | None, *, source: str | None = None, verified: bool = False
) -> dict[str, Any]:
    """Return the record an encoder keeps as `weights_record`: source, digest, licence and what was loaded.

    Args:
        path: The file.
        report: Of loading it.
        license: Of the published weights; None when it is not stated.
        source: How the file was asked for; None takes its name.
        verified: Whether its digest was compared with one the card knows.
    """
    words = license or "not stated"
    return {
        "source": source or Path(path).name,
        "sha256": digest(path),
        "digest_verified": verified,
        "license": words,
        "non_commercial": is_non_commercial(words),
        "loaded": len(report.loaded),
        "missing": list(report.missing),
        "unexpected": len(report.unexpected),
        "reshaped": list(report.reshaped),
    }
