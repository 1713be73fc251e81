"""EyeFM's copilot: pictures of up to five kinds through the joint encoder and one linear layer into a LLaMA, which answers about them.

Source: Wu et al. 2025, doi:10.1038/s41591-025-03900-7; released code eyefm/EyeFM in the manner of LLaVA-Med, written from a description:
patches of the layer before the last without the global token, one linear projector, each kind of picture in the prompt as
`<im_start> <im_patch>*N <im_end>`. Both stages of the released training move the projector only. No weights were released.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.durable import write_json
from ..core.errors import InvalidInput, require
from ..core.interfaces import Words
from ..core.registry import Card, ImageInput, models
from ..layers.chat import LLAMA2
from ..layers.generator import ANY, ChatModel, Pictures
from ..layers.hub_folder import open_folder
from ..layers.letter_chat import TINY_LLAMA, letter_chat_tokenizer
from ..layers.weights import fit_state, load_state, save_state

_CLASS = "LlamaForCausalLM"
_MARKS = ("<im_start>", "<im_patch>", "<im_end>")
_VISION, _SETTINGS = "vision.safetensors", "copilot.json"
MODALITIES = ("cfp", "uwf", "external", "oct", "ffa")


def splice(embedded: Tensor, places: Tensor, tokens: Tensor) -> Tensor:
    """Return embedded words with the tokens of pictures in their places, in order, row after row.

    Args:
        embedded: `(B, T, E)`.
        places: bool `(B, T)`, True where a token of a picture belongs.
        tokens: `(P, E)`.

    Raises:
        InvalidInput: There are more or fewer places than tokens.

    Source: Wu et al. 2025, released code; what stood in a place does not matter.

    Example:
        >>> splice(torch.zeros(1, 3, 1), torch.tensor([[False, True, True]]), torch.tensor([[5.0], [6.0]])).flatten().tolist()
        [0.0, 5.0, 6.0]
    """
    if int(places.sum()) != len(tokens):
        raise InvalidInput(
            f"the prompts have {int(places.sum())} places for the {len(tokens)} tokens of their pictures.",
            code="chat.images",
            hint="Give token_logits the same pictures that read was given.",
        )
    return embedded.masked_scatter(places[..., None], tokens.to(embedded.dtype))


class CopilotBody(nn.Module):
    """Joint encoder, projector and language model.

    Args:
        tower: `eyefm` encoder of all modalities.
        language_model: `LlamaForCausalLM`.
        place_id: Id that stands for a token of a picture.
        settings: Name and options of the tower, kept to build it again.
        layer: Whose tokens are read, from the end of the encoder: -1 the last.
    """

    def __init__(
        self, tower: Any, language_model: Any, place_id: int, *, settings: Mapping[str, Any], layer: int = -2
    ) -> None:
        super().__init__()
        self.language_model, self.tower = language_model, tower
        self.projector = nn.Linear(tower.embed_dim, language_model.config.hidden_size)
        self.place_id, self.settings, self.layer = place_id, dict(settings), layer
        sample = next(language_model.parameters())
        self.tower.to(sample.device, sample.dtype)
        self.projector.to(sample.device, sample.dtype)

    @property
    def generation_config(self) -> Any:
        """Rules of the language model."""
        return self.language_model.generation_config

    def picture_tokens(self, images: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Return projected tokens `(P, E)` of the pictures that are there, row after row, kinds in the order of the tower."""
        clean = {m: torch.where(present[m][:, None, None, None], x, 0.0) for m, x in images.items()}
        tokens, grids = self.tower.tokens(clean)
        given = [m for m in self.tower.modalities if m in images]
        sizes = [h * w for h, w in grids.values()]
        seen = torch.cat([present[m][:, None].expand(-1, n) for m, n in zip(given, sizes, strict=True)], 1)
        x = torch.cat([tokens, self.tower.global_tokens.expand(len(tokens), -1, -1)], 1)
        mask = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)[:, None, None]
        for block in self.tower.encoder[: len(self.tower.encoder) + 1 + self.layer]:
            x = block(x, attn_mask=mask)
        return self.projector(x[:, :-1][seen])

    def _embedded(self, input_ids: Tensor, images: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        embedded = self.language_model.get_input_embeddings()(input_ids)
        places = input_ids == self.place_id
        if not images or not any(bool(p.any()) for p in present.values()):
            return splice(embedded, places, embedded.new_zeros(0, embedded.shape[2]))
        return splice(embedded, places, self.picture_tokens(images, present))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        images: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        *,
        position_ids: Tensor | None = None,
    ) -> Any:
        """Return what the language model says, its logits among it."""
        embedded = self._embedded(input_ids, images, present)
        return self.language_model(inputs_embeds=embedded, attention_mask=attention_mask, position_ids=position_ids)

    def get_input_embeddings(self) -> nn.Module:
        """Return the embedding of words."""
        return self.language_model.get_input_embeddings()

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        images: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        **rules: Any,
    ) -> Tensor:
        """Return prompts and answers as ids."""
        embedded = self._embedded(input_ids, images, present)
        return self.language_model.generate(
            input_ids=input_ids, inputs_embeds=embedded, attention_mask=attention_mask, **rules
        )

    def save_pretrained(self, folder: str, state_dict: Any = None) -> None:
        """Write the language model as transformers does, and the encoder and projector beside it."""
        self.language_model.save_pretrained(folder)
        vision = {k: v for k, v in self.state_dict().items() if not k.startswith("language_model.")}
        save_state(Path(folder) / _VISION, vision)
        write_json(Path(folder) / _SETTINGS, self.settings)


class ManyKinds:
    """Pictures of several kinds in one prompt; a row names those it has.

    Args:
        tower: Knows the kinds and the size of patches.
    """

    packs = True

    def __init__(self, tower: Any) -> None:
        self.modalities, self.patch = tuple(tower.modalities), int(tower.patch_size)

    def _named(self, pictures: Pictures) -> Pictures:
        # Pictures that were given without their kind are those of the first one.
        def name(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {self.modalities[0] if m == ANY else m: x for m, x in values.items()}

        return Pictures(images=name(pictures.images), present=name(pictures.present))

    def places(self, pictures: Pictures, count: int) -> list[str]:
        """Return the places of each row, kinds in the order of the encoder."""
        named = self._named(pictures)
        unknown = sorted(set(named.images) - set(self.modalities))
        if unknown:
            raise InvalidInput(
                f"this copilot reads {', '.join(self.modalities)}, got {', '.join(unknown)}.", code="modality.unknown"
            )
        rows = [""] * count
        for modality in self.modalities:
            if modality in named.images:
                height, width = named.images[modality].shape[2:]
                number = (height // self.patch) * (width // self.patch)
                words = f"{_MARKS[0]}{_MARKS[1] * number}{_MARKS[2]}"
                present = named.present[modality].tolist()
                rows = [row + words if p else row for row, p in zip(rows, present, strict=True)]
        return rows

    def inputs(self, pictures: Pictures, words: Words) -> dict[str, Any]:
        """Return the arguments of the model."""
        named = self._named(pictures)
        return {"input_ids": words.ids, "attention_mask": words.mask.long(), "images": named.images,
                "present": named.present}  # fmt: skip

    def prompt(self, pictures: Pictures, words: Words) -> dict[str, Any]:
        """Return the arguments of generation."""
        return self.inputs(pictures, words)


def _model(language_model: Any, tokenizer: Any, settings: Mapping[str, Any]) -> ChatModel:
    known = len(tokenizer)
    tokenizer.add_tokens([m for m in _MARKS if m not in tokenizer.get_vocab()], special_tokens=True)
    if len(tokenizer) > known:
        language_model.resize_token_embeddings(len(tokenizer))
    tower = models.create(settings["tower"], modalities=tuple(settings["modalities"]))
    place = tokenizer.convert_tokens_to_ids(_MARKS[1])
    body = CopilotBody(tower, language_model, place, settings=settings)
    limit = int(language_model.config.max_position_embeddings)
    feed = ManyKinds(tower)
    return ChatModel(body, tokenizer, style=LLAMA2, feed=feed, start=tokenizer.bos_token_id, limit=limit).eval()


def _card(title: str, size: int) -> Card:
    return Card(
        title=title,
        roles=frozenset({"generate"}),
        modalities=frozenset({*MODALITIES, "text"}),
        input=ImageInput(size=size),
        paper="doi:10.1038/s41591-025-03900-7",
        obtain="No weights were released; give the folder of a LLaMA of your own and an EyeFM encoder, and train the projector.",
        notes="Pictures come by modality; which row has which is told by present.",
    )


_LLAMA, _TEST = _card("EyeFM's copilot on LLaMA", 224), _card("EyeFM's copilot, smallest", 64)


def _open(weights: str | Path | None, card: Card, dtype: str, settings: Mapping[str, Any] | None) -> ChatModel:
    body, tokenizer, record = open_folder(_CLASS, weights, card=card, dtype=dtype)
    folder = Path(tokenizer.name_or_path)
    own = folder / _SETTINGS
    told = json.loads(own.read_text("utf-8")) if own.is_file() else settings
    if told is None:
        raise InvalidInput(f"no {_SETTINGS} in {folder.name!r}.", code="model.not_found")
    model = _model(body, tokenizer, told)
    if own.is_file():
        vision = load_state(folder / _VISION)
        fit_state(model.body, vision, allow_missing=("language_model.",))
    model.weights_record = record
    return model


@models.register("eyefm_copilot.llama", _LLAMA)
def llama(
    *,
    weights: str | Path | None = None,
    tower: str = "eyefm.large",
    tower_weights: str | None = None,
    modalities: Iterable[str] = MODALITIES,
    dtype: str = "bfloat16",
) -> ChatModel:
    """Return the copilot on a LLaMA of a folder or the hub; a folder that `save` wrote holds the encoder and projector too.

    Args:
        weights: Of the LLaMA, or what `save` wrote.
        tower: Name of the joint encoder.
        tower_weights: Its pre-training checkpoint.
        modalities: Kinds of pictures, in the order of their tokens.
        dtype: "float32" or "bfloat16".
    """
    model = _open(weights, _LLAMA, dtype, {"tower": tower, "modalities": list(modalities)})
    if tower_weights:
        loaded = models.create(tower, modalities=tuple(modalities), weights=tower_weights)
        model.body.tower.load_state_dict(loaded.state_dict())
    return model


@models.register("eyefm_copilot.test", _TEST)
def test(*, weights: str | Path | None = None, dtype: str = "float32") -> ChatModel:
    """Return the smallest legal configuration, or what `save` wrote of one."""
    if weights is not None:
        return _open(weights, _TEST, dtype, None)
    transformers = require("transformers", extra="text")
    words = letter_chat_tokenizer()
    sizes = {k: v for k, v in TINY_LLAMA.items() if k != "model_type"}
    body = getattr(transformers, _CLASS)(transformers.LlamaConfig(**sizes, vocab_size=len(words)))
    return _model(body, words, {"tower": "eyefm.test", "modalities": list(MODALITIES)})
