"""A small fake of every public set as it is downloaded, with the traps of the real one. Pictures are drawn here."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Fake:
    """A fake set.

    Args:
        base: Folder as unpacked.
        records: Studies that reading it must give.
        stray: A picture put here is in no list.
        listed: A file that a list (or a drawn truth) promises; None where the set has no lists at all.
        study: A study whose picture `listed` is, by the end of its identifier.
    """

    base: Path
    records: int
    stray: Path
    listed: Path | None


def picture(path: Path, *, grey: bool = False, side: int = 64) -> Path:
    """Write a small round field; each file has bytes of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:side, :side] - side / 2
    seed = sum(path.as_posix().encode()) % 97
    pixels = np.where(np.hypot(x, y)[..., None] < side / 2 - 2, (150 + seed, 80, 40), (2, 2, 2)).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if grey else pixels)
    if path.name.lower().endswith(".ppm.gz"):
        head = f"P6\n# drawn\n{side} {side}\n255\n".encode()
        path.write_bytes(gzip.compress(head + pixels.tobytes()))
    else:
        image.save(path)
    return path


def drawn(path: Path, *, levels: Sequence[int] = (0, 255)) -> Path:
    """Write a mask of the given grey levels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.resize(np.repeat(np.asarray(levels, np.uint8), 64 * 64 // len(levels)), (64, 64))
    if path.name.endswith(".ppm.gz"):
        path.write_bytes(gzip.compress(b"P5\n64 64\n255\n" + pixels.tobytes()))
    else:
        Image.fromarray(pixels).save(path)
    return path


def table(path: Path, rows: Sequence[Sequence[object]], *, mark: bool = False, separator: str = ",") -> Path:
    """Write a CSV or XLSX table; `mark` puts a BOM in front."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".xlsx":
        import openpyxl

        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(list(row))
        book.save(path)
        return path
    with path.open("w", encoding="utf-8-sig" if mark else "utf-8", newline="") as stream:
        csv.writer(stream, delimiter=separator).writerows(rows)
    return path


def odir(root: Path) -> Fake:
    """The table has one line per patient, the keywords a full-width comma; smaller copies lie beside the originals."""
    base = root / "ODIR-5K"
    train = base / "ODIR-5K_Training_Images" / "ODIR-5K_Training_Dataset"
    for name in ("0_left", "0_right", "12_left", "12_right"):
        picture(train / f"{name}.jpg")
    picture(base / "preprocessed_images" / "0_left.jpg")
    picture(base / "ODIR-5K_Testing_Images" / "937_left.jpg")
    head = ["ID", "Patient Age", "Patient Sex", "Left-Fundus", "Right-Fundus", "Left-Diagnostic Keywords",
            "Right-Diagnostic Keywords", "N", "D", "G", "C", "A", "H", "M", "O"]  # fmt: skip
    rows = [
        [0, 69, "Female", "0_left.jpg", "0_right.jpg", "cataract，lens dust", "normal fundus", 0, 0, 0, 1, 0, 0, 0, 0],
        [
            12,
            57,
            "Male",
            "12_left.jpg",
            "12_right.jpg",
            "moderate non proliferative retinopathy",
            "drusen",
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            1,
        ],
    ]
    table(base / "ODIR-5K_Training_Annotations(Updated)_V2.xlsx", [head, *rows])
    return Fake(base, 5, train / "stray.jpg", train / "12_left.jpg")


def aptos(root: Path) -> Fake:
    """An identifier may look like a number."""
    base = root / "aptos2019-blindness-detection"
    for name in ("train_images/000c1434d8d7", "train_images/1e4", "test_images/0005cfc8afb6"):
        picture(base / f"{name}.png")
    table(base / "train.csv", [["id_code", "diagnosis"], ["000c1434d8d7", 2], ["1e4", 0]], mark=True)
    table(base / "test.csv", [["id_code"], ["0005cfc8afb6"]])
    return Fake(base, 3, base / "train_images" / "stray.png", base / "train_images" / "1e4.png")


def eyepacs(root: Path) -> Fake:
    """Unpacking `trainLabels.csv.zip` gives a folder of that name."""
    base = root / "diabetic-retinopathy-detection"
    for name in ("train/10_left", "train/10_right", "test/13_left"):
        picture(base / f"{name}.jpeg")
    table(base / "trainLabels.csv" / "trainLabels.csv", [["image", "level"], ["10_left", 0], ["10_right", 3]])
    table(base / "retinopathy_solution.csv", [["image", "level", "Usage"], ["13_left", 4, "Private"]])
    return Fake(base, 3, base / "train" / "stray.jpeg", base / "train" / "10_right.jpeg")


def idrid(root: Path) -> Fake:
    """Train and test names collide; the third header ends in a space; unnamed empty columns and an empty line follow."""
    base = root / "B.%20Disease%20Grading" / "B. Disease Grading"
    images, truths = base / "1. Original Images", base / "2. Groundtruths"
    for part in ("a. Training Set", "b. Testing Set"):
        picture(images / part / "IDRiD_001.jpg")
    picture(images / "a. Training Set" / "IDRiD_002.jpg")
    head = ["Image name", "Retinopathy grade", "Risk of macular edema ", "", "", ""]
    rows = [["IDRiD_001", 3, 2, "", "", ""], ["IDRiD_002", 0, 0, "", "", ""], ["", "", "", "", "", ""]]
    table(truths / "a. IDRiD_Disease Grading_Training Labels.csv", [head, *rows])
    table(truths / "b. IDRiD_Disease Grading_Testing Labels.csv", [head[:3], ["IDRiD_001", 0, 0]])
    return Fake(base.parent, 3, images / "a. Training Set" / "stray.jpg", images / "b. Testing Set" / "IDRiD_001.jpg")


def idrid_segmentation(root: Path) -> Fake:
    """A lesion without a file is absent; the optic disc is called OD."""
    base = root / "A.%20Segmentation" / "A. Segmentation"
    images, truths = base / "1. Original Images", base / "2. All Segmentation Groundtruths"
    for part, name in (
        ("a. Training Set", "IDRiD_01"),
        ("a. Training Set", "IDRiD_02"),
        ("b. Testing Set", "IDRiD_55"),
    ):
        picture(images / part / f"{name}.jpg")
        drawn(truths / part / "1. Microaneurysms" / f"{name}_MA.tif")
        drawn(truths / part / "5. Optic Disc" / f"{name}_OD.tif")
    drawn(truths / "a. Training Set" / "4. Soft Exudates" / "IDRiD_01_SE.tif")
    return Fake(base.parent, 3, images / "a. Training Set" / "stray.jpg", images / "b. Testing Set" / "IDRiD_55.jpg")


def idrid_localization(root: Path) -> Fake:
    """One table is CSV with spaces in its header and empty lines, one is a workbook with a title line."""
    base = root / "C. Localization"
    images, truths = base / "1. Original Images", base / "2. Groundtruths"
    for part in ("a. Training Set", "b. Testing Set"):
        picture(images / part / "IDRiD_001.jpg")
    disc, fovea = truths / "1. Optic Disc Center Location", truths / "2. Fovea Center Location"
    lines = [
        ["Image No", "X- Coordinate", "Y - Coordinate", "", ""],
        ["IDRiD_001", 2924, 1345, "", ""],
        ["", "", "", "", ""],
    ]
    table(disc / "a. IDRiD_OD_Center_Training Set_Markups.csv", lines, mark=True)
    table(disc / "b. IDRiD_OD_Center_Testing Set_Markups.csv", [*lines[:1], ["IDRiD_001", 1051, 1377, "", ""]])
    titled = [["Fovea markups"], [], ["Image No", "X- Coordinate", "Y - Coordinate"], ["IDRiD_001", 1895, 1347]]
    table(fovea / "IDRiD_Fovea_Center_Training Set_Markups.xlsx", titled)
    table(fovea / "IDRiD_Fovea_Center_Testing Set_Markups.csv", [["Image No", "X", "Y"], ["IDRiD_001", 2207, 1488]])
    return Fake(base, 2, images / "a. Training Set" / "stray.jpg", images / "b. Testing Set" / "IDRiD_001.jpg")


def messidor2(root: Path) -> Fake:
    """The table says .jpg, the files are .JPG; an ungradable picture has no grades."""
    base = root / "messidor-2"
    for name in ("20051020_43808_0100_PP.png", "IM000001.JPG", "IM000002.JPG"):
        picture(base / "IMAGES" / name)
    head = ["image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable"]
    rows = [["20051020_43808_0100_PP.png", 0, 0, 1], ["IM000001.jpg", 4, 1, 1], ["IM000002.jpg", "", "", 0]]
    table(base / "messidor_data.csv", [head, *rows])
    pairs = [["left", "right"], ["IM000001.JPG", "IM000002.JPG"]]
    table(base / "messidor-2.csv", pairs, separator=";")
    return Fake(base, 3, base / "IMAGES" / "stray.JPG", base / "IMAGES" / "IM000001.JPG")


def _deepdrid(base: Path, name: str, rows: list[list[object]]) -> Path:
    head = ["patient_id", "image_id", "image_path", "Overall quality", "left_eye_DR_Level", "right_eye_DR_Level",
            "patient_DR_Level", "Clarity", "Field definition", "Artifact"]  # fmt: skip
    for row in rows:
        picture(base / name / "Images" / str(row[0]) / f"{row[1]}.jpg")
    table(base / name / f"{name}.csv", [head, *rows])
    return base / name / "Images"


def deepdrid(root: Path) -> Fake:
    """Back-slashes, no folder Images in the path, grade 5, a right picture with a left grade, workbooks for the test part."""
    base = root / "DeepDRiD-master"
    regular = base / "regular_fundus_images"
    train = "regular-fundus-training"
    images = _deepdrid(regular, train, [
        [1, "1_l1", f"\\{train}\\1\\1_l1.jpg", 1, 0, "", 0, 10, 10, 0],
        [1, "1_r1", f"\\{train}\\1\\1_r1.jpg", 0, "", 5, 0, 4, 6, 8],
        [56, "56_r1", f"\\{train}\\56\\56_r1.jpg", 1, 2, "", 2, 8, 8, 1],
    ])  # fmt: skip
    _deepdrid(regular, "regular-fundus-validation", [[300, "300_l2", r"\x\300\300_l2.jpg", 1, 3, "", 3, 8, 8, 1]])
    test = regular / "Online-Challenge1&2-Evaluation"
    picture(test / "Images" / "400" / "400_r1.jpg")
    table(test / "Challenge1_labels.xlsx", [["image_id", "DR_Levels"], ["400_r1", 1]])
    table(
        test / "Challenge2_labels.xlsx",
        [["image_id", "Overall quality", "Artifact", "Clarity", "Field definition"], ["400_r1", 1, 0, 10, 8]],
    )
    return Fake(base, 5, images / "1" / "stray.jpg", images / "1" / "1_r1.jpg")


def deepdrid_uwf(root: Path) -> Fake:
    """Wide pictures of the same authors, in a folder beside the regular ones."""
    base = root / "DeepDRiD-master"
    name = "ultra-widefield-training"
    images = base / "ultra-widefield_images" / name / "Images"
    rows = [["patient_id", "image_id", "image_path", "DR_level"]]
    for patient, grade in ((1, 2), (2, 5)):
        picture(images / str(patient) / f"{patient}_l1.jpg")
        rows.append([patient, f"{patient}_l1", f"\\{name}\\{patient}\\{patient}_l1.jpg", grade])
    table(base / "ultra-widefield_images" / name / f"{name}.csv", rows)
    return Fake(base, 2, images / "1" / "stray.jpg", images / "2" / "2_l1.jpg")


def ddr(root: Path) -> Fake:
    """No header, and grade 5."""
    base = root / "DDR-dataset"
    grading = base / "DR_grading"
    parts = {
        "train": ["007-2846-100.jpg 0", "007-2847-100.jpg 5"],
        "valid": ["007-0001-000.jpg 4"],
        "test": ["20170413102628830.jpg 2"],
    }
    for part, lines in parts.items():
        for line in lines:
            picture(grading / part / line.split()[0])
        (grading / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return Fake(base, 4, grading / "train" / "stray.jpg", grading / "test" / "20170413102628830.jpg")


def ddr_segmentation(root: Path) -> Fake:
    """The truth of the validation part lies in `segmentation label`."""
    base = root / "DDR-dataset"
    for part, label in (("train", "label"), ("valid", "segmentation label"), ("test", "label")):
        folder = base / "lesion_segmentation" / part
        picture(folder / "image" / f"007-{part}-100.jpg")
        for lesion in ("MA", "EX"):
            drawn(folder / label / lesion / f"007-{part}-100.tif")
    images = base / "lesion_segmentation" / "train" / "image"
    return Fake(base, 3, images / "stray.jpg", images / "007-train-100.jpg")


RFMID = ["DR", "ARMD", "MH", "DN", "MYA", "BRVO", "TSLN", "ERM", "LS", "MS", "CSR", "ODC", "CRVO", "TV", "AH", "ODP", "ODE", "ST", "AION", "PT", "RT", "RS", "CRS", "EDN", "RPEC", "MHL", "RP", "CWS", "CB", "ODPM", "PRH", "MNF", "HR", "CRAO", "TD", "CME", "PTCR", "CF", "VH", "MCA", "VS", "BRAO", "PLQ", "HPED", "CL"]  # fmt: skip


def rfmid(root: Path) -> Fake:
    """Numbers begin at 1 in each part; MH is media haze and MHL macular hole; one folder is doubled, one is not."""
    base = root / "RFMiD"
    parts = {
        "RFMiD_Training_Labels.csv": ("Training_Set/Training_Set", "Training", ["MH"]),
        "RFMiD_Validation_Labels.csv": ("Evaluation_Set/Evaluation_Set", "Validation", ["MHL"]),
        "RFMiD_Testing_Labels.csv": ("Test_Set", "Test", []),
    }
    for name, (place, folder, found) in parts.items():
        picture(base / place / folder / "1.png")
        flags = [int(code in found) for code in RFMID]
        table(base / place / name, [["ID", "Disease_Risk", *RFMID], [1, int(any(flags)), *flags]])
    training = base / "Training_Set" / "Training_Set" / "Training"
    return Fake(base, 3, training / "stray.png", training / "1.png")


def refuge(root: Path) -> Fake:
    """Grey 0 is the cup; a folder is doubled; labels of the test part stand in a table with a column of its own."""
    base = root / "REFUGE2" / "REFUGE2"
    images, truth = (
        base / "REFUGE-Training400" / "Training400",
        base / "Annotation-Training400" / "Annotation-Training400",
    )
    for kind, name in (("Glaucoma", "g0001"), ("Non-Glaucoma", "n0001")):
        picture(images / kind / f"{name}.jpg")
        drawn(truth / "Disc_Cup_Masks" / kind / f"{name}.bmp", levels=(0, 128, 255, 255))
    table(
        truth / "Fovea_location.xlsx",
        [["ID", "ImgName", "Fovea_X", "Fovea_Y"], [1, "g0001.jpg", 1057.95, 1052.13], [2, "n0001.jpg", 1000, 990]],
    )
    picture(base / "REFUGE-Validation400" / "V0001.jpg")
    drawn(base / "REFUGE-Validation400-GT" / "Disc_Cup_Masks" / "V0001.bmp", levels=(0, 128, 255, 255))
    picture(base / "REFUGE-Test400" / "T0001.jpg")
    table(
        base / "REFUGE-Test-GT" / "Glaucoma_label_and_Fovea_location.xlsx",
        [["ID", "ImgName", "Label(Glaucoma=1)", "Fovea_X", "Fovea_Y"], [1, "T0001.jpg", 1, 800, 810]],
    )
    return Fake(base.parent, 4, images / "Glaucoma" / "stray.jpg", images / "Glaucoma" / "g0001.jpg")


def gamma(root: Path) -> Fake:
    """The table says 1, the folder 0001; the test part has no labels."""
    base = root / "Glaucoma_grading"
    for part, number in (("training", "0001"), ("training", "0002"), ("testing", "0201")):
        eye = base / part / "multi-modality_images" / number
        picture(eye / f"{number}.jpg")
        for scan in ("0", "2", "10"):
            picture(eye / number / f"{scan}_image.jpg", grey=True)
    table(
        base / "training" / "glaucoma_grading_training_GT.xlsx",
        [["data", "non", "early", "mid_advanced"], [1, 1, 0, 0], [2, 0, 1, 0]],
    )
    eyes = base / "training" / "multi-modality_images"
    return Fake(base, 3, eyes / "0999" / "0999.jpg", eyes / "0002" / "0002.jpg")


def olives(root: Path) -> Fake:
    """Paths begin with a slash; weeks in one trial and visits in the other; biomarkers of the first visit only."""
    base = root / "OLIVES"
    markers = ["Atrophy / thinning of retinal layers", "Disruption of EZ", "DRIL", "IR hemorrhages", "IR HRF",
               "Partially attached vitreous face", "Fully attached vitreous face", "Preretinal tissue/hemorrhage",
               "Vitreous debris", "VMT", "DRT/ME", "Fluid (IRF)", "Fluid (SRF)", "Disruption of RPE", "PED (serous)",
               "SHRM"]  # fmt: skip
    head = [
        "Path (Trial/Arm/Folder/Visit/Eye/Image Name)",
        "Scan (n/49)",
        *markers,
        "Eye_ID",
        "BCVA",
        "CST",
        "Patient_ID",
    ]
    trex, prime = "TREX DME/GILA/0201GOD/V1/OD", "Prime_FULL/01-001/W0/OS"
    first, clinical = [], []
    for place, names, patient in (
        (trex, ["TREXJ_000000.tif", "TREXJ_000001.tif"], 201),
        (trex.replace("V1", "V2"), ["TREXJ_000000.tif"], 201),
        (prime, ["0.png", "1.png"], 1),
    ):
        for name in names:
            picture(base / place / name, grey=True)
            clinical.append(
                [f"/{place}/{name}", 70 if patient == 201 else "", 310 if patient == 201 else "", 1, patient]
            )
    for scan, (name, fluid) in enumerate((("TREXJ_000000.tif", 0), ("TREXJ_000001.tif", 1)), 1):
        flags = [fluid if m == "Fluid (IRF)" else 0 for m in markers]
        first.append([f"/{trex}/{name}", scan, *flags, 1, 70, 310, 201])
    picture(base / "Prime_FULL/01-001/W0/OS/fundus_W0_OS.png", grey=True)
    labels = base / "OLIVES_Dataset_Labels" / "ml_centric_labels"
    table(labels / "Biomarker_Clinical_Data_Images.csv", [head, *first])
    table(labels / "Clinical_Data_Images.xlsx", [["File_Path", "BCVA", "CST", "Eye_ID", "Patient_ID"], *clinical])
    return Fake(base, 3, base / "TREX DME/GILA/0201GOD/V3/OD/TREXJ_000000.tif", base / trex / "TREXJ_000001.tif")


def papila(root: Path) -> Fake:
    """Three header rows; #002 in the table is RET002 on disk; 1 is glaucoma and 2 suspect."""
    base = root / "PapilaDB-PAPILA-17f8fa7746adb20275b5b6a0d99dc9dfe3007e9f"
    head = [
        ["", "Age", "Gender", "Diagnosis", "Refractive_Defect", "", "", "Phakic/Pseudophakic", "IOP", "", "Pachymetry", "Axial_Length", "VF_MD"],
        ["", "", "", "", "dioptre_1", "dioptre_2", "astigmatism", "", "Pneumatic", "Perkins", "", "", ""],
        ["ID", "", "", "", "", "", "", "", "", "", "", "", ""],
    ]  # fmt: skip
    rows = {"OD": [["#002", 47, 0, 2, 0.75, -1.75, 90, 0, 21, "", 586, 23.64, -0.07], ["#004", 58, 1, 1, 1.5, -1.75, 85, 0, "", 16, 501, 23.06, 3.26]],
            "OS": [["#002", 47, 0, 0, 1, -1.5, 85, 0, 20, "", 580, 23.4, 0.1]]}  # fmt: skip
    for eye, lines in rows.items():
        table(base / "ClinicalData" / f"patient_data_{eye.lower()}.xlsx", [*head, *lines])
        for line in lines:
            name = f"RET{line[0][1:]}{eye}"
            picture(base / "FundusImages" / f"{name}.jpg")
            contours = base / "ExpertsSegmentations" / "Contours"
            contours.mkdir(parents=True, exist_ok=True)
            for structure in ("disc", "cup"):
                for expert in (1, 2):
                    (contours / f"{name}_{structure}_exp{expert}.txt").write_text("10.0 20.0\n11.0 21.0\n12.0 20.0\n")
    return Fake(base, 3, base / "FundusImages" / "stray.jpg", base / "FundusImages" / "RET004OD.jpg")


def brset(root: Path) -> Fake:
    """A mark before `image_id`, 1 and 2 for normal and abnormal, the publisher's spelling, a stray word in a column."""
    base = root / "brazilian-ophthalmological-1.0.1"
    findings = ["diabetic_retinopathy", "macular_edema", "scar", "nevus", "amd", "vascular_occlusion", "hypertensive_retinopathy",
                "drusens", "hemorrhage", "retinal_detachment", "myopic_fundus", "increased_cup_disc", "other"]  # fmt: skip
    head = ["image_id", "patient_id", "camera", "patient_age", "comorbidities", "diabetes_time_y", "insuline", "patient_sex",
            "exam_eye", "diabetes", "nationality", "optic_disc", "vessels", "macula", "DR_SDRG", "DR_ICDR", "focus",
            "iluminaton", "image_field", "artifacts", *findings, "quality"]  # fmt: skip
    rows = [
        [
            "img00001",
            1,
            "Canon CR",
            48,
            "diabetes1",
            12,
            "yes",
            1,
            1,
            "yes",
            "Brazil",
            1,
            1,
            2,
            2,
            2,
            1,
            1,
            1,
            1,
            1,
            *[0] * 12,
            "Adequate",
        ],
        [
            "img00002",
            1,
            "Canon CR",
            48,
            "diabetes1",
            12,
            "yes",
            1,
            2,
            "yes",
            "Brazil",
            "bv",
            1,
            1,
            0,
            0,
            2,
            1,
            1,
            2,
            *[0] * 13,
            "Inadequate",
        ],
    ]
    table(base / "labels_brset.csv", [head, *rows], mark=True)
    for row in rows:
        picture(base / "fundus_photos" / f"{row[0]}.jpg")
    return Fake(base, 2, base / "fundus_photos" / "stray.jpg", base / "fundus_photos" / "img00002.jpg")


def mbrset(root: Path) -> Fake:
    """A grade is blank."""
    base = root / "mbrset-1.0"
    head = [
        "patient",
        "age",
        "sex",
        "dm_time",
        "insulin",
        "file",
        "laterality",
        "final_artifacts",
        "final_quality",
        "final_icdr",
        "final_edema",
    ]
    rows = [
        [1, 66, 0, 5, 1, "1.1.jpg", "right", "yes", "yes", 2, "no"],
        [1, 66, 0, 5, 1, "1.2.jpg", "left", "no", "no", "", ""],
    ]
    table(base / "labels_mbrset.csv", [head, *rows])
    for row in rows:
        picture(base / "images" / row[5])
    return Fake(base, 2, base / "images" / "stray.jpg", base / "images" / "1.1.jpg")


def mm_retinal(root: Path) -> Fake:
    """Identifiers have no type; .png and .jpg are mixed."""
    base = root / "MM-Retinal"
    for kind, name in (("CFP", "1.jpg"), ("CFP", "2.png"), ("FFA", "1.png"), ("OCT", "1.jpg")):
        picture(base / kind / name, grey=kind != "CFP")
    for kind, names in (("CFP", ("1", "2")), ("FFA", ("1",)), ("OCT", ("1",))):
        table(
            base / f"{kind}_translated_v1.csv",
            [["Image_ID", "cn_caption", "en_caption"], *[[n, "黄斑", f"A {kind} of macula"] for n in names]],
        )
    return Fake(base, 4, base / "CFP" / "stray.png", base / "CFP" / "2.png")


def ffa_ir(root: Path) -> Fake:
    """One JSON lists the frames of each case."""
    base = root / "ffa-ir-medical-report-1.1.0"
    annotation = {}
    for part, case, frames in (("train", "case_1", 3), ("val", "case_2", 1), ("test", "case_3", 2)):
        names = [f"./{case}/{n}.jpeg" for n in range(frames)]
        for name in names:
            picture(base / "FFAIR" / name, grey=True)
        annotation[part] = {case: {"En_Report": f"report of {case}", "Zh report": "报告", "Image_path": names}}
    (base / "ffair_annotation.json").write_text(json.dumps(annotation), encoding="utf-8")
    return Fake(base, 3, base / "FFAIR" / "case_9" / "0.jpeg", base / "FFAIR" / "case_1" / "2.jpeg")


def fairvision(root: Path) -> Fake:
    """Volumes inside archives; numbers of the diseases are independent; -1 and unknown are missing."""
    base = root / "FairVision"
    facts = {
        "AMD": ("amd_condition", "early.dry", "amd", "early amd"),
        "DR": ("dr_subtype", "pdr", "dr", "vision threatening dr"),
        "Glaucoma": ("glaucoma", 1, "glaucoma", "yes"),
    }
    for disease, (key, inside, column, word) in facts.items():
        rows = [["filename", "age", "gender", "race", "ethnicity", "language", "maritalstatus", column]]
        for part in ("Training", "Validation", "Test"):
            number = {"Training": "00001", "Validation": "06001", "Test": "07001"}[part]
            picture(base / disease / part / f"slo_fundus_{number}.jpg", grey=True)
            np.savez(
                base / disease / part / f"data_{number}.npz",
                oct_bscans=np.zeros((8, 32, 32), np.uint8), slo_fundus=np.zeros((32, 32), np.uint8), male=1, race=-1,
                **{key: inside},
            )  # fmt: skip
            rows.append([f"data_{number}.npz", 61.5, "male", "asian", "unknown", "-1", "married", word])
        table(base / f"data_summary_{disease.lower()}.csv", rows)
    return Fake(
        base, 9, base / "AMD" / "Training" / "slo_fundus_99999.jpg", base / "AMD" / "Training" / "data_00001.npz"
    )


def harvard_gf(root: Path) -> Fake:
    """-1 means not known."""
    base = root / "Harvard-GF"
    listed = [["filename"]]
    for number, part in (("0001", "Training"), ("2101", "Validation"), ("2401", "Test")):
        (base / part).mkdir(parents=True)
        np.savez(
            base / part / f"data_{number}.npz",
            rnflt=np.zeros((32, 32)), oct_bscans=np.zeros((8, 32, 32), np.uint8), glaucoma=int(part == "Test"), md=-3.5,
            tds=np.zeros(52), age=-1 if part == "Test" else 61.0, male=1, race=2, maritalstatus=-1, ethnicity=0, language=0,
        )  # fmt: skip
        listed.append([f"data_{number}.npz"])
    table(base / "data_summary.csv", listed)
    return Fake(base, 3, base / "Training" / "stray.jpg", base / "Training" / "data_0001.npz")


def octdl(root: Path) -> Fake:
    """File names have no type in the table."""
    base = root / "OCTDL"
    names = {"amd_1046": "AMD", "amd_1047": "AMD", "dme_11": "DME", "no_5": "NO"}
    rows = [["file_name", "disease", "subcategory", "condition", "patient_id", "eye", "sex", "year"]]
    for i, (name, disease) in enumerate(names.items()):
        picture(base / disease / f"{name}.jpg", grey=True)
        rows.append([name, disease, "", "", 100 + i // 2, "OD", "M", 1950])
    table(base / "OCTDL_labels.csv", rows)
    return Fake(base, 4, base / "NO" / "stray.jpg", base / "AMD" / "amd_1047.jpg")


def oct2017(root: Path) -> Fake:
    """The folder name ends in a space, stands twice, and hides a leftover of a Mac."""
    base = root / "oct2017" / "OCT2017 "
    for part, kind, name in (
        ("train", "CNV", "CNV-1016042-1"), ("train", "CNV", "CNV-1016042-2"), ("train", "DRUSEN", "DRUSEN-53018-1"),
        ("test", "NORMAL", "NORMAL-12494-1"), ("val", "DME", "DME-9583225-1"),
    ):  # fmt: skip
        picture(base / part / kind / f"{name}.jpeg", grey=True)
    (base / "train" / ".DS_Store").write_bytes(b"x")
    return Fake(base.parent, 5, base / "train" / "stray.jpeg", None)


def uk_biobank(root: Path) -> Fake:
    """Ten folders by the first digits; the field number is the eye; the table lists participants without pictures too."""
    base = root / "Bulk" / "Retinal Optical Coherence Tomography"
    picture(base / "Fundus (left)" / "10" / "1000012_21015_0_0.png")
    picture(base / "Fundus (right)" / "10" / "1000012_21016_0_0.png")
    picture(base / "Fundus (right)" / "11" / "1100045_21016_1_0.png")
    table(
        base / "participants.csv",
        [["eid", "31-0.0", "21003-0.0", "21003-1.0"], [1000012, 0, 58, ""], [1999999, 1, 60, ""]],
    )
    return Fake(base, 3, base / "Fundus (left)" / "10" / "stray.png", None)


def drive(root: Path) -> Fake:
    """Masks are GIF; the test part has no vessels."""
    base = root / "DRIVE"
    for part, number in (("training", "21"), ("training", "22"), ("test", "01")):
        picture(base / part / "images" / f"{number}_{part}.tif")
        drawn(base / part / "mask" / f"{number}_{part}_mask.gif")
        if part == "training":
            drawn(base / part / "1st_manual" / f"{number}_manual1.gif")
    return Fake(base, 3, base / "training" / "images" / "stray.tif", base / "training" / "images" / "22_training.tif")


def stare(root: Path) -> Fake:
    """Gzipped PPM, two observers, diagnoses separated by tabulators."""
    base = root / "STARE"
    for name in ("im0001", "im0002"):
        picture(base / "stare-images" / f"{name}.ppm.gz")
        drawn(base / "labels-ah" / f"{name}.ah.ppm.gz")
        drawn(base / "labels-vk" / f"{name}.vk.ppm.gz")
    (base / "all-mg-codes.txt").write_text(
        "im0001\t7\t\tBackground Diabetic Retinopathy\nim0002\t14 13\t\tChoroidal Neovascularization AND Drusen\nim0003\t0\t\tNormal\n"
    )
    return Fake(base, 2, base / "stare-images" / "stray.ppm.gz", base / "stare-images" / "im0002.ppm.gz")


def chase_db1(root: Path) -> Fake:
    """All in one folder."""
    base = root / "CHASEDB1"
    for name in ("Image_01L", "Image_01R", "Image_02L"):
        picture(base / f"{name}.jpg")
        drawn(base / f"{name}_1stHO.png")
        drawn(base / f"{name}_2ndHO.png")
    return Fake(base, 3, base / "stray.jpg", base / "Image_01R.jpg")


def hrf(root: Path) -> Fake:
    """.JPG and .jpg."""
    base = root / "HRF"
    for name, suffix in (("01_dr", ".JPG"), ("01_g", ".jpg"), ("01_h", ".jpg")):
        picture(base / "images" / f"{name}{suffix}")
        drawn(base / "manual1" / f"{name}.tif")
        drawn(base / "mask" / f"{name}_mask.tif")
    return Fake(base, 3, base / "images" / "stray.jpg", base / "images" / "01_g.jpg")


def fives(root: Path) -> Fake:
    """Doubled outer folder; numbers begin at 1 in both parts."""
    title = "FIVES A Fundus Image Dataset for AI-based Vessel Segmentation"
    base = root / title / title
    for part, name in (("train", "1_A"), ("train", "151_D"), ("test", "1_A"), ("test", "51_N")):
        picture(base / part / "Original" / f"{name}.png")
        drawn(base / part / "Ground truth" / f"{name}.png")
    return Fake(base.parent, 4, base / "train" / "Original" / "stray.png", base / "test" / "Original" / "1_A.png")


def drishti_gs(root: Path) -> Fake:
    """Doubled folder; title lines above the table of diagnoses, names in quotes."""
    base = root / "Drishti-GS1_files" / "Drishti-GS1_files"
    for part, name in (("Training", "drishtiGS_002"), ("Training", "drishtiGS_004"), ("Test", "drishtiGS_001")):
        truth = base / part / ("GT" if part == "Training" else "Test_GT") / name
        picture(base / part / "Images" / f"{name}.png")
        drawn(truth / "SoftMap" / f"{name}_ODsegSoftmap.png", levels=(0, 64, 128, 255))
        drawn(truth / "SoftMap" / f"{name}_cupsegSoftmap.png", levels=(0, 64, 128, 255))
        (truth / f"{name}_cdrValues.txt").write_text("0.76 0.77 0.79 0.75")
    rows = [["Drishti-GS1 diagnosis"], [], ["", "Drishti-GS File", "Marking 1", "Total"], ["", "drishtiGS_002'", "Normal", "Glaucomatous"],
            ["", "drishtiGS_004'", "Normal", "Normal"], ["", "drishtiGS_001'", "Normal", "Normal"]]  # fmt: skip
    table(base / "Drishti-GS1_diagnosis.xlsx", rows)
    return Fake(
        base.parent, 3, base / "Training" / "Images" / "stray.png", base / "Training" / "Images" / "drishtiGS_004.png"
    )


def airogs(root: Path) -> Fake:
    """Pictures in numbered folders, labels of the training part."""
    base = root / "AIROGS"
    for folder, name in (("0", "TRAIN000000"), ("1", "TRAIN000001")):
        picture(base / folder / f"{name}.jpg")
    table(base / "train_labels.csv", [["challenge_id", "class"], ["TRAIN000000", "NRG"], ["TRAIN000001", "RG"]])
    return Fake(base, 2, base / "0" / "stray.jpg", base / "1" / "TRAIN000001.jpg")


def jsiec(root: Path) -> Fake:
    """The folder is the label."""
    base = root / "1000images"
    for folder, name in (
        ("0.0.Normal", "1ffa92e4-8d87.JPG"),
        ("1.0.DR2", "2a.JPG"),
        ("8.MH", "3b.JPG"),
        ("15.1.Bietti crystalline dystrophy", "4c.JPG"),
    ):
        picture(base / folder / name)
    return Fake(base, 4, base / "stray.jpg", None)


def mmac(root: Path) -> Fake:
    """Three tasks in three folders, each with numbered folders of pictures and of truth."""
    base = root / "MMAC2023"
    first = base / "1. Classification of Myopic Maculopathy"
    for part, word in (("1. Training Set", "Training"), ("2. Validation Set", "Validation")):
        name = f"mmac_task_1_{word.lower()}_0001.png"
        picture(first / "1. Images" / part / name)
        number = part[0]
        table(
            first / "2. Groundtruths" / f"{number}. MMAC2023_Myopic_Maculopathy_Classification_{word}_Labels.csv",
            [["image", "myopic_maculopathy_grade", "age", "sex", "height", "weight"], [name, 3, 51, 1, 160, 55]],
        )
    lesions = base / "2. Segmentation of Myopic Maculopathy Plus Lesions" / "1. Lacquer Cracks"
    picture(lesions / "1. Images" / "1. Training Set" / "mmac_task_2_train_LC_0001.png")
    drawn(lesions / "2. Groundtruths" / "1. Training Set" / "mmac_task_2_train_LC_0001.png")
    third = base / "3. Prediction of Spherical Equivalent"
    picture(third / "1. Images" / "1. Training Set" / "mmac_task_3_train_0001.png")
    table(third / "2. Groundtruths" / "1. MMAC2023_Spherical_Equivalent_Training_Labels.csv",
          [["image", "spherical_equivalent"], ["mmac_task_3_train_0001.png", -8.25]])  # fmt: skip
    images = first / "1. Images" / "1. Training Set"
    return Fake(base, 4, images / "stray.png", images / "mmac_task_1_training_0001.png")


def ffa(root: Path) -> Fake:
    """Pictures of three tasks; only those with drawn areas have patients."""
    base = root / "angiograms"
    rows = [["image", "task", "label", "patient"]]
    for name, task, label, patient in (
        ("phase/arterial_phase/00001.jpg", "phase", "arterial_phase", ""),
        ("diagnosis/brvo/BRVO0002.jpg", "diagnosis", "brvo", ""),
        ("seg/images/3-3_015.jpg", "seg", "0=background 1=BRVO area 2=NP non-perfusion", "3"),
    ):
        picture(base / name, grey=True)
        rows.append([name, task, label, patient])
    drawn(base / "seg" / "masks" / "3-3_015.png", levels=(0, 1, 2, 2))
    table(base / "labels.csv", rows)
    return Fake(base, 3, base / "phase" / "arterial_phase" / "stray.jpg", base / "diagnosis" / "brvo" / "BRVO0002.jpg")


def oct_srf(root: Path) -> Fake:
    """0.0 and 1.0."""
    base = root / "srf"
    rows = [["image", "srf", "size"]]
    for name, value in (("input_0_1.jpg", 0.0), ("input_1492_1.jpg", 1.0)):
        picture(base / "labelled" / name, grey=True)
        rows.append([f"labelled/{name}", value, "(512, 512)"])
    table(base / "labels.csv", rows)
    return Fake(base, 2, base / "labelled" / "stray.jpg", base / "labelled" / "input_0_1.jpg")


def build(name: str, root: Path) -> Fake:
    """Build the fake of a set: the builder carries its name."""
    builder: Callable[[Path], Fake] = globals()[name.replace(".", "_")]
    return builder(root)
