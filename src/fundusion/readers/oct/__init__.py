"""Vendor OCT files -> volumes, each with its own eye. Libraries read the pixels; sizes, counts and order are checked here."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...core.errors import ReadError
from ...core.study import Image
from ...core.vocabulary import Laterality
from .heidelberg import e2e_layouts, localiser_of_e2e, read_e2e, read_vol, vol_layout
from .layout import content_of, image_of
from .raw import (
    bioptigen_layout,
    optovue_layout,
    read_bioptigen,
    read_optovue,
    read_zeiss,
    zeiss_layout,
)
from .topcon import localiser_of_topcon, read_topcon, topcon_layout

SUFFIXES = (".e2e", ".vol", ".fda", ".fds", ".img", ".oct")
_VOLUMES = ("oct", "octa")
_SIDES = {"R": Laterality.RIGHT, "L": Laterality.LEFT}


def read_oct(path: str | Path, *, modality: str = "oct") -> list[Image]:
    """Return the volumes of a vendor file, or its photograph of the retina when that is what the record asks for.

    A file with scans of both eyes gives a volume for each scan, each with the eye that the file names for it.

    Args:
        path: `.e2e`, `.vol` (Heidelberg), `.fda`, `.fds` (Topcon), `.img` (Zeiss), `.oct` (Bioptigen, Optovue).
        modality: "oct" or "octa" for volumes; "slo" (Heidelberg) or "cfp" (Topcon) for the localiser.

    Raises:
        ReadError: `file.missing`, `oct.damaged`, `oct.size`, `oct.no_size`, `oct.no_localiser`, `image.truncated`,
            `image.corrupt`, `image.too_large`, `image.float_range`, `volume.empty`, `volume.count`, `volume.size`,
            `volume.gap`, `volume.order`, `laterality.conflict`.
        MissingDependency: The libraries are not installed.
    """
    source, suffix = Path(path), Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ReadError(
            f"{source.name!r} is of no known OCT format.", code="oct.damaged", hint=f"Read are {', '.join(SUFFIXES)}."
        )
    content = content_of(source)
    digest = hashlib.sha256(content).hexdigest()
    if modality not in _VOLUMES:
        return _localiser(source, content, modality, digest)
    facts = {"name": source.name, "modality": modality, "digest": digest}
    if suffix == ".vol":
        layout = vol_layout(content, source.name)
        slices, _ = read_vol(content, source.name, angiography=modality == "octa")
        return [image_of(slices, layout, **facts)]
    if suffix == ".e2e":
        layouts = e2e_layouts(content, source.name)
        volumes, notes = read_e2e(source, content, layouts)
        return [image_of(volumes[k], replace(v, notes=v.notes + notes), **facts) for k, v in layouts.items()]
    if suffix in (".fda", ".fds"):
        layout = topcon_layout(content, source)
        return [image_of(read_topcon(source), layout, **facts)]
    if suffix == ".img":
        layout = zeiss_layout(content, source)
        return [image_of(read_zeiss(source, layout), layout, **facts)]
    if source.with_suffix(".txt").is_file():
        found, described = read_optovue, optovue_layout(content, source)
    else:
        found, described = read_bioptigen, bioptigen_layout(content, source)
    volumes_read = found(source)
    if len(volumes_read) != len(described):
        raise ReadError(
            f"{source.name!r} says {len(described)} volumes; {len(volumes_read)} were read.", code="volume.count"
        )
    return [image_of(s, v, **facts) for s, v in zip(volumes_read, described, strict=True)]


def eyes_of(path: str | Path) -> tuple[Laterality | None, ...]:
    """Return the eye of each volume in a vendor file, in the order of `read_oct`; pixels are not decoded.

    A folder of such files becomes one study per eye with it.

    Raises:
        ReadError: As `read_oct`.
    """
    source = Path(path)
    content = content_of(source)
    suffix = source.suffix.lower()
    if suffix == ".vol":
        return (vol_layout(content, source.name).laterality,)
    if suffix == ".e2e":
        return tuple(v.laterality for v in e2e_layouts(content, source.name).values())
    if suffix in (".fda", ".fds"):
        return (topcon_layout(content, source).laterality,)
    if suffix == ".img":
        return (zeiss_layout(content, source).laterality,)
    layout = optovue_layout if source.with_suffix(".txt").is_file() else bioptigen_layout
    return tuple(v.laterality for v in layout(content, source))


def _localiser(source: Path, content: bytes, modality: str, digest: str) -> list[Image]:
    """Return the picture of the retina the scan was placed on; its scale is given where the file states one."""
    suffix = source.suffix.lower()
    pictures: list[tuple[np.ndarray, Laterality | None]] = []
    device = None
    if suffix == ".vol" and modality == "slo":
        layout = vol_layout(content, source.name)
        device = layout.device
        pictures = [(read_vol(content, source.name)[1], layout.laterality)]
    elif suffix == ".e2e" and modality == "slo":
        e2e_layouts(content, source.name)
        pictures = [(p, _SIDES.get(str(eye))) for p, eye in localiser_of_e2e(source)]
        device = "Heidelberg Spectralis"
    elif suffix in (".fda", ".fds") and modality == "cfp":
        layout = topcon_layout(content, source)
        device = layout.device
        pictures = [(localiser_of_topcon(source), layout.laterality)]
    if not pictures:
        raise ReadError(
            f"{source.name!r} holds no picture of the kind {modality!r}.",
            code="oct.no_localiser",
            hint="List the file under oct; Heidelberg files also hold an slo picture, Topcon files a cfp.",
        )
    images = []
    for picture, eye in pictures:
        pixels = picture[..., None] if picture.ndim == 2 else picture
        if min(pixels.shape[:2]) < 8:
            raise ReadError(f"the localiser of {source.name!r} is empty.", code="oct.no_localiser")
        images.append(
            Image(
                pixels=np.ascontiguousarray(pixels),
                modality=modality,
                laterality=eye,
                device=device,
                digest=digest,
                notes=("spacing.missing",),
            )
        )
    return images
