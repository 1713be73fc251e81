"""CLIP through transformers, from checkpoints of transformers, OpenAI and open_clip.

Source: Radford et al. 2021, arXiv:2103.00020; open checkpoints Cherti et al. 2023, arXiv:2212.07143. Files of OpenAI and open_clip keep
query, key and value in one tensor and projections transposed; they are brought to the names of transformers. The activation is not in
those files: OpenAI trained with quick GELU, most LAION checkpoints with GELU, so it is part of the name of a model here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InvalidInput, require
from ..core.interfaces import Features
from ..core.registry import Card, ImageInput, models
from ..layers.checkpoints import Rules, load_weights
from ..layers.image_text import bounded_scale
from ..layers.text_tower import has_tokenizer, letter_tokenizer, read_tokenizer, tokens_of, write_words
from ..layers.transformer import map_with_mean

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_MAX_TOKENS = 77


class ClipImages(nn.Module):
    """Image tower: class token after the last norm."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.embed_dim = int(body.config.hidden_size)

    def encode(self, images: Tensor) -> Features:
        """Return pooled `(T, E)`, patch tokens `(T, N, E)` and a map whose mean is the pooled vector.

        Pictures of another size get interpolated positions; sides are cut to whole patches.
        """
        patch, side = int(self.body.config.patch_size), int(self.body.config.image_size)
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < patch:
            raise InvalidInput(
                f"expected images (T, 3, H, W) of at least {patch} px a side, got {tuple(images.shape)}."
            )
        grid = (images.shape[2] // patch, images.shape[3] // patch)
        other = tuple(images.shape[2:]) != (side, side)
        answer = self.body(pixel_values=images, interpolate_pos_encoding=other)
        tokens = self.body.post_layernorm(answer.last_hidden_state[:, 1:])
        pooled = answer.pooler_output
        return Features(pooled=pooled, tokens=tokens, maps=(map_with_mean(tokens, pooled, grid),))


class ClipTexts(nn.Module):
    """Text tower: the token that ends the text, after the last norm. Attention looks back only, so padding cannot be seen."""

    def __init__(self, body: nn.Module, tokenizer: Any, max_tokens: int) -> None:
        super().__init__()
        self.body = body
        self._tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.embed_dim = int(body.config.hidden_size)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return ids `(B, T)` and mask `(B, T)`; an empty text has an empty mask."""
        if self._tokenizer is None:
            raise InvalidInput(
                "this model has no tokenizer, so it cannot read words.",
                code="model.tokenizer",
                hint="Weights do not hold one. Build the model with tokenizer=FOLDER, or tokenizer='hub:openai/clip-vit-base-patch32'.",
            )
        return tokens_of(self._tokenizer, texts, self.max_tokens)

    def save_words(self, folder: str | Path) -> None:
        """Write the tokenizer, so that a saved network reads words on another machine."""
        write_words(folder, self._tokenizer, self.body.config)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Features:
        """Return pooled `(B, E)` and tokens `(B, T, E)`."""
        answer = self.body(input_ids=ids)
        return Features(pooled=answer.pooler_output, tokens=answer.last_hidden_state, token_mask=mask)


class Clip(nn.Module):
    """Both towers of a transformers `CLIPModel` in one space.

    Args:
        body: `CLIPModel`.
        tokenizer: Not part of the weights; None can encode ids but not tokenize.
        max_tokens: Longer texts are cut.
    """

    def __init__(self, body: nn.Module, tokenizer: Any, *, max_tokens: int = _MAX_TOKENS) -> None:
        super().__init__()
        self.body = body
        self._tokenizer, self.max_tokens = tokenizer, max_tokens
        self.embed_dim = int(body.config.vision_config.hidden_size)
        self.text_embed_dim = int(body.config.text_config.hidden_size)
        self.align_dim = int(body.config.projection_dim)

    def image_tower(self) -> ClipImages:
        """Return the encoder of images alone; it shares its weights with this model."""
        return self._with_record(ClipImages(self.body.vision_model))

    def text_tower(self) -> ClipTexts:
        """Return the encoder of texts alone; it shares its weights with this model."""
        return self._with_record(ClipTexts(self.body.text_model, self._tokenizer, self.max_tokens))

    def _with_record(self, tower: Any) -> Any:
        record = getattr(self, "weights_record", None)
        if record is not None:
            tower.weights_record = record
        return tower

    def encode(self, images: Tensor) -> Features:
        """Return what the image tower says, before the projection."""
        return self.image_tower().encode(images)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return ids `(B, T)` and mask `(B, T)`; an empty text has an empty mask."""
        return self.text_tower().tokenize(texts)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Features:
        """Return what the text tower says, before the projection; `text_embed_dim` wide."""
        return self.text_tower().encode_text(ids, mask)

    def align_images(self, images: Tensor) -> Tensor:
        """Return unit vectors `(B, D)` of normalised images `(B, 3, H, W)`, or of pooled features `(B, E)` kept from before."""
        pooled = images if images.ndim == 2 else self.encode(images).pooled
        return F.normalize(self.body.visual_projection(pooled), dim=-1)

    def align_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors `(B, D)` of token ids."""
        return F.normalize(self.body.text_projection(self.encode_text(ids, mask).pooled), dim=-1)

    def scale(self) -> Tensor:
        """Return what similarities are multiplied by, from 1 to 100."""
        return bounded_scale(self.body.logit_scale, training=self.training)

    def shift(self) -> Tensor:
        """Return zero: nothing is added to logits."""
        return torch.zeros((), device=self.body.logit_scale.device)


#: Names of OpenAI and open_clip -> names of transformers, applied in this order.
_RENAMES = (
    (r"^module\.", ""),
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1\.weight$", "vision_model.embeddings.patch_embedding.weight"),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"\.ln_1\.", ".layer_norm1."),
    (r"\.ln_2\.", ".layer_norm2."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
)
_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}


def canonical_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of a CLIP file under the names of transformers; files of transformers come back as they are.

    Raises:
        InvalidInput: The image network is a ResNet, which transformers has not.
    """
    state = {k.removeprefix("module."): v for k, v in state.items()}
    if any(k.startswith("visual.layer1.") for k in state):
        raise InvalidInput("this CLIP has a ResNet for images.", hint="Use a checkpoint with a vision transformer.")
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in _TRANSPOSED:
            out[_TRANSPOSED[name]] = value.T.contiguous()
            continue
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        joined = re.fullmatch(r"(.*)\.attn\.in_proj_(weight|bias)", name)
        if joined:
            for part, piece in zip(("q", "k", "v"), value.chunk(3), strict=True):
                out[f"{joined[1]}.self_attn.{part}_proj.{joined[2]}"] = piece
        else:
            out[name] = value
    return {k: v.float() if v.is_floating_point() else v for k, v in out.items()}


def _adapted(state: dict[str, Tensor], body: nn.Module) -> dict[str, Tensor]:
    return canonical_clip(state)


_RULES = Rules(
    wrappers=("state_dict", "model", "model_state_dict"),
    prefixes=("module.", "body."),
    ignored=(
        "text_model.embeddings.position_ids", "vision_model.embeddings.position_ids", "input_resolution",
        "context_length", "vocab_size", "attn_mask",
    ),
    adapt=_adapted,
)  # fmt: skip


def _body(*, activation: str, image: Mapping[str, int], text: Mapping[str, int], projection: int) -> nn.Module:
    """Return a `CLIPModel` with fresh weights; nothing is downloaded."""
    transformers = require("transformers", extra="text")
    if activation not in ("quick_gelu", "gelu"):
        raise InvalidInput(f"activation {activation!r} is not one of quick_gelu (OpenAI) and gelu (most of open_clip).")
    config = transformers.CLIPConfig(
        vision_config={"hidden_act": activation, **image},
        text_config={"hidden_act": activation, "bos_token_id": 49406, "eos_token_id": 49407, **text},
        projection_dim=projection,
    )
    return transformers.CLIPModel(config)


def _build(card: Card, weights: str | Path | None, tokenizer: str | None, max_tokens: int, **sizes: Any) -> Clip:
    folder = Path(weights) if weights is not None and Path(weights).is_dir() else None
    words = read_tokenizer(tokenizer) if tokenizer else None
    if words is None and folder is not None and has_tokenizer(folder):
        words = read_tokenizer(folder)
    model = Clip(_body(**sizes), words, max_tokens=max_tokens)
    load_weights(model, folder / _RULES.hub_file if folder else weights, card=card, rules=_RULES, into=model.body)
    return model


def _card(title: str, size: int, repository: str = "", licence: str = "", data: str = "") -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode", "encode_text", "align"}),
        input=ImageInput(size=size, mean=_MEAN, std=_STD, crop="none", fit="center", resample="bicubic"),
        paper="arXiv:2103.00020",
        weight_license=licence or None,
        weights=f"hub:{repository}" if repository else None,
        training_data=(data,) if data else (),
        notes="Give the tokenizer beside a file: tokenizer=FOLDER or a hub id. A folder saved by transformers holds both.",
    )


#: Size of the picture, patch, width, depth, heads, MLP; width, depth, heads of texts; common width.
_SIZES = {
    "base_32": (224, 32, 768, 12, 12, 512, 12, 8, 512),
    "base_16": (224, 16, 768, 12, 12, 512, 12, 8, 512),
    "large_14": (224, 14, 1024, 24, 16, 768, 12, 12, 768),
    "large_14_336": (336, 14, 1024, 24, 16, 768, 12, 12, 768),
}
_OPENAI = {
    "base_32": "openai/clip-vit-base-patch32", "base_16": "openai/clip-vit-base-patch16",
    "large_14": "openai/clip-vit-large-patch14", "large_14_336": "openai/clip-vit-large-patch14-336",
}  # fmt: skip


def _register(name: str, parameters: str) -> None:
    size, patch, width, depth, heads, text_width, text_depth, text_heads, common = _SIZES[name]
    card = _card(
        f"CLIP ViT, {name.replace('_', ' ')}", size, _OPENAI[name], "MIT", "WIT, 400 million pairs of the web (OpenAI)"
    )

    def build(
        *,
        weights: str | Path | None = None,
        tokenizer: str | None = None,
        activation: str = "quick_gelu",
        max_tokens: int = _MAX_TOKENS,
    ) -> Clip:
        return _build(
            card, weights, tokenizer, max_tokens, activation=activation, projection=common,
            image={"image_size": size, "patch_size": patch, "hidden_size": width, "intermediate_size": 4 * width,
                   "num_hidden_layers": depth, "num_attention_heads": heads},
            text={"hidden_size": text_width, "intermediate_size": 4 * text_width, "num_hidden_layers": text_depth,
                  "num_attention_heads": text_heads},
        )  # fmt: skip

    build.__doc__ = f"Return CLIP ({parameters} M parameters). `activation` is quick_gelu for weights of OpenAI, gelu for most of open_clip."
    build.__qualname__ = f"build_{name}"
    models.register(f"clip.{name}", card)(build)


for _name, _parameters in (
    ("base_32", "151.3"),
    ("base_16", "149.6"),
    ("large_14", "427.6"),
    ("large_14_336", "427.9"),
):
    _register(_name, _parameters)

_TEST = _card("CLIP, smallest", 64)


@models.register("clip.test", _TEST)
def test(*, weights: str | Path | None = None, activation: str = "quick_gelu") -> Clip:
    """Return the smallest legal configuration."""
    words = letter_tokenizer()
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    body = _body(
        activation=activation, projection=8, image={"hidden_size": 16, "image_size": 64, "patch_size": 16, **small},
        text={"hidden_size": 24, "vocab_size": len(words), "max_position_embeddings": 64, "bos_token_id": 2,
              "eos_token_id": 3, "pad_token_id": 0, **small},
    )  # fmt: skip
    model = Clip(body, words, max_tokens=64)
    load_weights(model, weights, card=_TEST, rules=_RULES, into=model.body)
    return model
