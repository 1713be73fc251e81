"""The list, the card and the page say the same."""

from pathlib import Path

import pytest

from fundusion.core.registry import datasets
from fundusion.datasets._cards import card_lines, markdown, size_of
from fundusion.datasets._recognise import public_sets

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "datasets.md"


def test_the_page_of_the_documentation_is_that_of_the_cards():
    assert PAGE.read_text("utf-8") == markdown(), "run: fundusion datasets --markdown > docs/reference/datasets.md"


@pytest.mark.parametrize("name", public_sets())
def test_a_card_says_terms_place_and_traps(name):
    text = "\n".join(card_lines(name, datasets.card(name)))
    for word in ("terms", "ask at", "folder", "holds", "paper"):
        assert f"  {word}" in text
    assert size_of(datasets.card(name)) in text
    assert f"## {name}\n" in markdown()


def test_a_set_that_is_not_published_has_a_short_card():
    assert len(list(card_lines("synthetic", datasets.card("synthetic")))) == 2
