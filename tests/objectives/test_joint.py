"""BLIP's three losses: parts, shared weights, wrong partners, the slow model and the memory, and that steps lower them."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models, objectives

IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SAID = ["drusen", "normal eye", "a b", "c"]


def made(**options):
    torch.manual_seed(0)
    network = models.create("blip.test")
    chosen = {"width": 8, "queue": 6, "ramp": 0, **options}
    return network, objectives.create("joint.blip", network=network, **chosen)


def loss_of(network, objective, seed=0, step=5):
    return objective(network, IMAGES, SAID, step=step, generator=torch.Generator().manual_seed(seed))


def test_parts_sum_to_the_total_and_reach_every_weight():
    network, objective = made()
    loss = loss_of(network, objective)
    torch.testing.assert_close(loss.total, sum(loss.parts.values()))
    assert set(loss.parts) == {"contrast", "match", "caption"}
    loss.total.backward()
    for name, p in [*network.named_parameters(), *objective.named_parameters()]:
        assert name.startswith("slow.") or p.grad is not None or "post_layernorm" in name, name
    assert all(p.grad is None for p in objective.slow.parameters())


def test_the_encoder_shares_all_but_self_attention():
    network, objective = made()
    decoder = network.body.text_decoder.bert
    for mine, theirs in zip(objective.encoder.encoder.layer, decoder.encoder.layer, strict=True):
        assert mine.crossattention is theirs.crossattention
        assert mine.output is theirs.output
        assert mine.attention is not theirs.attention
    assert objective.encoder.embeddings is decoder.embeddings


@torch.no_grad()
def test_the_encoder_reads_both_ways_and_the_decoder_does_not():
    network, objective = made()
    objective.eval()
    words = network.read(IMAGES[:1], [_said("a b c")])
    other = network.read(IMAGES[:1], [_said("a b drusen")])
    both = [objective._text(objective.encoder, w, objective.marks[0]) for w in (words, other)]
    assert float((both[0][:, 1] - both[1][:, 1]).abs().max()) > 1e-6
    logits = [network.token_logits(IMAGES[:1], w) for w in (words, other)]
    assert torch.equal(logits[0][:, 1], logits[1][:, 1])


def _said(text):
    from fundusion.core.interfaces import Turn

    return [Turn(role="user", text=""), Turn(role="assistant", text=text)]


def test_the_slow_model_follows_and_the_memory_turns_after_a_step_only():
    network, objective = made(momentum=0.5)
    queue = objective.image_queue.clone()
    loss_of(network, objective).total.backward()
    assert torch.equal(objective.image_queue, queue)
    before = objective.slow["image_projection"].weight.clone()
    with torch.no_grad():
        objective.image_projection.weight += 1
    objective.after_step(network)
    torch.testing.assert_close(objective.slow["image_projection"].weight, before + 0.5)
    assert int(objective.place) == 4
    assert not torch.equal(objective.image_queue[:4], queue[:4])
    assert torch.equal(objective.image_queue[4:], queue[4:])
    loss_of(network, objective)
    objective.after_step(network)
    assert int(objective.place) == 2
    # Without a step there is nothing to remember.
    kept = objective.image_queue.clone()
    objective.after_step(network)
    assert torch.equal(objective.image_queue, kept)
    torch.testing.assert_close(kept.norm(dim=1), torch.ones(6))


def test_a_memory_smaller_than_a_batch_keeps_the_last():
    network, objective = made(queue=3)
    loss_of(network, objective)
    pending = objective._pending[0]
    objective.after_step(network)
    assert {tuple(r) for r in objective.image_queue.tolist()} == {tuple(r) for r in pending[-3:].tolist()}


def test_the_share_of_the_slow_model_grows_with_the_steps():
    network, objective = made(ramp=10)
    objective.eval()
    network.eval()
    first, last = (loss_of(network, objective, step=s).parts["contrast"] for s in (0, 10))
    assert not torch.equal(first, last)
    assert torch.equal(last, loss_of(network, objective, step=1000).parts["contrast"])


def test_steps_lower_the_loss():
    network, objective = made()
    learned = [p for p in torch.nn.ModuleList([network, objective]).parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-3)
    values = []
    for _ in range(12):
        optimizer.zero_grad()
        total = loss_of(network, objective).total
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert values[-1] < values[0]


def test_what_cannot_be_learned_is_refused():
    network, objective = made()
    with pytest.raises(InvalidInput, match="two or more"):
        objective(network, IMAGES[:1], SAID[:1])
    with pytest.raises(InvalidInput, match="caption 1 is blank"):
        objective(network, IMAGES[:2], ["a", " "])
    with pytest.raises(InvalidInput, match="those of BLIP"):
        objectives.create("joint.blip", network=models.create("llava.test"))
    with pytest.raises(InvalidInput, match="out of range"):
        made(momentum=1.0)
