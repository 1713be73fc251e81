"""Bits and correlation of vessel detail: what survives, what tells eyes apart."""

import cv2
import numpy as np
import pytest

from fundusion.audit.fingerprint import (
    VARIANTS,
    as_variant,
    bits_of,
    detail_of,
    distances,
    masks,
    similarity,
)
from fundusion.audit.picture import normalise, open_picture
from fundusion.audit.twins import NEAR_BITS, SAME_RETINA

CHANGES = {
    "encoded anew": (lambda p: p, 40),
    "half size": (lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), 90),
    "brighter": (lambda p: np.clip(p * 1.25, 0, 255), 90),
    "darker": (lambda p: p * 0.75, 90),
    "cropped": (lambda p: p[12:-12, 12:-12], 90),
}


def fine(path):
    return detail_of(normalise(open_picture(path).pixels)[1], smooth_px=4.0)


def bits(path):
    return bits_of(detail_of(normalise(open_picture(path).pixels)[1]))[None]


@pytest.mark.parametrize("name", CHANGES)
def test_copies_are_near_and_alike(eyes, rgb, save, name):
    change, quality = CHANGES[name]
    copy = save("copy.jpg", change(rgb(eyes[2])), quality)
    assert distances(bits(eyes[2]), bits(copy), masks()["upright"])[0, 0] <= NEAR_BITS
    assert similarity(fine(eyes[2]), fine(copy)) >= SAME_RETINA


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_is_near_under_its_own_mask_only(eyes, rgb, save, variant):
    copy = save("turned.png", as_variant(rgb(eyes[3]), variant))
    apart = {v: int(distances(bits(eyes[3]), bits(copy), m)[0, 0]) for v, m in masks().items()}
    assert apart.pop(variant) <= 20
    assert min(apart.values()) > NEAR_BITS
    assert similarity(fine(eyes[3]), as_variant(fine(copy), variant)) >= 0.9


def test_different_eyes_are_neither(eyes):
    every = np.concatenate([bits(e) for e in eyes])
    for mask in masks().values():
        apart = distances(every, every, mask)[np.triu_indices(len(eyes), 1)]
        assert np.mean(apart) > 100
    details = [fine(e) for e in eyes[:6]]
    alike = [similarity(details[i], details[j]) for i in range(6) for j in range(i)]
    assert max(alike) < SAME_RETINA


def test_a_shared_reflection_does_not_make_eyes_alike():
    """A bright bar in both correlates by itself; most tiles do not."""
    noise = np.random.default_rng(0).normal(size=(2, 256, 256)).astype(np.float32)
    noise[:, 60:110, 60:110] = 9 * np.sin(np.arange(50) / 3)[None, None, :]
    whole = float(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1])
    assert whole > 0.5
    assert similarity(noise[0], noise[1]) < 0.2


def test_an_empty_picture_is_alike_to_nothing():
    empty = np.zeros((256, 256), np.float32)
    assert similarity(empty, empty) <= 0
