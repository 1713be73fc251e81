import numpy as np
import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import ImageInput, models
from fundusion.train.protocols import PROTOCOLS, AttentiveHead, Question, Settings, linear_logits

FAST = Settings(steps=60, batch_size=16, learning_rate=5e-3)


@pytest.fixture(scope="module")
def question():
    """Bright and dark pictures: every protocol must learn it."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    pictures = (rng.integers(0, 60, (80, 64, 64, 3)) + labels[:, None, None, None] * 120).astype(np.uint8)
    torch.manual_seed(0)
    q = Question(
        encoder=models.create("visionfm.test", pool="patch_mean").eval(), wanted=ImageInput(size=64), pictures=pictures,
        labels=labels, classes=2, studies=np.arange(80), groups=np.arange(80) // 2, vectors=np.zeros((80, 16), np.float32),
    )  # fmt: skip
    with torch.no_grad():
        q.vectors = q.encoder.encode(q.images(np.arange(80))).pooled.numpy()
    return q


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_protocol_learns_and_leaves_the_encoder_alone(question, name):
    before = {k: v.clone() for k, v in question.encoder.state_dict().items()}
    learn, ask = np.arange(60), np.arange(60, 80)
    with torch.random.fork_rng(devices=[]):
        p = PROTOCOLS[name](question, learn, ask, FAST)
        again = PROTOCOLS[name](question, learn, ask, FAST)
    assert p.shape == (20, 2)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert (p.argmax(1) == question.labels[ask]).mean() >= 0.9
    np.testing.assert_array_equal(p, again)
    after = question.encoder.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("name", ["linear", "knn"])
def test_one_example_of_each_class_suffices_to_answer(question, name):
    p = PROTOCOLS[name](question, np.array([0, 1]), np.arange(2, 20), FAST)
    assert bool(np.isfinite(p).all())
    assert (p.argmax(1) == question.labels[2:20]).mean() >= 0.9


def test_a_frozen_first_stage_keeps_the_encoder_still(question):
    p = {}
    with torch.random.fork_rng(devices=[]):
        for share in (0.0, 1.0):
            s = Settings(steps=4, batch_size=8, learning_rate=1e-2, layer_decay=1.0, frozen_share=share)
            p[share] = PROTOCOLS["finetune"](question, np.arange(8), np.arange(8, 16), s)
    assert not np.allclose(p[0.0], p[1.0])


def test_an_encoder_without_biases_has_no_bitfit(question):
    from dataclasses import replace

    class Bare(torch.nn.Linear):
        embed_dim = 4

    with pytest.raises(InvalidInput, match="no biases"):
        PROTOCOLS["bitfit"](replace(question, encoder=Bare(4, 4, bias=False)), np.arange(4), np.arange(4), FAST)


def test_the_attentive_head_does_not_mind_the_order_of_tokens():
    torch.manual_seed(0)
    head, tokens = AttentiveHead(12, 3).eval(), torch.randn(2, 5, 12)
    torch.testing.assert_close(head(tokens), head(tokens[:, [3, 1, 0, 4, 2]]), rtol=1e-4, atol=1e-5)


def test_events_that_hold_together_are_learned_side_by_side_and_unknown_ones_are_left_out():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 6)).astype(np.float32)
    events = (x[:, :2] > 0).astype(float)
    truth = events.copy()
    # What is not known must not matter, whatever stands in the pictures.
    events[:40, 0] = np.nan
    learn, ask = np.arange(120), np.arange(120, 200)
    z = linear_logits(x, events, np.arange(200), learn=learn, ask=ask)
    assert z.shape == (80, 2)
    assert ((z > 0) == truth[ask]).mean() > 0.9
    flipped = np.where(np.arange(200)[:, None] < 40, 1 - truth, truth)
    known = flipped.copy()
    known[:40] = np.nan
    answers = [linear_logits(x, e, np.arange(200), learn=learn, ask=ask) for e in (known, flipped)]
    assert ((answers[0] > 0) == truth[ask]).mean() > ((answers[1] > 0) == truth[ask]).mean()
