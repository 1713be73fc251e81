"""Pages of a run and the list of them: every eye is listed, links lead to pages that are there, rejected eyes say why."""

import re

import numpy as np
import pytest
from PIL import Image

from fundusion.batch.cohort_pages import FOLDER, INDEX, write_list
from fundusion.batch.measuring import Reading, find_items, measure_all
from fundusion.core.cohort import Cohort, CohortEye


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


@pytest.fixture
def run(tmp_path):
    mask = np.zeros((160, 160))
    mask[78:83, 10:150] = 255
    for name in ("a", "B", "b", "odd name <x>"):
        save(tmp_path / "masks" / f"{name}.png", mask)
    save(tmp_path / "masks" / "dark.png", mask * 0)
    facts = tmp_path / "facts.csv"
    facts.write_text("name,patient_id,age,laterality\na,p1,50,OD\nB,p2,51,OS\n")
    eyes = tuple(
        CohortEye(patient_id=f"h{k}", age=40.0 + k % 20, values={"density_vessels": 0.01 + 0.0001 * k})
        for k in range(60)
    )
    cohort = Cohort(name="healthy.csv", digest="0", eyes=eyes)
    items = find_items([tmp_path / "masks"], facts=facts)
    summary = measure_all(items, tmp_path / "out", reading=Reading(cohort=cohort))
    return items, cohort, summary, tmp_path / "out"


def test_every_eye_is_listed_and_every_link_leads_to_its_page(run):
    _, _, summary, out = run
    assert summary.counts == {"total": 5, "ok": 4, "rejected": 1, "pending": 0}
    page = (out / INDEX).read_text()
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == len(set(links)) == 4
    for link in links:
        assert link.startswith(f"{FOLDER}/")
        assert "Measured eye" in (out / link).read_text()
    assert "The mask is empty." in page
    assert "<x>" not in page
    assert "healthy.csv: not a norm" in page
    assert page.count("<tr>") == 6
    # The one with age and the high density lies above; the others have no age.
    assert "0 below and 1 above the band, of 1" in page
    assert page.count("no reference at this age") == 2


def test_a_run_that_goes_on_keeps_its_pages(run):
    items, cohort, _, out = run
    before = {p.name: p.stat().st_mtime_ns for p in (out / FOLDER).iterdir()}
    measure_all(items, out, reading=Reading(cohort=cohort))
    assert {p.name: p.stat().st_mtime_ns for p in (out / FOLDER).iterdir()} == before


def test_without_a_cohort_there_are_no_pages(run, tmp_path):
    items, _, _, _ = run
    measure_all(items, tmp_path / "plain")
    assert not (tmp_path / "plain" / INDEX).exists()
    assert not (tmp_path / "plain" / FOLDER).exists()


def test_an_empty_list_is_a_page_too(tmp_path):
    write_list(tmp_path, [], {"total": 0}, "c.csv")
    assert "c.csv" in (tmp_path / INDEX).read_text()
