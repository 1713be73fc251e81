"""Recipes of segmenters: which kind of configuration a TOML file is, by what it names."""

from __future__ import annotations

import tomllib
from pathlib import Path

from ..prompting import is_promptable
from .oct_layers import LayersConfig
from .promptable import PromptedConfig
from .segmentation import SegmentConfig, read_recipe


def read_any_recipe(path: str | Path, data: str | Path | None = None) -> SegmentConfig:
    """Return the configuration in a TOML file: of layers where scans are drawn, of adapters where its model takes prompts, else of a segmenter.

    Args:
        path: Of the file.
        data: Folder that the roots of the sets are relative to; the folder of the file when None.

    Raises:
        InvalidInput: `config.not_found`, `config.invalid` with the key and what is wrong.
    """
    file = Path(path)
    try:
        value = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    except (ValueError, OSError):
        # `read_recipe` says what is wrong with the file.
        value = {}
    kind = (
        LayersConfig
        if "drawn_scans" in value
        else PromptedConfig
        if is_promptable(str(value.get("model", "")))
        else SegmentConfig
    )
    return read_recipe(file, data, kind=kind)
