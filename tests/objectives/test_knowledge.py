"""Expert knowledge: stored losses of KeepFIT, and which side of the batch each part sees."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import objectives
from fundusion.layers.reference_attention import ReferenceAttention

from .pairs import Given, random_given, rows


@pytest.fixture
def released_attention(golden_root):
    """The attention of the stored model: released softmax, weights from the rule that fills them by name."""
    spec = importlib.util.spec_from_file_location("detfill", golden_root / "detfill.py")
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    holder = torch.nn.Module()
    holder.attention = ReferenceAttention(512, softmax_over="heads")
    rule.fill(holder)
    return holder.attention.eval()


def test_the_released_loss_of_keepfit(golden_root, released_attention):
    stored = load_file(golden_root / "keepfit" / "tiny.safetensors")
    found = released_attention.weights(stored["ek_img"], stored["ek_kimg"])
    torch.testing.assert_close(found, stored["attn_weights"], rtol=1e-4, atol=1e-5)
    attended = released_attention(stored["ek_img"], stored["ek_kimg"], stored["ek_ktxt"])
    torch.testing.assert_close(attended, stored["ek_attended"], rtol=1e-4, atol=1e-5)
    network = Given(
        torch.cat([stored["ek_img"], stored["ek_kimg"]]), torch.cat([stored["ek_txt"], stored["ek_ktxt"]]),
        log_scale=float(stored["logit_scale"]),
    )  # fmt: skip
    network.attention = released_attention
    batch = rows(range(10), range(10), knowledge=[0] * 6 + [1] * 4)
    loss = objectives.create("knowledge.keepfit")(network, batch)
    for part, name, weight in (("labelled", "loss_clip", 1), ("experts", "loss_kd", 1), ("reference", "ek_mse", 100)):
        assert abs(loss.parts[part].item() - weight * float(stored[name])) <= 1e-4, part
    assert abs(loss.total.item() - float(stored["loss_total"])) <= 1e-4


def objective(**options):
    torch.manual_seed(0)
    return objectives.create("knowledge.keepfit", width=8, dropout=0.0, **options)


def test_parts_sum_to_the_total_and_gradients_reach_both_sides():
    network = random_given()
    ours = objective()
    loss = ours(network, rows(range(6), range(6), knowledge=[0, 0, 0, 1, 1, 1], category=[0, 1, 0, 2, 2, 2]))
    assert set(loss.parts) == {"labelled", "experts", "reference"}
    torch.testing.assert_close(loss.total, sum(loss.parts.values()))
    loss.parts["reference"].backward()
    # The text of a label is pulled, and so is what it is pulled to.
    assert network.texts.grad[:3].abs().sum() > 0
    assert network.texts.grad[3:].abs().sum() > 0
    assert ours.attention.W_q.weight.grad.abs().sum() > 0
    # Experts contrast pair by pair, whatever their categories are; labelled rows by category.
    images, texts = F.normalize(network.images, dim=1), F.normalize(network.texts, dim=1)
    hard = (texts[3:] @ images[3:].T, torch.arange(3))
    expected = (F.cross_entropy(*hard) + F.cross_entropy(hard[0].T, hard[1])) / 2
    torch.testing.assert_close(loss.parts["experts"], expected)


def test_without_one_kind_of_rows_the_other_is_contrasted_alone():
    network = random_given()
    loss = objective()(network, rows(range(3), range(3), knowledge=[0, 0, 0]))
    assert set(loss.parts) == {"labelled"}
    assert set(objective()(network, rows(range(3), range(3), knowledge=[1, 1, 1])).parts) == {"experts"}
    # Rows that say nothing about their kind are labelled ones.
    torch.testing.assert_close(objective()(network, rows(range(3), range(3))).total, loss.total)


def test_some_attention_is_needed():
    with pytest.raises(InvalidInput, match="attention"):
        objectives.create("knowledge.keepfit")(random_given(), rows(range(4), range(4), knowledge=[0, 0, 1, 1]))
