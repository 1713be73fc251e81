"""Where the weights of an encoder came from, in the words that outputs carry."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .weights import LoadReport, digest

_NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial|research (and|or) education only", re.IGNORECASE)


def origin_record(path: str | Path, report: LoadReport, license: str | None) -> dict[str, Any]:
    """Return the record an encoder keeps as `weights_record`: source, digest, licence and what was loaded.

    Args:
        path: The file.
        report: Of loading it.
        license: Of the published weights; None when it is not stated.
    """
    words = license or "not stated"
    return {
        "source": Path(path).name,
        "sha256": digest(path),
        "digest_verified": False,
        "license": words,
        "non_commercial": bool(_NON_COMMERCIAL.search(words)),
        "loaded": len(report.loaded),
        "missing": list(report.missing),
        "unexpected": len(report.unexpected),
    }
