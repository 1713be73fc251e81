"""BLIP: a picture is described by a text decoder that looks at its patches.

Source: Li et al. 2022, arXiv:2201.12086; library transformers. Its `generate` drops the last token of a prompt, which it takes for the
end mark that its tokenizer writes, and puts the decoder's own start in place of the first; prompts here carry both, so nothing is lost.
Positions are absolute, so prompts of one length only are answered together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..core.errors import InvalidInput, require
from ..core.interfaces import Words
from ..core.registry import Card, ImageInput, models
from ..layers.chat import PLAIN
from ..layers.generator import ChatModel, Pictures
from ..layers.hub_folder import open_folder
from ..layers.letter_chat import TINY, letter_chat_tokenizer

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class CrossAttended:
    """Every text token looks at the patches of the picture; no token stands for it.

    Args:
        end: Id of the end mark that the library drops from a prompt.
        side: Of the pictures, px.
    """

    def __init__(self, end: int, side: int) -> None:
        self.end, self.side = end, side

    def places(self, pictures: Pictures, count: int) -> list[str]:
        """Return nothing to write; a row without its picture is refused."""
        shown = pictures.only()
        if shown is None or len(shown) != count:
            raise InvalidInput("BLIP describes pictures; a conversation has none.", code="chat.images")
        return [""] * count

    def inputs(self, pictures: Pictures, words: Words) -> dict[str, Any]:
        """Return the arguments of the model."""
        shown = pictures.only()
        other = shown is not None and tuple(shown.shape[2:]) != (self.side, self.side)
        return {"pixel_values": shown, "input_ids": words.ids, "attention_mask": words.mask.long(),
                "interpolate_pos_encoding": other}  # fmt: skip

    def prompt(self, pictures: Pictures, words: Words) -> dict[str, Any]:
        """Return the arguments of generation, the prompt with an end mark to be dropped."""
        given = self.inputs(pictures, words)
        end = torch.full_like(words.ids[:, :1], self.end)
        given["input_ids"] = torch.cat([words.ids, end], 1)
        given["attention_mask"] = torch.cat([given["attention_mask"], torch.ones_like(end)], 1)
        return given

    def rules(self, settings: Any) -> dict[str, Any]:
        """Return the rules of generation one by one: the library adds its own end mark and refuses a set of rules beside it."""
        drawn = ("temperature", "top_k", "top_p") if settings.do_sample else ()
        names = ("max_new_tokens", "num_beams", "repetition_penalty", "do_sample", *drawn)
        return {n: getattr(settings, n) for n in names}


def _model(body: Any, tokenizer: Any) -> ChatModel:
    text = body.config.text_config
    feed = CrossAttended(int(text.sep_token_id), int(body.config.vision_config.image_size))
    # The end of an answer is written as the tokenizer's [SEP].
    tokenizer.eos_token = tokenizer.sep_token
    limit = int(text.max_position_embeddings)
    return ChatModel(body, tokenizer, style=PLAIN, feed=feed, start=int(text.bos_token_id), limit=limit, pads=False)


def _card(title: str, size: int, repository: str = "", parameters: float = 0.0) -> Card:
    return Card(
        title=title,
        roles=frozenset({"generate"}),
        input=ImageInput(size=size, mean=_MEAN, std=_STD, crop="none", fit="stretch", resample="bicubic"),
        paper="arXiv:2201.12086",
        weight_license="BSD-3-Clause" if repository else None,
        weights=f"hub:{repository}" if repository else None,
        training_data=("129 million pairs of the web; COCO captions",) if repository else (),
        facts={"parameters_m": parameters} if parameters else {},
        notes="An empty question asks for a caption; words of it begin the caption. Trained on everyday pictures, not on eyes.",
    )


def _register(name: str, card: Card) -> None:
    def build(*, weights: str | Path | None = None, dtype: str = "float32") -> ChatModel:
        body, tokenizer, record = open_folder("BlipForConditionalGeneration", weights, card=card, dtype=dtype)
        model = _model(body, tokenizer)
        model.weights_record = record
        return model

    build.__doc__ = "Return BLIP for captions from a folder, the hub, or what its card names."
    build.__qualname__ = f"build_{name}"
    models.register(f"blip.{name}", card)(build)


_register("captioning_base", _card("BLIP, captions, ViT-B", 384, "Salesforce/blip-image-captioning-base", 224.0))
_register("captioning_large", _card("BLIP, captions, ViT-L", 384, "Salesforce/blip-image-captioning-large", 446.0))
_TEST = _card("BLIP, smallest", 64)


@models.register("blip.test", _TEST)
def test(*, weights: str | Path | None = None, dtype: str = "float32") -> ChatModel:
    """Return the smallest legal configuration, or what `save` wrote of one."""
    if weights is not None:
        body, tokenizer, record = open_folder("BlipForConditionalGeneration", weights, card=_TEST, dtype=dtype)
        model = _model(body, tokenizer)
        model.weights_record = record
        return model
    transformers = require("transformers", extra="text")
    words = letter_chat_tokenizer()
    # Published defaults of the range of fresh weights are 1e-10 here: every answer would be the same.
    config = transformers.BlipConfig(
        text_config={"vocab_size": len(words), "encoder_hidden_size": 16, "max_position_embeddings": 128,
                     "bos_token_id": words.convert_tokens_to_ids("[DEC]"), "eos_token_id": 3, "sep_token_id": 3,
                     "pad_token_id": 0, "initializer_range": 0.02, "hidden_dropout_prob": 0.0,
                     "attention_probs_dropout_prob": 0.0, **TINY},
        vision_config={"image_size": 64, "patch_size": 16, "initializer_range": 0.02, **TINY},
        projection_dim=8, image_text_hidden_size=8, initializer_range=0.02,
    )  # fmt: skip
    return _model(transformers.BlipForConditionalGeneration(config).eval(), words)
