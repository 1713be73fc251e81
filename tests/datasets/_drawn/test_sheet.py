"""A drawn study written to a row and read back is the same study."""

from fundusion.datasets._drawn.sheet import COLUMNS, read_row, write_row
from fundusion.datasets.synthetic import draw_eye
from fundusion.readers import read_study


def test_round_trip(tmp_path):
    (tmp_path / "images").mkdir()
    study = draw_eye(3, size=64, modalities=("cfp", "oct", "text", "table"), oct_frames=3).study
    row = write_row(study, tmp_path, jpeg_quality=None, seed=0)
    assert set(row) == set(COLUMNS)
    record = read_row(row, tmp_path, 2)
    assert (record.study_id, record.patient_id, record.laterality) == (
        study.study_id,
        study.patient_id,
        study.laterality,
    )
    assert record.split in ("train", "val", "test")
    back = read_study(record)
    assert back.report == study.report
    assert dict(back.metadata) == dict(study.metadata)
    for name, images in study.images.items():
        frames = [p for i in back.images[name] for p in i.planes()]
        assert len(frames) == len(images)
        for a, b in zip(frames, images, strict=True):
            assert (a.reshape(b.pixels.shape) == b.pixels).all()
    assert set(record.labels) == set(study.labels)
