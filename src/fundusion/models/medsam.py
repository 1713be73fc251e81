"""MedSAM: Segment Anything trained on medical pictures with boxes, with a preparation of its own.

Source: Ma et al. 2024, doi:10.1038/s41467-024-44824-z; weights of bowang-lab/MedSAM (Apache-2.0) load from its file and from the hub.
`preparation="sam"` gives it the pictures of Segment Anything instead, which is what the library's own processor does and not how it was trained.
"""

from __future__ import annotations

from ..core.registry import Card, ImageInput, models
from ..layers.promptable import Preparation, PromptedSam, build_sam, sam_settings


def _card(title: str, hub: str | None = None) -> Card:
    return Card(
        title=title,
        roles=frozenset({"segment"}),
        modalities=frozenset({"cfp", "oct", "ultrasound"}),
        # Values of [0, 1]; the network stretches them itself.
        input=ImageInput(size=1024, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), crop="none", fit="stretch", resample="bicubic"),
        paper="doi:10.1038/s41467-024-44824-z",
        weight_license="Apache-2.0" if hub else None,
        weights=f"hub:{hub}" if hub else None,
        training_data=("MedSAM (1.57 million masks, 10 kinds of pictures)",) if hub else (),
        classes=("prompted",),
        notes="Trained with boxes; without any prompt the box is the whole image. It names nothing.",
    )  # fmt: skip


_VIT_B = _card("MedSAM, ViT-B", "wanglab/medsam-vit-base")
_TEST = _card("MedSAM, smallest")


@models.register("medsam.vit_b", _VIT_B)
def vit_b(*, weights: str | None = None, preparation: Preparation = "medsam", multimask: bool = False) -> PromptedSam:
    """Return the published network (93.7 M parameters)."""
    return build_sam(_VIT_B, sam_settings(), weights, preparation=preparation, multimask=multimask)


@models.register("medsam.test", _TEST)
def test(*, weights: str | None = None, preparation: Preparation = "medsam", multimask: bool = False) -> PromptedSam:
    """Return the smallest legal configuration."""
    settings = sam_settings(16, 2, 2, (1,), size=64, window=2, channels=32, decoder_heads=2, decoder_mlp=32)
    return build_sam(_TEST, settings, weights, preparation=preparation, multimask=multimask)
