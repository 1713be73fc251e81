"""Configuration of training generators: what is learned, which parts move, how much memory it may take."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .config import FitConfig, deciding, parse_as

#: What the command line calls an objective.
GENERATOR_OBJECTIVES = ("caption", "blip2", "instruct", "dpo")
#: Parts that move when nothing is asked: the projector first, as in the first stage of LLaVA, DeepDR-LLM's adapters, all of BLIP.
_PARTS = {"caption": (), "instruct": ("projector", "language"), "dpo": ("language",)}


class GeneratorConfig(BaseModel):
    """Everything that decides the weights, besides pictures and texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objective: Literal["caption", "blip2", "instruct", "dpo"]
    #: Of blip2: 1 trains the queries without a language model, 2 lets the frozen language model read them.
    stage: Literal[1, 2] = 1
    #: Name of a registered model with the role generate.
    model: str
    #: Folder, hub id or "published"; None makes fresh weights of the smallest variant.
    weights: str | None = None
    #: Parts that move (projector, queries, vision, language); empty takes those of the objective.
    parts: tuple[str, ...] = ()
    #: Rank of low-rank adapters on the language part, which then alone move; 0 without.
    lora_rank: int = Field(default=0, ge=0)
    #: Compute activations again instead of keeping them: less memory, more time.
    checkpointing: bool = False
    #: Put several conversations in one row (llava, deepdr_llm, eyefm_copilot).
    packing: bool = False
    #: Also write the whole model with its adapters added.
    merge: bool = False
    #: Kind of pictures of a table of studies.
    modality: str = "cfp"
    #: Strength of random changes of pictures; they are never mirrored, as texts tell left from right.
    strength: float = Field(default=0.0, ge=0, le=3)
    #: Pairs that BLIP remembers, momentum of its slow model, share of its targets, steps until it is reached.
    queue: int = Field(default=57600, ge=1)
    momentum: float = Field(default=0.995, ge=0, lt=1)
    alpha: float = Field(default=0.4, ge=0, le=1)
    ramp: int = Field(default=1000, ge=0)
    #: Of dpo: how far the model may go from where it began; larger is nearer.
    beta: float = Field(default=0.1, gt=0)
    #: Share of the patients on whom the loss is measured.
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    #: Most share of items that may be unusable.
    max_rejected: float = Field(default=0.1, ge=0, le=1)
    train: FitConfig = FitConfig(
        epochs=1, batch_size=8, learning_rate=2e-5, warmup_steps=20, clip=1.0, ema=0.0, weight_decay=0.0
    )

    @model_validator(mode="after")
    def _fits(self) -> GeneratorConfig:
        if self.lora_rank and (self.objective in ("caption", "blip2") or self.parts):
            raise ValueError("low-rank adapters go with instruct and dpo, and without parts")
        if self.merge and not self.lora_rank:
            raise ValueError("there is nothing to merge without adapters (lora_rank)")
        if self.packing and self.objective != "instruct":
            raise ValueError("packing goes with instruct")
        if self.train.ema:
            raise ValueError("generators are trained without a moving average (train.ema = 0)")
        return self

    @property
    def moved(self) -> tuple[str, ...]:
        """Parts that move; empty means all."""
        if self.objective == "blip2":
            return self.parts or (("queries",) if self.stage == 1 else ("queries", "projector"))
        return self.parts or _PARTS[self.objective]

    def digest(self) -> str:
        """Return a digest of everything that decides the weights."""
        value = self.model_dump(mode="json", exclude={"merge", "checkpointing"})
        value["train"] = deciding(value["train"])
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def generator_config(value: Mapping[str, Any], *, name: str = "configuration") -> GeneratorConfig:
    """Return a mapping as a configuration; what `train` leaves out is as this kind of training wants it.

    Example:
        >>> generator_config({"objective": "instruct", "model": "llava.test"}).moved
        ('projector', 'language')
    """
    usual = GeneratorConfig.model_fields["train"].default.model_dump()
    rate = {"caption": 1e-4, "blip2": 1e-4, "dpo": 5e-6}.get(str(value.get("objective")))
    if value.get("lora_rank"):
        rate = 2e-4 if value.get("objective") == "instruct" else 5e-5
    train = value.get("train", {})
    made = {**usual, **({"learning_rate": rate} if rate else {}), **(train if isinstance(train, dict) else {})}
    return parse_as(GeneratorConfig, {**value, "train": made if isinstance(train, dict) else train}, name=name)
