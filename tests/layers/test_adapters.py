import math
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fundusion.layers.adapters import ClipAdapter, TipAdapter

SCALE = 1 / 0.07


def filled(name, shape):
    """Weights of the name-hash rule of the golden files."""
    u = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).random(math.prod(shape))
    return torch.from_numpy(((2 * u - 1) * math.sqrt(3 / math.prod(shape[1:]))).astype(np.float32).reshape(shape))


@pytest.fixture(scope="module")
def golden(golden_root):
    return load_file(golden_root / "flair" / "adapters.safetensors")


@torch.no_grad()
def test_clip_adapter_is_the_official_one(golden):
    adapter = ClipAdapter(512)
    for name, value in adapter.named_parameters():
        value.copy_(filled(f"clipadapter.{name.removeprefix('fc.')}", tuple(value.shape)))
    adapted = adapter(golden["X"])
    torch.testing.assert_close(adapted, golden["clip_adapter"], atol=1e-5, rtol=0)
    logits = SCALE * adapted @ golden["text"].T
    torch.testing.assert_close(logits, golden["clip_adapter_logits"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_tip_adapter_is_the_official_one_in_training_and_prediction(golden):
    values = torch.nn.functional.one_hot(golden["Y"].long(), 3).float()
    tip = TipAdapter(golden["cache_keys"], values)
    torch.testing.assert_close(tip(golden["X"], golden["text"], SCALE), golden["tip_logits"], atol=1e-4, rtol=0)
    trained = tip.training_logits(golden["X"], golden["text"], SCALE)
    torch.testing.assert_close(trained, golden["tipf_train_logits"], atol=1e-4, rtol=0)
    # The trap: both are of one adapter, and are not the same. The switch makes them so.
    assert not torch.allclose(trained, golden["tip_logits"], atol=1)
    even = TipAdapter(golden["cache_keys"], values, released_scales=False)
    torch.testing.assert_close(even(golden["X"], golden["text"], SCALE), trained)


def test_an_adapter_without_weight_changes_nothing():
    torch.manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(5, 16), dim=1)
    torch.testing.assert_close(ClipAdapter(16, ratio=0.0)(x), x)
    adapted = ClipAdapter(16)(x)
    torch.testing.assert_close(adapted.norm(dim=1), torch.ones(5))
    assert not torch.allclose(adapted, x)


def test_votes_go_to_the_nearest_examples():
    keys = torch.eye(3)
    tip = TipAdapter(keys, torch.eye(3), beta=5.0)
    votes = tip.votes(keys)
    assert votes.argmax(1).tolist() == [0, 1, 2]
    assert votes.diagonal().tolist() == pytest.approx([1, 1, 1])
    # The examples are copied: training keys leaves the vectors they came from as they were.
    with torch.no_grad():
        tip.keys.add_(1)
    assert torch.equal(keys, torch.eye(3))
