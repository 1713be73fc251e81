import numpy as np
import pytest
import torch

from fundusion.core.errors import InvalidInput, UnknownName
from fundusion.core.registry import models
from fundusion.layers.weights import save_state
from fundusion.train.embedder import Embedder, make_embedder


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


def test_an_encoder_gives_the_mean_over_frames(frames):
    made = make_embedder("vit.test")
    vectors = made.pictures([[frames[0]], [frames[1], frames[2]], [frames[0]]])
    assert vectors.shape == (3, made.dim)
    one, two = made.pictures([[frames[1]], [frames[2]]])
    assert np.allclose(vectors[1], (one + two) / 2, atol=1e-6)
    assert np.allclose(vectors[0], vectors[2])
    assert made.space == "encoder"


def test_random_weights_are_the_same_in_every_call_and_facts_tell_weights_apart(tmp_path):
    before = torch.random.get_rng_state()
    first, second = make_embedder("vit.test"), make_embedder("vit.test")
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.facts() == second.facts()
    save_state(tmp_path / "w.safetensors", models.create("vit.test").body.state_dict())
    other = make_embedder("vit.test", weights=str(tmp_path / "w.safetensors")).facts()
    different = {k for k in other if other[k] != first.facts()[k]}
    assert different == {"weights_sha256", "source"}
    assert "size=32" in make_embedder("vit.test", options={"image_size": 32}).facts()["preprocessing"]["cfp"]


def test_an_aligner_puts_words_and_pictures_in_one_space(frames):
    made = make_embedder("flair.test")
    assert (made.space, made.reads_text) == ("aligned", True)
    pictures, words = made.pictures([[frames[0]]]), made.texts(["drusen", "a long text about haemorrhages"])
    assert pictures.shape[1] == words.shape[1] == made.dim
    assert np.allclose(np.linalg.norm(words, axis=1), 1, atol=1e-5)
    # A text is embedded as if it were alone.
    assert np.array_equal(words[0], made.texts(["drusen"])[0])
    tower = make_embedder("flair.test", space="encoder")
    assert not tower.reads_text
    with pytest.raises(InvalidInput, match="reads no words"):
        tower.texts(["drusen"])


@pytest.mark.parametrize("text", ["", "  \n", "\u200b", "\u202e \ufeff", "..."])
def test_a_text_without_words_is_refused(text):
    with pytest.raises(InvalidInput) as refused:
        make_embedder("flair.test").texts([text])
    assert refused.value.code == "text.empty"


def test_characters_that_cannot_be_seen_change_nothing():
    made = make_embedder("flair.test")
    assert np.array_equal(made.texts(["dr\u200bu\u202esen"]), made.texts(["drusen"]))


def test_a_text_of_a_megabyte_is_read_as_far_as_the_model_reads():
    made = make_embedder("flair.test")
    assert np.array_equal(made.texts(["drusen " * 150_000]), made.texts(["drusen " * 1000]))


def test_shipped_networks_and_run_folders_are_embedders(tiny_model, frames):
    network = make_embedder(str(tiny_model))
    assert np.isfinite(network.pictures([[frames[0][:32, :32]]])).all()
    assert make_embedder("shipped").name == make_embedder("screen").name == "screen"
    with pytest.raises(InvalidInput, match="does not read 'oct'"):
        make_embedder(str(tiny_model), modality="oct")


def test_models_that_cannot_are_refused():
    for call in (
        lambda: make_embedder("bert.test"),
        lambda: make_embedder("vit.test", space="aligned"),
        lambda: Embedder(models.create("vit.test"), "vit.test", models.card("vit.test").input, space="outer"),
    ):
        with pytest.raises(InvalidInput):
            call()
    with pytest.raises(UnknownName):
        make_embedder("no.such_model")
