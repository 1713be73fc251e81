"""Pairs of one retina."""

import shutil

import numpy as np
import pytest

from fundusion.audit import twins as module
from fundusion.audit.fingerprint import masks
from fundusion.audit.scan import scan
from fundusion.audit.twins import candidates, find_twins


def test_identical_copied_and_mirrored_files_are_paired_and_nothing_else(eyes, rgb, save, tmp_path):
    shutil.copy(eyes[0], tmp_path / "same.png")
    copy = save("copy.jpg", rgb(eyes[1]), 80)
    mirrored = save("mirrored.jpg", rgb(eyes[2])[:, ::-1], 85)
    paths = [*eyes, tmp_path / "same.png", copy, mirrored]
    found, unread = find_twins(scan([("cfp", str(p)) for p in paths]))
    n = len(eyes)
    assert [(t.first, t.second, t.variant) for t in found] == [
        (0, n, "upright"),
        (1, n + 1, "upright"),
        (2, n + 2, "mirrored"),
    ]
    assert [t.kind == "identical" for t in found] == [True, False, False]
    assert unread == 0


def test_pictures_of_two_modalities_are_never_paired(eyes):
    files = [("cfp", str(eyes[0])), ("uwf", str(eyes[0]))]
    found, _ = find_twins(scan(files))
    assert [t.kind for t in found] == ["identical"]


@pytest.mark.parametrize("many", [False, True])
def test_the_search_finds_planted_pairs_across_blocks(generator, monkeypatch, many):
    if many:
        monkeypatch.setattr(module, "MANY", 100)
    monkeypatch.setattr(module, "_ROWS", 64)
    monkeypatch.setattr(module, "_COLUMNS", 100)
    bits = generator.integers(0, 2**63, (700, 4), dtype=np.uint64)
    planted = {(3, 690): "upright", (10, 11): "mirrored", (64, 128): "upside down", (5, 300): "turned by 180"}
    for (i, j), variant in planted.items():
        flips = np.packbits(generator.random(256) < 0.12).view(np.uint64)
        bits[j] = bits[i] ^ masks()[variant] ^ flips
    seen = []
    found = {(i, j): v for i, j, v in candidates(bits, bits, progress=lambda d, t: seen.append((d, t)))}
    assert planted.items() <= found.items()
    assert len(found) <= len(planted) + 2
    assert seen[-1] == (700, 700)


def test_a_pair_whose_circles_agree_is_proposed_though_the_boxes_do_not(generator):
    box = generator.integers(0, 2**63, (20, 4), dtype=np.uint64)
    circle = box.copy()
    circle[7] = circle[15] ^ np.uint64(1)
    assert (7, 15, "upright") in set(candidates(circle, box))


def test_a_file_that_vanished_is_counted(eyes, rgb, save):
    copy = save("copy.jpg", rgb(eyes[0]), 90)
    found = scan([("cfp", str(eyes[0])), ("cfp", str(copy))])
    copy.unlink()
    module._frames.cache_clear()
    assert find_twins(found) == ([], 1)
