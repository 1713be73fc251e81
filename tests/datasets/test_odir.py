"""ODIR-5K: labels per eye from keywords; keywords are never an input."""

import csv

import pytest

from fundusion.core.errors import ReadError
from fundusion.core.vocabulary import Laterality
from fundusion.datasets.odir import findings_of, grade_of, letters_of, odir
from fundusion.readers import read_study


def as_downloaded(tmp_path):
    """Trap: BOM in the first header, full-width commas, several files of one patient, keywords per eye."""
    (tmp_path / "Training Images").mkdir()
    for name in ("1_left.jpg", "1_right.jpg", "2_left.jpg", "2_right.jpg"):
        (tmp_path / "Training Images" / name).write_bytes(b"")
    columns = ["ID", "Patient Age", "Patient Sex", "Left-Fundus", "Right-Fundus", "Left-Diagnostic Keywords",
               "Right-Diagnostic Keywords", "N", "D"]  # fmt: skip
    rows = [
        [
            "1",
            "57",
            "Male",
            "1_left.jpg",
            "1_right.jpg",
            "normal fundus",
            "moderate non proliferative retinopathy，lens dust",
            "0",
            "1",
        ],
        ["2", "", "Female", "2_left.jpg", "2_right.jpg", "glaucoma，drusen", "low image quality", "0", "0"],
    ]
    with (tmp_path / "full_df.csv").open("w", encoding="utf-8-sig", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return tmp_path


def test_the_download_gives_a_record_per_eye(tmp_path):
    records = {r.study_id: r for r in odir(as_downloaded(tmp_path))}
    assert set(records) == {"1_left", "1_right", "2_left", "2_right"}
    left, right = records["1_left"], records["1_right"]
    assert (left.patient_id, left.laterality, right.laterality) == ("1", Laterality.LEFT, Laterality.RIGHT)
    # The label of the patient is D; this eye is normal.
    assert left.labels["disease"]["N"] == 1.0
    assert left.labels["disease"]["D"] == 0.0
    assert (right.labels["disease"]["D"], right.labels["dr_grade"]) == (1.0, 2.0)
    assert records["2_left"].metadata == {"age": None, "sex": "female"}
    assert {k for k, v in records["2_left"].labels["disease"].items() if v == 1} == {"G", "O"}
    # A picture that says nothing of the eye is not annotated.
    assert all(v != v for v in records["2_right"].labels["disease"].values())


@pytest.mark.parametrize(
    ("keywords", "grade", "letters"),
    [
        ("normal fundus", 0.0, "N"),
        ("mild nonproliferative retinopathy", 1.0, "D"),
        ("severe nonproliferative retinopathy,macular edema", 3.0, "DO"),
        ("severe proliferative diabetic retinopathy", 4.0, "D"),
        ("hypertensive retinopathy", None, "H"),
        ("dry age-related macular degeneration", None, "A"),
        ("pathological myopia", None, "M"),
        ("cataract，suspected glaucoma", None, "CG"),
        ("lens dust", None, ""),
    ],
)
def test_keywords(keywords, grade, letters):
    found = findings_of(keywords)
    assert grade_of(found) == grade
    assert {k for k, v in letters_of(found).items() if v} == set(letters)


def test_the_challenge_layout(read):
    """A workbook beside nested folders; smaller copies are not taken; the test part has no labels."""
    records, _ = read("odir")
    assert records["0_left"].labels["findings"] == ("cataract",)
    assert "ODIR-5K_Training_Dataset" in records["0_left"].images["cfp"][0]
    assert (records["937_left"].split, dict(records["937_left"].labels)) == ("test", {})
    assert records["937_left"].patient_id == "937"


def test_a_listed_eye_without_a_picture_is_missing(tmp_path):
    (as_downloaded(tmp_path) / "Training Images" / "2_right.jpg").unlink()
    reading = odir(tmp_path)
    assert (len(reading), reading.missing) == (3, ("2_right.jpg",))


def test_another_folder_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(ReadError, match="ODIR") as caught:
        odir(tmp_path)
    assert caught.value.code == "dataset.layout"
    assert "labels.csv" in caught.value.hint


@pytest.fixture
def odir_images(data_root):
    if not (data_root / "odir" / "labels.csv").is_file():
        pytest.skip("no ODIR images in the data folder")
    return odir(data_root / "odir")


def test_keywords_never_enter_as_input(odir_images):
    """They are the labels in words: a report or table with them would leak the answer."""
    assert len(odir_images) > 1000
    assert all(r.report is None for r in odir_images)
    assert {k for r in odir_images for k in r.metadata} == {"age", "sex"}
    words = {w for r in odir_images for w in r.labels["findings"]}
    assert len(words) > 20
    assert not [
        v for r in odir_images for v in r.metadata.values() if isinstance(v, str) and v not in ("female", "male")
    ]


def test_a_trained_network_sees_no_keyword_either(odir_images):
    """The whole way to the network: text is absent, the table has two cells, whatever the labels say."""
    from dataclasses import replace

    from fundusion.core.table import TableSchema
    from fundusion.core.tasks import STANDARD_TASKS
    from fundusion.inference import make_batch
    from fundusion.network import build_network
    from fundusion.transforms.prepared import prepare_study

    schema = TableSchema.fit([r.metadata for r in odir_images[:200]])
    network = build_network(
        {"cfp": "contrast_resnet.test", "table": "tabular.test", "text": "hashing.test"}, "gated",
        {"disease": STANDARD_TASKS["disease"]}, table=schema, embed_dim=8, seed=0,
    )  # fmt: skip
    study = read_study(odir_images[0])
    batch = make_batch(network, [prepare_study(study, network.spec.inputs, schema=schema)])
    stripped = read_study(replace(odir_images[0], labels={}))
    other = make_batch(network, [prepare_study(stripped, network.spec.inputs, schema=schema)])
    assert dict(zip(batch.modalities, batch.present[0].tolist(), strict=True)) == {
        "cfp": True,
        "table": True,
        "text": False,
    }
    assert batch.table.shape == (1, 2)
    assert (batch.images["cfp"] == other.images["cfp"]).all()
    assert (batch.table == other.table).all()


def test_the_shipped_recipe_reads_photograph_age_and_sex_only():
    from pathlib import Path

    from fundusion.train.config import load_config

    config = load_config(Path(__file__).parents[2] / "recipes" / "screen.toml")
    assert set(config.network.encoders) == {"cfp", "table"}
    assert set(config.table.columns) == {"age", "sex"}
    assert config.tasks["findings"].auxiliary


def test_labels_of_the_real_set_follow_from_its_keywords(odir_images):
    wrong = [
        r.study_id
        for r in odir_images
        if r.labels["findings"] and letters_of(r.labels["findings"])["D"] != r.labels["disease"]["D"]
    ]
    assert len(wrong) <= 0.02 * len(odir_images)


def test_the_mirror_with_two_tables(tmp_path, trees):
    """`full_df.csv` lists fewer patients than the workbook deeper down, and repeats each for both eyes."""
    inner = tmp_path / "ODIR-5K" / "ODIR-5K"
    head = ["ID", "Left-Fundus", "Right-Fundus", "Left-Diagnostic Keywords", "Right-Diagnostic Keywords"]
    line = ["1", "1_left.jpg", "1_right.jpg", "normal fundus", "glaucoma"]
    other = ["2", "2_left.jpg", "2_right.jpg", "drusen", "cataract"]
    for name in ("1_left", "1_right", "2_left", "2_right"):
        trees.picture(inner / "Training Images" / f"{name}.jpg")
    trees.picture(tmp_path / "preprocessed_images" / "1_left.jpg")
    trees.table(tmp_path / "full_df.csv", [head, line, line])
    assert [r.study_id for r in odir(tmp_path)] == ["1_left", "1_right"]
    trees.table(inner / "data.xlsx", [head, line, other])
    reading = odir(tmp_path)
    assert [r.study_id for r in reading] == ["1_left", "1_right", "2_left", "2_right"]
    assert reading.unlisted == ()
