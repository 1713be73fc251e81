"""The phenotypes of UK Biobank as a measurer."""

import numpy as np
import pytest

from fundusion.biomarkers.idp import PHENOTYPES
from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Measurer
from fundusion.core.registry import models
from fundusion.datasets.synthetic import draw_photograph


@pytest.fixture(scope="module")
def masks():
    truth = draw_photograph(np.random.default_rng(3), size=768, laterality="OD")[1]
    shape = truth.vessel_mask.shape
    return {**truth.vessel_masks, "disc": truth.disc.mask(shape), "field": truth.field.mask(shape)}


def test_all_seventeen_in_the_order_of_the_paper(masks):
    found = models.create("vascular_idp.scaled").measure(masks)
    assert [m.name for m in found] == list(PHENOTYPES)
    values = {m.name: m.value for m in found}
    assert all(v is not None for k, v in values.items() if not k.startswith("mean_angle"))
    assert 0 < values["ratio_CRAE_CRVE"] < 1
    assert values["ratio_VD"] == pytest.approx(values["VD_orig_artery"] / values["VD_orig_vein"])
    assert values["eq_CRAE"] > values["medianDiameter_artery"]


def test_scaling_moves_only_what_has_a_length(masks):
    plain, scaled = (
        {m.name: m.value for m in models.create(f"vascular_idp.{n}").measure(masks)} for n in ("ukbb", "scaled")
    )
    assert plain["eq_CRAE"] == scaled["eq_CRAE"]
    assert plain["VD_orig_vein"] < scaled["VD_orig_vein"]


def test_what_is_missing_is_said(masks):
    measurer = models.create("vascular_idp.test")
    assert isinstance(measurer, Measurer)
    with pytest.raises(InvalidInput, match="artery"):
        measurer.measure({"vessels": masks["artery"]})
    with pytest.raises(InvalidInput, match="size"):
        measurer.measure({**masks, "disc": masks["disc"][:9]})
    empty = measurer.measure({"artery": np.zeros((50, 50), bool), "vein": masks["vein"][:50, :50]})
    assert {m.failure for m in empty} == {"mask.empty"}
    lost = {
        m.name: m.failure for m in measurer.measure({**masks, "disc": masks["disc"] | np.roll(masks["disc"], 250, 1)})
    }
    assert lost["eq_CRVE"] == "disc.several"
