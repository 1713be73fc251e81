"""Drawn eyes as files: twelve photographs, each of another eye."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def eyes(tmp_path_factory) -> list[Path]:
    from fundusion.datasets.synthetic import write_cohort

    manifest = write_cohort(tmp_path_factory.mktemp("eyes"), 12, seed=11, size=400, modalities=("cfp",))
    with manifest.open() as stream:
        return [manifest.parent / row["cfp"] for row in csv.DictReader(stream)]


@pytest.fixture
def save(tmp_path):
    """Write pixels (RGB) as a file of the test's folder."""

    def write(name: str, pixels, quality: int = 92) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        bgr = np.ascontiguousarray(np.asarray(pixels)[..., ::-1]).astype(np.uint8)
        assert cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return path

    return write


@pytest.fixture(scope="session")
def rgb():
    """Read a file as RGB."""
    return lambda path: np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
