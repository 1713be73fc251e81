"""Records become arrays: every study is in it or rejected with a reason; the cache changes nothing."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import ImageInput
from fundusion.core.study import StudyRecord
from fundusion.core.table import TableSchema
from fundusion.core.tasks import STANDARD_TASKS, Regression
from fundusion.core.vocabulary import Laterality
from fundusion.datasets.folder import discover
from fundusion.train.config import TaskConfig, parse_config
from fundusion.train.data import _file_digest, load_records, prepare_set, resolve_tasks, training_counts

INPUTS = {"cfp": ImageInput(size=48), "oct": ImageInput(size=32, channels=1, mean=(0.5,), std=(0.25,))}


@pytest.fixture(scope="module")
def records(cohort):
    return list(discover([cohort]))


@pytest.fixture(scope="module")
def schema(records):
    return TableSchema.fit([r.metadata for r in records])


def test_shapes_counts_and_order(records, schema):
    data = prepare_set(records, INPUTS, tasks={"disease": STANDARD_TASKS["disease"]}, schema=schema)
    assert data.study_ids == tuple(r.study_id for r in records)
    assert len(data) + len(data.rejected) == len(records)
    for m in INPUTS:
        counts = np.diff(data.starts[m])
        assert counts.sum() == len(data.images[m])
        assert (counts > 0).tolist() == [m in r.images for r in records]
    assert data.images["cfp"].shape[1:] == (48, 48, 3)
    assert data.table.shape == (len(records), len(schema))
    assert data.targets["disease"].shape == (len(records), 8)


def test_a_bad_file_costs_one_study_and_says_which(records, schema, tmp_path):
    broken = tmp_path / "x.png"
    broken.write_bytes(b"no")
    bad = [replace(records[0], images={"cfp": (str(broken),)}), *records[1:]]
    data = prepare_set(bad, INPUTS, schema=schema)
    assert [(r.study_id, r.code) for r in data.rejected] == [(records[0].study_id, "image.not_an_image")]
    assert len(data) == len(records) - 1


def test_a_study_with_nothing_the_network_reads_is_rejected(records):
    empty = replace(records[0], images={}, report=None, metadata={})
    assert prepare_set([empty], INPUTS).rejected[0].code == "study.empty"


def test_the_cache_gives_the_same_pixels_and_notices_a_changed_file(records, tmp_path):
    copy = tmp_path / "eye.png"
    source = next(r for r in records if "cfp" in r.images)
    shutil.copyfile(source.images["cfp"][0], copy)
    one = replace(source, images={"cfp": (str(copy),)})
    inputs = {"cfp": INPUTS["cfp"]}
    plain = prepare_set([one], inputs)
    first, second = (prepare_set([one], inputs, cache=tmp_path / "cache") for _ in range(2))
    assert np.array_equal(plain.images["cfp"], first.images["cfp"])
    assert np.array_equal(plain.images["cfp"], second.images["cfp"])
    other = next(r for r in records if "cfp" in r.images and r.study_id != source.study_id)
    shutil.copyfile(other.images["cfp"][0], copy)
    third = prepare_set([one], inputs, cache=tmp_path / "cache")
    assert not np.array_equal(third.images["cfp"], first.images["cfp"])
    assert third.digest != first.digest


def test_a_batch_owns_its_pictures(records, schema):
    data = prepare_set(records, INPUTS, tasks={"dr_grade": STANDARD_TASKS["dr_grade"]}, schema=schema)
    rows = [3, 0, 7]
    seen = []

    def pixels(modality, stored, where):
        seen.append((modality, where.tolist()))
        return stored.permute(0, 3, 1, 2).float()

    batch = data.batch(rows, ("cfp", "oct", "table"), pixels=pixels)
    assert batch.study_ids == tuple(data.study_ids[i] for i in rows)
    for m in INPUTS:
        owner = batch.owner[m]
        assert sorted(set(owner.tolist())) == [k for k, i in enumerate(rows) if m in records[i].images]
    assert torch.equal(batch.present[:, 2], torch.from_numpy(data.table_mask[rows].any(1)))
    assert torch.equal(batch.targets["dr_grade"], torch.from_numpy(data.targets["dr_grade"][rows]))


def test_a_label_outside_its_set_names_the_study(records):
    bad = [replace(records[0], labels={"dr_grade": 9})]
    with pytest.raises(InvalidInput) as caught:
        prepare_set(bad, {"cfp": INPUTS["cfp"]}, tasks={"dr_grade": STANDARD_TASKS["dr_grade"]})
    assert records[0].study_id in caught.value.message


def test_automatic_labels_are_those_of_enough_training_studies(records):
    config = parse_config(
        {"network": {"encoders": {"cfp": "resnet.18"}},
         "tasks": {"dr_grade": {}, "findings": {"kind": "multilabel", "labels": "auto", "min_count": 2, "auxiliary": True}}}
    )  # fmt: skip
    given = [
        replace(r, labels={"findings": ("a", "b") if i < 2 else ("c",) if i < 3 else ("d",)})
        for i, r in enumerate(records)
    ]
    used = np.arange(len(given)) < 4
    assert resolve_tasks(config, given, used)["findings"].labels == ("a", "b")


def test_targets_from_a_column_and_counts(records):
    age = Regression(unit="years")
    data = prepare_set(
        records,
        {"cfp": INPUTS["cfp"]},
        tasks={"age": age},
        wanted={"age": TaskConfig(kind="regression", unit="years", column="age")},
    )
    assert data.targets["age"].dtype == np.float32
    assert training_counts(age, data.targets["age"]) is None
    grades = np.array([0, 0, 2, np.nan, 4], np.float32)
    assert training_counts(STANDARD_TASKS["dr_grade"], grades).tolist() == [2, 0, 1, 0, 1]
    many = np.array([[1, np.nan], [0, 1], [1, 0]], np.float32)
    from fundusion.core.tasks import MultiLabel

    assert training_counts(MultiLabel("AB"), many).tolist() == [[1, 2], [1, 1]]


def test_a_configuration_without_studies_is_refused():
    config = parse_config({"network": {"encoders": {"cfp": "resnet.18"}}, "tasks": {"dr_grade": {}}})
    with pytest.raises(InvalidInput, match="no studies"):
        load_records(config.data)


def test_studies_that_a_public_set_lists_and_lacks_count_as_rejected(tmp_path):
    """A half-unpacked download must run into `max_rejected`, not train on what happens to be there."""
    from fundusion.train.config import DataConfig
    from fundusion.train.data import load_records

    (tmp_path / "train_images").mkdir()
    (tmp_path / "train_images" / "a.png").write_bytes(b"x")
    (tmp_path / "train.csv").write_text("id_code,diagnosis\na,1\nb,2\n")
    found = load_records(DataConfig.model_validate({"sets": [{"name": "aptos", "root": str(tmp_path)}]}))
    assert [r.study_id for r in found] == ["aptos/a"]
    assert [(r.code, r.origin) for r in found.rejected] == [("file.missing", "train_images/b.png")]


def test_one_file_of_both_eyes_gives_each_its_own_pictures_from_the_cache_too(tmp_path):
    volume = np.zeros((1, 40, 48), np.uint8)
    stored = {"right_eye": volume + 60, "left_eye": volume + 200}
    np.savez(tmp_path / "eyes.npz", **stored)
    records = [
        StudyRecord(study_id=key, images={"oct": (f"{tmp_path / 'eyes.npz'}#{key}",)})
        for key in ("right_eye", "left_eye")
    ]
    inputs = {"oct": INPUTS["oct"]}
    plain = prepare_set(records, inputs)
    assert not np.array_equal(plain.images["oct"][0], plain.images["oct"][1])
    for _ in range(2):
        cached = prepare_set(records, inputs, cache=tmp_path / "cache")
        assert np.array_equal(cached.images["oct"], plain.images["oct"])
    right, left = (
        StudyRecord(study_id=e.name, laterality=e, images={"oct": ("both.e2e",)})
        for e in (Laterality.RIGHT, Laterality.LEFT)
    )
    (tmp_path / "both.e2e").write_bytes(b"two eyes")
    path = str(tmp_path / "both.e2e")
    assert _file_digest(path, right) != _file_digest(path, left)
    (tmp_path / "a.png").write_bytes(b"one eye")
    assert _file_digest(str(tmp_path / "a.png"), right) == _file_digest(str(tmp_path / "a.png"), left)
