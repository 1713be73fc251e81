"""FFA-IR: a JSON of cases; a case is listed by itself and forgotten."""

import json

import pytest

from fundusion.core.errors import ReadError
from fundusion.datasets.ffa_ir import ffa_ir


def test_a_case_keeps_its_frames_in_the_order_of_the_list(read):
    records, _ = read("ffa_ir")
    assert [p.rsplit("/", 1)[-1] for p in records["case_1"].images["ffa"]] == ["0.jpeg", "1.jpeg", "2.jpeg"]
    assert [r.split for r in records.values()] == ["train", "val", "test"]
    assert records["case_2"].report == "report of case_2"
    assert all(r.patient_id is None for r in records.values())


def test_the_chinese_report(read):
    records, _ = read("ffa_ir", language="zh")
    assert records["case_3"].report == "报告"


def test_a_case_without_frames_is_contradictory(fake_of):
    base = fake_of("ffa_ir").base
    content = {"train": {"case_1": {"En_Report": "x", "Image_path": None}}, "val": {}, "test": {}}
    (base / "ffair_annotation.json").write_text(json.dumps(content))
    assert ffa_ir(base).contradictory[0][0] == "ffair_annotation.json:train/case_1"


def test_another_json_is_refused(fake_of):
    base = fake_of("ffa_ir").base
    (base / "ffair_annotation.json").write_text("[1, 2]")
    with pytest.raises(ReadError) as caught:
        ffa_ir(base)
    assert caught.value.code == "dataset.table"


def test_no_listing_of_all_cases_is_kept(fake_of):
    """The folders of cases are listed through objects that die with the case."""
    from fundusion.datasets import ffa_ir as module

    base = module.begin(fake_of("ffa_ir").base, module._fits, module._CARD).base
    module._list_case(base, "case_1")
    holder = base.folder("ffair")
    assert all("_entries" not in f.__dict__ for f in holder.folders.values())
