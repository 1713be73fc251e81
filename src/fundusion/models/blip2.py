"""BLIP-2: a frozen image encoder, a few queries that ask it, and a frozen language model that reads their answers.

Source: Li et al. 2023, arXiv:2301.12597; library transformers. Its `generate` gives back prompt, picture and answer for language models
that only decode; the answer alone is returned here. Flan-T5 reads prompt and picture in its encoder and learns the last answer alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch import nn

from ..core.errors import InvalidInput, require
from ..core.registry import Card, ImageInput, models
from ..layers.encoder_decoder import plain_chat
from ..layers.generator import ChatModel
from ..layers.hub_folder import open_folder
from ..layers.letter_chat import TINY, TINY_T5, letter_chat_tokenizer
from ..layers.query_feed import PlacedPictures

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CLASS = "Blip2ForConditionalGeneration"


def _model(body: Any, tokenizer: Any) -> ChatModel:
    config = body.config
    word = tokenizer.convert_ids_to_tokens(int(config.image_token_index))
    feed = PlacedPictures(
        word, int(config.num_query_tokens), int(config.vision_config.image_size), required=True, model="BLIP-2"
    )
    return plain_chat(body, tokenizer, feed)


def _card(title: str, size: int, repository: str = "", parameters: float = 0.0, terms: str = "MIT") -> Card:
    return Card(
        title=title,
        roles=frozenset({"generate"}),
        input=ImageInput(size=size, mean=_MEAN, std=_STD, crop="none", fit="stretch", resample="bicubic"),
        paper="arXiv:2301.12597",
        weight_license=terms if repository else None,
        weights=f"hub:{repository}" if repository else None,
        training_data=("129 million pairs of the web",) if repository else (),
        facts={"parameters_m": parameters} if parameters else {},
        notes='Ask "Question: ... Answer:", or nothing for a caption. Trained on everyday pictures, not on eyes.',
    )


_OPT = _card("BLIP-2 with OPT-2.7B", 224, "Salesforce/blip2-opt-2.7b", 3745.0, "MIT; OPT: research only")
_T5 = _card("BLIP-2 with Flan-T5-XL", 224, "Salesforce/blip2-flan-t5-xl", 3942.0, "MIT; Flan-T5: Apache-2.0")
_TEST = _card("BLIP-2, smallest", 64)


def _open(weights: str | Path | None, card: Card, dtype: str) -> ChatModel:
    body, tokenizer, record = open_folder(_CLASS, weights, card=card, dtype=dtype)
    model = _model(body, tokenizer)
    model.weights_record = record
    return model


@models.register("blip2.opt_2_7b", _OPT)
def opt_2_7b(*, weights: str | Path | None = None, dtype: str = "bfloat16") -> ChatModel:
    """Return BLIP-2 with a language model that only decodes, from a folder, the hub, or what its card names."""
    return _open(weights, _OPT, dtype)


@models.register("blip2.flan_t5_xl", _T5)
def flan_t5_xl(*, weights: str | Path | None = None, dtype: str = "bfloat16") -> ChatModel:
    """Return BLIP-2 with a language model that has an encoder, from a folder, the hub, or what its card names."""
    return _open(weights, _T5, dtype)


@models.register("blip2.test", _TEST)
def test(
    *, weights: str | Path | None = None, dtype: str = "float32", language: Literal["opt", "t5"] = "opt"
) -> ChatModel:
    """Return the smallest legal configuration with one of the language models, or what `save` wrote of one."""
    if weights is not None:
        return _open(weights, _TEST, dtype)
    transformers = require("transformers", extra="text")
    words = letter_chat_tokenizer()
    opt = {"model_type": "opt", "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 32, "num_hidden_layers": 2,
           "num_attention_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 2,
           "eos_token_id": 3, "dropout": 0.0, "init_std": 0.02}  # fmt: skip
    known = {"opt": opt, "t5": TINY_T5}
    if language not in known:
        raise InvalidInput(f"language {language!r} is not one of {', '.join(known)}.")
    # Published defaults of the range of fresh weights are 1e-10 in the image encoder.
    config = transformers.Blip2Config(
        vision_config={"image_size": 64, "patch_size": 16, "initializer_range": 0.02, **TINY},
        qformer_config={"vocab_size": len(words), "encoder_hidden_size": 16, "max_position_embeddings": 64,
                        "initializer_range": 0.02, "pad_token_id": 0, "hidden_dropout_prob": 0.0,
                        "attention_probs_dropout_prob": 0.0, **TINY},
        text_config={**known[language], "vocab_size": len(words)},
        num_query_tokens=4, image_token_index=words.convert_tokens_to_ids("<image>"), initializer_range=0.02,
    )  # fmt: skip
    body = getattr(transformers, _CLASS)(config).eval()
    # The library starts all queries at zero, so that they would never differ.
    nn.init.normal_(body.query_tokens, std=0.02)
    return _model(body, words)
