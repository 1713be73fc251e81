"""Text towers: a BERT of transformers, its tokenizer and how hidden states become one vector.

Source: Devlin et al. 2019, arXiv:1810.04805. The rules of pooling that published image-text models use are named here, with the trap of
one of them: a mean over padding makes the vector of a text depend on its neighbours in the call.
"""

from __future__ import annotations

import json
import re
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.durable import write_bytes
from ..core.errors import InvalidInput, require
from ..core.interfaces import Features

#: Rules of pooling; "last<k>", the mean over real tokens of the last k layers, is one too.
POOLINGS = ("cls", "mean", "mean_with_padding", "last4")
#: Sizes of BERT-base with the words of Bio_ClinicalBERT.
CLINICAL = {
    "vocab_size": 28996, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "max_position_embeddings": 512,
}  # fmt: skip
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,"


def pooling_rule(pooling: str, layers: Sequence[int] | None = None) -> tuple[str, tuple[int, ...]]:
    """Return how tokens are averaged ("cls", "mean", "mean_with_padding") and which hidden states are.

    Args:
        pooling: One of `POOLINGS`, or "last<k>".
        layers: Hidden states whose mean is taken, 0 the embeddings, -1 the last; None takes the last, or those of "last<k>".

    Raises:
        InvalidInput: Another name, or layers beside "last<k>".

    Example:
        >>> pooling_rule("last2"), pooling_rule("cls"), pooling_rule("mean", (1, 2, -1))
        (('mean', (-2, -1)), ('cls', (-1,)), ('mean', (1, 2, -1)))
    """
    last = re.fullmatch(r"last([1-9]\d?)", pooling)
    if last and layers is None:
        return "mean", tuple(range(-int(last[1]), 0))
    if pooling not in ("cls", "mean", "mean_with_padding") or (layers is not None and not layers):
        raise InvalidInput(
            f"pooling {pooling!r} with layers {layers} is not one of {POOLINGS}, last<k> for other k, or "
            "cls, mean or mean_with_padding of given layers."
        )
    return pooling, tuple(layers) if layers is not None else (-1,)


class TextTower(nn.Module):
    """A transformers encoder of texts and its tokenizer.

    Args:
        body: `BertModel` or another encoder with `last_hidden_state`.
        tokenizer: Its tokenizer; not part of the weights. None can encode ids but not tokenize.
        pooling: See `pooling_rule`. "mean_with_padding" is what released FLAIR, KeepFIT, RetiZero and MedCLIP do.
        layers: Hidden states that are averaged; None takes those of the rule.
        max_tokens: Longer texts are cut.
    """

    def __init__(
        self,
        body: nn.Module,
        tokenizer: Any,
        *,
        pooling: str = "mean",
        layers: Sequence[int] | None = None,
        max_tokens: int = 256,
    ) -> None:
        super().__init__()
        self.pooling, self.layers = pooling_rule(pooling, layers)
        depth = int(body.config.num_hidden_layers)
        if not all(-depth - 1 <= layer <= depth for layer in self.layers):
            raise InvalidInput(f"layers {self.layers} are asked of an encoder with {depth}.")
        self.body = body
        self._tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.embed_dim = int(body.config.hidden_size)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return ids `(B, T)` and mask `(B, T)`; an empty text has an empty mask.

        Raises:
            InvalidInput: The tower was built without a tokenizer.
        """
        if self._tokenizer is None:
            raise InvalidInput(
                "this model has no tokenizer, so it cannot read words.",
                code="model.tokenizer",
                hint="Weights do not hold one. Build the model with tokenizer=FOLDER, one with vocab.txt or tokenizer.json, "
                "or tokenizer='hub:emilyalsentzer/Bio_ClinicalBERT'.",
            )
        return tokens_of(self._tokenizer, texts, self.max_tokens)

    def save_words(self, folder: str | Path) -> None:
        """Write the tokenizer and the sizes of the body, so that a saved network reads words on another machine."""
        write_words(folder, self._tokenizer, self.body.config)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Features:
        """Return pooled `(B, E)` and tokens `(B, T, E)`."""
        # A row without text keeps its first token visible, else attention divides by zero; its presence is False.
        seen = mask.clone()
        seen[:, 0] = True
        deep = self.layers != (-1,)
        answer = self.body(input_ids=ids, attention_mask=seen.long(), output_hidden_states=deep)
        tokens = answer.last_hidden_state
        if deep:
            tokens = torch.stack([answer.hidden_states[layer] for layer in self.layers]).mean(0)
        if self.pooling == "cls":
            pooled = tokens[:, 0]
        elif self.pooling == "mean_with_padding":
            pooled = tokens.mean(1)
        else:
            pooled = (tokens * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
        return Features(pooled=pooled, tokens=tokens, token_mask=mask)


def tokens_of(tokenizer: Any, texts: list[str], max_tokens: int) -> tuple[Tensor, Tensor]:
    """Return ids `(B, T)` and mask `(B, T)` of texts cut at `max_tokens`; a text without a visible character has an empty mask."""
    shown = [visible(t) for t in texts]
    made = tokenizer(shown, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
    blank = torch.tensor([not t.strip() for t in shown])
    return made["input_ids"], made["attention_mask"].bool() & ~blank[:, None]


def visible(text: str) -> str:
    """Return a text without characters that cannot be seen: zero width, direction of writing, control.

    BERT's own tokenizer drops them; CLIP's does not, and reads two texts that look the same as different ones.

    Example:
        >>> visible("dru\\u200bsen\\u202e, \\x00mild")
        'drusen, mild'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if c in "\t\n\r" or unicodedata.category(c) not in ("Cc", "Cf"))


def bert_body(sizes: Mapping[str, int], *, pooler: bool = False) -> nn.Module:
    """Return a BERT of some sizes with fresh weights; nothing is downloaded.

    Args:
        sizes: Settings of `BertConfig`; what is missing is that of Bio_ClinicalBERT.
        pooler: Has the layer on the class token that some files hold. It is never used, so it is not trained.
    """
    transformers = require("transformers", extra="text")
    unknown = sorted(set(sizes) - set(CLINICAL))
    if unknown:
        raise InvalidInput(f"a text tower has no size {unknown[0]!r}.", hint=f"It has {', '.join(CLINICAL)}.")
    body = transformers.BertModel(transformers.BertConfig(**{**CLINICAL, **sizes}), add_pooling_layer=pooler)
    if pooler:
        body.pooler.requires_grad_(False)
    return body


def bert_sizes(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, int]:
    """Return the sizes of the BERT whose tensors lie under a prefix; nothing when there is none.

    Heads cannot be read from tensors: they are 64 wide, as in every published BERT; a narrower one has to be told.

    Example:
        >>> words = torch.zeros(45, 128)
        >>> bert_sizes({"t.embeddings.word_embeddings.weight": words}, "t.")["num_attention_heads"]
        2
    """
    words = state.get(f"{prefix}embeddings.word_embeddings.weight")
    if words is None or words.ndim != 2:
        return {}
    sizes = {"vocab_size": words.shape[0], "hidden_size": words.shape[1]}
    if words.shape[1] % 64 == 0:
        sizes["num_attention_heads"] = words.shape[1] // 64
    places = state.get(f"{prefix}embeddings.position_embeddings.weight")
    if places is not None:
        sizes["max_position_embeddings"] = places.shape[0]
    numbers = {int(m[1]) for k in state if (m := re.match(re.escape(prefix) + r"encoder\.layer\.(\d+)\.", k))}
    if numbers:
        sizes["num_hidden_layers"] = max(numbers) + 1
    inner = state.get(f"{prefix}encoder.layer.0.intermediate.dense.weight")
    if inner is not None:
        sizes["intermediate_size"] = inner.shape[0]
    return sizes


def read_tokenizer(source: str | Path) -> Any:
    """Return the tokenizer of a folder or, written as `hub:owner/name`, of the hub.

    A word list without settings is read in lower case, whatever its words: that is what transformers does with the files of
    Bio_ClinicalBERT, so it is what every published model on top of them saw. `do_lower_case` in tokenizer_config.json decides otherwise.

    Raises:
        InvalidInput: The folder does not exist or holds no tokenizer.
    """
    transformers = require("transformers", extra="text")
    name = str(source)
    if name.startswith("hub:"):
        return transformers.AutoTokenizer.from_pretrained(name[4:])
    folder = Path(name)
    if not has_tokenizer(folder):
        raise InvalidInput(
            f"no tokenizer in {folder.name!r}.",
            code="model.tokenizer",
            hint="Give a folder with vocab.txt or tokenizer.json, or hub:owner/name to download.",
        )
    settings = _settings(folder / "tokenizer_config.json")
    is_bert = str(settings.get("tokenizer_class", "Bert")).startswith("Bert")
    if (folder / "vocab.txt").is_file() and not (folder / "tokenizer.json").is_file() and is_bert:
        # Lines end at line feeds only: some words of multilingual lists are other separators.
        words = (folder / "vocab.txt").read_text("utf-8").removesuffix("\n").split("\n")
        rules = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
        chosen = {"do_lower_case": True} | {k: settings[k] for k in rules if k in settings}
        return transformers.BertTokenizer(vocab={w: i for i, w in enumerate(words)}, **chosen)
    return transformers.AutoTokenizer.from_pretrained(name, local_files_only=True)


def write_words(folder: str | Path, tokenizer: Any, config: Any) -> None:
    """Write a tokenizer and the settings of its network into a folder; nothing without a tokenizer."""
    if tokenizer is None:
        return
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        tokenizer.save_pretrained(made)
        config.save_pretrained(made)
        for file in sorted(Path(made).iterdir()):
            write_bytes(target / file.name, file.read_bytes())


def sizes_beside(tokenizer: str | Path | None) -> dict[str, int]:
    """Return the sizes of the BERT that are written beside a tokenizer; nothing where there are none."""
    file = Path(tokenizer) / "config.json" if tokenizer and not str(tokenizer).startswith("hub:") else None
    if file is None:
        return {}
    settings = _settings(file)
    if settings.get("model_type") != "bert":
        return {}
    return {k: int(settings[k]) for k in CLINICAL if k in settings}


def _settings(file: Path) -> dict[str, Any]:
    """Return a file of settings; nothing where there is none."""
    return dict(json.loads(file.read_text("utf-8"))) if file.is_file() else {}


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder holds a tokenizer."""
    return any((folder / n).is_file() for n in ("vocab.txt", "tokenizer.json", "vocab.json"))


def letter_tokenizer() -> Any:
    """Return a tokenizer with a fixed vocabulary of letters: no file, no training, the same in every process."""
    transformers = require("transformers", extra="text")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_LETTERS, *(f"##{c}" for c in _LETTERS)]
    return transformers.BertTokenizer(vocab={w: i for i, w in enumerate(words)})


def letter_tower(*, pooling: str = "mean", layers: Sequence[int] | None = None, pooler: bool = False) -> TextTower:
    """Return the smallest text tower, with words of letters; nothing is downloaded."""
    words = letter_tokenizer()
    sizes = {
        "vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 64,
    }  # fmt: skip
    return TextTower(bert_body(sizes, pooler=pooler), words, pooling=pooling, layers=layers, max_tokens=64)
