"""The reference page is what the script makes of the stored numbers; its pictures show what the words say."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def modules(benchmarks):
    truth = benchmarks("biomarker_truth")
    sys.modules.setdefault("biomarker_truth", truth)
    return truth, benchmarks("biomarker_page")


def test_the_page_is_up_to_date(modules):
    truth, page = modules
    stored = json.loads(truth.RESULTS.read_text("utf-8"))
    assert (ROOT / "docs" / "reference" / "biomarkers.md").read_text("utf-8") == page.page(stored)


def test_every_picture_is_there_and_small(modules):
    _, page = modules
    folder = ROOT / "docs" / "images" / "biomarkers"
    for _, name, _, _ in page.PARTS:
        assert 300 < (folder / f"{name}.png").stat().st_size < 150_000


def test_every_biomarker_has_a_row(modules):
    _, page = modules
    shown = {n for _, _, _, names in page.PARTS for n in names}
    assert shown == {*page.OF_VESSELS, *page.OF_EYE, *page.OF_LESIONS}
