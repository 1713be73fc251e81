"""Exchange through a few shared tokens: sets of tokens, masked ones unseen, a narrow passage."""

from dataclasses import replace

import torch

from fundusion.core.interfaces import Features
from fundusion.core.registry import fusions
from fundusion.core.tasks import Binary

DIMS = {"cfp": 4, "oct": 3}


def made(name):
    torch.manual_seed(0)
    fusion = fusions.create(name, dims=DIMS, tasks={"t": Binary()}, embed_dim=8).eval()
    features = {
        m: Features(
            pooled=torch.randn(2, d), tokens=torch.randn(2, 5, d), token_mask=torch.ones(2, 5, dtype=torch.bool)
        )
        for m, d in DIMS.items()
    }
    return fusion, features, {m: torch.ones(2, dtype=torch.bool) for m in DIMS}


def check_tokens(name):
    fusion, features, present = made(name)
    base = fusion(features, present).pooled
    f = features["oct"]
    order = torch.tensor([4, 2, 0, 1, 3])
    shuffled = {**features, "oct": replace(f, tokens=f.tokens[:, order])}
    torch.testing.assert_close(fusion(shuffled, present).pooled, base, rtol=1e-4, atol=1e-5)
    changed = {**features, "oct": replace(f, tokens=f.tokens.flip(2).exp())}
    assert not torch.allclose(fusion(changed, present).pooled, base, atol=1e-4)
    masked = f.token_mask.clone()
    masked[:, 3:] = False
    hidden = replace(f, token_mask=masked, tokens=torch.where(masked[..., None], f.tokens, 1e6))
    short = replace(f, tokens=f.tokens[:, :3], token_mask=masked[:, :3])
    torch.testing.assert_close(
        fusion({**features, "oct": hidden}, present).pooled, fusion({**features, "oct": short}, present).pooled
    )


def test_tokens_are_a_set_and_masked_ones_are_unseen():
    check_tokens("bottleneck")
