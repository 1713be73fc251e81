"""Segment Anything through transformers: masks from points, boxes and masks.

Source: Kirillov et al. 2023, arXiv:2304.02643; weights of facebookresearch/segment-anything (Apache-2.0) load from its files and from the hub.
"""

from __future__ import annotations

from ..core.registry import Card, ImageInput, models
from ..layers.promptable import Preparation, PromptedSam, build_sam, sam_settings, settings_of


def _card(title: str, hub: str | None = None) -> Card:
    return Card(
        title=title,
        roles=frozenset({"segment"}),
        modalities=frozenset({"cfp", "oct", "ffa", "ultrasound"}),
        # Values of [0, 1]; the network standardises them itself.
        input=ImageInput(size=1024, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), crop="none", fit="corner", resample="bilinear"),
        paper="arXiv:2304.02643",
        weight_license="Apache-2.0" if hub else None,
        weights=f"hub:{hub}" if hub else None,
        training_data=("SA-1B",) if hub else (),
        classes=("prompted",),
        notes="Needs a prompt: points, boxes or masks; without any, the box is the whole image. It names nothing.",
    )  # fmt: skip


_VIT_B = _card("Segment Anything, ViT-B", "facebook/sam-vit-base")
_VIT_L = _card("Segment Anything, ViT-L", "facebook/sam-vit-large")
_VIT_H = _card("Segment Anything, ViT-H", "facebook/sam-vit-huge")
_ANY = _card("Segment Anything of any size, by folder or hub id")
_TEST = _card("Segment Anything, smallest")


@models.register("sam.vit_b", _VIT_B)
def vit_b(*, weights: str | None = None, preparation: Preparation = "sam", multimask: bool = False) -> PromptedSam:
    """Return the smallest published size (93.7 M parameters)."""
    return build_sam(_VIT_B, sam_settings(), weights, preparation=preparation, multimask=multimask)


@models.register("sam.vit_l", _VIT_L)
def vit_l(*, weights: str | None = None, preparation: Preparation = "sam", multimask: bool = False) -> PromptedSam:
    """Return the middle size (312.3 M parameters)."""
    settings = sam_settings(1024, 24, 16, (5, 11, 17, 23))
    return build_sam(_VIT_L, settings, weights, preparation=preparation, multimask=multimask)


@models.register("sam.vit_h", _VIT_H)
def vit_h(*, weights: str | None = None, preparation: Preparation = "sam", multimask: bool = False) -> PromptedSam:
    """Return the largest size (641.1 M parameters)."""
    settings = sam_settings(1280, 32, 16, (7, 15, 23, 31))
    return build_sam(_VIT_H, settings, weights, preparation=preparation, multimask=multimask)


@models.register("sam.any", _ANY)
def any_size(
    *, source: str | None = None, fresh: bool = False, preparation: Preparation = "sam", multimask: bool = False
) -> PromptedSam:
    """Return the network that a folder or a hub id describes.

    Args:
        source: Folder saved by transformers or `hub:owner/name`; None is ViT-B with fresh weights.
        fresh: Only its settings count, weights are drawn.
        preparation: "sam" or "medsam".
        multimask: Three masks for an ambiguous prompt instead of one.
    """
    settings = sam_settings() if source is None else settings_of(source)
    return build_sam(_ANY, settings, None if fresh else source, preparation=preparation, multimask=multimask)


@models.register("sam.test", _TEST)
def test(*, weights: str | None = None, preparation: Preparation = "sam", multimask: bool = False) -> PromptedSam:
    """Return the smallest legal configuration."""
    settings = sam_settings(16, 2, 2, (1,), size=64, window=2, channels=32, decoder_heads=2, decoder_mlp=32)
    return build_sam(_TEST, settings, weights, preparation=preparation, multimask=multimask)
