"""A study cut and scaled for the encoders of a network."""

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import ImageInput
from fundusion.core.study import Image, Study
from fundusion.core.table import TableSchema
from fundusion.datasets.synthetic import draw_eye
from fundusion.transforms.prepared import prepare_study

SCHEMA = TableSchema.fit([{"age": 40}, {"age": 60}])


def test_only_what_the_network_reads_at_its_size():
    study = draw_eye(1, size=96, modalities=("cfp", "oct", "text", "table")).study
    ready = prepare_study(study, {"cfp": ImageInput(size=48)}, schema=SCHEMA)
    assert set(ready.images) == {"cfp"}
    assert ready.images["cfp"][0].pixels.shape == (48, 48, 3)
    assert ready.text == study.report
    assert ready.table_mask.shape == (1,)
    assert ready.labels == study.labels


def test_a_volume_gives_its_frames_up_to_the_number_that_is_read(generator):
    volume = Image(pixels=generator.integers(0, 255, (20, 64, 64)).astype(np.uint8), modality="oct")
    study = Study(study_id="a", images={"oct": (volume,)})
    wanted = ImageInput(size=32, channels=1, mean=(0.5,), std=(0.25,), crop="none", max_frames=5)
    assert len(prepare_study(study, {"oct": wanted}).images["oct"]) == 5


def test_a_bad_cell_names_its_column():
    study = Study(study_id="a", metadata={"age": "sixty"})
    with pytest.raises(InvalidInput, match="age"):
        prepare_study(study, {}, schema=SCHEMA)
