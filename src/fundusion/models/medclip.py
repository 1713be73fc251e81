"""MedCLIP: pictures and texts that need not be pairs, a Swin transformer and Bio_ClinicalBERT.

Source: Wang et al. 2022, doi:10.18653/v1/2022.emnlp-main.256 (arXiv:2210.10163); written from the paper and a description of the released
files. The image tower is timm's; tensors of the released files, which have the names of transformers, are brought to its names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.registry import Card, ImageInput, models
from ..layers.backbones import StagedEncoder, create_body
from ..layers.checkpoints import Rules
from ..layers.image_text import Checkpoint, ImageTextModel
from ..layers.text_tower import letter_tower

_TEXT_LAYERS = (1, 2, -1)
_VISION = "vision_model.model."
#: Names of the Swin of transformers -> names of timm, in this order.
_RENAMES = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.layers\.", "layers."),
    (r"^layernorm\.", "norm."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.self\.relative_position_bias_table$", ".attn.relative_position_bias_table"),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)


def timm_swin(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a Swin of transformers under the names of timm; those of timm come back as they are."""
    merges = any(k.startswith("encoder.layers.") for k in state)
    out: dict[str, Tensor] = {}
    joined: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.endswith(("relative_position_index", "attn_mask")):
            # Made again from the size.
            continue
        part = re.fullmatch(
            r"encoder\.(layers\.\d+\.blocks\.\d+)\.attention\.self\.(query|key|value)\.(weight|bias)", name
        )
        if part:
            joined.setdefault(f"{part[1]}.attn.qkv.{part[3]}", {})[part[2]] = value
            continue
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        if merges:
            # transformers numbers the merging of patches with the stage before it, timm with the stage after.
            name = re.sub(r"^layers\.(\d+)\.downsample\.", lambda m: f"layers.{int(m[1]) + 1}.downsample.", name)
        out[name] = value
    for name, parts in joined.items():
        out[name] = torch.cat([parts[k] for k in ("query", "key", "value") if k in parts])
    return out


def _adapted(state: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
    swin = timm_swin({k.removeprefix(_VISION): v for k, v in state.items() if k.startswith(_VISION)})
    return {
        **{k: v for k, v in state.items() if not k.startswith(_VISION)},
        **{_VISION + k: v for k, v in swin.items()},
    }


_RULES = Rules(
    renames=(
        (r"^vision_model\.projection_head\.weight$", "vision_model.projection_head_vision.projection.weight"),
        (r"^text_model\.projection_head\.weight$", "text_model.projection_head_text.projection.weight"),
    ),
    # The pooler is never used; files of some versions lack it.
    optional=("text_model.model.pooler.",),
    ignored=("text_model.model.embeddings.position_ids",),
    adapt=_adapted,
    hub_file="pytorch_model.bin",
)


def _card(title: str, *, released: bool) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode", "encode_text", "align"}),
        input=ImageInput(size=224, mean=(0.5863,) * 3, std=(0.2795,) * 3, crop="none", resample="bicubic"),
        paper="doi:10.18653/v1/2022.emnlp-main.256",
        weight_license="not stated (package metadata says BSD, the repository has no licence file)" if released else None,
        training_data=("CheXpert", "MIMIC-CXR") if released else (),
        obtain="The released archive of RyanWangZf/MedCLIP holds pytorch_model.bin; give its path. It saw chest radiographs only."
        if released
        else "",
        notes="Made for chest radiographs; a start for training on eyes. Longer texts than 77 tokens are cut.",
        strides=(4, 8, 16, 32),
    )  # fmt: skip


_SWIN = _card("MedCLIP, Swin-T and Bio_ClinicalBERT", released=True)
_TEST = _card("MedCLIP, smallest", released=False)


@models.register("medclip.swin_tiny", _SWIN)
def swin_tiny(
    *,
    weights: str | Path | None = None,
    tokenizer: str | None = None,
    pooling: str = "mean",
    max_tokens: int = 77,
    text: Mapping[str, int] | None = None,
) -> ImageTextModel:
    """Return MedCLIP (136.6 M parameters).

    Args:
        weights: A file, or a folder with `pytorch_model.bin`, in which a tokenizer is looked for too.
        tokenizer: Folder or hub id of the words of Bio_ClinicalBERT.
        pooling: "mean", or "mean_with_padding" as released: a text's vector then depends on the longest text of the call.
        max_tokens: Longer texts are cut.
        text: Sizes of another BERT; those of the file are found without.
    """
    file = Checkpoint(weights, card=_SWIN, rules=_RULES)
    words = file.text(sizes=text, tokenizer=tokenizer, pooling=pooling, layers=_TEXT_LAYERS, max_tokens=max_tokens)
    body = create_body("swin_tiny_patch4_window7_224", global_pool="", strict_img_size=False)
    model = ImageTextModel(body, StagedEncoder, words, normalise=False)
    file.fill(model)
    return model


@models.register("medclip.test", _TEST)
def test(*, weights: str | Path | None = None, pooling: str = "mean") -> ImageTextModel:
    """Return the smallest legal configuration."""
    from timm.models.swin_transformer import SwinTransformer

    body = SwinTransformer(
        img_size=64, window_size=4, embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), num_classes=0, global_pool="",
        strict_img_size=False,
    )  # fmt: skip
    tower = letter_tower(pooling=pooling, layers=_TEXT_LAYERS, pooler=True)
    model = ImageTextModel(body, StagedEncoder, tower, align_dim=8, normalise=False)
    Checkpoint(weights, card=_TEST, rules=_RULES).fill(model)
    return model
