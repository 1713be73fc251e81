"""BLIP-2's first stage: the mask leaks nothing, the network's own queries learn, the image encoder does not, steps lower the loss."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models, objectives
from fundusion.objectives.querying import writing_mask

IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SAID = ["drusen", "normal eye", "a b", "c"]


def made(**options):
    torch.manual_seed(0)
    network = models.create("blip2.test").eval()
    return network, objectives.create("querying.blip2", network=network, width=8, **options).eval()


def loss_of(network, objective, said=SAID):
    return objective(network, IMAGES, said, generator=torch.Generator().manual_seed(0))


def test_parts_and_gradients():
    network, objective = made()
    loss = loss_of(network, objective)
    torch.testing.assert_close(loss.total, sum(loss.parts.values()))
    loss.total.backward()
    assert network.body.query_tokens.grad.abs().sum() > 0
    own = network.body.qformer.encoder.layer
    assert all(p.grad is not None for layer in own for p in layer.parameters())
    assert all(p.grad is not None for p in objective.parameters())
    # The image encoder and the language model have no part in it.
    for part in (network.body.vision_model, network.body.language_model, network.body.language_projection):
        assert all(p.grad is None for p in part.parameters())


@torch.no_grad()
def test_a_word_sees_no_later_word_and_queries_see_none_while_text_is_written():
    network, objective = made()
    queries = network.body.query_tokens.expand(1, -1, -1)
    patches = network.body.vision_model(pixel_values=IMAGES[:1]).last_hidden_state
    states = []
    for text in ("a b c", "a b d"):
        words = objective._read([text], IMAGES.device)
        states.append(objective._states(queries, words, patches, writing_mask(4, words.mask)))
    change = (states[0] - states[1]).abs().amax((0, 2))
    # Four queries, the start, a, b: nothing leaks; the changed word and the end after it differ.
    assert change[:7].max() == 0
    assert bool((change[7:] > 0).all())
    full = [objective._states(queries, objective._read([t], IMAGES.device), patches) for t in ("a b c", "a b d")]
    assert float((full[0] - full[1])[:, :4].abs().max()) > 0


@torch.no_grad()
def test_padding_is_seen_by_nobody():
    _, objective = made()
    alone = objective._states(None, objective._read(["c"], IMAGES.device), None)
    beside = objective._states(None, objective._read(["c", "normal eye drusen a b"], IMAGES.device), None)
    torch.testing.assert_close(beside[:1, : alone.shape[1]], alone, atol=1e-6, rtol=0)
    mask = writing_mask(2, torch.tensor([[True, False]]))
    assert not bool(mask[0, 0, :3, 3].any())
    assert bool(mask[0, 0, 3, 3])


def test_what_is_learned_is_in_the_network_and_steps_lower_the_loss():
    network, objective = made()
    before = network.body.query_tokens.clone()
    own = [*torch.nn.ModuleList([network.body.qformer, objective]).parameters()]
    optimizer = torch.optim.AdamW([network.body.query_tokens, *own], lr=1e-3)
    values = []
    for _ in range(12):
        optimizer.zero_grad()
        total = loss_of(network, objective).total
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert values[-1] < values[0]
    assert not torch.equal(before, network.body.query_tokens)


def test_long_texts_are_cut_and_other_models_refused():
    network, objective = made(max_tokens=4)
    assert bool(torch.isfinite(loss_of(network, objective, ["drusen " * 40, "a", "b", "c"]).total))
    with pytest.raises(InvalidInput, match="two or more"):
        objective(network, IMAGES[:1], SAID[:1])
    with pytest.raises(InvalidInput, match="blank"):
        objective(network, IMAGES[:2], ["a", ""])
    with pytest.raises(InvalidInput, match="that of BLIP-2"):
        objectives.create("querying.blip2", network=models.create("llava.test"))
