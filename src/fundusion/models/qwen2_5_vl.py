"""Qwen2.5-VL: pictures of any size as merged patches, whose rows and columns the language model's positions know.

Source: Bai et al. 2025, arXiv:2502.13923; library transformers. Without the kinds of the tokens the library falls back to positions in a
row, silently, so they are always given here; and it keeps a shift of positions between calls, which is cleared before each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import InvalidInput, require
from ..core.interfaces import Words
from ..core.registry import Card, ImageInput, models
from ..layers.chat import CHATML
from ..layers.generator import ChatModel, Pictures
from ..layers.hub_folder import open_folder
from ..layers.letter_chat import TINY, TINY_LLAMA, letter_chat_tokenizer

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CLASS = "Qwen2_5_VLForConditionalGeneration"


def patch_rows(images: Tensor, *, patch: int, merge: int, frames: int) -> Tensor:
    """Return patches `(B * N, 3 * frames * patch * patch)` of pictures, the patches that are merged after one another.

    A picture stands for `frames` equal ones, as the patches are those of films.

    Source: the image processor of transformers for Qwen2-VL.
    """
    b, c, height, width = images.shape
    h, w = height // patch, width // patch
    x = images.reshape(b, c, h // merge, merge, patch, w // merge, merge, patch)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, frames, -1, -1)
    return x.reshape(b * h * w, c * frames * patch * patch)


class MergedPatches:
    """Pictures as one place token per block of merged patches, between two marks.

    Args:
        body: The model: its sizes, its place token, and the state that is cleared.
        place: Place token.
    """

    def __init__(self, body: Any, place: str) -> None:
        vision = body.config.vision_config
        self._body, self.place, self.place_id = body, place, int(body.config.image_token_id)
        self.patch, self.merge = int(vision.patch_size), int(vision.spatial_merge_size)
        self.frames = int(vision.temporal_patch_size)

    def places(self, pictures: Pictures, count: int) -> list[str]:
        """Return the place tokens of each row."""
        shown = pictures.only()
        if shown is None:
            return [""] * count
        block = self.patch * self.merge
        height, width = (int(s) for s in shown.shape[2:])
        if height % block or width % block:
            raise InvalidInput(
                f"Qwen2.5-VL reads pictures with sides that are multiples of {block} px, got {height} x {width}.",
                code="chat.images",
                hint="Prepare them as its card says.",
            )
        words = f"<|vision_start|>{self.place * (height * width // block**2)}<|vision_end|>"
        (present,) = pictures.present.values()
        return [words if p else "" for p in present.tolist()]

    def inputs(self, pictures: Pictures, words: Words) -> dict[str, Any]:
        """Return the arguments of the model, the kinds of the tokens among them."""
        self._body.model.rope_deltas = None
        given: dict[str, Any] = {"input_ids": words.ids, "attention_mask": words.mask.long()}
        shown = pictures.only()
        if shown is None:
            return given
        grid = torch.tensor([1, shown.shape[2] // self.patch, shown.shape[3] // self.patch], device=shown.device)
        return {
            **given,
            "pixel_values": patch_rows(shown, patch=self.patch, merge=self.merge, frames=self.frames),
            "image_grid_thw": grid.expand(len(shown), -1),
            "mm_token_type_ids": (words.ids == self.place_id).int(),
        }

    def prompt(self, pictures: Pictures, words: Words) -> dict[str, Any]:
        """Return the arguments of generation."""
        return self.inputs(pictures, words)


def _model(body: Any, tokenizer: Any) -> ChatModel:
    feed = MergedPatches(body, tokenizer.convert_ids_to_tokens(int(body.config.image_token_id)))
    limit = int(body.config.text_config.max_position_embeddings)
    return ChatModel(body, tokenizer, style=CHATML, feed=feed, start=None, limit=limit)


def _card(title: str, size: int, repository: str = "", licence: str = "", parameters: float = 0.0) -> Card:
    return Card(
        title=title,
        roles=frozenset({"generate"}),
        input=ImageInput(size=size, mean=_MEAN, std=_STD, crop="none", fit="stretch", resample="bicubic"),
        paper="arXiv:2502.13923",
        weight_license=licence or None,
        weights=f"hub:{repository}" if repository else None,
        training_data=("4.1 trillion tokens of pictures, films and texts (not released)",) if repository else (),
        facts={"parameters_m": parameters} if parameters else {},
        notes="Sides of pictures are multiples of 28 px; larger ones cost more tokens.",
    )


def _open(weights: str | Path | None, card: Card, dtype: str) -> ChatModel:
    body, tokenizer, record = open_folder(_CLASS, weights, card=card, dtype=dtype)
    model = _model(body, tokenizer)
    model.weights_record = record
    return model


def _register(name: str, card: Card) -> None:
    def build(*, weights: str | Path | None = None, dtype: str = "bfloat16") -> ChatModel:
        return _open(weights, card, dtype)

    build.__doc__ = "Return Qwen2.5-VL from a folder, the hub, or what its card names."
    build.__qualname__ = f"build_{name}"
    models.register(f"qwen2_5_vl.{name}", card)(build)


_register(
    "3b", _card("Qwen2.5-VL, 3B", 448, "Qwen/Qwen2.5-VL-3B-Instruct", "Qwen Research License, non-commercial", 3755.0)
)
_register("7b", _card("Qwen2.5-VL, 7B", 448, "Qwen/Qwen2.5-VL-7B-Instruct", "Apache-2.0", 8292.0))
_TEST = _card("Qwen2.5-VL, smallest", 64)


@models.register("qwen2_5_vl.test", _TEST)
def test(*, weights: str | Path | None = None, dtype: str = "float32") -> ChatModel:
    """Return the smallest legal configuration, or what `save` wrote of one; blocks of 16 px."""
    if weights is not None:
        return _open(weights, _TEST, dtype)
    transformers = require("transformers", extra="text")
    words = letter_chat_tokenizer()
    number = words.convert_tokens_to_ids
    text = {k: v for k, v in TINY_LLAMA.items() if k != "model_type"}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    config = transformers.Qwen2_5_VLConfig(
        vision_config={"depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "patch_size": 8,
                       "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": TINY["hidden_size"],
                       "window_size": 32, "fullatt_block_indexes": [1], "initializer_range": 0.02},
        text_config={**text, "vocab_size": len(words), "rope_parameters": rope, "tie_word_embeddings": True},
        image_token_id=number("<|image_pad|>"), video_token_id=number("<|video_pad|>"), tie_word_embeddings=True,
        vision_start_token_id=number("<|vision_start|>"), vision_end_token_id=number("<|vision_end|>"),
    )  # fmt: skip
    return _model(getattr(transformers, _CLASS)(config).eval(), words)
