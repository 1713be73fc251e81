"""Every published size can be built (on the meta device, without memory) and has the parameters its words claim."""

import re

import pytest
import torch

from fundusion.core.registry import models

FAMILIES = (
    "cabnet", "clip", "flair", "keepfit", "mae", "medclip", "resnet", "retfound", "retizero", "senet", "swin", "vit",
)  # fmt: skip
NAMES = [n for n in models.names() if n.split(".")[0] in FAMILIES and not n.endswith(".test")]


@pytest.mark.parametrize("name", NAMES)
def test_a_real_size_is_what_it_says(name):
    with torch.device("meta"):
        model = models.create(name)
    claimed = re.search(r"\(([\d.]+) M parameters", models.builder(name).__doc__)
    if claimed:
        count = sum(p.numel() for p in model.parameters()) / 1e6
        assert count == pytest.approx(float(claimed[1]), rel=0.02)
    card = models.card(name)
    assert card.input is not None
    if card.strides:
        with torch.device("meta"):
            images = torch.zeros(1, 3, 64, 64)
            maps = model.encode(images, maps="all").maps
        assert [64 // m.shape[2] for m in maps] == list(card.strides)
        assert maps[-1].shape[1] == model.embed_dim


def test_no_size_of_the_papers_is_missing():
    names = set(NAMES)
    for family, sizes in {
        "resnet": ("18", "34", "50", "101", "152"),
        "senet": ("resnet_50", "resnet_101", "resnet_152", "resnext_50", "resnext_101", "154"),
        "vit": ("tiny_16", "small_16", "base_16", "base_32", "large_16", "large_32", "huge_14"),
        "swin": ("tiny", "small", "base", "large", "base_384", "large_384"),
        "mae": ("base_16", "large_16", "huge_14"),
        "retfound": ("cfp", "oct", "dinov2"),
        "clip": ("base_32", "base_16", "large_14", "large_14_336"),
        "flair": ("resnet_50",),
        "keepfit": ("resnet_50",),
        "medclip": ("swin_tiny",),
        "retizero": ("zero_shot", "retrieval", "fine_tune"),
        "cabnet": ("vgg_16", "resnet_50", "densenet_121", "xception", "mobilenet", "any"),
    }.items():
        assert {f"{family}.{s}" for s in sizes} <= names
