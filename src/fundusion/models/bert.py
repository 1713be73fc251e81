"""BERT family through transformers, from a local folder or a hub name the user writes.

Bio_ClinicalBERT, BERT, multilingual and Chinese BERT are the same network with other words and weights.

Source: Devlin et al. 2019, arXiv:1810.04805; clinical weights Alsentzer et al. 2019, arXiv:1904.03323.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..core.errors import InvalidInput, require
from ..core.registry import Card, models
from ..layers.text_tower import POOLINGS, TextTower, bert_body, letter_tokenizer, read_tokenizer

__all__ = ["POOLINGS", "Bert", "base", "chinese", "clinical", "multilingual", "test"]

Bert = TextTower


def _card(
    title: str, *, repository: str = "", licence: str = "of the checkpoint that is named", notes: str = ""
) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode_text"}),
        modalities=frozenset({"text"}),
        paper="arXiv:1904.03323" if "clinical" in repository.lower() else "arXiv:1810.04805",
        weight_license=licence,
        weights=f"hub:{repository}" if repository else "hub:<owner>/<name> or a local folder",
        notes=notes,
    )


def _read(source: str, pooling: str, layers: Sequence[int] | None, max_tokens: int) -> TextTower:
    transformers = require("transformers", extra="text")
    local = not source.startswith("hub:")
    if local and not Path(source).is_dir():
        raise InvalidInput(
            f"no folder {source!r}.", hint="Give a folder saved by transformers, or hub:owner/name to download."
        )
    name = source if local else source[4:]
    body = transformers.AutoModel.from_pretrained(
        name, dtype=torch.float32, local_files_only=local, use_safetensors=True
    )
    return TextTower(body, read_tokenizer(source), pooling=pooling, layers=layers, max_tokens=max_tokens)


@models.register("bert.base", _card("BERT and its relatives, by folder or hub id"))
def base(
    *, source: str, pooling: str = "mean", layers: Sequence[int] | None = None, max_tokens: int = 256
) -> TextTower:
    """Return the encoder of a local folder or, written as `hub:owner/name`, of the hub.

    Raises:
        InvalidInput: The folder does not exist.
    """
    return _read(source, pooling, layers, max_tokens)


_CLINICAL = "emilyalsentzer/Bio_ClinicalBERT"
_MULTILINGUAL = "google-bert/bert-base-multilingual-cased"
_CHINESE = "google-bert/bert-base-chinese"


@models.register(
    "bert.clinical",
    _card(
        "Bio_ClinicalBERT, English clinical notes", repository=_CLINICAL, licence="MIT",
        notes="Keeps case. Trained on notes of MIMIC-III.",
    ),
)  # fmt: skip
def clinical(
    *,
    source: str = f"hub:{_CLINICAL}",
    pooling: str = "mean",
    layers: Sequence[int] | None = None,
    max_tokens: int = 256,
) -> TextTower:
    """Return Bio_ClinicalBERT, from the hub or a folder."""
    return _read(source, pooling, layers, max_tokens)


@models.register(
    "bert.multilingual",
    _card("BERT of 104 languages", repository=_MULTILINGUAL, licence="Apache-2.0", notes="Reads English and Chinese."),
)
def multilingual(
    *,
    source: str = f"hub:{_MULTILINGUAL}",
    pooling: str = "mean",
    layers: Sequence[int] | None = None,
    max_tokens: int = 256,
) -> TextTower:
    """Return multilingual BERT, from the hub or a folder."""
    return _read(source, pooling, layers, max_tokens)


@models.register(
    "bert.chinese",
    _card("Chinese BERT", repository=_CHINESE, licence="Apache-2.0", notes="One token per Chinese character."),
)
def chinese(
    *,
    source: str = f"hub:{_CHINESE}",
    pooling: str = "mean",
    layers: Sequence[int] | None = None,
    max_tokens: int = 256,
) -> TextTower:
    """Return Chinese BERT, from the hub or a folder."""
    return _read(source, pooling, layers, max_tokens)


@models.register("bert.test", _card("BERT, smallest"))
def test(*, pooling: str = "mean", layers: Sequence[int] | None = None) -> TextTower:
    """Return the smallest legal configuration with a fixed vocabulary of letters."""
    tokenizer = letter_tokenizer()
    body = bert_body({
        "vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 64,
    })  # fmt: skip
    return TextTower(body, tokenizer, pooling=pooling, layers=layers, max_tokens=64)
