"""What every public set promises, whatever its layout. There is no list of exceptions: a new set needs a fake in trees.py."""

import csv
import shutil
from pathlib import Path

import pytest

from fundusion.core.errors import FundusionError, ReadError
from fundusion.core.registry import datasets
from fundusion.datasets._reading import Reading
from fundusion.datasets._recognise import public_sets, the_set_of
from fundusion.readers import read_study
from fundusion.readers.manifest import read_manifest
from fundusion.readers.manifest_writer import write_manifest

NAMES = public_sets()


@pytest.fixture(params=NAMES)
def fake(request, tmp_path, trees):
    return request.param, trees.build(request.param, tmp_path / "downloads")


def read(name, root, **options) -> Reading:
    return datasets.create(name, root=root, **options)


def renamed(base: Path, target: Path, change) -> Path:
    """Return a copy of a tree in which every name is changed; label tables keep their content."""
    for path in sorted(base.rglob("*")):
        goal = target.joinpath(*(change(part) for part in path.relative_to(base).parts))
        if path.is_dir():
            goal.mkdir(parents=True, exist_ok=True)
        else:
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, goal)
    return target


def test_the_folder_as_unpacked_its_parent_and_a_doubled_one_are_read_alike(fake, tmp_path):
    name, tree = fake
    reading = read(name, tree.base)
    assert len(reading) == tree.records
    assert reading.missing == ()
    assert reading.unlisted == ()
    ids = [r.study_id for r in reading]
    assert len(set(ids)) == len(ids)
    assert [r.study_id for r in read(name, tree.base.parent)] == ids
    doubled = tmp_path / "doubled" / tree.base.name / tree.base.name
    shutil.copytree(tree.base, doubled)
    assert [r.study_id for r in read(name, tmp_path / "doubled")] == ids


@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_names_are_matched_whatever_their_case(fake, tmp_path, change):
    name, tree = fake
    reading = read(name, renamed(tree.base, tmp_path / "other", change))
    assert len(reading) == tree.records
    assert reading.missing == reading.unlisted == ()


def test_records_can_be_read_and_identifiers_are_strings(fake):
    name, tree = fake
    for record in read(name, tree.base):
        assert isinstance(record.study_id, str)
        assert record.patient_id is None or isinstance(record.patient_id, str)
        assert record.origin
        assert record.images
        study = read_study(record)
        assert set(study.images) == set(record.images)
        for paths in record.masks.values():
            assert all(Path(p).is_absolute() and Path(p).is_file() for p in paths)


def test_labels_and_masks_are_those_of_the_card(fake):
    name, tree = fake
    card, reading = datasets.card(name), read(name, tree.base)
    tasks = {task for r in reading for task in r.labels}
    assert tasks <= set(card.labels), tasks - set(card.labels)
    assert {m for r in reading for m in r.masks} <= set(card.masks)
    assert {m for r in reading for m in r.images} <= set(card.modalities)
    assert card.title
    assert card.license
    assert card.ask
    assert card.layout
    assert card.paper


def test_parts_are_those_of_the_card_and_divide_no_patient(fake):
    name, tree = fake
    card, reading = datasets.card(name), read(name, tree.base)
    splits = {r.split for r in reading if r.split}
    assert splits <= set(card.splits)
    for split in splits:
        assert {r.split for r in read(name, tree.base, split=split)} == {split}
    patients = [{r.patient_id for r in reading if r.split == s and r.patient_id} for s in sorted(splits)]
    assert not set().union(*patients, set()) or sum(map(len, patients)) == len(set().union(*patients))


def test_another_folder_is_refused_with_what_was_looked_for(fake, tmp_path, trees):
    name, _ = fake
    (tmp_path / "holiday").mkdir()
    trees.picture(tmp_path / "holiday" / "beach.jpg")
    with pytest.raises(ReadError) as caught:
        read(name, tmp_path / "holiday")
    assert caught.value.code == "dataset.layout"
    assert "Needed is" in caught.value.hint
    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_is_listed_but_missing_is_named(fake):
    name, tree = fake
    if tree.listed is None:
        # Folders are the only list: what is not there cannot be missed, and nothing else may be.
        next(p for p in tree.base.rglob("*") if p.is_file() and p.suffix in (".jpeg", ".JPG", ".png")).unlink()
        reading = read(name, tree.base)
        assert (len(reading), reading.missing) == (tree.records - 1, ())
        return
    tree.listed.unlink()
    reading = read(name, tree.base)
    stem = tree.listed.name.partition(".")[0]
    assert any(stem.partition("_")[0] in m for m in reading.missing), reading.missing
    assert tree.records - 1 <= len(reading) <= tree.records
    assert not [
        p for r in reading for paths in r.images.values() for p in paths if p.partition("#")[0] == str(tree.listed)
    ]


def test_a_picture_that_no_list_knows_is_named(fake, trees):
    name, tree = fake
    trees.picture(tree.stray)
    reading = read(name, tree.base)
    assert len(reading) == tree.records
    assert any(u.endswith(tree.stray.name) for u in reading.unlisted), reading.unlisted


def test_a_folder_of_this_set_is_recognised(fake):
    name, tree = fake
    assert the_set_of(tree.base)[0] in (name, name.partition(".")[0])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_manifest_of_the_set_gives_the_same_studies(fake, tmp_path, suffix):
    name, tree = fake
    reading = read(name, tree.base)
    path = write_manifest(reading, tmp_path / f"m{suffix}", root=tree.base)
    again = {r.study_id: r for r in read_manifest(path, root=tree.base)}
    assert list(again) == [r.study_id for r in reading]
    for record in reading:
        copy = again[record.study_id]
        assert (copy.patient_id, copy.laterality, copy.split, copy.visit) == (
            record.patient_id, record.laterality, record.split, record.visit,
        )  # fmt: skip
        assert {m: set(p) for m, p in copy.images.items()} == {m: set(p) for m, p in record.images.items()}
        assert dict(copy.masks) == dict(record.masks)
        points = {k: v for k, v in record.labels.items() if k.endswith("_px")}
        assert {k: v for k, v in copy.labels.items() if k.endswith("_px")} == points


@pytest.mark.parametrize("damage", [b"", b"\0\0\0\0", b"\xff\xfe\x00", b'a,b\n1,"open', b"[" * 5000])
def test_a_damaged_table_is_an_error_of_ours_or_is_said(fake, damage):
    """Whatever lies in place of a table: a clear error, or a reading; never another exception, never a label made up."""
    name, tree = fake
    honest = {r.study_id: dict(r.labels) for r in read(name, tree.base)}
    for path in sorted(
        p for p in tree.base.rglob("*") if p.is_file() and p.suffix in (".csv", ".xlsx", ".txt", ".json", ".npz")
    ):
        before = path.read_bytes()
        path.write_bytes(damage)
        codes, reading = [], ()
        try:
            reading = read(name, tree.base)
        except FundusionError as error:
            codes.append(error.code)
        assert all(code.startswith(("dataset.", "table.", "file.")) for code in codes), codes
        for record in reading:
            for task, value in record.labels.items():
                assert task in honest.get(record.study_id, {}), (
                    f"{path.name}: {record.study_id} gained {task} = {value}"
                )
        path.write_bytes(before)


@pytest.mark.parametrize("cell", ["-1", "99", "2,5", "maybe", "1e400", "0x1"])
def test_a_strange_cell_never_becomes_another_label(fake, cell):
    """Every cell of a CSV that holds a small number is replaced: a label is then the same as before or not there."""
    name, tree = fake
    honest = {r.study_id: dict(r.labels) for r in read(name, tree.base)}
    for path in sorted(p for p in tree.base.rglob("*.csv") if p.is_file()):
        text = path.read_text("utf-8-sig")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = list(csv.reader(stream))
        if len(lines) < 2:
            continue
        changed = [
            lines[0],
            *[[cell if c in ("0", "1", "2", "3", "4", "5") else c for c in line] for line in lines[1:]],
        ]
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows(changed)
        try:
            reading = read(name, tree.base)
        except FundusionError:
            path.write_text(text, encoding="utf-8")
            continue
        for record in reading:
            for task, value in record.labels.items():
                if isinstance(value, float) and record.study_id in honest:
                    before = honest[record.study_id].get(task)
                    measured = task in (
                        "clarity",
                        "artifact",
                        "field_definition",
                        "spherical_equivalent",
                    ) or task.startswith("vcdr")
                    assert value == before or (measured and str(value) in (f"{float(cell)}",)), (
                        f"{record.study_id} {task}"
                    )
        path.write_text(text, encoding="utf-8")
