"""Pages stand alone and treat everything from outside as text."""

import base64
import hashlib
import re

import numpy as np
import pytest

from fundusion.core.results import Quality, StudyResult
from fundusion.core.study import Image, Study
from fundusion.report.render import IndexRow, render_index, render_rejected, safe_file_name

EVIL = '"><script>alert(1)</script>'


def result(**changes):
    base = {"study_id": EVIL, "patient_id": EVIL, "laterality": None, "status": "rejected", "code": "image.corrupt",
            "message": f"bad {EVIL}", "hint": EVIL}  # fmt: skip
    return StudyResult(**{**base, **changes})


def check_page(page):
    assert "<script>alert" not in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    assert "default-src 'none'" in page
    assert "not a medical device" in page.lower()


def test_a_rejected_study_says_why_and_shows_the_picture():
    study = Study(study_id="a", images={"cfp": (Image(pixels=np.zeros((64, 64, 3), np.uint8), modality="cfp"),)})
    quality = Quality(gradable=False, score=0.03, reasons=("quality.dark",))
    page = render_rejected(result(quality=quality), study=study)
    check_page(page)
    assert "image.corrupt" in page
    assert "data:image/jpeg" in page
    assert "dark" in page


def test_the_overview_has_a_row_per_study_and_allows_only_its_own_script():
    rows = [
        IndexRow(
            study_id=EVIL,
            patient_id=None,
            laterality="OD",
            status="ok",
            summary=EVIL,
            cells=(0.5, None),
            link="reports/a.html",
        ),
        IndexRow(study_id="b", patient_id="p", laterality=None, status="rejected", summary="dark", cells=(None, None)),
    ]
    page = render_index(rows, columns=["D", "G"], counts={"studies": 2})
    check_page(page)
    assert page.count("<tr>") == 3
    assert "0.50" in page
    script = page.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page


@pytest.mark.parametrize("name", ["a/b", "../../etc/passwd", "con", "A" * 300, "ä b", "", ".", "x\0y"])
def test_file_names_are_safe_and_different(name):
    safe = safe_file_name(name)
    assert re.fullmatch(r"[a-z0-9._-]+", safe)
    assert not safe.startswith(".")
    assert len(safe) < 120
    assert safe != "con"


def test_names_that_differ_only_in_case_or_signs_get_different_files():
    names = ["a/b", "a_b", "A_b", "a:b", "Study", "study"]
    assert len({safe_file_name(n) for n in names}) == len(names)
