"""Configuration of image-text training, from a TOML file or the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..core.study import StudyRecord
from .config import DataConfig, FitConfig, data_folder, deciding, load_toml, parse_as
from .data import load_records

#: What the command line calls an objective, and its registered name.
PAIR_OBJECTIVES = {
    "clip": "contrastive.clip", "siglip": "contrastive.siglip", "flair": "contrastive.flair",
    "medclip": "matching.medclip", "keepfit": "knowledge.keepfit", "retizero": "evidential.retizero",
}  # fmt: skip


class PairConfig(BaseModel):
    """Everything that decides the weights, besides pictures and texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objective: Literal["clip", "siglip", "flair", "medclip", "keepfit", "retizero"]
    #: Options of the objective: variant (medclip), weight (keepfit), ramp (retizero), positives (siglip).
    objective_options: dict[str, Any] = {}
    #: Name of a registered model with the role align.
    model: str = "image_text.small"
    #: Options of the model; `image_size` is the side of the pictures too.
    options: dict[str, Any] = {}
    #: Kind of pictures.
    modality: str = "cfp"
    #: Keep the image tower as it is: its vectors are computed once, and only projections and text tower learn.
    frozen: bool = False
    #: Where studies are and how patients are divided; sets are left out when records are given.
    data: DataConfig = DataConfig()
    #: JSON file of findings and what is known about them; a relative path is below FUNDUSION_DATA.
    knowledge: str | None = None
    #: Words of labels to the finding they mean.
    aliases: dict[str, str] = {}
    #: Sentences around the name of a finding; one is drawn each time.
    templates: tuple[str, ...] = ("{}", "a fundus photograph of {}")
    #: Strength of random changes of pictures.
    strength: float = Field(default=1.0, ge=0, le=3)
    #: Mirror half of the pictures; wrong where reports tell left from right.
    flip: bool = True
    #: Give each training study the texts of another one: the control that nothing can be learned from.
    shuffled: bool = False
    #: Sets the weights saw, with their terms; written beside the weights.
    training_data: tuple[str, ...] = ()
    #: Terms of the weights that come out; recorded wherever they are used.
    license: str = ""
    #: Type the weights are stored in.
    store: Literal["float32", "float16"] = "float32"
    train: FitConfig = FitConfig(epochs=15, batch_size=64, learning_rate=1e-3, warmup_steps=100, clip=1.0, ema=0.0)

    def digest(self) -> str:
        """Return a digest of everything that decides the weights."""
        value = self.model_dump(mode="json")
        value["train"] = deciding(value["train"])
        for key in ("cache", "cache_gb"):
            value["data"].pop(key)
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def studies_of(config: PairConfig) -> list[StudyRecord]:
    """Return the studies that a configuration names.

    Raises:
        InvalidInput: It names none.
    """
    return list(load_records(config.data))


def load_pair_config(path: str | Path) -> PairConfig:
    """Return the configuration in a TOML file.

    Raises:
        ReadError: No such file.
        InvalidInput: Not TOML, or a key or value that is not known.
    """
    return pair_config(load_toml(path), name=Path(path).name)


def pair_config(value: Mapping[str, Any], *, name: str = "configuration") -> PairConfig:
    """Return a mapping as a configuration; what `train` leaves out is as this kind of training wants it.

    Example:
        >>> pair_config({"objective": "clip", "train": {"epochs": 3}}).train.clip
        1.0
    """
    defaults = PairConfig.model_fields["train"].default.model_dump()
    train = value.get("train", {})
    return parse_as(
        PairConfig, {**value, "train": {**defaults, **train} if isinstance(train, dict) else train}, name=name
    )


def below_data(path: str) -> Path:
    """Return a path; a relative one that is not here is below the data folder."""
    given = Path(path)
    return given if given.is_absolute() or given.is_file() else data_folder() / given
