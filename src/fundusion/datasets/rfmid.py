"""RFMiD: forty-five findings of 3,200 photographs; MH is media haze, MHL is macular hole."""

from __future__ import annotations

from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Collector, Reading, begin
from ._tables import Row, has_columns
from ._tree import Folder, stem_of

#: Code of the table to finding.
FINDINGS = {
    "DR": "diabetic retinopathy", "ARMD": "age-related macular degeneration", "MH": "media haze", "DN": "drusen",
    "MYA": "myopia", "BRVO": "branch retinal vein occlusion", "TSLN": "tessellation", "ERM": "epiretinal membrane",
    "LS": "laser scars", "MS": "macular scar", "CSR": "central serous retinopathy", "ODC": "optic disc cupping",
    "CRVO": "central retinal vein occlusion", "TV": "tortuous vessels", "AH": "asteroid hyalosis", "ODP": "optic disc pallor",
    "ODE": "optic disc oedema", "ST": "optociliary shunt", "AION": "anterior ischaemic optic neuropathy",
    "PT": "parafoveal telangiectasia", "RT": "retinal traction", "RS": "retinitis", "CRS": "chorioretinitis",
    "EDN": "exudation", "RPEC": "retinal pigment epithelium changes", "MHL": "macular hole", "RP": "retinitis pigmentosa",
    "CWS": "cotton-wool spots", "CB": "coloboma", "ODPM": "optic disc pit maculopathy", "PRH": "preretinal haemorrhage",
    "MNF": "myelinated nerve fibres", "HR": "haemorrhagic retinopathy", "CRAO": "central retinal artery occlusion",
    "TD": "tilted disc", "CME": "cystoid macular oedema", "PTCR": "post-traumatic choroidal rupture",
    "CF": "choroidal folds", "VH": "vitreous haemorrhage", "MCA": "macroaneurysm", "VS": "vasculitis",
    "BRAO": "branch retinal artery occlusion", "PLQ": "plaque", "HPED": "haemorrhagic pigment epithelial detachment",
    "CL": "collateral vessels",
}  # fmt: skip
_CARD = DatasetCard(
    title="RFMiD",
    modalities=frozenset({"cfp"}),
    paper="doi:10.3390/data6020014",
    labels={
        "rfmid": "0 or 1 of each of: " + ", ".join(f"{k} {v}" for k, v in FINDINGS.items()),
        "disease_risk": "0 nothing found, 1 something found",
    },
    images=3200,
    license="CC BY 4.0",
    ask="riadd.grand-challenge.org; ieee-dataport.org/open-access/retinal-fundus-multi-disease-image-dataset-rfmid",
    layout="RFMiD_Training_Labels.csv (ID, Disease_Risk, DR, ...) beside the folder Training, and so for Validation and Test.",
    splits=("train", "val", "test"),
    notes="Numbers begin at 1 again in each part; identifiers here carry the part. No patient identifier. Three cameras.",
    **relations("rfmid"),
)
_WORDS = {"train": ("train",), "val": ("valid", "eval"), "test": ("test",)}


def _tables(folder: Folder) -> list[Path]:
    names = ("*rfmid*label*.csv", "*rfmid*label*.xlsx", "labels.csv")
    return [
        p for here in folder.below(depth=2) for p in here.all(*names) if has_columns(p, "id", "disease_risk", "mhl")
    ]


def _fits(folder: Folder) -> bool:
    """The root holds tables or the folders of two parts; a folder of one part is a root of its own."""
    if any(has_columns(p, "id", "disease_risk", "mhl") for p in folder.all("*rfmid*label*", "labels.csv")):
        return True
    folders = ("training_set", "evaluation_set", "test_set", "1. original images", "2. groundtruths")
    return sum(folder.folder(name) is not None for name in folders) >= 2 and bool(_tables(folder))


LAYOUTS = {"rfmid": _fits}


@datasets.register("rfmid", _CARD)
def rfmid(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture.

    Args:
        root: Folder of the parts as unpacked or a parent, or one with `labels.csv` and `images/`.
        split: "train", "val" or "test"; None takes all.
    """
    found = begin(root, _fits, _CARD)
    for table in _tables(found.base):
        part = _part(table.name)
        files = _pictures(found.base, table, part)
        for row in found.rows(table, needs=["id", "disease_risk"]):
            name = row["id"].removesuffix(".0")
            path = found.pick(files, stem_of(name), expected=f"{part or 'images'}/{name}.png") if name else None
            if path is not None:
                _add(found, row, path, part)
        found.unlisted(files.values())
    return found.done(split)


def _add(found: Collector, row: Row, path: Path, part: str | None) -> None:
    flags = {code: found.grade(row, code, 1) for code in FINDINGS if code in row}
    risk = found.grade(row, "disease_risk", 1)
    positive = [code for code, value in flags.items() if value == 1]
    if risk == 0 and positive:
        found.contradiction(row.origin, f"Disease_Risk is 0, but {', '.join(positive)} is 1")
    found.add(
        f"{part}_{path.stem}" if part else path.stem,
        images={"cfp": [path]},
        labels={
            "rfmid": {k: float("nan") if v is None else v for k, v in flags.items()} or None,
            "disease_risk": risk,
        },
        split=part,
        origin=row.origin,
    )


def _part(name: str) -> str | None:
    return next((part for part, words in _WORDS.items() if any(w in name.casefold() for w in words)), None)


def _pictures(base: Folder, table: Path, part: str | None) -> dict[str, Path]:
    """Return the pictures of a part: those below a folder that carries its name."""
    found: dict[str, Path] = {}
    for here in base.below(depth=4):
        place = here.path.relative_to(base.path).parts
        # `Evaluation_Set/Validation` and `Test_Set/Test` name the part twice; the folder nearest to the pictures decides.
        named = next((p for p in (_part(name) for name in reversed(place)) if p), None)
        if part is None or named == part or (named is None and here.path == table.parent):
            for stem, path in here.pictures().items():
                found.setdefault(stem, path)
    return found
