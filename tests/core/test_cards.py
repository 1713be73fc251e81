"""Cards as rows; the pages of the documentation are those the cards give."""

from pathlib import Path

import pytest

from fundusion.core.cards import card_rows, fits_licence, licences_page, measurements, models_page
from fundusion.core.registry import Card, ImageInput, is_non_commercial, models, terms_of_weights

ROOT = Path(__file__).resolve().parent.parent.parent
CARDS = {n: models.card(n) for n in models.names()}


def test_the_pages_are_in_step_with_the_cards():
    found = (ROOT / "docs" / "reference" / "models.md").read_text("utf-8")
    assert found == models_page(CARDS, measurements()), "run: fundusion models --markdown models"
    found = (ROOT / "MODEL_LICENSES.md").read_text("utf-8")
    assert found == licences_page(CARDS), "run: fundusion models --markdown licenses"


@pytest.mark.parametrize("name", sorted(CARDS))
def test_every_card_says_what_a_user_needs(name):
    card = CARDS[name]
    rows = dict(card_rows(card, measurements()["models"].get(name)))
    for key in (
        "title",
        "roles",
        "paper",
        "weights saw",
        "licence of code",
        "licence of weights",
        "labels",
        "how to get weights",
    ):
        assert rows[key]
    if "encode" in card.roles:
        assert "px" in rows["input"]
    if "generate" in card.roles and card.modalities != {"text", "table"}:
        assert "px" in rows["input"]
    # Whoever names published weights also names their licence.
    assert card.weights is None or card.weight_license


def test_raw_pixels_and_measurements_are_said_in_words():
    raw = Card(title="A", roles=frozenset({"encode"}), input=ImageInput(size=512, mean=(0.0,) * 3, std=(1 / 255,) * 3))
    measured = {"parameters_m": 5.5, "memory_mib": 100, "ms": 20.4, "ms_bf16": 9.6, "size": 512}
    rows = dict(card_rows(raw, measured))
    assert "raw values from 0 to 255" in rows["input"]
    assert rows["measured"].startswith("5.5 M parameters, 100 MiB, 20 ms per image at 512 px (10 ms in bfloat16)")
    assert rows["labels"] == "encoder only"


def test_licences_are_filtered_and_listed_apart():
    free, limited, none = (
        Card(title="A", weight_license="MIT"),
        Card(title="B", weight_license="CC BY-NC 4.0"),
        Card(title="C"),
    )
    assert [fits_licence(c, "commercial") for c in (free, limited, none)] == [True, False, True]
    assert [fits_licence(c, "non-commercial") for c in (free, limited, none)] == [False, True, False]
    assert [fits_licence(c, "mit") for c in (free, limited, none)] == [True, False, False]
    page = licences_page({"a.x": free, "b.x": limited, "b.test": limited, "c.x": none})
    assert "| CC BY-NC 4.0 | no | `b.x` |" in page
    assert "`c.x`" not in page
    assert is_non_commercial(CARDS["retfound.cfp"].weight_license)


def test_outputs_name_only_the_limits_there_are():
    free = {"source": "a", "sha256": "0" * 64, "license": "MIT", "non_commercial": False}
    assert set(terms_of_weights({"cfp": free})) == {"encoder_weights"}
    limited = {**free, "license": "CC BY-NC 4.0", "non_commercial": True}
    assert "CC BY-NC 4.0" in terms_of_weights({"cfp": free, "oct": limited})["terms_of_use"]


@pytest.mark.parametrize("name", [n for n, c in CARDS.items() if (c.weights or "").startswith("hub:timm/")])
def test_input_and_licence_are_those_timm_states(name):
    timm = pytest.importorskip("timm")
    card = CARDS[name]
    stated = timm.get_pretrained_cfg(card.weights.removeprefix("hub:timm/"))
    assert stated.hf_hub_id == card.weights.removeprefix("hub:")
    assert card.input.mean == pytest.approx(stated.mean)
    assert card.input.std == pytest.approx(stated.std)
    assert card.input.size == stated.input_size[-1]
    assert card.weight_license.lower().replace(" ", "-").startswith(stated.license)


def test_released_files_are_those_timm_names():
    import timm

    known = {timm.get_pretrained_cfg(n).url for n in timm.list_pretrained("legacy_se*")}
    ours = {c.weights for c in CARDS.values() if (c.weights or "").startswith("https:")}
    assert len(ours) == 8
    assert ours <= known
