"""InstructBLIP: BLIP-2 whose queries read the instruction too, so that they look for what is asked.

Source: Dai et al. 2023, arXiv:2305.06500; library transformers. Flan-T5 reads prompt and picture in its encoder and learns
the last answer alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from ..core.errors import InvalidInput, require
from ..core.interfaces import Turn
from ..core.registry import Card, ImageInput, models
from ..layers.chat import as_data
from ..layers.encoder_decoder import plain_chat
from ..layers.generator import ChatModel
from ..layers.hub_folder import open_folder
from ..layers.letter_chat import TINY, TINY_LLAMA, TINY_T5, letter_chat_tokenizer
from ..layers.query_feed import PlacedPictures
from ..layers.text_tower import read_tokenizer, tokens_of, write_words

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CLASS = "InstructBlipForConditionalGeneration"
#: Folder of the tokenizer of the queries, as the library writes it.
_QUERIES = "qformer_tokenizer"


class InstructedPictures(PlacedPictures):
    """Place tokens whose queries read the questions.

    Args:
        tokenizer: Of the queries.
        config: Of the queries.
        places: Place token and the number of them.
        side: Of the pictures, px.
    """

    def __init__(self, tokenizer: Any, config: Any, places: tuple[str, int], side: int) -> None:
        super().__init__(*places, side, required=True, model="InstructBLIP")
        self._tokenizer, self._config = tokenizer, config

    def read_more(self, messages: Sequence[Sequence[Turn]]) -> dict[str, Tensor]:
        """Return the questions as ids of the queries' own tokenizer; answers are not shown to them."""
        marks = tuple(self._tokenizer.all_special_tokens)
        asked = [" ".join(as_data(t.text, marks) for t in turns if t.role == "user") for turns in messages]
        # Room for the queries themselves is not needed: they have no positions.
        ids, mask = tokens_of(self._tokenizer, asked, int(self._config.max_position_embeddings))
        mask[:, 0] = True
        return {"qformer_input_ids": ids, "qformer_attention_mask": mask.long()}

    def save_more(self, folder: Path) -> None:
        """Write the tokenizer of the queries beside the model."""
        write_words(folder / _QUERIES, self._tokenizer, self._config)


def _model(body: Any, tokenizer: Any, asked: Any) -> ChatModel:
    config = body.config
    places = (tokenizer.convert_ids_to_tokens(int(config.image_token_index)), int(config.num_query_tokens))
    feed = InstructedPictures(asked, config.qformer_config, places, int(config.vision_config.image_size))
    return plain_chat(body, tokenizer, feed)


def _card(title: str, size: int, repository: str = "", parameters: float = 0.0, terms: str = "MIT") -> Card:
    return Card(
        title=title,
        roles=frozenset({"generate"}),
        input=ImageInput(size=size, mean=_MEAN, std=_STD, crop="none", fit="stretch", resample="bicubic"),
        paper="arXiv:2305.06500",
        weight_license=terms if repository else None,
        weights=f"hub:{repository}" if repository else None,
        training_data=("129 million pairs of the web; 13 sets of instructions",) if repository else (),
        facts={"parameters_m": parameters} if parameters else {},
        notes="The queries read the question too. Trained on everyday pictures, not on eyes.",
    )


_VICUNA = _card(
    "InstructBLIP with Vicuna-7B", 224, "Salesforce/instructblip-vicuna-7b", 7913.0, "non-commercial, that of LLaMA"
)
_T5 = _card(
    "InstructBLIP with Flan-T5-XL", 224, "Salesforce/instructblip-flan-t5-xl", 4023.0, "MIT; Flan-T5: Apache-2.0"
)
_TEST = _card("InstructBLIP, smallest", 64)


def _open(weights: str | Path | None, card: Card, dtype: str, tokenizer: str | None) -> ChatModel:
    body, words, record = open_folder(_CLASS, weights, card=card, dtype=dtype)
    beside = Path(words.name_or_path) / _QUERIES
    model = _model(body, words, read_tokenizer(tokenizer or beside))
    model.weights_record = record
    return model


@models.register("instructblip.vicuna_7b", _VICUNA)
def vicuna_7b(
    *, weights: str | Path | None = None, dtype: str = "bfloat16", query_tokenizer: str | None = None
) -> ChatModel:
    """Return InstructBLIP with a language model that only decodes; the tokenizer of the queries lies in its folder."""
    return _open(weights, _VICUNA, dtype, query_tokenizer)


@models.register("instructblip.flan_t5_xl", _T5)
def flan_t5_xl(
    *, weights: str | Path | None = None, dtype: str = "bfloat16", query_tokenizer: str | None = None
) -> ChatModel:
    """Return InstructBLIP with a language model that has an encoder; the tokenizer of the queries lies in its folder."""
    return _open(weights, _T5, dtype, query_tokenizer)


@models.register("instructblip.test", _TEST)
def test(
    *, weights: str | Path | None = None, dtype: str = "float32", language: Literal["llama", "t5"] = "llama"
) -> ChatModel:
    """Return the smallest legal configuration with one of the language models, or what `save` wrote of one."""
    if weights is not None:
        return _open(weights, _TEST, dtype, None)
    transformers = require("transformers", extra="text")
    words = letter_chat_tokenizer()
    known = {"llama": TINY_LLAMA, "t5": TINY_T5}
    if language not in known:
        raise InvalidInput(f"language {language!r} is not one of {', '.join(known)}.")
    # Published defaults of the range of fresh weights are 1e-10 in the image encoder.
    config = transformers.InstructBlipConfig(
        vision_config={"image_size": 64, "patch_size": 16, "initializer_range": 0.02, **TINY},
        qformer_config={"vocab_size": len(words), "encoder_hidden_size": 16, "max_position_embeddings": 64,
                        "initializer_range": 0.02, "pad_token_id": 0, "hidden_dropout_prob": 0.0,
                        "attention_probs_dropout_prob": 0.0, **TINY},
        text_config={**known[language], "vocab_size": len(words)}, num_query_tokens=4,
        image_token_index=words.convert_tokens_to_ids("<image>"), initializer_range=0.02,
    )  # fmt: skip
    body = getattr(transformers, _CLASS)(config).eval()
    # The library starts all queries at zero, so that they would never differ.
    nn.init.normal_(body.query_tokens, std=0.02)
    return _model(body, words, letter_chat_tokenizer())
