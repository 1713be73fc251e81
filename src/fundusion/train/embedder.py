"""A model by name, a run folder or a shipped network -> something that turns pictures, and words where it can, into comparable vectors."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..core.errors import InvalidInput
from ..core.interfaces import Aligner
from ..core.registry import ImageInput, models
from ..layers.precision import fast_matmul
from ..network import load_network
from ..shipped import resolve_model, shipped_models
from ..transforms.collate import normalise_images
from ..transforms.image import preprocessing_signature
from .embeddings import digest_of_module
from .pretrain import full_name

#: "aligned": the space that pictures and words share; "encoder": what the image tower says.
SPACES = ("aligned", "encoder")
#: Most characters of a text that are handed to a tokenizer; what it can read is far shorter.
_LONGEST_TEXT = 20_000
_PICTURES = 32


class Embedder:
    """Pictures and texts as vectors of one model.

    Args:
        module: With `encode`, and for an aligner `align_images`, `align_texts` and `tokenize`.
        name: To record.
        wanted: Pixels the model wants.
        modality: What the pictures are.
        space: "aligned" or "encoder"; None takes "aligned" where the model has it.
        source: How to make the model again: `model`, `weights`, `options`.
        device: Where it runs.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        wanted: ImageInput,
        *,
        modality: str = "cfp",
        space: str | None = None,
        source: Mapping[str, Any] | None = None,
        device: str = "cpu",
    ) -> None:
        aligner = isinstance(module, Aligner)
        if space is not None and space not in SPACES:
            raise InvalidInput(
                f"there is no space {space!r}.", code="config.space", hint=f"Known: {', '.join(SPACES)}."
            )
        if space == "aligned" and not aligner:
            raise InvalidInput(
                f"model {name!r} puts no words and pictures in one space.",
                code="config.space",
                hint="List models that do: fundusion models --role align",
            )
        self.module = module.eval().to(device)
        self.name, self.wanted, self.modality, self.device = name, wanted, modality, device
        self.space = space or ("aligned" if aligner else "encoder")
        self.reads_text = aligner and self.space == "aligned"
        self.dim = int(module.align_dim if self.reads_text else module.embed_dim)
        self.source = dict(source or {"model": name})

    def facts(self) -> dict[str, Any]:
        """Return what decides the vectors, and how to make the model again."""
        return {
            "model": self.name,
            "weights_sha256": digest_of_module(self.module),
            "space": self.space,
            "preprocessing": {self.modality: preprocessing_signature(self.wanted)},
            "dim": self.dim,
            "modality": self.modality,
            "reads_text": self.reads_text,
            "source": self.source,
        }

    @torch.inference_mode()
    def pictures(self, studies: Sequence[Sequence[npt.NDArray[np.uint8]]]) -> npt.NDArray[np.float32]:
        """Return `(n, D)`: per item the mean over its frames; see `normalise` of the model for the pixels.

        Args:
            studies: Per item its prepared frames `(S, S, C)` uint8.
        """
        frames = [frame for item in studies for frame in item]
        found = []
        for start in range(0, len(frames), _PICTURES):
            pixels = torch.from_numpy(np.stack(frames[start : start + _PICTURES]))
            images = normalise_images(pixels, self.wanted).to(self.device)
            with fast_matmul():
                if self.reads_text:
                    found.append(self.module.align_images(images).float().cpu())
                else:
                    found.append(self.module.encode(images).pooled.float().cpu())
        vectors = torch.cat(found)
        sizes = [len(item) for item in studies]
        return torch.stack([part.mean(0) for part in vectors.split(sizes)]).numpy()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return `(n, D)` of texts, each as if it were alone in the call.

        Raises:
            InvalidInput: The model reads no words (`model.no_text`), or a text is empty (`text.empty`).
        """
        if not self.reads_text:
            raise InvalidInput(
                f"model {self.name!r} reads no words.",
                code="model.no_text",
                hint="Search by a picture, or build the index with a model of: fundusion models --role align",
            )
        found = []
        for text in texts:
            # Characters that nobody sees (zero width, direction) would make other tokens of the same words.
            seen = "".join(c for c in text[:_LONGEST_TEXT] if unicodedata.category(c) != "Cf")
            ids, mask = self.module.tokenize([seen])
            if not any(c.isalnum() for c in seen) or not bool(mask.any()):
                raise InvalidInput("the text is empty, or holds nothing the model can read.", code="text.empty")
            found.append(self.module.align_texts(ids.to(self.device), mask.to(self.device)).float().cpu())
        return torch.cat(found).numpy()


def make_embedder(
    model: str,
    *,
    modality: str = "cfp",
    weights: str | None = None,
    options: Mapping[str, Any] | None = None,
    space: str | None = None,
    device: str = "cpu",
) -> Embedder:
    """Return the embedder of a model.

    Args:
        model: Registered name, run folder of `train` or `pretrain`, name of a shipped network, or "shipped".
        modality: What the pictures are.
        weights: File or folder, for a registered name.
        options: Of the model, for a registered name.
        space: See `Embedder`.
        device: Where it runs.

    Raises:
        UnknownName: No such model.
        InvalidInput: The model does not read the modality, or cannot encode.
    """
    source = {"model": model, "weights": weights, "options": dict(options or {})}
    how: dict[str, Any] = {"modality": modality, "space": space, "device": device, "source": source}
    folder = Path(model)
    if (folder / "encoder.json").is_file():
        facts = json.loads((folder / "encoder.json").read_text("utf-8"))
        # The folder is what holds the weights; the name and options are those it was trained with.
        return _registered(
            facts["model"], str(folder / "encoder.safetensors"), {**facts["options"], **(options or {})}, how
        )
    shipped = shipped_models()
    if model == "shipped" and shipped:
        model = shipped[0]
    if model in shipped or (folder / "network.json").is_file() or (folder / "model" / "network.json").is_file():
        place, name = resolve_model(model)
        network, _ = load_network(place)
        if modality not in network.spec.inputs:
            raise InvalidInput(
                f"the network {name!r} does not read {modality!r}.",
                code="modality.unknown",
                hint=f"It reads {', '.join(network.spec.inputs)}.",
            )
        return Embedder(network.encoders[modality], name, network.spec.inputs[modality], **how)
    return _registered(full_name(model), weights, dict(options or {}), how)


def _registered(name: str, weights: str | None, options: dict[str, Any], how: Mapping[str, Any]) -> Embedder:
    card = models.card(name)
    if "encode" not in card.roles:
        raise InvalidInput(
            f"model {name!r} cannot encode pictures: it has the roles {sorted(card.roles)}.",
            hint="List fitting ones with: fundusion models --role encode",
        )
    chosen = {**options, **({"weights": weights} if weights else {})}
    with torch.random.fork_rng(devices=[]):
        # Random weights are the same in every process, else an index could not be searched by the model that built it.
        torch.manual_seed(0)
        module = models.create(name, **chosen)
    wanted = card.input or ImageInput()
    if "image_size" in options:
        wanted = replace(wanted, size=int(options["image_size"]))
    return Embedder(module, name, wanted, **how)
