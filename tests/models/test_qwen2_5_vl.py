"""Qwen2.5-VL: patches of the library's processor, positions in rows and columns, and no memory of the call before."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models
from fundusion.layers.generator import pictures_of
from fundusion.models.qwen2_5_vl import patch_rows

ASKED = [[Turn(role="user", text="what is seen?")]]


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = models.create("qwen2_5_vl.test").eval()
    with torch.no_grad():
        # Fresh attention hardly looks at positions.
        for name, p in made.body.model.language_model.named_parameters():
            if "q_proj.weight" in name or "k_proj.weight" in name:
                p.mul_(40)
    return made


def test_patches_are_those_of_the_library():
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    library = Qwen2VLImageProcessor(
        do_resize=False, do_rescale=False, do_normalize=False, patch_size=14, merge_size=2, temporal_patch_size=2
    )
    images = torch.randn(2, 3, 56, 84)
    theirs = library(images=list(images), return_tensors="pt")["pixel_values"]
    assert torch.equal(patch_rows(images, patch=14, merge=2, frames=2), theirs)


@torch.no_grad()
def test_kinds_of_tokens_are_given_as_positions_would_fall_back_silently(model):
    images = torch.randn(1, 3, 64, 48)
    words = model.read(images, ASKED, answers=False)
    given = model._feed.inputs(pictures_of(images, None, 1), words)
    assert int(given["mm_token_type_ids"].sum()) == 4 * 3
    right = model.token_logits(images, words)
    model.body.model.rope_deltas = None
    given.pop("mm_token_type_ids")
    fallen_back = model.body(**given).logits
    assert float((fallen_back - right).abs().max()) > 1e-3


@torch.no_grad()
def test_a_call_does_not_remember_the_one_before(model):
    small, large = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 96, 64)
    first = model.generate(small, ASKED, max_tokens=5)
    words = model.read(small, ASKED, answers=False)
    logits = model.token_logits(small, words)
    model.generate(large, ASKED, max_tokens=5)
    assert torch.equal(model.token_logits(small, words), logits)
    model.generate(large, ASKED, max_tokens=5)
    assert model.generate(small, ASKED, max_tokens=5) == first
    bare = model.read(None, ASKED, answers=False)
    alone = model.token_logits(None, bare)
    model.generate(large, ASKED, max_tokens=2)
    assert torch.equal(model.token_logits(None, bare), alone)


def test_sides_that_are_no_multiples_are_refused(model):
    with pytest.raises(InvalidInput, match="multiples of 16 px, got 64 x 50"):
        model.generate(torch.zeros(1, 3, 64, 50), ASKED)
