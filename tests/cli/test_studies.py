"""Studies that are put into words: every one is answered or rejected, and named as its file is."""

import numpy as np
from PIL import Image

from fundusion.cli.studies import analysed, aside_of, heading, identity


def test_a_broken_picture_is_a_rejected_analysis_beside_the_others(tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "black.png")
    how = {"columns": None, "modality": "cfp", "root": None, "model": "screen", "device": "cpu", "measure": False}
    rows = list(analysed([tmp_path], **how))
    assert [n for *_, n in rows] == [2, 2]
    found = {a.result.study_id: a for _, a, _ in rows}
    assert found["broken"].result.status == "rejected"
    assert heading(found["broken"]) == 1
    said = capsys.readouterr()
    assert "broken" in said.out
    assert "rejected [" in said.err
    assert identity(found["broken"])["code"] == found["broken"].result.code != "ok"
    for record, analysis, _ in rows:
        assert not any(aside_of(record, analysis).values())
