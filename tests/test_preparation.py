"""What workers do: photographs are cut for measuring only when asked, and one that is refused says why."""

import pickle

import pytest
from PIL import Image as Pillow

from fundusion.core.registry import ImageInput
from fundusion.core.results import Quality
from fundusion.core.study import StudyRecord
from fundusion.datasets.folder import discover
from fundusion.preparation import Preparation, RejectedStudy, prepare_record


@pytest.fixture(scope="module")
def record(cohort):
    for r in discover([cohort]):
        if "cfp" in r.images:
            try:
                prepare_record(
                    r, preparation=Preparation(inputs={"cfp": ImageInput(size=64)}, table=None, required=("cfp",))
                )
            except RejectedStudy:
                continue
            return r
    raise AssertionError("the gate refused every drawn eye")


def prepared(record, sides):
    preparation = Preparation(inputs={"cfp": ImageInput(size=64)}, table=None, measured_sides=sides)
    return prepare_record(record, preparation=pickle.loads(pickle.dumps(preparation)))


def test_photographs_are_cut_when_measuring_is_asked(record):
    plain, cut = prepared(record, ()), prepared(record, (96,))
    assert plain.squares == ()
    assert [s.image for s in cut.squares] == ["cfp.0"]
    assert set(cut.squares[0].pixels) == {96, 1024}
    # The input of the network and the verdict of the gate do not depend on it.
    assert (plain.prepared.images["cfp"][0].pixels == cut.prepared.images["cfp"][0].pixels).all()
    assert plain.quality == cut.quality


def test_a_photograph_that_the_gate_refuses_is_not_measured(record, monkeypatch):
    def verdict(image, **_):
        return Quality(gradable=False, score=0.1, reasons=("quality.dark",))

    monkeypatch.setattr("fundusion.preparation.assess", verdict)
    item = prepared(record, (96,))
    assert item.squares == ()
    assert "cfp.0.not_measured.quality.ungradable" in item.notes


def test_a_large_jpeg_is_read_finer_for_measuring_than_for_the_network(tmp_path, drawn_photograph):
    picture = Pillow.fromarray(drawn_photograph()).resize((3040, 2880), Pillow.Resampling.BICUBIC)
    picture.save(tmp_path / "eye.jpg", quality=92)
    record = StudyRecord(study_id="a", images={"cfp": (str(tmp_path / "eye.jpg"),)})
    from fundusion.intake import take_study

    taken = take_study(record, {"cfp": ImageInput(size=224)}, fine_px=1024)
    coarse, fine = taken.study.images["cfp"][0], taken.fine["cfp"][0]
    assert coarse.reduction > fine.reduction
    assert taken.fields["cfp"][0].box[2] / fine.reduction > 1024
    assert take_study(record, {"cfp": ImageInput(size=224)}).fine["cfp"][0] is not fine
    assert take_study(record, {"cfp": ImageInput(size=224)}).fine["cfp"][0].reduction == coarse.reduction
