"""Measurements in words a reader knows: titles, numbers with their unit, places, what stands behind them."""

from __future__ import annotations

from ..biomarkers import catalogue
from ..biomarkers.outcome import REASONS
from ..biomarkers.reference import MIN_NEAR, MIN_PATIENTS, Comparison
from ..core.results import Measurement

#: Reasons why a photograph, or a structure in it, is not measured; those of formulas are in `biomarkers.outcome`.
REASONS_OF_PICTURES = {
    "image.too_small": "The field of view has fewer than half of the pixels that the segmenter was trained on.",
    "segmenter.unproven": "The segmenter in the package is often wrong about this structure in pictures of other cameras, so it is not used "
    "unless asked for (--unproven).",
    "image.no_field": "No field of view was found in the picture.",
    "quality.ungradable": "The photograph was judged ungradable.",
    "laterality_doubtful": "The disc lies far on the temporal side for the stated eye: the side may be wrong or the picture mirrored. "
    "Nasal and temporal values rest on the side that is stated.",
    "internal": "Measuring failed; please report it.",
}
_LESIONS = {"MA": "Microaneurysms", "HE": "Haemorrhages", "EX": "Hard exudates", "SE": "Cotton-wool spots"}
_KINDS = {"artery": "arteries", "vein": "veins", "vessels": "all vessels"}
_UNITS = {
    "1": "",
    "degree": "°",
    "DD": "disc diameters",
    "DD^2": "disc diameters²",
    "um": "µm",
    "um^2": "µm²",
    "count": "",
    "rad": "rad",
}
_PLACES = {
    "field": "whole field",
    "zone B": "zone B, 0.5-1 disc diameters from the disc",
    "zone C": "zone C, 0.5-2 disc diameters from the disc",
    "1-2.5 DD": "1 to 2.5 disc diameters from the disc",
    "disc": "optic disc",
    "disc to fovea": "disc to fovea",
}
_REMARKS = {"scale.estimated": "estimated scale", "fovea.found": "fovea found in the picture"}
_BEHIND = {
    "density": "pixels", "width_variability": "points", "fractal_dimension": "box sizes", "fractal_dimension_skeleton": "box sizes",
    "lacunarity": "box sizes", "bifurcations": "branchings", "bifurcation_angle": "branchings", "branching_coefficient": "branchings",
    "branching_asymmetry": "branchings", "junction_exponent": "branchings",
}  # fmt: skip


def title_words(name: str) -> str:
    """Return the heading of a measurement.

    Example:
        >>> title_words("tortuosity_vein"), title_words("EX_area"), title_words("vcdr")
        ('Tortuosity, veins', 'Hard exudates, area', 'Vertical cup-to-disc ratio')
    """
    if name in catalogue.OF_EYE:
        return catalogue.OF_EYE[name].title
    base, _, last = name.rpartition("_")
    if last in _KINDS:
        return f"{catalogue.fact_of(name).title}, {_KINDS[last]}"
    return f"{_LESIONS.get(base, base)}, {'number' if last == 'count' else last}"


def quantity_words(value: float, unit: str) -> str:
    """Return a number with its unit, in three digits; large lengths in millimetres.

    Example:
        >>> quantity_words(273884.2, "um"), quantity_words(0.1196, "1"), quantity_words(29631.8, "um^2"), quantity_words(59.0, "count")
        ('274 mm', '0.12', '0.0296 mm²', '59')
    """
    if unit == "um" and abs(value) >= 5000:
        value, unit = value / 1000, "mm"
    elif unit == "um^2":
        value, unit = value / 1e6, "mm²"
    words = _UNITS.get(unit, unit.replace("^2", "²"))
    digits = f"{value:.0f}" if abs(value) >= 1000 or (unit == "count" and value == int(value)) else f"{value:.3g}"
    return f"{digits}{'' if words == '°' else ' '}{words}".strip()


def value_words(name: str, value: float, unit: str) -> str:
    """Return the value of a measurement: of lengths by their chord, which are all close to one, with four decimals.

    Example:
        >>> value_words("tortuosity_vein", 1.00432, "1"), value_words("vcdr", 0.4321, "1")
        ('1.0043', '0.432')
    """
    if name.rpartition("_")[0] in ("tortuosity", "tortuosity_weighted", "inflection_tortuosity"):
        return f"{value:.4f}"
    return quantity_words(value, unit)


def spread_words(value: float, spread: float, unit: str) -> str:
    """Return an uncertainty in the unit in which its value is written, without naming it again.

    Example:
        >>> spread_words(273884.0, 2257.0, "um"), spread_words(0.5, 0.04, "1")
        ('2.3', '0.04')
    """
    factor = 1e-3 if unit == "um" and abs(value) >= 5000 else 1e-6 if unit == "um^2" else 1.0
    # An uncertainty is itself not known to more than two digits.
    return f"{float(f'{spread * factor:.2g}'):g}"


def remark_words(code: str) -> str:
    """Return what a remark says beside a number: a few words where the page explains them elsewhere, else the sentence.

    Example:
        >>> remark_words("scale.estimated")
        'estimated scale'
    """
    return _REMARKS.get(code) or reason_words(code)


def place_words(region: str | None) -> str:
    """Return where a number was taken.

    Example:
        >>> place_words("zone B"), place_words("ETDRS inner nasal")
        ('zone B, 0.5-1 disc diameters from the disc', 'ETDRS inner nasal')
    """
    return _PLACES.get(region or "", region or "")


def behind_words(m: Measurement) -> str:
    """Return what stands behind a number.

    Example:
        >>> behind_words(Measurement(name="tortuosity_vessels", value=1.1, unit="1", n=178))
        '178 segments'
    """
    base, _, last = m.name.rpartition("_")
    if m.n is None or last in ("count", "area") or m.name.startswith(("disc_", "vcdr", "hcdr", "acdr", "isnt")):
        return ""
    if last in catalogue.VESSELS and base in catalogue.OF_VESSELS:
        what = _BEHIND.get(base, "segments")
    else:
        what = "rays" if m.name.startswith("rim_") else "circles" if m.name.startswith("arcade") else "vessels"
    return f"{m.n} {what}"


def reason_words(code: str) -> str:
    """Return the sentence of a failure or remark.

    Example:
        >>> reason_words("cup.absent")
        'There is no optic cup to measure.'
    """
    return REASONS_OF_PICTURES.get(code) or REASONS.get(code) or code.replace(".", ": ").replace("_", " ")


def note_words(note: str) -> tuple[str, str] | None:
    """Return picture and sentence of a note about measuring, or None for another note.

    Example:
        >>> note_words("cfp.1.not_measured.quality.ungradable")
        ('cfp.1', 'Not measured. The photograph was judged ungradable.')
    """
    image, found, code = note.partition(".not_measured.")
    if found:
        return image, f"Not measured. {reason_words(code)}"
    if note.endswith(".laterality_doubtful"):
        return note.removesuffix(".laterality_doubtful"), reason_words("laterality_doubtful")
    return None


def ages_words(comparison: Comparison) -> str:
    """Return when curves are drawn, and where the patient stands."""
    who = "age not known" if comparison.age is None else f"{comparison.age:g} years"
    return f"Drawn from {MIN_PATIENTS} patients on, at ages with {MIN_NEAR:.0f} near. Patient: diamond, {who}."
