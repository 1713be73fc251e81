"""Every number that is measured: its name, unit, formula and source. The reference page and the columns of tables are made from this."""

from __future__ import annotations

from dataclasses import dataclass

_HART = "Hart et al. 1999, doi:10.1016/S1386-5056(98)00163-4"
_GRISAN = "Grisan et al. 2008, doi:10.1109/TMI.2007.904657"
_BULLITT = "Bullitt et al. 2003, doi:10.1109/TMI.2003.816964"
_KNUDTSON = "Knudtson et al. 2003, doi:10.1076/ceyr.27.3.143.16049"
_HUBBARD = "Hubbard et al. 1999, doi:10.1016/S0161-6420(99)90525-0"
_BOXES = "Liebovitch, Toth 1989, doi:10.1016/0375-9601(89)90854-2"
_GAPS = "Allain, Cloitre 1991, doi:10.1103/PhysRevA.44.3552"
_PATTON = "Patton et al. 2006, doi:10.1016/j.preteyeres.2005.07.001"
_MURRAY = "Murray 1926, doi:10.1073/pnas.12.3.207; Sherman 1981, doi:10.1085/jgp.78.4.431"
_ORTIN = "Ortín Vela et al. 2024, doi:10.1038/s41467-024-52334-1"
_JONAS = "Jonas et al. 1988, Invest Ophthalmol Vis Sci 29:1151"
_ETDRS = "ETDRS report 10, 1991, doi:10.1016/S0161-6420(13)38009-9"

#: Groups of vessels that are measured alike.
VESSELS = ("artery", "vein", "vessels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Biomarker:
    """Facts about one measured quantity.

    Args:
        title: Words for a heading.
        unit: "1", "count", "degree", "rad", "length" (um or DD), "area" (its square), "per length", "per length^2".
        formula: In words and signs.
        source: Author, year and where.
        group: "vessels" (measured of arteries, veins and all), "calibre", "arcade", "disc", "cup", "fovea" or "lesion".
    """

    title: str
    unit: str
    formula: str
    source: str
    group: str


def _vessels(title: str, unit: str, formula: str, source: str) -> Biomarker:
    return Biomarker(title=title, unit=unit, formula=formula, source=source, group="vessels")


def _calibre(title: str, unit: str, formula: str, source: str) -> Biomarker:
    return Biomarker(title=title, unit=unit, formula=formula, source=source, group="calibre")


#: Quantities of one group of vessels; the name in a table ends in `_artery`, `_vein` or `_vessels`.
OF_VESSELS = {
    "density": _vessels("Vessel density", "1", "pixels of the mask / pixels of the field", _ORTIN),
    "length": _vessels("Length", "length", "sum of the lengths of all centre lines", _PATTON),
    "length_density": _vessels("Length density", "per length", "length / area of the field", _PATTON),
    "width": _vessels("Width", "length", "median over segments of the mean width across the centre line", _PATTON),
    "width_variability": _vessels(
        "Width variability", "1", "standard deviation / mean of the width at all points of all centre lines", _ORTIN
    ),
    "tortuosity": _vessels("Tortuosity", "1", "median over segments of arc / chord", _HART),
    "tortuosity_weighted": _vessels(
        "Tortuosity by length", "1", "sum(arc * arc / chord) / sum(arc): each segment counts by its length", _HART
    ),
    "total_curvature": _vessels("Total curvature", "rad", "median over segments of the integral of |k| ds", _HART),
    "curvature": _vessels("Mean curvature", "per length", "median over segments of (integral of |k| ds) / arc", _HART),
    "squared_curvature": _vessels(
        "Mean squared curvature", "per length^2", "median over segments of (integral of k^2 ds) / arc", _HART
    ),
    "tortuosity_density": _vessels(
        "Tortuosity density", "per length", "mean over segments of (n - 1) / (n arc) * sum over their n bends of (arc / chord - 1)", _GRISAN
    ),
    "inflections": _vessels("Inflections", "count", "mean over segments of the number of changes of the side of the bend", _BULLITT),
    "inflection_tortuosity": _vessels("Inflection count metric", "1", "median over segments of (inflections + 1) * arc / chord", _BULLITT),
    "fractal_dimension": _vessels(
        "Fractal dimension", "1", "slope of log N(m) on log m, N of m x m boxes that hold a pixel of the mask", _BOXES
    ),
    "fractal_dimension_skeleton": _vessels(
        "Fractal dimension of the skeleton", "1", "the same of the skeleton, which does not depend on widths", _BOXES
    ),
    "lacunarity": _vessels("Lacunarity", "1", "mean over box sizes of E[M^2] / E[M]^2, M pixels in a box", _GAPS),
    "bifurcations": _vessels("Bifurcations", "count", "nodes with three arms", _PATTON),
    "bifurcation_angle": _vessels("Bifurcation angle", "degree", "median of the angle between the daughters", _PATTON),
    "branching_coefficient": _vessels("Branching coefficient", "1", "median of (d1^2 + d2^2) / d0^2", _PATTON),
    "branching_asymmetry": _vessels("Branching asymmetry", "1", "median of d2 / d1, d1 the wider daughter", _PATTON),
    "junction_exponent": _vessels("Junction exponent", "1", "median of x with d0^x = d1^x + d2^x; 3 by Murray", _MURRAY),
}  # fmt: skip

_RINGS = {
    "b": "0.5-1 disc diameters from the margin of the disc",
    "c": "0.5-2 disc diameters from the margin of the disc",
}

OF_EYE = {
    **{
        f"{n}_zone_{z}": _calibre(
            f"{n.upper()} in zone {z.upper()}",
            "length",
            f"{words}; pairs of widest and narrowest of the six widest, w = {k} sqrt(w1^2 + w2^2), until one is left; median over circles, {ring}",
            _KNUDTSON,
        )
        for z, ring in _RINGS.items()
        for n, words, k in (("crae", "arterioles", "0.88"), ("crve", "venules", "0.95"))
    },
    **{
        f"{n}_hubbard_zone_{z}": _calibre(
            f"{n.upper()} by Hubbard in zone {z.upper()}", "um", f"{words} of all pairs, a wider, b narrower; median over circles, {ring}", _HUBBARD
        )
        for z, ring in _RINGS.items()
        for n, words in (
            ("crae", "sqrt(0.87 b^2 + 1.01 a^2 - 0.22 a b - 10.76)"),
            ("crve", "sqrt(0.72 b^2 + 0.91 a^2 + 450.05)"),
        )
    },
    **{
        f"avr{m}_zone_{z}": _calibre(f"AVR{words} in zone {z.upper()}", "1", "CRAE / CRVE", _HUBBARD if m else _KNUDTSON)
        for z in _RINGS
        for m, words in (("", ""), ("_hubbard", " by Hubbard"))
    },
    **{
        f"arcade_angle_{kind}": Biomarker(
            title=f"Temporal arcade angle of the {words}",
            unit="degree",
            formula="at the centre of the disc, between the widest vessel 20-120 degrees above and below the line to the fovea; median over 13 "
            "circles of 1 to 2.5 disc diameters",
            source=f"Fledelius, Goldschmidt 2010, Acta Ophthalmologica 88:514; circles as {_ORTIN}",
            group="arcade",
        )
        for kind, words in (("artery", "arteries"), ("vein", "veins"))
    },
    "disc_height": Biomarker(title="Height of the disc", unit="length", formula="from its top to its bottom", source=_JONAS, group="disc"),
    "disc_width": Biomarker(title="Width of the disc", unit="length", formula="from its left to its right", source=_JONAS, group="disc"),
    "disc_area": Biomarker(title="Area of the disc", unit="area", formula="pixels of the mask", source=_JONAS, group="disc"),
    "disc_ovality": Biomarker(
        title="Ovality of the disc", unit="1", formula="shortest / longest axis of the ellipse with the same second moments",
        source="Tay et al. 2005, Am J Ophthalmol 139:247", group="disc",
    ),
    "disc_tilt": Biomarker(
        title="Tilt of the disc", unit="degree", formula="direction of the longest axis, counter-clockwise from the vertical, -90 to 90",
        source="Tay et al. 2005, Am J Ophthalmol 139:247", group="disc",
    ),
    "vcdr": Biomarker(title="Vertical cup-to-disc ratio", unit="1", formula="height of the cup / height of the disc", source=_JONAS, group="cup"),
    "hcdr": Biomarker(title="Horizontal cup-to-disc ratio", unit="1", formula="width of the cup / width of the disc", source=_JONAS, group="cup"),
    "acdr": Biomarker(title="Area cup-to-disc ratio", unit="1", formula="area of the cup / area of the disc", source=_JONAS, group="cup"),
    **{
        f"rim_{q}": Biomarker(
            title=f"Rim, {q}", unit="DD", formula="mean over 90 rays from the centre of the disc of the distance from the cup to the margin of the disc",
            source="Harizman et al. 2006, doi:10.1001/archopht.124.11.1579", group="cup",
        )
        for q in ("inferior", "superior", "nasal", "temporal")
    },
    "isnt": Biomarker(
        title="ISNT rule", unit="1", formula="1 where rim inferior >= superior >= nasal >= temporal, else 0",
        source="Harizman et al. 2006, doi:10.1001/archopht.124.11.1579", group="cup",
    ),
    "disc_fovea_distance": Biomarker(
        title="Disc-fovea distance", unit="length", formula="from the centre of the disc to the fovea",
        source="Jonas et al. 2015, doi:10.1371/journal.pone.0138701", group="fovea",
    ),
    "disc_fovea_angle": Biomarker(
        title="Disc-fovea angle", unit="degree", formula="of the line from the disc to the fovea below the horizontal",
        source="Jonas et al. 2015, doi:10.1371/journal.pone.0141771", group="fovea",
    ),
}  # fmt: skip

#: Of each kind of lesion; the name in a table begins with the kind, the region is a sector of the ETDRS grid.
OF_LESIONS = {
    "count": Biomarker(title="Lesions", unit="count", formula="connected parts, by the sector of their centroid", source=_ETDRS, group="lesion"),
    "area": Biomarker(title="Area of lesions", unit="area", formula="pixels of the mask in the sector", source=_ETDRS, group="lesion"),
}  # fmt: skip


def fact_of(name: str) -> Biomarker:
    """Return the facts about a measurement by its name in a table.

    Raises:
        KeyError: No measurement has that name.

    Source:
        The sources are in the facts.

    Example:
        >>> fact_of("tortuosity_vein").unit, fact_of("crae_zone_b").unit, fact_of("EX_count").unit
        ('1', 'length', 'count')
    """
    if name in OF_EYE:
        return OF_EYE[name]
    base, _, last = name.rpartition("_")
    if last in VESSELS and base in OF_VESSELS:
        return OF_VESSELS[base]
    return OF_LESIONS[last]


def structure_of(name: str) -> str:
    """Return the mask a measurement needs first.

    Source:
        No formula.

    Example:
        >>> [structure_of(n) for n in ("density_vessels", "crae_zone_b", "avr_zone_c", "vcdr", "disc_tilt", "EX_count")]
        ['vessels', 'artery', 'artery', 'cup', 'disc', 'EX']
    """
    if name in OF_EYE:
        group = OF_EYE[name].group
        if group in ("calibre", "arcade"):
            return "vein" if name.startswith("crve") or name.endswith("_vein") else "artery"
        return "cup" if group == "cup" else "disc"
    base, _, last = name.rpartition("_")
    return last if last in VESSELS else base
