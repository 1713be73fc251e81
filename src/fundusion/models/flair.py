"""FLAIR: pictures of the retina and expert knowledge in words, in one space.

Source: Silva-Rodriguez et al. 2025, doi:10.1016/j.media.2024.103357 (arXiv:2308.07898); written from a description of the released code
(jusiro/FLAIR, Apache-2.0) and its files. Deviation: texts are averaged without padding unless `pooling="mean_with_padding"`, so that
a text has one vector whatever stands beside it; alone in a call, both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from ..core.registry import Card, ImageInput, models
from ..layers.backbones import StagedEncoder, create_body
from ..layers.checkpoints import Rules
from ..layers.image_text import Checkpoint, ImageTextModel
from ..layers.text_tower import TextTower, letter_tower

#: Hidden states that the text vector is the mean of.
TEXT_LAYERS = (1, 2, -1)
# KeepFIT files are FLAIR files with an attention beside them.
_RULES = Rules(ignored=("text_model.model.embeddings.position_ids", "attention."))
_INPUT = ImageInput(size=512, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), crop="none", fit="corner", resample="bilinear")


def _card(title: str, *, released: bool) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode", "encode_text", "align"}),
        modalities=frozenset({"cfp", "text"}),
        input=_INPUT,
        paper="doi:10.1016/j.media.2024.103357",
        weight_license="Apache-2.0" if released else None,
        weights="hub:jusiro2/FLAIR" if released else None,
        training_data=("38 open sets, 288,307 photographs; not MESSIDOR, FIVES, REFUGE, ACRIMA, DeepDRiD, MMAC",)
        if released
        else (),
        notes="Longer texts than 77 tokens are cut.",
        strides=(4, 8, 16, 32),
        facts={"prompt": "A fundus photograph of {}"},
    )


_RESNET = _card("FLAIR, ResNet-50 and Bio_ClinicalBERT", released=True)
_TEST = _card("FLAIR, smallest", released=False)


def _model(image: nn.Module, text: TextTower, align_dim: int = 512) -> ImageTextModel:
    return ImageTextModel(image, StagedEncoder, text, align_dim=align_dim)


@models.register("flair.resnet_50", _RESNET)
def resnet_50(
    *,
    weights: str | Path | None = None,
    tokenizer: str | None = None,
    pooling: str = "mean",
    max_tokens: int = 77,
    text: Mapping[str, int] | None = None,
) -> ImageTextModel:
    """Return FLAIR (133.3 M parameters).

    Args:
        weights: A file, "published", or a folder with `model.safetensors`, in which a tokenizer is looked for too.
        tokenizer: Folder or hub id of the words of Bio_ClinicalBERT.
        pooling: "mean", or "mean_with_padding" as released: a text's vector then depends on the longest text of the call.
        max_tokens: Longer texts are cut.
        text: Sizes of another BERT; those of the file are found without.
    """
    file = Checkpoint(weights, card=_RESNET, rules=_RULES)
    words = file.text(sizes=text, tokenizer=tokenizer, pooling=pooling, layers=TEXT_LAYERS, max_tokens=max_tokens)
    model = _model(create_body("resnet50", global_pool=""), words)
    file.fill(model)
    return model


@models.register("flair.test", _TEST)
def test(*, weights: str | Path | None = None, pooling: str = "mean") -> ImageTextModel:
    """Return the smallest legal configuration."""
    from timm.models.resnet import BasicBlock, ResNet

    body = ResNet(BasicBlock, [1, 1, 1, 1], channels=(8, 8, 16, 16), num_classes=0, global_pool="")
    tower = letter_tower(pooling=pooling, layers=TEXT_LAYERS, pooler=True)
    model = _model(body, tower, 8)
    Checkpoint(weights, card=_TEST, rules=_RULES).fill(model)
    return model
