"""Batches of pictures and texts: the right text at the right picture, drawn again exactly, and the three kinds of rows."""

import numpy as np
import pytest
import torch

from fundusion.core.registry import ImageInput, models
from fundusion.train.data import PreparedSet
from fundusion.train.pair_steps import Line, PairStep, Said

NAMES = [["drusen", "yellow deposits"], ["cataract"], ["no finding"]]
SAID = [
    Said(texts=("drusen, cataract",), findings=(0, 1), mentions={0: 1, 1: 1}),
    Said(texts=("Drusen, no cataract.",), findings=(0,), mentions={0: 1, 1: -1}, expert=True),
    Said(),
    Said(texts=("cataract",), findings=(1,), mentions={1: 1}),
]


def step_of(choice, vectors=False, **changes):
    torch.manual_seed(0)
    network = models.create("image_text.test")
    rng = np.random.default_rng(0)
    images = rng.random((4, 16), np.float32) if vectors else rng.integers(0, 255, (4, 40, 40, 3)).astype(np.uint8)
    data = PreparedSet(
        study_ids=tuple("abcd"), groups=tuple("abcd"), images={"cfp": images}, starts={"cfp": np.arange(5)}
    )
    options = {
        "wanted": ImageInput(size=32), "studies": np.arange(4), "said": SAID, "names": NAMES,
        "lines": [Line(text="yellow deposits", mentions={0: 1})], "choice": choice, "templates": ("photo of {}",),
        "copies": False, "seed": 0, "strength": 1.0, "flip": True, "steps_per_epoch": 2, **changes,
    }  # fmt: skip
    return PairStep(network, lambda n, b, generator, epoch: (b, epoch), data, "cfp", **options)


def texts_of(step, batch):
    """Return the text of each row by what it was tokenised from."""
    known = ["photo of drusen", "photo of yellow deposits", "photo of cataract", "photo of drusen, cataract",
             "Drusen, no cataract.", "yellow deposits", ""]  # fmt: skip
    ids, mask = step.network.tokenize(known)
    answer = []
    for row, seen in zip(batch.text_ids, batch.text_mask, strict=True):
        mine = row[seen].tolist()
        answer.append(next((k for k, i, m in zip(known, ids, mask, strict=True) if i[m].tolist() == mine), None))
    return answer


def test_whole_texts_belong_to_their_pictures():
    step = step_of("whole")
    batch = step.batch(np.array([3, 0, 1, 2]), 0, None)
    assert batch.study_ids == ("d", "a", "b", "c")
    # The report of an eye is not dressed as a prompt.
    assert texts_of(step, batch) == ["photo of cataract", "photo of drusen, cataract", "Drusen, no cataract.", ""]
    assert batch.present.tolist() == [[True, True]] * 3 + [[True, False]]
    assert torch.isnan(batch.targets["category"]).all()
    assert batch.targets["knowledge"].tolist() == [0, 0, 1, 0]
    assert batch.images["cfp"].shape == (4, 3, 32, 32)


@pytest.mark.parametrize("choice", ["finding", "report"])
def test_a_finding_and_its_category_are_drawn_together(choice):
    step = step_of(choice)
    seen = set()
    for number in range(30):
        batch = step.batch(np.arange(4), number, None)
        for text, category in zip(texts_of(step, batch), batch.targets["category"].tolist(), strict=True):
            seen.add((text, None if np.isnan(category) else int(category)))
    expected = {("photo of drusen", 0), ("photo of yellow deposits", 0), ("photo of cataract", 1), ("", None)}
    # Where reports come first, an eye with one is given it, and it has no category.
    assert seen == expected | ({("Drusen, no cataract.", None)} if choice == "report" else set())


def test_unpaired_rows_are_pictures_then_texts_with_labels_of_their_own():
    step = step_of("unpaired")
    batch = step.batch(np.arange(4), 0, None)
    assert batch.present[:, 0].tolist() == [True] * 4 + [False] * 6
    assert not batch.text_mask[:4].any()
    found = batch.targets["findings"]
    assert found[:4].tolist() == [[1, 1, 0], [1, -1, 0], [0, 0, 0], [0, 1, 0]]
    texts = texts_of(step, batch)[4:]
    rows = {"photo of drusen": [1, 0, 0], "photo of yellow deposits": [1, 0, 0], "photo of cataract": [0, 1, 0],
            "Drusen, no cataract.": [1, -1, 0], "yellow deposits": [1, 0, 0], "": [0, 0, 0]}  # fmt: skip
    assert [rows[t] for t in texts] == found[4:].tolist()
    # Half as many texts again come from what is known.
    assert texts[4:] == ["yellow deposits"] * 2
    assert batch.targets["copies"].sum() == 0


def test_changed_copies_follow_and_keep_the_labels():
    batch = step_of("unpaired", copies=True).batch(np.arange(4), 0, None)
    copies = batch.targets["copies"] > 0
    assert copies.tolist() == [False] * 10 + [True] * 6
    torch.testing.assert_close(batch.targets["findings"][copies], batch.targets["findings"][4:10])
    assert batch.text_mask[copies].any(1).tolist() == batch.text_mask[4:10].any(1).tolist()


def test_a_step_is_decided_by_its_number_and_validation_by_nothing():
    step = step_of("finding")
    one, again, other = (step.batch(np.arange(4), n, None) for n in (5, 5, 6))
    assert torch.equal(one.images["cfp"], again.images["cfp"])
    assert torch.equal(one.text_ids, again.text_ids)
    assert not torch.equal(one.images["cfp"], other.images["cfp"])
    still = step.still(np.arange(4), 0)
    assert torch.equal(still.images["cfp"], step.still(np.arange(4), 1).images["cfp"])


def test_vectors_of_a_kept_tower_pass_through_and_the_epoch_is_told():
    step = step_of("finding", vectors=True)
    batch = step.batch(np.array([2, 0]), 0, None)
    assert torch.equal(batch.images["cfp"], torch.from_numpy(step.data.images["cfp"][[2, 0]]))
    assert step.loss(batch, 5)[1] == 2.5
