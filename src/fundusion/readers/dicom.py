"""DICOM ophthalmic photography and tomography. Identifiers never leave this module."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ReadError, require
from ..core.study import Image
from ..core.vocabulary import Laterality

SUFFIXES = (".dcm", ".dicom")
MAX_BYTES = 1 << 30
MAX_VALUES = 1_200_000_000
_PHOTOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1.5."
_MODALITY_OF = {"1": "cfp", "2": "slo", "4": "oct", "5": "uwf", "6": "uwf", "7": "octa", "8": "octa"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomIdentity:
    """What groups files of a folder into studies: pseudonyms and the eye; no identifier in clear."""

    patient: str
    series: str
    laterality: Laterality | None
    modality: str


def is_dicom(path: str | Path) -> bool:
    """Return whether the content is DICOM: the magic word, or the suffix."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(132)
    except OSError:
        return False
    return head[128:] == b"DICM" or Path(path).suffix.lower() in SUFFIXES


def read_dicom(path: str | Path, *, modality: str | None = None) -> list[Image]:
    """Return the images of a DICOM file: one per colour frame, or one volume for tomography.

    Args:
        path: The file.
        modality: What the record says; None takes it from the object class.

    Raises:
        ReadError: `dicom.not_dicom`, `dicom.no_pixels`, `dicom.size`, `dicom.pixels`, `dicom.transfer_syntax`,
            `laterality.conflict`.
    """
    content, dataset = _open(path)
    name = Path(path).name
    _check_header(dataset, name)
    notes: list[str] = []
    pixels = _pixels(dataset, name, notes)
    kind = modality or modality_of(dataset)
    facts = {
        "modality": kind,
        "acquired": _acquired(dataset),
        "laterality": laterality_of(dataset),
        "digest": hashlib.sha256(content).hexdigest(),
        "notes": tuple(notes),
    }
    spacing = _spacing_um(dataset)
    if pixels.ndim == 3 and kind in ("oct", "octa"):
        between = (_number(dataset.get("SpacingBetweenSlices")) or 0) * 1000
        volume_spacing = (between, *spacing) if spacing and between > 0 else None
        return [Image(pixels=pixels, spacing_um=volume_spacing, **facts)]
    frames = pixels[None] if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3) else pixels
    return [Image(pixels=_planar(f, kind), spacing_um=spacing, **facts) for f in frames]


def read_identity(path: str | Path, *, salt: str) -> DicomIdentity:
    """Return pseudonyms of patient and series for grouping; the same salt gives the same ones."""
    _, dataset = _open(path, stop_before_pixels=True)

    def pseudonym(keyword: str) -> str:
        value = f"{salt}:{keyword}:{dataset.get(keyword) or Path(path).name}"
        return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:12]

    return DicomIdentity(
        patient=pseudonym("PatientID"),
        series=pseudonym("SeriesInstanceUID"),
        laterality=laterality_of(dataset),
        modality=modality_of(dataset),
    )


def _open(path: str | Path, *, stop_before_pixels: bool = False) -> tuple[bytes, Any]:
    pydicom = require("pydicom", extra="dicom")
    source = Path(path)
    try:
        if source.stat().st_size > MAX_BYTES:
            raise ReadError(f"{source.name!r} is larger than is read.", code="image.too_large")
        content = source.read_bytes()
        with pydicom.config.disable_value_validation():
            dataset = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=stop_before_pixels, force=False)
            # Elements are parsed on first use; doing it here keeps a damaged file from failing somewhere else.
            for keyword in ("Rows", "Columns", "NumberOfFrames", "SOPClassUID", "PhotometricInterpretation"):
                dataset.get(keyword)
    except FileNotFoundError as error:
        raise ReadError(f"{source.name!r} does not exist.", code="file.missing") from error
    except ReadError:
        raise
    except (pydicom.errors.InvalidDicomError, RecursionError) as error:
        raise ReadError(f"{source.name!r} is not a usable DICOM file.", code="dicom.not_dicom") from error
    except Exception as error:
        raise ReadError(f"{source.name!r} is a damaged DICOM file.", code="dicom.damaged") from error
    return content, dataset


def _check_header(dataset: Any, name: str) -> None:
    sop = getattr(dataset.get("SOPClassUID"), "name", "unknown object")
    if "PixelData" not in dataset:
        raise ReadError(
            f"{name!r} holds no pixels; it is a {sop}.", code="dicom.no_pixels", hint="Give the image object."
        )
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
    depth = int(dataset.get("BitsAllocated") or 0)
    values = rows * columns * frames * samples
    if rows < 32 or columns < 32 or depth not in (8, 16):
        raise ReadError(f"{name!r} says {columns} x {rows} px at {depth} bit.", code="dicom.size")
    if values > MAX_VALUES or values * depth // 8 > 4 << 30:
        raise ReadError(
            f"{name!r} says {frames} frames of {columns} x {rows} px, more than is read.", code="image.too_large"
        )
    compressed = (
        dataset.file_meta.TransferSyntaxUID.is_compressed if "TransferSyntaxUID" in dataset.file_meta else False
    )
    if not compressed and len(dataset.PixelData) < values * depth // 8:
        raise ReadError(f"{name!r} has fewer pixels than its header says.", code="image.truncated")


def _pixels(dataset: Any, name: str, notes: list[str]) -> np.ndarray[Any, Any]:
    processing = require("pydicom.pixels", extra="dicom")
    interpretation = str(dataset.get("PhotometricInterpretation") or "")
    try:
        # raw=False converts YBR to RGB by what the codestream needs; where header and codestream differ the library
        # warns and this reader notes it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = np.asarray(processing.pixel_array(dataset, raw=False))
        if interpretation == "PALETTE COLOR":
            pixels = processing.apply_color_lut(pixels, dataset)
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        syntax = getattr(dataset.file_meta.get("TransferSyntaxUID"), "name", "unknown")
        code = (
            "dicom.transfer_syntax"
            if "plugin" in str(error).lower() or "decod" in str(error).lower()
            else "dicom.pixels"
        )
        raise ReadError(
            f"the pixels of {name!r} ({syntax}) cannot be decoded.", code=code, hint='Install "fundusion[dicom]".'
        ) from error
    except Exception as error:
        raise ReadError(f"the pixels of {name!r} are cut or damaged.", code="image.corrupt") from error
    if _claims_contradict(dataset, interpretation):
        notes.append("dicom.pi_mismatch")
    pixels = _to_8_bit(pixels, dataset, notes)
    if interpretation == "MONOCHROME1":
        pixels = 255 - pixels
        notes.append("dicom.inverted")
    return pixels


def _claims_contradict(dataset: Any, interpretation: str) -> bool:
    """Whether a baseline JPEG codestream is YCbCr (JFIF) while the header says RGB, or the other way round."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if (
        syntax is None
        or not str(syntax).startswith("1.2.840.10008.1.2.4.5")
        or int(dataset.get("SamplesPerPixel") or 1) != 3
    ):
        return False
    head = bytes(dataset.PixelData[:400])
    jfif = b"JFIF" in head
    return (jfif and interpretation == "RGB") or (
        b"Adobe\x00d\x00\x00\x00\x00\x00" in head and interpretation.startswith("YBR")
    )


def _to_8_bit(pixels: np.ndarray[Any, Any], dataset: Any, notes: list[str]) -> np.ndarray[Any, Any]:
    bits = int(dataset.get("BitsStored") or 8)
    if int(dataset.get("PixelRepresentation") or 0) == 1:
        pixels = pixels.astype(np.int32) + (1 << (bits - 1))
        notes.append("dicom.signed")
    if bits <= 8 and pixels.dtype == np.uint8:
        return pixels
    if str(dataset.get("PhotometricInterpretation")) == "PALETTE COLOR":
        bits = 16 if pixels.dtype == np.uint16 else 8
    top = (1 << bits) - 1
    notes.append(f"image.scaled_from_{bits}_bit")
    return np.rint(np.clip(pixels, 0, top).astype(np.float32) * (255.0 / top)).astype(np.uint8)


def _planar(frame: np.ndarray[Any, Any], modality: str) -> np.ndarray[Any, Any]:
    if frame.ndim == 2:
        frame = np.repeat(frame[..., None], 3, 2) if modality in ("cfp", "uwf", "external") else frame[..., None]
    return np.ascontiguousarray(frame)


def modality_of(dataset: Any) -> str:
    """Return the modality of an object class; colour photographs are the usual case."""
    uid = str(dataset.get("SOPClassUID") or "")
    if uid.startswith(_PHOTOGRAPHY):
        return _MODALITY_OF.get(uid.removeprefix(_PHOTOGRAPHY).split(".")[0], "cfp")
    return "oct" if str(dataset.get("Modality") or "") == "OPT" else "cfp"


def laterality_of(dataset: Any) -> Laterality | None:
    """Return the eye of Image Laterality (0020,0062) and Laterality (0020,0060).

    Raises:
        ReadError: They name different eyes.
    """
    words = {"R": Laterality.RIGHT, "L": Laterality.LEFT}
    named = {
        words[v] for k in ("ImageLaterality", "Laterality") if (v := str(dataset.get(k) or "").strip().upper()) in words
    }
    if len(named) > 1:
        raise ReadError(
            "Image Laterality and Laterality name different eyes.",
            code="laterality.conflict",
            hint="Correct the object; the study is held until then.",
        )
    return named.pop() if named else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) and number > 0 else None


def _spacing_um(dataset: Any) -> tuple[float, float] | None:
    spacing = dataset.get("PixelSpacing")
    if spacing is None:
        shared = dataset.get("SharedFunctionalGroupsSequence")
        measures = shared[0].get("PixelMeasuresSequence") if shared else None
        spacing = measures[0].get("PixelSpacing") if measures else None
    try:
        row, column = (_number(v) for v in spacing)
    except (TypeError, ValueError):
        return None
    return (row * 1000, column * 1000) if row and column else None


def _acquired(dataset: Any) -> datetime | None:
    text = (
        str(dataset.get("AcquisitionDateTime") or "")
        or f"{dataset.get('AcquisitionDate') or ''}{dataset.get('AcquisitionTime') or ''}"
    )
    try:
        return datetime.strptime(text[:14], "%Y%m%d%H%M%S")
    except ValueError:
        return None
