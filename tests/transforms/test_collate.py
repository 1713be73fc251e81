"""The door to torch: presence is marked, nothing absent is filled."""

import numpy as np
import torch

from fundusion.core.registry import ImageInput, models
from fundusion.core.table import TableSchema
from fundusion.core.tasks import STANDARD_TASKS
from fundusion.datasets.synthetic import draw_cohort
from fundusion.transforms.collate import collate, normalise_images
from fundusion.transforms.prepared import prepare_study

INPUTS = {"cfp": ImageInput(size=32), "oct": ImageInput(size=32)}


def made():
    eyes = [e.study for e in draw_cohort(6, seed=4, size=64, missing=0.45, oct_frames=2)]
    schema = TableSchema.fit([e.metadata for e in eyes])
    return eyes, [prepare_study(e, INPUTS, schema=schema) for e in eyes]


def test_presence_owners_and_targets():
    eyes, ready = made()
    names = ("cfp", "oct", "text", "table")
    tokenize = models.create("hashing.test").tokenize
    batch = collate(ready, names, inputs=INPUTS, tokenize=tokenize, tasks={"disease": STANDARD_TASKS["disease"]})
    assert batch.present.tolist() == [[m in e.modalities for m in names] for e in eyes]
    for m in INPUTS:
        expected = [i for i, e in enumerate(eyes) for _ in e.images.get(m, ())]
        assert batch.owner[m].tolist() == expected
        assert batch.images[m].shape == (len(expected), 3, 32, 32)
    assert batch.targets["disease"].shape == (6, 8)
    assert torch.equal(batch.text_mask.any(1), batch.present[:, 2])


def test_a_modality_that_nobody_has_is_not_there():
    _, ready = made()
    batch = collate(ready, ("cfp", "ffa"), inputs={**INPUTS, "ffa": ImageInput(size=32)})
    assert "ffa" not in batch.images
    assert not batch.present[:, 1].any()


def test_pixels_are_normalised_by_the_numbers_of_the_encoder():
    wanted = ImageInput(size=16, mean=(0.5, 0.0, 1.0), std=(0.5, 1.0, 2.0))
    pixels = torch.from_numpy(np.full((1, 16, 16, 3), 255, np.uint8))
    out = normalise_images(pixels, wanted)
    assert out[0, :, 0, 0].tolist() == [1.0, 1.0, 0.0]
    torch.testing.assert_close(normalise_images(torch.ones(1, 3, 16, 16), wanted), out)
