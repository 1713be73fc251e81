import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.tasks import Binary, MultiClass, MultiLabel, Ordinal, Regression
from fundusion.decision.calibration import probabilities_from_logits, softmax
from fundusion.metrics.classification import auroc
from fundusion.zeroshot.experts import expert_logits, fit_expert_fusion

Z = np.random.default_rng(0).normal(size=(7, 5)) * 3
GRADES = ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("method", ["corn", "coral"])
def test_grades_keep_their_probabilities_as_logits_of_an_ordinal_head(method):
    task = Ordinal(5, method=method)
    p = probabilities_from_logits(task, expert_logits(task, GRADES, Z))
    np.testing.assert_allclose(p, softmax(Z), atol=1e-9)


def test_exclusive_and_binary_labels_keep_theirs():
    np.testing.assert_allclose(expert_logits(MultiClass("abcde"), list("abcde"), Z), Z)
    task = Binary(negative="no", positive="yes")
    p = probabilities_from_logits(task, expert_logits(task, ["no", "yes"], Z[:, :2]))
    np.testing.assert_allclose(p, softmax(Z[:, :2]))


def test_labels_are_matched_by_name_and_others_refused():
    turned = expert_logits(MultiLabel("abcde"), list("edcba"), Z)
    np.testing.assert_array_equal(turned, Z[:, ::-1])
    for task in (MultiLabel("abcd"), Ordinal(4), Regression(unit="mm")):
        with pytest.raises(InvalidInput) as caught:
            expert_logits(task, list("abcde"), Z)
        assert caught.value.code == "zeroshot.other_labels"


@pytest.fixture(scope="module")
def two_experts():
    """Two experts with errors of their own; the second speaks in another scale and level."""
    rng = np.random.default_rng(1)
    y = (rng.random((600, 3)) < 0.4).astype(float)
    first = (y * 2 - 1) + rng.normal(size=y.shape) * 1.6
    second = 20 * ((y * 2 - 1) + rng.normal(size=y.shape) * 1.6) + 35
    return y, first, second


def test_a_zero_shot_expert_adds_to_a_trained_one(two_experts):
    y, first, second = two_experts
    task = MultiLabel("abc")
    fused = fit_expert_fusion("disease", task, {"cfp": first[:300], "zeroshot": second[:300]}, y[:300])
    p = fused.probabilities({"cfp": first[300:], "zeroshot": second[300:]})

    def mean_area(score):
        return np.mean([auroc(y[300:, k], score[:, k]) for k in range(3)])

    assert mean_area(p) > max(mean_area(first[300:]), mean_area(second[300:])) + 0.05
    # And the sum is calibrated although one expert was far off.
    assert abs(p.mean() - y[300:].mean()) < 0.05


def test_an_absent_expert_changes_nothing_and_one_alone_is_calibrated(two_experts):
    y, first, second = two_experts
    fused = fit_expert_fusion("disease", MultiLabel("abc"), {"cfp": first, "zeroshot": second}, y)
    spoilt = np.full_like(second, np.nan)
    gone = np.zeros(len(y), bool)
    alone = fused.probabilities({"cfp": first})
    with_nothing = fused.probabilities({"cfp": first, "zeroshot": spoilt}, {"zeroshot": gone})
    np.testing.assert_array_equal(alone, with_nothing)
    only = fused.probabilities({"zeroshot": second})
    assert abs(only.mean() - y.mean()) < 0.05
    with pytest.raises(InvalidInput, match="no modality"):
        fused.combine({"cfp": first}, {"cfp": gone})
    with pytest.raises(InvalidInput, match="'oct'"):
        fused.combine({"oct": first})


def test_no_labels_leave_the_experts_as_they_are(two_experts):
    _, first, second = two_experts
    fused = fit_expert_fusion("disease", MultiLabel("abc"), {"a": first, "b": second}, np.full((600, 3), np.nan))
    np.testing.assert_allclose(fused.combine({"a": first, "b": second}), first + second, rtol=1e-5)
    with pytest.raises(InvalidInput, match="no expert"):
        fit_expert_fusion("disease", MultiLabel("abc"), {}, [])
