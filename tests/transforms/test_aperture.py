"""A straight aperture in the haze of scanned film is found; a circle, a fading rim and a black border hide nothing."""

import numpy as np
import pytest

from fundusion.readers.image import read_image
from fundusion.readers.mask import read_mask
from fundusion.transforms.aperture import hidden_rows
from fundusion.transforms.field_of_view import find_field_of_view
from fundusion.transforms.rim import Circle

CIRCLE = Circle(row=100.0, column=110.0, radius=90.0)


def film(*, top=None, bottom=None, haze=30, field=130, fade=0.0):
    rows, columns = np.mgrid[:200, :220]
    inside = (rows - 100) ** 2 + (columns - 110) ** 2 <= 90**2
    inside &= (rows >= (top or 0)) & (rows < (bottom or 200))
    bright = field * np.clip((rows - 10) / max(1.0, fade), 0, 1) if fade else np.full(rows.shape, float(field))
    picture = np.where(inside, np.maximum(bright, haze), haze).astype(np.uint8)
    picture[:6], picture[-6:] = 4, 4
    noise = np.random.default_rng(0).integers(-2, 3, picture.shape)
    return np.repeat(np.clip(picture + noise, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_both_edges_to_the_row():
    top, bottom = hidden_rows(film(top=31, bottom=170), CIRCLE)
    assert top == pytest.approx(30.5, abs=0.7)
    assert bottom == pytest.approx(169.5, abs=0.7)


def test_whole_circle_and_fading_rim_hide_nothing():
    assert hidden_rows(film(), CIRCLE) == (None, None)
    assert hidden_rows(film(fade=70), CIRCLE) == (None, None)


def test_too_little_contrast_is_no_edge():
    assert hidden_rows(film(top=31, field=36), CIRCLE) == (None, None)


def test_the_field_of_hazy_film_ends_at_the_aperture():
    field = find_field_of_view(film(top=31, bottom=170))
    assert field.kind == "clipped"
    assert field.box[0] == pytest.approx(30.5, abs=1.5)
    assert field.box[2] == pytest.approx(169.5, abs=1.5)


def test_masks_of_stare(data_root):
    masks = sorted((data_root / "stare" / "fov").glob("*.png"))
    if not masks:
        pytest.skip("no STARE in the data folder")
    for path in masks:
        truth = read_mask(path) > 127
        picture = read_image(next((data_root / "stare" / "images").glob(f"{path.stem}.*"))).pixels
        found = find_field_of_view(picture).mask(truth.shape)
        assert (found & truth).sum() / (found | truth).sum() >= 0.98, path.stem
