"""BERT family through transformers, from a local folder or a hub name the user writes.

Bio_ClinicalBERT, BERT, multilingual and Chinese BERT are the same network with other words and weights.

Source: Devlin et al. 2019, arXiv:1810.04805; clinical weights Alsentzer et al. 2019, arXiv:1904.03323.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..core.errors import IncompatibleWeights, InvalidInput, require
from ..core.registry import Card, models
from ..layers.checkpoints import Rules, find_weights, load_weights
from ..layers.text_tower import POOLINGS, TextTower, letter_tower, pooling_rule, read_tokenizer

__all__ = ["POOLINGS", "Bert", "base", "chinese", "clinical", "multilingual", "test"]

Bert = TextTower


#: Old files have other words for the scale and shift of a norm; heads of their pre-training are left out.
_RULES = Rules(
    prefixes=("module.", "body.", "bert."),
    renames=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
    ignored=("cls.", "pooler.", "embeddings.position_ids", "classifier."),
)
_FILES = ("model.safetensors", "pytorch_model.bin")


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


def _read(
    card: Card,
    source: str | None,
    tokenizer: str | None,
    *,
    pooling: str,
    layers: Sequence[int] | None,
    max_tokens: int,
) -> TextTower:
    transformers = require("transformers", extra="text")
    pooling_rule(pooling, layers)
    if source is None:
        if tokenizer is None:
            raise InvalidInput(
                "nothing says which BERT.",
                hint="Give source=FOLDER or hub:owner/name, or tokenizer=FOLDER for fresh weights.",
            )
        config = transformers.AutoConfig.from_pretrained(tokenizer, local_files_only=True)
        body = transformers.AutoModel.from_config(config, **_without_pooler(config))
        return TextTower(body, read_tokenizer(tokenizer), pooling=pooling, layers=layers, max_tokens=max_tokens)
    local = not source.startswith("hub:")
    if local and not Path(source).is_dir():
        raise InvalidInput(
            f"no folder {source!r}.", hint="Give a folder saved by transformers, or hub:owner/name to download."
        )
    name = source if local else source[4:]
    config = transformers.AutoConfig.from_pretrained(name, local_files_only=local)
    if config.model_type == "bert":
        body = transformers.BertModel(config, **_without_pooler(config))
    else:
        body = transformers.AutoModel.from_pretrained(
            name, dtype=torch.float32, local_files_only=local, use_safetensors=True
        )
    tower = TextTower(body, read_tokenizer(tokenizer or source), pooling=pooling, layers=layers, max_tokens=max_tokens)
    if config.model_type == "bert":
        load_weights(tower, _weights_of(source, card), card=card, rules=_RULES, into=body)
    return tower


def _without_pooler(config: Any) -> dict[str, bool]:
    """Return the option that leaves the unused layer on the class token out, where the network has one."""
    return {"add_pooling_layer": False} if config.model_type == "bert" else {}


def _weights_of(source: str, card: Card) -> str:
    """Return the file of tensors of a folder or a hub id; many clinical models have a torch file only."""
    if source.startswith("hub:"):
        try:
            return str(find_weights(f"{source}/{_FILES[0]}", card=card, rules=_RULES)[0])
        except IncompatibleWeights:
            return f"{source}/{_FILES[1]}"
    found = [Path(source) / n for n in _FILES if (Path(source) / n).is_file()]
    if not found:
        raise IncompatibleWeights(f"{Path(source).name!r} holds none of {', '.join(_FILES)}.", code="model.not_found")
    return str(found[0])


_BASE = _card("BERT and its relatives, by folder or hub id")


@models.register("bert.base", _BASE)
def base(
    *,
    source: str | None = None,
    tokenizer: str | None = None,
    pooling: str = "mean",
    layers: Sequence[int] | None = None,
    max_tokens: int = 256,
) -> TextTower:
    """Return the encoder of a local folder or, written as `hub:owner/name`, of the hub.

    Args:
        source: Folder or hub id of weights, settings and words; None builds fresh weights of the sizes beside the tokenizer.
        tokenizer: Folder or hub id of other words.
        pooling: "cls", "mean", "mean_with_padding" or "last<k>"; see `layers.text_tower.pooling_rule`.
        layers: Hidden states that are averaged, 0 the embeddings, -1 the last; None takes those of the rule.
        max_tokens: Longer texts are cut.

    Raises:
        InvalidInput: The folder does not exist.
    """
    return _read(_BASE, source, tokenizer, pooling=pooling, layers=layers, max_tokens=max_tokens)


_CLINICAL_ID = "emilyalsentzer/Bio_ClinicalBERT"
_MULTILINGUAL_ID = "google-bert/bert-base-multilingual-cased"
_CHINESE_ID = "google-bert/bert-base-chinese"
_CLINICAL = _card(
    "Bio_ClinicalBERT, English clinical notes",
    repository=_CLINICAL_ID,
    licence="MIT",
    notes="Trained on notes of MIMIC-III with case; its tokenizer on the hub has no settings and reads lower case.",
)
_MULTILINGUAL = _card(
    "BERT of 104 languages", repository=_MULTILINGUAL_ID, licence="Apache-2.0", notes="Reads English and Chinese."
)
_CHINESE = _card("Chinese BERT", repository=_CHINESE_ID, licence="Apache-2.0", notes="One token per Chinese character.")


@models.register("bert.clinical", _CLINICAL)
def clinical(
    *,
    source: str | None = f"hub:{_CLINICAL_ID}",
    tokenizer: str | None = None,
    pooling: str = "mean",
    layers: Sequence[int] | None = None,
    max_tokens: int = 256,
) -> TextTower:
    """Return Bio_ClinicalBERT, from the hub or a folder."""
    return _read(_CLINICAL, source, tokenizer, pooling=pooling, layers=layers, max_tokens=max_tokens)


@models.register("bert.multilingual", _MULTILINGUAL)
def multilingual(
    *,
    source: str | None = f"hub:{_MULTILINGUAL_ID}",
    tokenizer: str | None = None,
    pooling: str = "mean",
    layers: Sequence[int] | None = None,
    max_tokens: int = 256,
) -> TextTower:
    """Return multilingual BERT, from the hub or a folder."""
    return _read(_MULTILINGUAL, source, tokenizer, pooling=pooling, layers=layers, max_tokens=max_tokens)


@models.register("bert.chinese", _CHINESE)
def chinese(
    *,
    source: str | None = f"hub:{_CHINESE_ID}",
    tokenizer: str | None = None,
    pooling: str = "mean",
    layers: Sequence[int] | None = None,
    max_tokens: int = 256,
) -> TextTower:
    """Return Chinese BERT, from the hub or a folder."""
    return _read(_CHINESE, source, tokenizer, pooling=pooling, layers=layers, max_tokens=max_tokens)


@models.register("bert.test", _card("BERT, smallest"))
def test(*, pooling: str = "mean", layers: Sequence[int] | None = None) -> TextTower:
    """Return the smallest legal configuration with a fixed vocabulary of letters."""
    return letter_tower(pooling=pooling, layers=layers)
