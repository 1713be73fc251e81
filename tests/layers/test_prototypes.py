import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models
from fundusion.layers.prototypes import CALLS, class_vectors, embed_texts, similarity_logits

ALIGNERS = [n for n in models.names() if n.endswith(".test") and "align" in models.card(n).roles]
SHORT, LONG = "drusen", "a round red defect at the fovea with a grey rim and fluid"


def make(name, **options):
    torch.manual_seed(0)
    return models.create(name, **options).eval()


@pytest.mark.parametrize("name", ALIGNERS)
def test_a_prompt_does_not_depend_on_its_neighbours(name):
    aligner = make(name)
    alone = embed_texts(aligner, [SHORT])
    among = embed_texts(aligner, [LONG, SHORT, LONG + " in the left eye", SHORT])
    torch.testing.assert_close(among[1], alone[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(among[3], alone[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(among.norm(dim=1), torch.ones(4))
    assert not torch.allclose(among[0], alone[0], atol=1e-3)


def test_it_does_in_the_released_mode_and_only_there():
    """Released FLAIR averages over padding: the longest text of the call changes all others."""
    released = make("flair.test", pooling="mean_with_padding")

    def of_short(groups, calls):
        return torch.nn.functional.normalize(class_vectors(released, groups, calls=calls)[0], dim=0)

    alone = of_short([[SHORT]], "together")
    padded = of_short([[SHORT], [LONG]], "together")
    assert float(alone @ padded) < 0.9999
    # One call per class: neighbours of other classes do not count, those of the class do.
    torch.testing.assert_close(of_short([[SHORT], [LONG]], "class"), alone, atol=1e-6, rtol=0)
    # Whatever the model does with padding, the default asks so that there is none.
    torch.testing.assert_close(of_short([[SHORT], [LONG]], "alone"), alone, atol=1e-6, rtol=0)
    each = class_vectors(released, [[SHORT, LONG]], calls="alone")
    assert not torch.allclose(class_vectors(released, [[SHORT, LONG]], calls="class"), each, atol=1e-4)


@pytest.mark.parametrize("calls", CALLS)
def test_the_mean_of_several_prompts_is_shorter_unless_it_is_scaled(calls):
    aligner = make("flair.test")
    short = class_vectors(aligner, [[SHORT, LONG], [LONG]], calls=calls)
    assert float(short[0].norm()) < 1 - 1e-4
    assert float(short[1].norm()) == pytest.approx(1, abs=1e-5)
    full = class_vectors(aligner, [[SHORT, LONG], [LONG]], calls=calls, renormalise=True)
    torch.testing.assert_close(full.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(full[0], short[0] / short[0].norm())


def test_a_prompt_that_is_there_twice_counts_twice():
    aligner = make("flair.test")
    once = embed_texts(aligner, [SHORT, LONG])
    twice = class_vectors(aligner, [[SHORT, SHORT, LONG]])
    torch.testing.assert_close(twice[0], (2 * once[0] + once[1]) / 3)


def test_asking_twice_gives_the_same_and_changes_nothing():
    aligner = make("flair.test")
    before = {k: v.clone() for k, v in aligner.state_dict().items()}
    groups = [[SHORT], [LONG, SHORT]]
    first = class_vectors(aligner, groups)
    assert torch.equal(first, class_vectors(aligner, groups))
    assert groups == [[SHORT], [LONG, SHORT]]
    assert all(torch.equal(before[k], v) for k, v in aligner.state_dict().items())


def test_many_texts_of_one_length_are_divided():
    aligner = make("flair.test")
    texts = [f"eye {a}{b}" for a in "abcdefghij" for b in "abcdefghij"]
    vectors = embed_texts(aligner, texts)
    torch.testing.assert_close(vectors[77:78], embed_texts(aligner, [texts[77]]), atol=1e-6, rtol=0)


def test_logits_have_scale_and_shift():
    class Shifted:
        def scale(self):
            return torch.tensor(2.0)

        def shift(self):
            return torch.tensor(-10.0)

    found = similarity_logits(Shifted(), torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 0.0]]))
    assert found.tolist() == [[-8.0, -10.0, -10.0], [-10.0, -9.0, -10.0]]


def test_what_cannot_be_asked_is_refused():
    aligner = make("flair.test")
    for groups in ([], [[]], [[SHORT], []], [[SHORT], [" "]]):
        with pytest.raises(InvalidInput) as caught:
            class_vectors(aligner, groups)
        assert caught.value.code == "text.empty"
    with pytest.raises(InvalidInput, match="'all'"):
        class_vectors(aligner, [[SHORT]], calls="all")
    with pytest.raises(InvalidInput, match="cannot read texts"):
        embed_texts(torch.nn.Identity(), [SHORT])

    class Broken(torch.nn.Module):
        embed_dim = 4

        def tokenize(self, texts):
            return torch.ones(len(texts), 2, dtype=torch.int64), torch.ones(len(texts), 2, dtype=torch.bool)

        def encode_text(self, ids, mask):
            raise NotImplementedError

        def align_texts(self, ids, mask):
            return torch.full((len(ids), 4), float("nan"))

    with pytest.raises(InvalidInput) as caught:
        embed_texts(Broken(), [SHORT])
    assert caught.value.code == "model.not_finite"
