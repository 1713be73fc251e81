"""What every fusion promises: absence is normal, order and content of the absent do not matter."""

from dataclasses import replace

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Features
from fundusion.core.registry import fusions
from fundusion.core.tasks import Binary, MultiClass, MultiLabel, Ordinal, Regression
from fundusion.layers.heads import Head

DIMS = {"cfp": 6, "oct": 5, "table": 4}
TASKS = {
    "a": MultiLabel("XY"),
    "b": MultiClass("PQR"),
    "c": Ordinal(4),
    "d": Binary(),
    "e": Regression(unit="mmHg"),
}
NAMES = [n for n in fusions.names() if fusions.card(n).facts.get("needs") != "modality"]


def features_of(rows=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {
        m: Features(
            pooled=torch.randn(rows, d, generator=g).requires_grad_(),
            tokens=torch.randn(rows, 3, d, generator=g),
            token_mask=torch.tensor([[True, True, False]]).expand(rows, 3),
        )
        for m, d in DIMS.items()
    }


PRESENT = {
    "cfp": torch.tensor([True, True, False, True]),
    "oct": torch.tensor([True, False, True, False]),
    "table": torch.tensor([False, True, True, False]),
}


class Answer(torch.nn.Module):
    """A fusion with heads, whatever its level."""

    def __init__(self, name):
        super().__init__()
        torch.manual_seed(0)
        self.decision = fusions.card(name).facts["level"] == "decision"
        self.fusion = fusions.create(name, dims=DIMS, tasks=TASKS, embed_dim=8)
        if self.decision:
            self.heads = torch.nn.ModuleDict(
                {t: torch.nn.ModuleDict({m: Head(k, d) for m, d in DIMS.items()}) for t, k in TASKS.items()}
            )
        else:
            self.heads = torch.nn.ModuleDict({t: Head(k, self.fusion.embed_dim) for t, k in TASKS.items()})

    def forward(self, features, present):
        if not self.decision:
            fused = self.fusion(features, present)
            return {t: h(fused.pooled) for t, h in self.heads.items()}
        # As the network does: heads see zeros where a study lacks the modality.
        clean = {m: torch.where(present[m][:, None], f.pooled, 0.0) for m, f in features.items()}
        return {
            t: self.fusion.combine(t, {m: heads[m](x) for m, x in clean.items()}, present)
            for t, heads in self.heads.items()
        }


@pytest.fixture(params=NAMES)
def answer(request):
    return Answer(request.param).eval()


def test_all_methods_of_the_house_are_here():
    assert set(NAMES) >= {"concat", "gated", "cross_attention", "bottleneck", "late", "evidential"}


def test_shapes_and_order_of_modalities(answer):
    features = features_of()
    one = answer(features, PRESENT)
    assert {t: tuple(z.shape) for t, z in one.items()} == {t: (4, k.outputs) for t, k in TASKS.items()}
    turned = ("table", "cfp", "oct")
    two = answer({m: features[m] for m in turned}, {m: PRESENT[m] for m in turned})
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("poison", [float("nan"), 1e8, float("inf")])
def test_the_content_of_an_absent_modality_reaches_nothing(answer, poison):
    features = features_of()
    spoilt = {
        m: Features(
            pooled=torch.where(PRESENT[m][:, None], f.pooled, poison),
            tokens=torch.where(PRESENT[m][:, None, None], f.tokens, poison),
            token_mask=f.token_mask,
        )
        for m, f in features.items()
    }
    one, two = answer(features, PRESENT), answer(spoilt, PRESENT)
    torch.testing.assert_close(one, two)
    sum(z.sum() for z in two.values()).backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in answer.parameters())


def test_a_modality_that_is_nowhere_may_be_left_out(answer):
    features = features_of()
    present = {"cfp": torch.ones(4, dtype=torch.bool), "oct": torch.zeros(4, dtype=torch.bool)}
    present["table"] = torch.zeros(4, dtype=torch.bool)
    torch.testing.assert_close(answer(features, present), answer({"cfp": features["cfp"]}, {"cfp": present["cfp"]}))


@pytest.mark.parametrize("modality", sorted(DIMS))
def test_one_modality_suffices(answer, modality):
    present = {m: torch.full((4,), m == modality) for m in DIMS}
    assert all(bool(torch.isfinite(z).all()) for z in answer(features_of(), present).values())


def test_a_study_with_nothing_is_refused(answer):
    nothing = {m: p & torch.tensor([True, True, True, False]) for m, p in PRESENT.items()}
    with pytest.raises(InvalidInput) as caught:
        answer(features_of(), nothing)
    assert caught.value.code == "study.empty"


def test_a_row_does_not_depend_on_the_others(answer):
    features = features_of()
    whole = answer(features, PRESENT)
    for i in range(4):
        row = {m: Features(pooled=f.pooled[i : i + 1], tokens=f.tokens[i : i + 1], token_mask=f.token_mask[i : i + 1])
               for m, f in features.items()}  # fmt: skip
        alone = answer(row, {m: p[i : i + 1] for m, p in PRESENT.items()})
        torch.testing.assert_close({t: z[i : i + 1] for t, z in whole.items()}, alone, rtol=1e-4, atol=1e-5)


def test_gradients_reach_present_modalities_only(answer):
    features = features_of()
    sum(z.square().sum() for z in answer(features, PRESENT).values()).backward()
    for m, f in features.items():
        moved = f.pooled.grad.abs().sum(1) > 0
        assert moved.tolist() == PRESENT[m].tolist(), m


def test_every_present_modality_can_change_the_answer(answer):
    present = {m: torch.ones(4, dtype=torch.bool) for m in DIMS}
    one = answer(features_of(), present)["a"]
    for m in DIMS:
        changed = {**features_of(), m: features_of(seed=9)[m]}
        assert not torch.allclose(one, answer(changed, present)["a"]), m


@pytest.mark.parametrize("name", ["cross_attention", "bottleneck"])
def test_tokens_are_a_set_and_masked_ones_are_unseen(name):
    answer, features = Answer(name).eval(), features_of()
    present = {m: torch.ones(4, dtype=torch.bool) for m in DIMS}
    base = answer(features, present)["a"]
    f = features["oct"]
    order = torch.tensor([1, 0, 2])

    def with_oct(**changes):
        return answer({**features, "oct": replace(f, **changes)}, present)["a"]

    shuffled = with_oct(tokens=f.tokens[:, order], token_mask=f.token_mask[:, order])
    torch.testing.assert_close(shuffled, base, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(with_oct(tokens=f.tokens.flip(2).exp()), base, atol=1e-4)
    # The third token is masked: neither what it holds nor whether it is there matters.
    poisoned = torch.where(f.token_mask[..., None], f.tokens, 1e6)
    torch.testing.assert_close(with_oct(tokens=poisoned), base)
    torch.testing.assert_close(with_oct(tokens=f.tokens[:, :2], token_mask=f.token_mask[:, :2]), base)
