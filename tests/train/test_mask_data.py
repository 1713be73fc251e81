"""Pictures with masks: what a set does not say is unknown, what it says is kept, splits are by patient."""

from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image as Pillow

from fundusion.core.errors import InvalidInput
from fundusion.train.mask_data import UNKNOWN, MaskData, MaskSet, prepare_masks


def quiet(title):
    return nullcontext(lambda *a, **k: None)


@pytest.fixture(scope="module")
def tree(tmp_path_factory, draw_vessels):
    root = tmp_path_factory.mktemp("hrf")
    for number in range(1, 6):
        draw_vessels(root, number, vein=number != 5)
    return root


def read(tree, structures, **options):
    return prepare_masks([MaskSet(name="hrf", root=str(tree), **options)], structures, field_px=96, reporter=quiet)


def test_masks_lie_on_their_structures_and_the_unknown_is_marked(tree):
    data = read(tree, ("vessel", "artery", "vein", "disc"))
    assert len(data) == 5
    assert data.pixels.shape == (5, 96, 96, 3)
    pixels, shares, known = data[0]
    assert known[0].all()
    assert not known[3].any()
    # Where the map is green nobody knows.
    assert not known[1].all()
    assert (known[1] == known[2]).all()
    dark = pixels[..., 1] < 60
    inside = shares[0] > 0.9
    assert dark[inside].mean() > 0.95
    # A picture without a map of arteries.
    assert not data[4][2][1].any()
    assert data[4][2][0].all()


def test_a_set_can_be_used_for_some_structures_only(tree):
    data = read(tree, ("vessel", "artery"), classes=("artery",))
    assert len(data) == 4
    assert (data.masks[:, 0] == UNKNOWN).all()


def test_nothing_usable_is_an_error(tree):
    with pytest.raises(InvalidInput, match="mask of disc"):
        read(tree, ("disc",))


def test_a_mask_of_another_size_is_rejected_with_its_reason(draw_vessels, tmp_path):
    draw_vessels(tmp_path, 1)
    draw_vessels(tmp_path, 2)
    Pillow.fromarray(np.zeros((50, 60), np.uint8)).save(tmp_path / "manual1" / "02_h.png")
    data = read(tmp_path, ("vessel",))
    assert len(data) == 1
    assert [(n, c) for n, c, _ in data.rejected] == [("hrf/02_h", "mask.size")]


def test_lesions_without_a_file_are_absent_and_discs_are_not(tmp_path):
    for place in ("train/images", "train/masks"):
        (tmp_path / place).mkdir(parents=True)
    pixels = np.full((100, 120, 3), 90, np.uint8)
    for number in (1, 2):
        Pillow.fromarray(pixels).save(tmp_path / "train/images" / f"IDRiD_{number:02d}.jpg")
    mask = np.zeros((100, 120), np.uint8)
    mask[40:50, 40:50] = 255
    Pillow.fromarray(mask).save(tmp_path / "train/masks" / "IDRiD_01_EX.png")
    Pillow.fromarray(mask).save(tmp_path / "train/masks" / "IDRiD_02_MA.png")
    data = prepare_masks(
        [MaskSet(name="idrid.segmentation", root=str(tmp_path))], ("EX", "MA", "disc"), field_px=96, reporter=quiet
    )
    first = data[data.names.index("idrid.segmentation/IDRiD_01")]
    assert first[1][0].max() == 1
    assert first[2][1].all()
    assert first[1][1].max() == 0
    assert not first[2][2].any()


def test_a_cache_gives_the_same_and_is_made_anew_when_a_file_changes(draw_vessels, tmp_path):
    for number in (1, 2):
        draw_vessels(tmp_path / "set", number)
    sets = [MaskSet(name="hrf", root=str(tmp_path / "set"))]
    first = prepare_masks(sets, ("vessel",), field_px=64, reporter=quiet, cache=tmp_path / "kept")
    again = prepare_masks(sets, ("vessel",), field_px=64, reporter=quiet, cache=tmp_path / "kept")
    assert again.digest == first.digest
    assert (again.masks == first.masks).all()
    assert again.names == first.names
    draw_vessels(tmp_path / "set", 2, vein=False)
    cv2_mask = np.zeros((120, 140), np.uint8)
    cv2_mask[10:100, 60:64] = 255
    Pillow.fromarray(cv2_mask).save(tmp_path / "set" / "manual1" / "02_h.png")
    other = prepare_masks(sets, ("vessel",), field_px=64, reporter=quiet, cache=tmp_path / "kept")
    assert other.digest != first.digest


def test_every_set_gives_whole_patients_to_the_held_out_part():
    groups = tuple(f"a/{i // 2}" for i in range(20)) + tuple(f"b/{i}" for i in range(10))
    data = MaskData(
        pixels=np.zeros((30, 1, 1, 3), np.uint8), masks=np.zeros((30, 1, 1, 1), np.uint8), groups=groups,
        names=tuple(f"{g.split('/')[0]}/{i}" for i, g in enumerate(groups)), rejected=(), digest="",
    )  # fmt: skip
    outside = data.held_out(0.2, seed=0)
    for group in set(groups):
        assert len({bool(o) for o, g in zip(outside, groups, strict=True) if g == group}) == 1
    assert outside[:20].sum() == 4
    assert outside[20:].sum() == 2


def test_healthy_eyes_of_another_set_say_that_a_lesion_is_absent(tree):
    healthy = {"where": {"hrf_class": "healthy"}, "absent": ("EX", "HE")}
    data = read(tree, ("vessel", "EX", "HE"), **healthy)
    assert len(data) == 5
    _, shares, known = data[0]
    assert known[1:].all()
    assert shares[1:].max() == 0
    assert shares[0].max() > 0.9


def test_only_some_pictures_of_a_set_and_always_the_same(tree):
    first, again = (read(tree, ("vessel",), most=2) for _ in range(2))
    assert len(first) == 2
    assert first.names == again.names
    assert set(first.names) < set(read(tree, ("vessel",)).names)


def test_labels_that_no_picture_has_are_an_error_that_names_what_there_is(tree):
    with pytest.raises(InvalidInput, match="no picture of hrf") as caught:
        read(tree, ("vessel",), where={"dr_grade": 0.0})
    assert "hrf_class" in caught.value.hint


def test_a_structure_is_either_annotated_or_absent():
    with pytest.raises(ValueError, match="either annotated or absent"):
        MaskSet(name="hrf", root="x", classes=("EX",), absent=("EX",))
