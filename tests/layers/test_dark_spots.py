"""Dark spots are found where they are, bright ones, vessels' insides and the border are not, and features are those of the place."""

import torch

from fundusion.datasets.synthetic import draw_eye
from fundusion.layers.dark_spots import dark_spots, spot_features


def disc_picture(size=96):
    """Return an even bright disc on black, `(1, 3, S, S)`."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    inside = (y - size / 2) ** 2 + (x - size / 2) ** 2 < (0.46 * size) ** 2
    return torch.where(inside, 1.0, -1.5).expand(1, 3, size, size).clone()


def test_spots_are_found_by_their_contrast_and_bright_ones_are_not():
    picture = disc_picture()
    places = {(30, 50): -1.0, (60, 40): -0.5, (50, 62): 0.5}
    for (row, column), change in places.items():
        picture[:, :, row - 1 : row + 2, column - 1 : column + 2] += change
    rows, columns, contrast = dark_spots(picture, 8)
    assert [(int(r), int(c)) for r, c in zip(rows[0, :2], columns[0, :2], strict=True)] == [(30, 50), (60, 40)]
    assert contrast[0, 0] > contrast[0, 1] > 4 * contrast[0, 2].clamp(min=0)
    found = set(zip(rows[0].tolist(), columns[0].tolist(), strict=True))
    assert (50, 62) not in found


def test_the_border_of_the_field_is_no_spot_and_an_even_picture_has_none():
    _, _, contrast = dark_spots(disc_picture(), 4)
    assert contrast.max() < 1e-5
    even = torch.ones(2, 3, 32, 32)
    features = spot_features(even, [torch.ones(2, 5, 16, 16)], 3)
    assert features.shape == (2, 3, 5 + 3 + 1)
    assert not bool(features.any())


def test_features_are_those_of_the_place_and_pictures_do_not_mix():
    pictures = torch.cat([disc_picture(), disc_picture()])
    pictures[0, :, 30:33, 50:53] = 0.0
    pictures[1, :, 60:63, 40:43] = 0.2
    half = torch.arange(48 * 48, dtype=torch.float32).view(1, 1, 48, 48).repeat(2, 2, 1, 1)
    fine = torch.zeros(2, 1, 96, 96)
    fine[:, :, 32, 52] = 7.0
    features = spot_features(pictures, [fine, half], 1)
    assert features[0, 0, 0] == 7.0
    assert features[1, 0, 0] == 0.0
    assert features[0, 0, 1] == 15 * 48 + 25
    assert features[1, 0, 1] == 30 * 48 + 20
    torch.testing.assert_close(features[:, 0, 3:6], torch.tensor([[0.0] * 3, [0.2] * 3]))
    torch.testing.assert_close(features[:1], spot_features(pictures[:1], [fine[:1], half[:1]], 1))


def test_drawn_microaneurysms_are_among_the_spots():
    hit = total = 0
    for seed in range(4):
        eye = draw_eye((11, seed), size=448, modalities=("cfp",), grade=1)
        pixels = torch.from_numpy(eye.study.images["cfp"][0].pixels.copy()).permute(2, 0, 1)[None] / 255
        mean, std = torch.tensor([0.42, 0.28, 0.20]), torch.tensor([0.25, 0.20, 0.17])
        rows, columns, _ = dark_spots((pixels - mean[:, None, None]) / std[:, None, None], 32)
        lesions = torch.nn.functional.max_pool2d(
            torch.from_numpy(eye.truth.lesions["MA"].copy())[None, None].float(), 5, 1, 2
        )[0, 0]
        hit += int(lesions[rows[0], columns[0]].sum())
        total += eye.truth.counts["MA"]
    assert hit > 0.5 * total
