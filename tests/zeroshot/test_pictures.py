from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from fundusion.core.errors import InvalidInput, ReadError
from fundusion.core.interfaces import Features
from fundusion.core.registry import ImageInput
from fundusion.train import aligners
from fundusion.train.aligners import LoadedAligner
from fundusion.transforms.image import prepare
from fundusion.zeroshot import pictures
from fundusion.zeroshot.pictures import ground_picture, ground_prepared

WANTED = ImageInput(size=64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), crop="none")


class Colours(torch.nn.Module):
    """Red, green and blue are three directions; every text means green."""

    embed_dim = align_dim = 3

    def encode(self, images):
        small = torch.nn.functional.avg_pool2d(images, 8)
        return Features(pooled=small.mean((2, 3)), maps=(small,))

    def align_images(self, images):
        return torch.nn.functional.normalize(self.encode(images).pooled, dim=1)

    def tokenize(self, texts):
        return torch.ones(len(texts), 1, dtype=torch.int64), torch.ones(len(texts), 1, dtype=torch.bool)

    def encode_text(self, ids, mask):
        return Features(pooled=torch.tensor([[0.0, 1.0, 0.0]]).repeat(len(ids), 1))

    def align_texts(self, ids, mask):
        return self.encode_text(ids, mask).pooled


@pytest.fixture
def loaded(monkeypatch):
    made = LoadedAligner(name="colours", model=Colours(), wanted=WANTED, sha256="0")
    monkeypatch.setattr(pictures, "load_aligner", lambda *a, **k: made)
    assert aligners.load_aligner is not pictures.load_aligner
    return made


@pytest.fixture
def eye(tmp_path):
    """A red disc on black with a green spot right of the middle, wider than high."""
    image = np.zeros((300, 400, 3), np.uint8)
    cv2.circle(image, (200, 150), 140, (180, 40, 20), -1)
    cv2.circle(image, (260, 110), 24, (40, 220, 20), -1)
    path = tmp_path / "eye.png"
    cv2.imwrite(str(path), image[..., ::-1])
    return path, image


def test_the_overlay_lights_up_where_the_phrase_is(loaded, eye, tmp_path):
    path, image = eye
    found = ground_picture(path, "green spot", tmp_path / "new" / "out.png", model="colours")
    assert found.heat.shape == (300, 400)
    row, column = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert abs(row - 110) < 30
    assert abs(column - 260) < 30
    assert found.heat[150, 120] == 0
    written = cv2.imread(str(tmp_path / "new" / "out.png"))[..., ::-1]
    changed = np.abs(written.astype(int) - image).sum(2)
    assert changed[110, 260] > 40
    # Outside the field nothing is drawn, and the rest of the eye is as it was.
    assert changed[:20, :40].max() == 0
    assert changed[150, 120] == 0
    assert found.low < found.overall < found.high
    assert not found.is_flat


def test_a_flat_map_draws_nothing(loaded, tmp_path):
    grey = np.full((80, 100, 3), 120, np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    # In the whole frame: the model pads to a square, and what it added is left out.
    prepared = prepare(grey, WANTED)
    inner = np.zeros((80, 100), bool)
    inner[30:50, 30:70] = True
    found = ground_prepared(loaded, prepared, torch.tensor([0.0, 1.0, 0.0]), shape=(80, 100), field=inner)
    assert found.is_flat
    assert found.heat.max() == 0


def test_a_peak_that_hardly_stands_out_is_drawn_faintly(loaded):
    """All of the eye is alike but for one dark place: the best place is no finding."""
    text = torch.tensor([0.0, 1.0, 0.0])
    image = np.full((64, 64, 3), (0, 200, 40), np.uint8)
    image[:8, :8] = (200, 0, 0)
    image[40:48, 40:48] = (0, 200, 30)
    found = ground_prepared(loaded, prepare(image, WANTED), text, shape=(64, 64))
    assert found.high - found.low > 0.5
    assert 0 < found.heat.max() < 0.2


def test_two_phrases_that_mean_the_same_differ_nowhere(loaded, eye, tmp_path):
    found = ground_picture(eye[0], "green spot", tmp_path / "o.png", model="colours", against="leaf")
    assert found.is_flat
    assert found.overall == pytest.approx(0)


def test_hiding_parts_finds_it_too(loaded, eye, tmp_path):
    found = ground_picture(eye[0], "green spot", tmp_path / "o.png", model="colours", method="occlusion")
    row, column = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert abs(row - 110) < 45
    assert abs(column - 260) < 45


def test_findings_are_asked_with_all_their_texts(loaded, eye, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        Colours,
        "tokenize",
        lambda self, texts: said.extend(texts) or (torch.ones(len(texts), 1).long(), torch.ones(len(texts), 1).bool()),
    )
    ground_picture(eye[0], "ERM", tmp_path / "o.png", model="colours")
    assert "A fundus photograph of epiretinal membrane" in said
    said.clear()
    ground_picture(eye[0], "sea fan", tmp_path / "o.png", model="colours")
    assert set(said) == {"A fundus photograph of sea fan"}


@pytest.mark.parametrize("phrase", ["", "a\u200bb", "x" * 1_000_000])
def test_phrases_that_cannot_be_read_are_refused(loaded, eye, tmp_path, phrase):
    with pytest.raises(InvalidInput) as caught:
        ground_picture(eye[0], phrase, tmp_path / "o.png", model="colours")
    assert caught.value.code.startswith("text.")
    assert not (tmp_path / "o.png").exists()


def test_a_file_that_is_no_picture_leaves_nothing(loaded, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ReadError):
        ground_picture(tmp_path / "a.png", "drusen", tmp_path / "o.png", model="colours")
    assert not (tmp_path / "o.png").exists()
    assert replace(loaded).name == "colours"
