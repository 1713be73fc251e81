"""What a segmenter says of its own masks travels with them: a file in the folder of a structure that it is often wrong about elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..core.durable import write_text

#: In a folder of masks; `measure` reads it there.
FILE = "unproven.json"
#: Structure of a segmenter to the name under which it is measured.
_MEASURED_AS = {"vessel": "vessels"}


class Described(Protocol):
    """What is asked of a segmenter."""

    @property
    def name(self) -> str:
        """How it is called."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What was saved with it; `unproven` is structure to sentence."""


def warnings_of(segmenters: Iterable[Described]) -> dict[str, str]:
    """Return structure to the sentence by which its segmenter says where it was seen to be wrong.

    Example:
        >>> from types import SimpleNamespace
        >>> warnings_of([SimpleNamespace(name="lesions", facts={"unproven": {"EX": "Marked in healthy eyes."}})])
        {'EX': 'Marked in healthy eyes.'}
    """
    return {c: str(text) for s in segmenters for c, text in s.facts.get("unproven", {}).items()}


def write_warnings(folder: Path, warnings: Mapping[str, str], structures: Sequence[str]) -> None:
    """Write the sentence of each structure into its folder of masks, and take away what an earlier segmenter left there.

    Args:
        folder: Of the run; a structure has masks in the folder of its name.
        warnings: Of `warnings_of`.
        structures: All that were segmented.
    """
    for structure in structures:
        place = folder / structure
        if structure in warnings and place.is_dir():
            text = json.dumps({"structure": structure, "warning": warnings[structure]}, ensure_ascii=False, indent=1)
            write_text(place / FILE, text + "\n")
        else:
            (place / FILE).unlink(missing_ok=True)


def read_warning(folder: Path) -> dict[str, str]:
    """Return what lies in a folder of masks: the name under which its structure is measured, to the sentence; nothing where nothing is said.

    A file that cannot be read is taken as a warning too: it is there because something was wrong.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        said = json.loads(path.read_text("utf-8"))
        structure, text = said["structure"], said["warning"]
        usable = isinstance(structure, str) and isinstance(text, str) and text.strip()
    except (OSError, ValueError, KeyError, TypeError):
        usable = False
    if not usable:
        return {folder.name: f"{FILE} in the folder of these masks cannot be read."}
    return {_MEASURED_AS.get(structure, structure): text.strip()}
