"""LLaVA-1.5: patches of a CLIP tower through two layers into a LLaMA.

Source: Liu et al. 2023, arXiv:2304.08485 and arXiv:2310.03744; library transformers. The patches are those of the layer before the last,
without the class token. LLaVA-Med is not in the format of transformers; convert it first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.errors import require
from ..core.registry import Card, ImageInput, models
from ..layers.chat import VICUNA
from ..layers.generator import ChatModel
from ..layers.hub_folder import open_folder
from ..layers.letter_chat import TINY, TINY_LLAMA, letter_chat_tokenizer
from ..layers.query_feed import PlacedPictures

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CLASS = "LlavaForConditionalGeneration"


def _model(body: Any, tokenizer: Any) -> ChatModel:
    config = body.config
    vision = config.vision_config
    count = (int(vision.image_size) // int(vision.patch_size)) ** 2
    if config.vision_feature_select_strategy == "full":
        count += 1
    word = tokenizer.convert_ids_to_tokens(int(config.image_token_index))
    feed = PlacedPictures(word, count, int(vision.image_size), required=False, model="LLaVA", packs=True)
    limit = int(config.text_config.max_position_embeddings)
    return ChatModel(body, tokenizer, style=VICUNA, feed=feed, start=tokenizer.bos_token_id, limit=limit)


def _card(title: str, size: int, repository: str = "", parameters: float = 0.0) -> Card:
    return Card(
        title=title,
        roles=frozenset({"generate"}),
        input=ImageInput(size=size, mean=_MEAN, std=_STD, crop="none", fit="center", resample="bicubic"),
        paper="arXiv:2310.03744",
        weight_license="LLAMA 2 Community License" if repository else None,
        weights=f"hub:{repository}" if repository else None,
        training_data=("558 thousand captions and 665 thousand conversations",) if repository else (),
        facts={"parameters_m": parameters} if parameters else {},
        notes="Trained on everyday pictures, not on eyes.",
    )


def _open(weights: str | Path | None, card: Card, dtype: str) -> ChatModel:
    body, tokenizer, record = open_folder(_CLASS, weights, card=card, dtype=dtype)
    model = _model(body, tokenizer)
    model.weights_record = record
    return model


def _register(name: str, card: Card) -> None:
    def build(*, weights: str | Path | None = None, dtype: str = "bfloat16") -> ChatModel:
        return _open(weights, card, dtype)

    build.__doc__ = "Return LLaVA-1.5 from a folder, the hub, or what its card names."
    build.__qualname__ = f"build_{name}"
    models.register(f"llava.{name}", card)(build)


_register("v1_5_7b", _card("LLaVA-1.5, 7B", 336, "llava-hf/llava-1.5-7b-hf", 7063.0))
_register("v1_5_13b", _card("LLaVA-1.5, 13B", 336, "llava-hf/llava-1.5-13b-hf", 13351.0))
_TEST = _card("LLaVA, smallest", 64)


@models.register("llava.test", _TEST)
def test(*, weights: str | Path | None = None, dtype: str = "float32") -> ChatModel:
    """Return the smallest legal configuration, or what `save` wrote of one."""
    if weights is not None:
        return _open(weights, _TEST, dtype)
    transformers = require("transformers", extra="text")
    words = letter_chat_tokenizer()
    config = transformers.LlavaConfig(
        vision_config={"model_type": "clip_vision_model", "image_size": 64, "patch_size": 16, "projection_dim": 8, **TINY},
        text_config={**TINY_LLAMA, "vocab_size": len(words)}, vision_feature_layer=-2,
        vision_feature_select_strategy="default", image_seq_length=16,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    return _model(getattr(transformers, _CLASS)(config).eval(), words)
