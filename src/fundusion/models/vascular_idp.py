"""The 17 vascular phenotypes of UK Biobank as a measurer: masks of arteries, veins and disc -> measurements under the authors' names.

Source: Ortín Vela et al. 2024, doi:10.1038/s41467-024-52334-1; see `biomarkers.idp` for what the authors' program does and its description does not say.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..biomarkers import idp
from ..biomarkers.optic_disc import disc_of
from ..biomarkers.outcome import Outcome, failed
from ..biomarkers.vessel_graph import vessel_graph
from ..core.errors import InvalidInput
from ..core.registry import Card, models
from ..core.results import Measurement


class VascularPhenotypes:
    """Measures masks with the authors' formulas on our own centre lines.

    Args:
        constants: Lengths in pixels.
        by_field: Scale them by the field of each picture, where its mask is given.
    """

    def __init__(self, constants: idp.Constants, *, by_field: bool) -> None:
        self.constants = constants
        self.by_field = by_field

    def measure(self, masks: Mapping[str, npt.NDArray[np.bool_]], spacing_um: float | None = None) -> list[Measurement]:
        """Return the 17 phenotypes; those that cannot be measured carry the code of the reason.

        Args:
            masks: "artery", "vein", and where there are "disc" and "field", `(H, W)`, not zero inside.
            spacing_um: Not used: the authors' lengths are pixels.

        Raises:
            InvalidInput: `mask.absent`, `mask.size`: no artery or vein mask, or of another size.
        """
        if not {"artery", "vein"} <= masks.keys():
            raise InvalidInput(
                f"masks are {sorted(masks)}; needed are 'artery' and 'vein'.",
                code="mask.absent",
                hint="A mask of all vessels together has no arteries and veins to compare.",
            )
        artery, vein = (np.asarray(masks[k]) != 0 for k in ("artery", "vein"))
        if any(np.shape(m) != artery.shape for m in masks.values()):
            raise InvalidInput(
                "the masks differ in size.", code="mask.size", hint="All masks of an eye are of one size."
            )
        if not artery.any() or not vein.any():
            return [_measurement(name, failed("mask.empty")) for name in idp.PHENOTYPES]
        constants = self.constants
        field = masks.get("field")
        if self.by_field and field is not None and np.any(field):
            # Between the greatest width and height: a field that is cut above and below keeps its width.
            constants = constants.scaled(max(np.ptp(np.flatnonzero(np.any(field, axis=k))) + 1 for k in (0, 1)) / 2)
        disc, place = (disc_of(masks["disc"]) if "disc" in masks else "disc.absent"), None
        if not isinstance(disc, str):
            place = disc.center[1], disc.center[0], (disc.width_px + disc.height_px) / 4
        segments = idp.segments_of(vessel_graph(artery), vessel_graph(vein))
        found = idp.phenotypes(segments, (artery, vein), place, constants)
        if isinstance(disc, str) and disc != "disc.absent":
            found = {k: failed(disc) if o.failure == "disc.absent" else o for k, o in found.items()}
        return [_measurement(name, outcome) for name, outcome in found.items()]


def _measurement(name: str, found: Outcome) -> Measurement:
    return Measurement(
        name=name,
        value=found.value,
        unit=idp.PHENOTYPES[name][1],
        region="field",
        source=idp.SOURCE,
        failure=found.failure,
        n=found.n,
    )


def _card(title: str, notes: str) -> Card:
    return Card(
        title=title,
        roles=frozenset({"measure"}),
        modalities=frozenset({"cfp"}),
        paper="doi:10.1038/s41467-024-52334-1",
        notes=notes,
    )


@models.register(
    "vascular_idp.ukbb",
    _card("Vascular phenotypes, UK Biobank constants", "Lengths in pixels of UK Biobank, as the authors leave them."),
)
def ukbb() -> VascularPhenotypes:
    """Return the measurer with the authors' constants, whatever the size of the picture."""
    return VascularPhenotypes(idp.Constants(), by_field=False)


@models.register(
    "vascular_idp.scaled",
    _card("Vascular phenotypes, scaled to the field", "Lengths scaled from a field of 660 px to that of the picture."),
)
def scaled() -> VascularPhenotypes:
    """Return the measurer with constants in proportion to the field of view."""
    return VascularPhenotypes(idp.Constants(), by_field=True)


@models.register("vascular_idp.test", _card("Vascular phenotypes, smallest", "For pictures of some hundred pixels."))
def test() -> VascularPhenotypes:
    """Return a measurer for small pictures."""
    return VascularPhenotypes(idp.Constants().scaled(120.0), by_field=False)
