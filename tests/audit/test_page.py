"""The page: everything told, everything escaped, nothing loaded from elsewhere."""

import re
import shutil

from fundusion.audit.check import check
from fundusion.audit.page import render_check


def test_the_page_shows_pairs_side_by_side_and_is_self_contained(eyes, tmp_path):
    for name in ("a.png", "b.png"):
        shutil.copy(eyes[0], tmp_path / name)
    (tmp_path / "t.csv").write_text(
        "study_id,cfp,split,label.dr_grade\n<i>1</i>,a.png,train,1\n2,b.png,test,2\n3,gone.png,test,2\n"
    )
    seen = []
    page = render_check(check([tmp_path / "t.csv"]), progress=lambda done, total: seen.append((done, total)))
    assert page.count("data:image/jpeg;base64,") == 2
    assert "&lt;i&gt;1&lt;/i&gt;" in page
    assert "<i>1</i>" not in page
    assert "split.leak" in page
    assert "label.contradiction" in page
    assert "file is missing" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert str(tmp_path) not in page
    assert seen == [(1, 1)]
