from dataclasses import replace

import numpy as np
import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import ImageInput, models
from fundusion.train.adapters import ALIGNED, flair_split
from fundusion.train.protocols import Question, Settings

FAST = Settings(epochs=8, learning_rate=5e-3)
LEARN, ASK = np.arange(24), np.arange(24, 60)


@pytest.fixture(scope="module")
def question():
    """Vectors around two directions; texts that point a little towards them."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    centres = rng.normal(size=(2, 16))
    x = centres[labels] + rng.normal(size=(60, 16)) * 0.5
    aligned = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    texts = centres + rng.normal(size=(2, 16)) * 0.6
    torch.manual_seed(0)
    return Question(
        encoder=torch.nn.Identity(), wanted=ImageInput(size=64), pictures=rng.integers(0, 255, (60, 64, 64, 3)).astype(np.uint8),
        labels=labels, classes=2, studies=np.arange(60), groups=np.arange(60) // 2, vectors=x.astype(np.float32),
        aligned=aligned, class_vectors=(texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float32), scale=14.3,
    )  # fmt: skip


def run(name, question, settings=FAST, learn=LEARN):
    with torch.random.fork_rng(devices=[]):
        return ALIGNED[name](question, learn, ASK, settings)


@pytest.mark.parametrize("name", sorted(ALIGNED))
def test_every_protocol_learns_and_repeats_itself(question, name):
    before = question.aligned.copy(), question.class_vectors.copy()
    p = run(name, question)
    assert p.shape == (36, 2)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert (p.argmax(1) == question.labels[ASK]).mean() >= 0.9
    np.testing.assert_array_equal(p, run(name, question))
    np.testing.assert_array_equal(before[0], question.aligned)
    np.testing.assert_array_equal(before[1], question.class_vectors)


@pytest.mark.parametrize("name", sorted(ALIGNED))
def test_one_example_of_each_class_suffices_to_answer(question, name):
    p = run(name, question, learn=np.array([0, 1]))
    assert bool(np.isfinite(p).all())
    assert (p.argmax(1) == question.labels[ASK]).mean() >= 0.8


def test_the_answer_without_labels_does_not_look_at_them(question):
    turned = replace(question, labels=1 - question.labels)
    np.testing.assert_array_equal(run("zeroshot", question), run("zeroshot", turned))
    assert not np.allclose(run("tip_adapter", question), run("tip_adapter", turned))


def test_scales_of_a_tip_adapter_are_a_switch(question):
    released = run("tip_adapter", question)
    even = run("tip_adapter", question, replace(FAST, tip_scales="consistent"))
    assert not np.allclose(released, even)
    with pytest.raises(InvalidInput, match="'both'"):
        run("tip_adapter", question, replace(FAST, tip_scales="both"))


def test_features_of_the_probe_are_a_switch(question):
    backbone = run("logistic", question)
    projected = run("logistic", question, replace(FAST, probe_features="projected"))
    assert not np.allclose(backbone, projected)
    # What the released script really reads is what comes out when nothing but the unit vectors is there.
    np.testing.assert_allclose(run("logistic", replace(question, vectors=question.aligned)), projected)
    with pytest.raises(InvalidInput, match="'pixels'"):
        run("logistic", question, replace(FAST, probe_features="pixels"))


def test_the_probe_is_that_of_the_released_code(question):
    linear_model = pytest.importorskip("sklearn.linear_model")
    theirs = linear_model.LogisticRegression(C=0.316, class_weight="balanced", max_iter=1000)
    theirs.fit(question.vectors[LEARN].astype(np.float64), question.labels[LEARN])
    p = theirs.predict_proba(question.vectors[ASK].astype(np.float64))
    np.testing.assert_allclose(run("logistic", question), p, atol=1e-6)


def test_a_class_nobody_showed_gets_no_share(question):
    three = replace(question, classes=3)
    assert run("logistic", three)[:, 2].max() == 0
    only = run("logistic", question, learn=np.array([0, 2]))
    assert only[:, 0].tolist() == [1.0] * 36


def test_changed_pictures_are_answered_only_when_asked_for(question):
    seen = []

    class Bright(torch.nn.Module):
        def align_images(self, images):
            seen.append(images.mean().item())
            return torch.nn.functional.normalize(torch.ones(len(images), 16), dim=1)

    asked = replace(question, aligner=Bright())
    run("zeroshot", asked)
    assert seen == []
    first = run("zeroshot", asked, replace(FAST, augmented_answers=True))
    assert len(seen) == 2
    np.testing.assert_allclose(first, first[:1].repeat(36, 0), rtol=1e-6)
    run("zeroshot", asked, replace(FAST, augmented_answers=True, seed=1))
    assert seen[0] != seen[2]


def test_an_encoder_without_texts_is_refused(question):
    bare = replace(question, aligned=None, class_vectors=None, encoder=models.create("visionfm.test"))
    for name in ALIGNED:
        if name != "logistic":
            with pytest.raises(InvalidInput, match="image-text model"):
                run(name, bare)
    assert run("logistic", bare).shape == (36, 2)


def test_the_published_division_takes_each_class_in_the_order_of_the_shuffle():
    labels = np.repeat([0, 1, 2, -1], [20, 10, 5, 7])
    learn, ask = flair_split(labels, 3)
    assert np.bincount(labels[ask]).tolist() == [4, 2, 1]
    assert np.bincount(labels[learn]).tolist() == [4, 2, 1]
    assert len(np.intersect1d(learn, ask)) == 0
    assert min(labels[learn].min(), labels[ask].min()) == 0
    assert not np.array_equal(ask, flair_split(labels, 4)[1])
    with pytest.raises(InvalidInput, match="do not fit"):
        flair_split(labels, 0, test=0.8, train=0.4)
