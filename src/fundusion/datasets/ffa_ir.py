"""FFA-IR: a million angiogram frames of 10,790 examinations with reports in English and Chinese. Credentialed access."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..core.errors import ReadError
from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Collector, Reading, begin
from ._tree import PICTURES, Folder, key_of

_CARD = DatasetCard(
    title="FFA-IR",
    modalities=frozenset({"ffa", "text"}),
    paper="FFA-IR, NeurIPS 2021 Datasets and Benchmarks",
    images=1048584,
    license="credentialed health data licence",
    ask="physionet.org/content/ffa-ir-medical-report",
    layout="ffair_annotation.json beside the folders of cases, or a folder FFAIR that holds them.",
    splits=("train", "val", "test"),
    notes="A case is one examination; which patient and eye it is of is not published. lesion_dict.json is missing there. "
    "Cases are looked at one by one: the million files are never listed together.",
    **relations("ffa_ir"),
)
_PARTS = {"train": "train", "val": "val", "valid": "val", "test": "test"}


def _fits(folder: Folder) -> bool:
    return folder.file("ffair_annotation*.json") is not None


LAYOUTS = {"ffa_ir": _fits}


@datasets.register("ffa_ir", _CARD)
def ffa_ir(root: str | Path, *, split: str | None = None, language: str = "en") -> Reading:
    """Return one record per examination: its frames in the order of the list, and its report.

    Args:
        root: Folder with `ffair_annotation.json`, or its parent.
        split: "train", "val" or "test"; None takes all.
        language: "en" or "zh": which report.
    """
    found = begin(root, _fits, _CARD)
    table = found.base.file("ffair_annotation*.json")
    cases = _annotation(table) if table else {}
    listed: set[str] = set()
    for part, content in cases.items():
        for case, facts in content.items():
            _read_case(found, part, str(case), facts, language, listed)
    for holder in _holders(found.base):
        for key, folder in holder.folders.items():
            if key not in listed and key.startswith("case") and (first := next(iter(folder.files.values()), None)):
                # One frame stands for the folder: a case that no list names may hold hundreds.
                found.unlisted([first])
    return found.done(split)


def _annotation(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{path.name!r} cannot be read: {error}.", code="dataset.table") from error
    parts = (
        {_PARTS[k]: v for k, v in content.items() if k in _PARTS and isinstance(v, dict)}
        if isinstance(content, dict)
        else {}
    )
    if not parts:
        raise ReadError(
            f"{path.name!r} has no parts train, val, test.", code="dataset.table", hint="The file is another one."
        )
    return parts


def _holders(base: Folder) -> list[Folder]:
    return [base, *(f for key, f in base.folders.items() if "ffa" in key or key in ("images", "data"))]


def _read_case(found: Collector, part: str, case: str, facts: Any, language: str, listed: set[str]) -> None:
    origin = f"ffair_annotation.json:{part}/{case}"
    names = facts.get("Image_path") if isinstance(facts, dict) else None
    if not isinstance(names, list):
        found.contradiction(origin, "the case lists no frames", lost=case)
        return
    frames: list[Path] = []
    folders: dict[str, dict[str, Path]] = {}
    for name in map(str, names):
        pieces = [p for p in name.replace("\\", "/").split("/") if p and p != "."]
        place, file = key_of(pieces[-2]) if len(pieces) > 1 else key_of(case), key_of(pieces[-1])
        if place not in folders:
            folders[place] = _list_case(found.base, place)
            listed.add(place)
        if file in folders[place]:
            frames.append(folders[place][file])
        else:
            found.missing("/".join(pieces))
    report = next(
        (
            facts[k]
            for k in (("Zh_Report", "Zh report", "Zh_report") if language == "zh" else ("En_Report", "En report"))
            if facts.get(k)
        ),
        None,
    )
    if frames:
        found.add(case, images={"ffa": frames}, report=report, split=part, origin=origin)
    for files in folders.values():
        found.unlisted(files.values(), forget=True)


def _list_case(base: Folder, place: str) -> dict[str, Path]:
    """List one case and forget it: the folder objects are made anew, so that no listing stays in memory."""
    for holder in _holders(base):
        known = holder.folders.get(place)
        if known is not None:
            return {k: p for k, p in Folder(known.path).files.items() if k.endswith(PICTURES)}
    return {}
