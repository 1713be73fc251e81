"""MM-Retinal: photographs, angiograms and B-scans from atlases, each with a caption in English and Chinese."""

from __future__ import annotations

from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin
from ._tables import has_columns
from ._tree import Folder, stem_of

_CARD = DatasetCard(
    title="MM-Retinal",
    modalities=frozenset({"cfp", "ffa", "oct", "text"}),
    paper="arXiv:2405.11793",
    images=4349,
    license="research use; no licence is declared",
    ask="github.com/lxirich/MM-Retinal",
    layout="CFP/, FFA/, OCT/ with CFP_translated_v1.csv and its sisters (Image_ID, en_caption).",
    notes="2,169 photographs, 1,947 angiograms, 233 B-scans. Identifiers have no file type. A caption describes what is seen: "
    "as an input beside its own picture it gives the answer away. No patient identifier.",
    **relations("mm_retinal"),
)
_MODALITIES = {"cfp": "cfp", "ffa": "ffa", "oct": "oct"}


def _table(folder: Folder, kind: str) -> Path | None:
    found = [
        p for p in folder.all(f"{kind}*.csv", f"{kind}*.xlsx") if has_columns(p, "image_id", ("en_caption", "caption"))
    ]
    return found[0] if found else None


def _fits(folder: Folder) -> bool:
    return any(folder.folder(kind) is not None and _table(folder, kind) is not None for kind in _MODALITIES)


LAYOUTS = {"mm_retinal": _fits}


@datasets.register("mm_retinal", _CARD)
def mm_retinal(root: str | Path, *, split: str | None = None, language: str = "en") -> Reading:
    """Return one record per picture with its caption as the report.

    Args:
        root: Folder with `CFP/` and `CFP_translated_v1.csv`, or its parent.
        split: The publisher made none.
        language: "en" or "zh": which caption.
    """
    found = begin(root, _fits, _CARD)
    for kind, modality in _MODALITIES.items():
        table, folder = _table(found.base, kind), found.base.folder(kind)
        files = folder.pictures(depth=1) if folder else {}
        if table is None:
            found.unlisted(files.values())
            continue
        for row in found.rows(table, needs=["image_id"]):
            name = row["image_id"]
            path = found.pick(files, stem_of(name), expected=f"{kind.upper()}/{name}") if name else None
            if path is None:
                continue
            chinese = next((row[c] for c in row if "zh" in c or "cn" in c or "chinese" in c or "中文" in c), "")
            caption = chinese if language == "zh" else row["en_caption"] or row["caption"]
            found.add(f"{kind}_{name}", images={modality: [path]}, report=caption or None, origin=row.origin)
        found.unlisted(files.values())
    return found.done(split)
