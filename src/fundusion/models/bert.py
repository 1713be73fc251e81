"""BERT family through transformers, from a local folder or a hub name the user writes.

Source: Devlin et al. 2019, arXiv:1810.04805; clinical weights Alsentzer et al. 2019, arXiv:1904.03323.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput, require
from ..core.interfaces import Features
from ..core.registry import Card, models

POOLINGS = ("cls", "mean", "mean_with_padding", "last4")


class Bert(nn.Module):
    """A transformers encoder and its tokenizer.

    Args:
        body: `BertModel` or another encoder with `last_hidden_state`.
        tokenizer: Its tokenizer; not part of the weights.
        pooling: "cls"; "mean" over real tokens; "mean_with_padding" over all (what released FLAIR and MedCLIP do);
            "last4", the mean over real tokens of the last four layers.
        max_tokens: Longer texts are cut.
    """

    def __init__(self, body: nn.Module, tokenizer: Any, pooling: str, max_tokens: int) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise InvalidInput(f"pooling {pooling!r} is not one of {POOLINGS}.")
        self.body = body
        self._tokenizer = tokenizer
        self.pooling = pooling
        self.max_tokens = max_tokens
        self.embed_dim = int(body.config.hidden_size)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return ids `(B, T)` and mask `(B, T)`; an empty text has an empty mask."""
        made = self._tokenizer(texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        blank = torch.tensor([not t.strip() for t in texts])
        return made["input_ids"], made["attention_mask"].bool() & ~blank[:, None]

    def encode_text(self, ids: Tensor, mask: Tensor) -> Features:
        """Return pooled `(B, E)` and tokens `(B, T, E)`."""
        # A row without text keeps its first token visible, else attention divides by zero; its presence is False.
        seen = mask.clone()
        seen[:, 0] = True
        answer = self.body(input_ids=ids, attention_mask=seen.long(), output_hidden_states=self.pooling == "last4")
        tokens = answer.last_hidden_state
        if self.pooling == "last4":
            tokens = torch.stack(answer.hidden_states[-4:]).mean(0)
        if self.pooling == "cls":
            pooled = tokens[:, 0]
        elif self.pooling == "mean_with_padding":
            pooled = tokens.mean(1)
        else:
            pooled = (tokens * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
        return Features(pooled=pooled, tokens=tokens, token_mask=mask)


def _card(title: str) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode_text"}),
        modalities=frozenset({"text"}),
        paper="arXiv:1810.04805",
        weight_license="of the checkpoint that is named",
        weights="hub:<owner>/<name> or a local folder",
    )


@models.register("bert.base", _card("BERT and its relatives (Bio_ClinicalBERT, multilingual, Chinese)"))
def base(*, source: str, pooling: str = "mean", max_tokens: int = 256) -> Bert:
    """Return the encoder of a local folder or, written as `hub:owner/name`, of the hub.

    Raises:
        InvalidInput: The folder does not exist.
    """
    transformers = require("transformers", extra="text")
    if source.startswith("hub:"):
        name, local = source[4:], False
    else:
        if not Path(source).is_dir():
            raise InvalidInput(
                f"no folder {source!r}.", hint="Give a folder saved by transformers, or hub:owner/name to download."
            )
        name, local = source, True
    options = {"local_files_only": local, "use_safetensors": True}
    body = transformers.AutoModel.from_pretrained(name, dtype=torch.float32, **options)
    tokenizer = transformers.AutoTokenizer.from_pretrained(name, local_files_only=local)
    return Bert(body, tokenizer, pooling, max_tokens)


@models.register("bert.test", _card("BERT, smallest"))
def test(*, pooling: str = "mean") -> Bert:
    """Return the smallest legal configuration with a fixed vocabulary of letters."""
    transformers = require("transformers", extra="text")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    tokenizer = transformers.BertTokenizer(vocab={w: i for i, w in enumerate(words)})
    return Bert(transformers.BertModel(config, add_pooling_layer=False), tokenizer, pooling, 64)
