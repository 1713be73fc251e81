"""The words MedSegX was trained with: kinds of pictures, its tree of organs, and its tasks with their numbers.

Source: lists of the released code (github.com/Theia-4869/MedSegX). Seven tasks stand in the tree but have no number of their own; here they are
marked with a star and take the spare last row of the table.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import UnknownName

#: In the order of their numbers.
MODALITIES = ("CBCT", "Colonos", "CT", "CTA", "Dermos", "Endos", "Fundus", "MRI", "US", "Xray")
PARTS = ("head&neck", "body", "skeleton", "vessel", "skin")
REGIONS = (
    "head", "face", "neck", "chest", "abdomen", "pelvis", "cranium&face", "cervix", "torso", "limb", "vessel", "skin",
)  # fmt: skip
ORGANS = (
    "brain", "hippocampus", "pituitary", "eye", "ear", "nose", "mouth", "throat", "lymphnode", "thyroid", "parotid", "saliarygland",
    "lung", "trachea", "esophagus", "heart", "breast", "liver", "gallbladder", "pancreas", "spleen", "kidney", "adrenal", "stomach",
    "intestine", "bladder", "uterus", "prostate", "jawbone", "cervicalspine", "thoracicspine", "lumbarspine", "collarbone", "sacrum",
    "hip", "femur", "tibia", "vessel", "skin",
)  # fmt: skip

#: Part, region, organ and its tasks, in the order of the numbers of the tasks.
_TREE = """
head&neck head brain LeftCaudatum RightCaudatum VestibularSchwannoma BrainWholeTumor BrainCoreTumor BrainEnhancingTumor
head&neck head brain IntracranialHemorrhage IschemicStrokeLesion MultipleSclerosis WhiteMatterHyperintensity WhiteMatter
head&neck head brain GrayMatter CerebroSpinalFluid
head&neck head hippocampus Hippocampus
head&neck head pituitary Pituitary
head&neck face eye OpticCup OpticDisc
head&neck face ear RightInnerEar LeftMiddleEar
head&neck face nose GTVnx
head&neck face mouth Tooth Lip CavityOral BuccalMucosa
head&neck neck throat Glottis PharynxCancer
head&neck neck lymphnode GTVnd
head&neck neck thyroid GlndThyroid ThyroidNodule
head&neck neck parotid ParotidL
head&neck neck saliarygland GindSubmandL
body chest lung LeftLung RightLung LungCancer COVID GroundGlassesOpacities Consolidation PleuraEffusion LungPneumothorax
body chest lung *InterstitialThickening *PulmonaryLibrosis
body chest trachea Bronchus PulmonaryAirways
body chest esophagus Esophagus
body chest heart Heart LeftAtrium LVMyocardialEdema LVMyocardialScars LeftAtrialBloodChamber RightAtrialBloodChamber
body chest heart LeftVentricle RightVentricle LeftVentricularBloodChamber RightVentricularBloodChamber
body chest heart LeftVentricularMyocardium RightVentricularMyocardium NoReflow MyocardialInfarction MitralValve
body chest heart LeftVentricleEpicardium
body chest breast BreastCancer
body abdomen liver Liver LiverCancer *FNH *HCC *Hemangioma *ICC
body abdomen gallbladder GallBladder
body abdomen pancreas Pancreas PancreasCancer
body abdomen spleen Spleen
body abdomen kidney LeftKidney RightKidney KidneyTumor
body abdomen adrenal LeftAdrenalGland RightAdrenalGland
body abdomen stomach Stomach *StomachCancer
body abdomen intestine Duodenum Colon ColonCancer Rectum Intestine Polyp Instrument
body pelvis bladder Bladder
body pelvis uterus Uterus
body pelvis prostate Prostate ProstateCentralGland ProstatePeripheralZone ProstateTransitionalZone ProstateTumor
skeleton cranium&face jawbone Mandible
skeleton cervix cervicalspine CervicalSpine
skeleton torso collarbone LeftCollarBone RightCollarBone CollarBone
skeleton torso thoracicspine ThoracicSpine
skeleton torso lumbarspine LumbarSpine
skeleton torso sacrum Sacrum
skeleton limb hip LeftHip RightHip
skeleton limb femur FemurBone FemurCartilage
skeleton limb tibia TibiaBone TibiaCartilage
vessel vessel vessel RetinalVessel CarotidArteryRight CarotidVesselWall PulmonaryArtery PulmonaryEmbolism Aorta
vessel vessel vessel AscendingAorta TL FL FLT Postcava
skin skin skin Skin
"""
#: Words of this package for what MedSegX calls otherwise.
_TASK_WORDS = {"disc": "OpticDisc", "cup": "OpticCup", "vessel": "RetinalVessel"}
_MODALITY_WORDS = {"cfp": "Fundus", "ultrasound": "US"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlace:
    """Numbers of a task in the tables of a model.

    Args:
        part: Of the body.
        region: Of the part.
        organ: Of the region.
        task: Row of the table of tasks.
        has_own_row: False where the spare row stands for the task.
    """

    part: int
    region: int
    organ: int
    task: int
    has_own_row: bool


def _places() -> dict[str, TaskPlace]:
    lines = [line.split() for line in _TREE.strip().splitlines()]
    spare = sum(not t.startswith("*") for line in lines for t in line[3:])
    places, number = {}, 0
    for part, region, organ, *tasks in lines:
        for task in tasks:
            own = not task.startswith("*")
            places[task.removeprefix("*")] = TaskPlace(
                part=PARTS.index(part),
                region=REGIONS.index(region),
                organ=ORGANS.index(organ),
                task=number if own else spare,
                has_own_row=own,
            )
            number += own
    return places


_PLACES = _places()
#: Names of tasks.
TASKS = tuple(_PLACES)
#: Rows of the table of tasks, the spare one included.
TASK_ROWS = 1 + max(p.task for p in _PLACES.values())


def task_place(task: str) -> TaskPlace:
    """Return the numbers of a task by its name or by "disc", "cup" or "vessel".

    Example:
        >>> [task_place(t).task for t in ("cup", "OpticDisc", "StomachCancer")]
        [15, 16, 111]

    Raises:
        UnknownName: MedSegX has no such task.
    """
    name = _TASK_WORDS.get(task, task)
    if name not in _PLACES:
        raise UnknownName(
            f"MedSegX has no task {task!r}; of the eye it knows {', '.join(_TASK_WORDS)}.",
            code="config.unknown_name",
            hint="fundusion.knowledge.medsegx.TASKS lists all.",
        )
    return _PLACES[name]


def modality_number(modality: str) -> int:
    """Return the number of a kind of pictures by its name or by "cfp" or "ultrasound".

    Example:
        >>> modality_number("cfp")
        6

    Raises:
        UnknownName: MedSegX saw no such pictures.
    """
    name = _MODALITY_WORDS.get(modality, modality)
    if name not in MODALITIES:
        raise UnknownName(
            f"MedSegX saw no pictures of {modality!r}; it knows {', '.join(MODALITIES)}.",
            code="config.unknown_name",
            hint="Give the nearest of them, and expect less.",
        )
    return MODALITIES.index(name)
