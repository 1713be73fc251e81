"""Contrast of pairs: golden value, libraries, categories, rows that say nothing."""

import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import objectives

from .pairs import NAN, Given, random_given, rows


def test_the_released_loss_of_flair(golden_root):
    stored = load_file(golden_root / "flair" / "tiny.safetensors")
    network = Given(stored["loss_img"], stored["loss_txt"], log_scale=float(stored["logit_scale"]))
    # Rows 0 and 2, and rows 1 and 4, are of one category in the stored targets.
    batch = rows(range(5), range(5), category=[0, 1, 0, 2, 1])
    loss = objectives.create("contrastive.flair")(network, batch)
    assert abs(loss.total.item() - float(stored["loss"])) <= 1e-4
    hard = objectives.create("contrastive.clip")(network, batch)
    assert abs(hard.total.item() - float(stored["loss"])) > 1e-2


def test_hard_pairs_are_the_loss_of_the_library():
    transformers = pytest.importorskip("transformers.models.clip.modeling_clip")
    network = random_given(log_scale=math.log(10.0))
    loss = objectives.create("contrastive.clip")(network, rows(range(6), range(6)))
    images, texts = F.normalize(network.images, dim=1), F.normalize(network.texts, dim=1)
    torch.testing.assert_close(loss.total, transformers.image_text_contrastive_loss(10.0 * texts @ images.T))


def test_pair_by_pair_is_the_sum_over_all_pairs_of_a_row():
    network = random_given(log_scale=math.log(10.0), shift=-10.0)
    loss = objectives.create("contrastive.siglip")(network, rows(range(6), range(6)))
    images, texts = F.normalize(network.images, dim=1), F.normalize(network.texts, dim=1)
    expected = 0.0
    for i in range(6):
        for j in range(6):
            logit = 10.0 * (images[i] @ texts[j]).item() - 10.0
            expected += math.log1p(math.exp(-logit if i == j else logit)) / 6
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)


def test_texts_of_the_same_category_are_no_mistakes():
    shared = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    network = Given(shared.clone(), shared.clone(), log_scale=math.log(50.0))
    batch = rows(range(3), range(3), category=[7, 7, 8])
    soft = objectives.create("contrastive.flair")(network, batch).total
    hard = objectives.create("contrastive.clip")(network, batch).total
    # The best that can be done with two equal right answers is to share between them.
    assert soft.item() == pytest.approx(2 / 3 * math.log(2), abs=1e-4)
    torch.testing.assert_close(soft, hard)
    apart = Given(torch.eye(3), torch.eye(3), log_scale=math.log(50.0))
    assert (
        objectives.create("contrastive.flair")(apart, batch).total
        > objectives.create("contrastive.clip")(apart, batch).total
    )
    by_pair, by_category = (
        objectives.create("contrastive.siglip", positives=p)(network, batch).total for p in ("pair", "category")
    )
    assert by_category < by_pair


@pytest.mark.parametrize("name", ["contrastive.clip", "contrastive.flair", "contrastive.siglip"])
def test_rows_with_one_side_only_weigh_nothing(name):
    network = random_given()
    objective = objectives.create(name)
    full = objective(network, rows([0, 1, 2], [0, 1, 2], category=[0, 1, 0]))
    more = objective(network, rows([0, 3, 1, None, 2], [0, None, 1, 5, 2], category=[0, 0, 1, 1, 0]))
    torch.testing.assert_close(full.total, more.total)
    more.total.backward()
    assert network.images.grad[3].abs().sum() == 0
    assert network.texts.grad[5].abs().sum() == 0


def test_what_is_not_known_is_refused():
    with pytest.raises(InvalidInput, match="by pair or by category"):
        objectives.create("contrastive.siglip", positives="all")
    # A category that is not known makes a hard pair.
    network = random_given()
    unknown = rows(range(4), range(4), category=[NAN] * 4)
    torch.testing.assert_close(
        objectives.create("contrastive.flair")(network, unknown).total,
        objectives.create("contrastive.clip")(network, unknown).total,
    )
