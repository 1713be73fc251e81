"""The side of the optic disc: right where plain, silent where not."""

import numpy as np
import pytest

from fundusion.audit.disc_side import MEASURED, disc_side
from fundusion.audit.picture import normalise, open_picture
from fundusion.core.vocabulary import Laterality


def test_real_photographs_name_their_eye_and_mirrored_ones_the_other(data_root):
    paths = sorted((data_root / "odir" / "images").glob("*.jpg"))[:120]
    right = answered = 0
    for path in paths:
        picture = normalise(open_picture(path).pixels)[0]
        said = disc_side(picture)
        if said is None:
            continue
        answered += 1
        right += said == (Laterality.RIGHT if "right" in path.stem else Laterality.LEFT)
        assert disc_side(np.ascontiguousarray(picture[:, ::-1])) in (None, *(e for e in Laterality if e != said))
    assert answered >= 0.6 * len(paths)
    assert right >= 0.97 * answered


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_picture_without_structure_gets_no_answer(value):
    assert disc_side(np.full((256, 256, 3), value, np.uint8)) is None


def test_what_was_measured_is_a_share(data_root):
    for _, pictures, share, correct in MEASURED:
        assert pictures > 0
        assert 0 < share <= 1
        assert 0.9 < correct <= 1
