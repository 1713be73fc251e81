"""RetiZero: RETFound adapted by low-rank layers to a space it shares with texts; more than 400 eye diseases in words.

Source: Wang et al. 2024, arXiv:2406.09317; written from a description of the released code
(LooKing9218/RetiZero), not from the code. Its parts are different models on the same weights, and have different names here: zero-shot takes the class
token after the last norm of pictures normalised like ImageNet; retrieval takes the mean of the patch tokens *before* the last norm of
pictures scaled to [-1, 1]; fine-tuning puts one linear layer on the frozen class token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Features
from ..core.registry import Card, ImageInput, models
from ..layers.backbones import Scales, check_scales
from ..layers.checkpoints import Rules
from ..layers.image_text import Checkpoint, ImageTextModel
from ..layers.text_tower import letter_tower
from ..layers.transformer import as_map, map_with_mean, pyramid, pyramid_taps, run_blocks

Pool = Literal["cls", "patches"]
_TEXT_LAYERS = (1, 2, -1)
_LARGE = {"image_size": 224, "embed_dim": 1024, "depth": 24, "num_heads": 16}
_SMALL = {"image_size": 64, "embed_dim": 16, "depth": 2, "num_heads": 2}


class LoraQkv(nn.Module):
    """A joint query, key and value layer with low-rank additions to query and value; no scaling, no dropout.

    Args:
        qkv: The frozen layer.
        rank: Of the additions; B starts at zero, so nothing changes before training.
    """

    def __init__(self, qkv: nn.Linear, rank: int) -> None:
        super().__init__()
        self.qkv = qkv
        width = qkv.in_features
        self.linear_a_q, self.linear_a_v = (nn.Linear(width, rank, bias=False) for _ in range(2))
        self.linear_b_q, self.linear_b_v = (nn.Linear(rank, width, bias=False) for _ in range(2))
        for a, b in ((self.linear_a_q, self.linear_b_q), (self.linear_a_v, self.linear_b_v)):
            nn.init.kaiming_uniform_(a.weight, a=math.sqrt(5))
            nn.init.zeros_(b.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(T, N, 3E)`."""
        q, k, v = self.qkv(x).chunk(3, -1)
        return torch.cat([q + self.linear_b_q(self.linear_a_q(x)), k, v + self.linear_b_v(self.linear_a_v(x))], -1)

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """Return one plain layer that gives the same answer."""
        plain = nn.Linear(self.qkv.in_features, self.qkv.out_features).to(self.qkv.weight.device)
        width = self.qkv.in_features
        plain.weight.copy_(self.qkv.weight)
        plain.bias.copy_(self.qkv.bias)
        plain.weight[:width] += self.linear_b_q.weight @ self.linear_a_q.weight
        plain.weight[2 * width :] += self.linear_b_v.weight @ self.linear_a_v.weight
        return plain


class LoraViT(nn.Module):
    """A vision transformer with the names of the published file (`lora_vit.*`).

    Args:
        rank: Of the low-rank layers; 0 builds a plain transformer.
        freeze: Only the low-rank layers are trained, as published.
    """

    def __init__(
        self, *, image_size: int, embed_dim: int, depth: int, num_heads: int, rank: int = 8, freeze: bool = True
    ) -> None:
        super().__init__()
        from timm.models.vision_transformer import VisionTransformer

        self.lora_vit: Any = VisionTransformer(
            img_size=image_size, patch_size=16, embed_dim=embed_dim, depth=depth, num_heads=num_heads, num_classes=0,
            global_pool="token",
        )  # fmt: skip
        if freeze and rank:
            self.lora_vit.requires_grad_(False)
        if rank:
            for block in self.lora_vit.blocks:
                block.attn.qkv = LoraQkv(block.attn.qkv, rank)


class RetiZeroImages(nn.Module):
    """Image tower.

    Args:
        body: The transformer.
        pool: "cls": class token after the last norm; "patches": mean of the patch tokens before it.
        num_classes: Outputs of `classify`; 0 builds the encoder alone.
    """

    def __init__(self, body: LoraViT, *, pool: Pool = "cls", num_classes: int = 0) -> None:
        super().__init__()
        if pool not in ("cls", "patches"):
            raise InvalidInput(f'pool {pool!r} is not "cls" (zero-shot) or "patches" (retrieval).')
        self.body, self.pool = body, pool
        self.embed_dim = int(body.lora_vit.embed_dim)
        if pool == "patches":
            # Nothing that comes after the last block is read.
            body.lora_vit.norm.requires_grad_(False)
        self.head = nn.Linear(self.embed_dim, num_classes) if num_classes else None

    def encode(self, images: Tensor, *, maps: Scales = "last") -> Features:
        """Return pooled `(T, E)`, patch tokens `(T, N, E)` and maps of normalised images `(T, 3, H, W)`.

        Args:
            images: Any size.
            maps: "last", or "all" for a pyramid at strides 4, 8, 16.
        """
        vit = self.body.lora_vit
        taps = pyramid_taps(len(vit.blocks)) if check_scales(maps) else ()
        x, grid, levels = run_blocks(vit, images, taps=taps)
        if self.pool == "patches":
            tokens = x[:, 1:]
            pooled = tokens.mean(1)
            last = as_map(tokens, grid)
        else:
            x = vit.norm(x)
            pooled, tokens = x[:, 0], x[:, 1:]
            last = map_with_mean(tokens, pooled, grid)
        return Features(pooled=pooled, tokens=tokens, maps=pyramid(levels, last) if levels else (last,))

    def classify(self, images: Tensor) -> Tensor:
        """Return logits `(T, num_classes)`.

        Raises:
            InvalidInput: The model was built without classes.
        """
        if self.head is None:
            raise InvalidInput("this encoder has no classifier.", hint="Build it with num_classes=...")
        return self.head(self.encode(images).pooled)


def fold_lora(model: nn.Module) -> nn.Module:
    """Return the model with every low-rank layer added into the layer it adapts: a plain transformer with the same answers.

    Weights that were frozen can be trained afterwards.
    """
    for module in list(model.modules()):
        if isinstance(getattr(module, "qkv", None), LoraQkv):
            module.qkv = module.qkv.folded()
    for module in model.modules():
        if isinstance(module, LoraViT):
            module.requires_grad_(True)
    return model


def plain_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the image tower of a RetiZero file as tensors of a plain vision transformer (`vit.large_16`, timm).

    Example:
        >>> one, zero = torch.ones(1, 1), torch.zeros(3)
        >>> lora = {f"linear_{a}_{b}.weight": one for a in "ab" for b in "qv"}
        >>> both = {"qkv.weight": torch.zeros(3, 1), "qkv.bias": zero, **lora}
        >>> plain_state({f"vision_model.model.lora_vit.blocks.0.attn.qkv.{k}": v for k, v in both.items()})["blocks.0.attn.qkv.weight"].T
        tensor([[1., 0., 1.]])
    """
    own = {re.sub(r"^.*lora_vit\.", "", k): v for k, v in state.items() if "lora_vit." in k}
    out = {k.replace(".qkv.qkv.", ".qkv."): v for k, v in own.items() if ".qkv.linear_" not in k}
    for name in [k for k in own if k.endswith(".qkv.linear_a_q.weight")]:
        stem = name.removesuffix("linear_a_q.weight")
        weight = out[f"{stem}weight"].clone()
        width = weight.shape[1]
        weight[:width] += own[f"{stem}linear_b_q.weight"] @ own[f"{stem}linear_a_q.weight"]
        weight[2 * width :] += own[f"{stem}linear_b_v.weight"] @ own[f"{stem}linear_a_v.weight"]
        out[f"{stem}weight"] = weight
    return out


def retrieval_similarity(queries: Tensor, keys: Tensor) -> Tensor:
    """Return how like keys `(K, E)` are to queries `(Q, E)`, in (0, 1], as `(Q, K)`.

    The distance is compared with half the length of the *key*, so that two pictures need not find each other equally like.

    Source: Wang et al. 2024, arXiv:2406.09317, released retrieval code: s / (s + |q - k|), s = |k| / 2.

    Example:
        >>> a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0], [6.0, 8.0]])
        >>> retrieval_similarity(a, b), retrieval_similarity(b, a).T
        (tensor([[0.0000, 0.5000]]), tensor([[0.3333, 0.3333]]))
    """
    half = keys.norm(dim=-1) / 2
    gap = (queries[:, None] - keys[None]).norm(dim=-1)
    return half / (half + gap).clamp(min=torch.finfo(queries.dtype).tiny)


_IMAGENET = ImageInput(size=224, crop="none", fit="stretch", resample="bilinear")
_HALF = ImageInput(size=224, mean=(0.5,) * 3, std=(0.5,) * 3, crop="none", fit="stretch", resample="bilinear")
_OBTAIN = "RetiZero.pth is linked from the page of LooKing9218/RetiZero; give its path."
_ALIGN = frozenset({"encode", "encode_text", "align"})


def _card(title: str, *, roles: frozenset[str] = _ALIGN, pixels: ImageInput = _IMAGENET, released: bool = True) -> Card:
    return Card(
        title=title,
        roles=roles,
        modalities=frozenset({"cfp", "text"} if "align" in roles else {"cfp"}),
        input=pixels,
        paper="arXiv:2406.09317",
        weight_license="not stated; started from RETFound (CC BY-NC 4.0)" if released else None,
        training_data=("341,896 pairs of pictures and texts, more than 400 diseases", "MEH-MIDAS", "EyePACS")
        if released
        else (),
        obtain=_OBTAIN if released else "",
        notes="Zero-shot, retrieval and fine-tuning read different features of the same weights.",
        strides=(4, 8, 16),
        facts={"prompt": "A fundus photograph of {}"},
    )


_ZERO_SHOT = _card("RetiZero, zero-shot: ViT-L with low-rank layers and Bio_ClinicalBERT")
_RETRIEVAL = _card("RetiZero, image retrieval", roles=frozenset({"encode"}), pixels=_HALF)
_FINE_TUNE = _card("RetiZero, frozen encoder with one linear layer", roles=frozenset({"encode"}))
_TEST = _card("RetiZero, smallest", released=False)

_RULES = Rules(ignored=("text_model.model.embeddings.position_ids",))
# Names of the image tower alone, whatever the part of the release that saved it calls the model around it.
_IMAGE_RULES = Rules(
    renames=((r"^.*lora_vit\.", "lora_vit."), (r"^(?!lora_vit\.)", "other.")),
    ignored=("other.", "lora_vit.head.", "lora_vit.fc_norm."),
)


def _rank(file: Checkpoint, rank: int, fold: bool) -> int:
    """Return the rank to build; what a file holds must be what is asked for, so that a saved network can be built without the file.

    Raises:
        InvalidInput: The file has another rank, or its low-rank layers are folded and `fold` is not asked for.
    """
    if not file.state:
        return rank
    found = [v.shape[0] for k, v in file.state.items() if k.endswith("linear_a_q.weight")]
    if not found and not fold:
        raise InvalidInput(
            "the file has no low-rank layers: they are folded, or it is of another model.",
            hint="Build it with fold=True.",
        )
    if found and found[0] != rank:
        raise InvalidInput(
            f"the low-rank layers of the file have rank {found[0]}, asked for was {rank}.",
            hint=f"Give rank={found[0]}.",
        )
    return found[0] if found else 0


def _image_tower(
    card: Card, weights: str | Path | None, *, pool: Pool, fold: bool, rank: int, num_classes: int = 0
) -> RetiZeroImages:
    file = Checkpoint(weights, card=card, rules=_IMAGE_RULES)
    body = LoraViT(**_LARGE, rank=_rank(file, rank, fold))
    tower = RetiZeroImages(body, pool=pool, num_classes=num_classes)
    # Only retrieval can do without the last norm.
    file.fill(tower, into=body, optional=("lora_vit.norm.",) if pool == "patches" else ())
    return fold_lora(tower) if fold else tower


@models.register("retizero.zero_shot", _ZERO_SHOT)
def zero_shot(
    *,
    weights: str | Path | None = None,
    tokenizer: str | None = None,
    pooling: str = "mean",
    max_tokens: int = 77,
    fold: bool = False,
    freeze: bool = True,
    rank: int = 8,
    text: Mapping[str, int] | None = None,
) -> ImageTextModel:
    """Return RetiZero (413.3 M parameters).

    Args:
        weights: `RetiZero.pth`, or a folder with `model.safetensors`, in which a tokenizer is looked for too.
        tokenizer: Folder or hub id of the words of Bio_ClinicalBERT.
        pooling: "mean", or "mean_with_padding" as released: a text's vector then depends on the longest text of the call.
        max_tokens: Longer texts are cut.
        fold: Adds the low-rank layers into the layers they adapt; the same answers from a plain transformer.
        freeze: Of the image tower only the low-rank layers are trained, as published.
        rank: Of the low-rank layers.
        text: Sizes of another BERT; those of the file are found without.
    """
    file = Checkpoint(weights, card=_ZERO_SHOT, rules=_RULES)
    words = file.text(sizes=text, tokenizer=tokenizer, pooling=pooling, layers=_TEXT_LAYERS, max_tokens=max_tokens)
    body = LoraViT(**_LARGE, rank=_rank(file, rank, fold), freeze=freeze)
    model = ImageTextModel(body, partial(RetiZeroImages, pool="cls"), words)
    file.fill(model)
    return fold_lora(model) if fold else model


@models.register("retizero.retrieval", _RETRIEVAL)
def retrieval(*, weights: str | Path | None = None, fold: bool = False, rank: int = 8) -> RetiZeroImages:
    """Return the encoder that retrieval compares (304.1 M parameters): patch tokens before the last norm; see `retrieval_similarity`."""
    return _image_tower(_RETRIEVAL, weights, pool="patches", fold=fold, rank=rank)


@models.register("retizero.fine_tune", _FINE_TUNE)
def fine_tune(
    *, weights: str | Path | None = None, num_classes: int = 0, fold: bool = False, rank: int = 8
) -> RetiZeroImages:
    """Return the frozen encoder (304.1 M parameters) with a linear layer of some classes, the only part that is trained."""
    tower = _image_tower(_FINE_TUNE, weights, pool="cls", fold=fold, rank=rank, num_classes=num_classes)
    tower.body.requires_grad_(False)
    return tower


@models.register("retizero.test", _TEST)
def test(
    *, weights: str | Path | None = None, pooling: str = "mean", fold: bool = False, freeze: bool = True
) -> ImageTextModel:
    """Return the smallest legal configuration."""
    tower = letter_tower(pooling=pooling, layers=_TEXT_LAYERS, pooler=True)
    file = Checkpoint(weights, card=_TEST, rules=_RULES)
    body = LoraViT(**_SMALL, rank=_rank(file, 2, fold), freeze=freeze)
    model = ImageTextModel(body, partial(RetiZeroImages, pool="cls"), tower, align_dim=8)
    file.fill(model)
    return fold_lora(model) if fold else model
