"""Stored pixels -> 8-bit grey or RGB frames. Colour is decided by the codestream; the header is believed where that is silent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...core.errors import MissingDependency, ReadError, require
from .codestream import Codestream, inspect
from .header import PixelHeader, quiet

Pixels = npt.NDArray[Any]

#: Says "three components, no colour transform" to every JPEG decoder (Adobe technical note 5116).
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


class _Samples(NamedTuple):
    """Samples of a frame as stored, their bits, whether they are signed, and whether three components are RGB."""

    pixels: Pixels
    bits: int
    signed: bool
    rgb: bool


_GREY = ("MONOCHROME1", "MONOCHROME2")
_YBR = ("YBR_FULL", "YBR_FULL_422")
_AFTER_TRANSFORM = ("YBR_ICT", "YBR_RCT")


def decode(dataset: Any, header: PixelHeader, frames: Sequence[int], *, name: str, notes: list[str]) -> Pixels:
    """Return the chosen frames as uint8, `(F, H, W)` or `(F, H, W, 3)` RGB.

    Args:
        dataset: The parsed object.
        header: Its checked header.
        frames: Frame numbers from 1.
        name: For messages.
        notes: Receives `dicom.pi_mismatch`, `dicom.inverted`, `dicom.signed`, `dicom.palette`,
            `dicom.transfer_syntax_differs`, `dicom.bits_differ`, `image.scaled_from_N_bit`.

    Raises:
        ReadError: `image.corrupt`, `image.truncated`, `dicom.size`, `dicom.pi_mismatch`, `dicom.photometric`,
            `dicom.transfer_syntax`.
    """
    _check_interpretation(header, name)
    if header.is_encapsulated and not header.is_rle:
        streams = _frames_of(dataset, header, frames, name)
        parts = [_decode_frame(streams[f - 1], header, name, notes) for f in frames]
    else:
        raw = _native(dataset, header, frames, name)
        if header.samples == 3:
            _check_colour_claim(raw, header, name)
        parts = [_Samples(f, header.stored, header.signed, header.interpretation == "RGB") for f in raw]
    if header.interpretation == "PALETTE COLOR":
        return _palette(np.stack([p.pixels for p in parts]), dataset, name, notes)
    pixels = np.stack([_to_8_bit(p.pixels, p.bits, p.signed, notes) for p in parts])
    if header.samples == 3:
        return np.stack([f if p.rgb else _ybr_to_rgb(f) for f, p in zip(pixels, parts, strict=True)])
    if header.interpretation == "MONOCHROME1":
        notes.append("dicom.inverted")
        return 255 - pixels
    return pixels


def _check_interpretation(header: PixelHeader, name: str) -> None:
    known = (*_GREY, "PALETTE COLOR") if header.samples == 1 else ("RGB", *_YBR, *_AFTER_TRANSFORM)
    if header.interpretation not in known:
        contradicts = header.interpretation in (*_GREY, "PALETTE COLOR", "RGB", *_YBR, *_AFTER_TRANSFORM)
        raise ReadError(
            f"{name!r} has {header.samples} samples per pixel and says it is {header.interpretation or 'nothing'}.",
            code="dicom.pi_mismatch" if contradicts else "dicom.photometric",
            hint="Correct PhotometricInterpretation or export the object again.",
        )


def _frames_of(dataset: Any, header: PixelHeader, frames: Sequence[int], name: str) -> dict[int, bytes]:
    encaps = require("pydicom.encaps", extra="dicom")
    wanted, found = {f - 1 for f in frames}, {}
    offsets = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    count = 0
    try:
        with quiet():
            for index, stream in enumerate(
                encaps.generate_frames(dataset.PixelData, number_of_frames=header.frames, extended_offsets=offsets)
            ):
                count = index + 1
                if count > header.frames:
                    break
                if index in wanted:
                    found[index] = bytes(stream)
    except Exception as error:
        raise ReadError(
            f"the frames of {name!r} are cut or damaged.", code="image.corrupt", hint="Copy the file again."
        ) from error
    if count != header.frames:
        raise ReadError(
            f"{name!r} holds {'more' if count > header.frames else count} frames where its header says {header.frames}.",
            code="image.truncated" if count < header.frames else "dicom.size",
            hint="Copy the file again.",
        )
    return found


def _decode_frame(stream: bytes, header: PixelHeader, name: str, notes: list[str]) -> _Samples:
    says = inspect(stream, name)
    if (says.height, says.width) != (header.rows, header.columns) or says.components != header.samples:
        raise ReadError(
            f"a frame of {name!r} is {says.width} x {says.height} px of {says.components} components; the header says "
            f"{header.columns} x {header.rows} of {header.samples}.",
            code="dicom.size",
            hint="Export the object again.",
        )
    if not 2 <= says.precision <= 16:
        raise ReadError(f"{name!r} has {says.precision} bits per sample.", code="dicom.size")
    _note(notes, "dicom.bits_differ", says.precision != header.stored)
    _note(notes, "dicom.transfer_syntax_differs", not _fits(says.kind, header.syntax))
    rgb = _is_rgb(says, header, notes)
    try:
        with quiet():
            pixels, rgb = _DECODERS[says.kind](stream, says, rgb, name)
    except (ReadError, MemoryError):
        raise
    except MissingDependency as error:
        raise ReadError(
            f"the pixels of {name!r} need a decoder that is not installed.",
            code="dicom.transfer_syntax",
            hint=error.hint,
        ) from error
    except Exception as error:
        raise ReadError(
            f"a frame of {name!r} is cut or damaged.", code="image.corrupt", hint="Copy the file again."
        ) from error
    wanted = (says.height, says.width) + ((3,) if says.components == 3 else ())
    if pixels.shape != wanted:
        raise ReadError(f"a frame of {name!r} decodes to {pixels.shape}.", code="image.corrupt")
    signed = says.signed or header.signed
    return _Samples(pixels, _range_bits(pixels, says, header, signed), signed, rgb)


def _range_bits(pixels: Pixels, says: Codestream, header: PixelHeader, signed: bool) -> int:
    """Return the bits that white stands for: a stream of 16 bits often carries 12, as the header then says."""
    if not signed and header.stored < says.precision and int(pixels.max()) < 1 << header.stored:
        return header.stored
    return says.precision


def _is_rgb(says: Codestream, header: PixelHeader, notes: list[str]) -> bool:
    """Return whether the samples the stream was made from are RGB; the header only counts where the stream is silent."""
    claimed_rgb = header.interpretation == "RGB"
    if says.components == 1:
        return False
    if says.kind == "j2k":
        # ICT and RCT name the transform of the stream, which every decoder undoes; RGB and YBR_FULL say there is none.
        _note(notes, "dicom.pi_mismatch", says.transform != (header.interpretation in _AFTER_TRANSFORM))
        return says.transform or header.interpretation not in _YBR
    if says.colour is None:
        _note(notes, "dicom.pi_mismatch", header.interpretation in _AFTER_TRANSFORM)
        return claimed_rgb
    _note(notes, "dicom.pi_mismatch", claimed_rgb != (says.colour == "rgb"))
    return says.colour == "rgb"


def _note(notes: list[str], code: str, when: bool) -> None:
    if when and code not in notes:
        notes.append(code)


def _fits(kind: str, syntax: str) -> bool:
    number = syntax.rsplit(".", 1)[-1]
    return number in {
        "jpeg": ("50", "51"),
        "lossless": ("57", "70"),
        "jpeg_ls": ("80", "81"),
        "j2k": ("90", "91", "201", "202", "203"),
    }.get(kind, ())


def _decode_jpeg(stream: bytes, says: Codestream, rgb: bool, name: str) -> tuple[Pixels, bool]:
    _check_end(stream, name)
    if says.precision == 8:
        import simplejpeg

        if says.components == 1:
            return simplejpeg.decode_jpeg(stream, colorspace="GRAY", strict=True)[..., 0], False
        if rgb and says.colour is None:
            # Nothing in the stream says RGB; without the marker a decoder would convert as if it were YCbCr.
            stream = stream[:2] + _ADOBE_RGB + stream[2:]
        return simplejpeg.decode_jpeg(stream, colorspace="RGB", strict=True), True
    codecs = require("imagecodecs", extra="dicom")
    if says.components == 1:
        return np.asarray(codecs.jpeg8_decode(stream)), False
    raise ReadError(
        f"{name!r} holds colour JPEG of {says.precision} bits.",
        code="dicom.transfer_syntax",
        hint="Convert the object to an uncompressed transfer syntax.",
    )


def _decode_lossless(stream: bytes, says: Codestream, rgb: bool, name: str) -> tuple[Pixels, bool]:
    codecs = require("imagecodecs", extra="dicom")
    _check_end(stream, name)
    if says.components == 3 and says.colour is None:
        # A lossless decoder converts nothing; the marker keeps it from trying.
        stream = stream[:2] + _ADOBE_RGB + stream[2:]
    return np.asarray(codecs.jpeg8_decode(stream)), rgb


def _decode_jpeg_ls(stream: bytes, says: Codestream, rgb: bool, name: str) -> tuple[Pixels, bool]:
    codec = require("jpeg_ls", extra="dicom")
    _check_end(stream, name)
    buffer, info = codec.decode_pixel_data(stream)
    dtype = np.uint8 if says.precision <= 8 else np.dtype("<u2")
    pixels = np.frombuffer(bytes(buffer), dtype)
    if says.components == 1:
        return pixels.reshape(says.height, says.width), False
    if info["interleave_mode"] == 0:
        return np.moveaxis(pixels.reshape(3, says.height, says.width), 0, 2), rgb
    return pixels.reshape(says.height, says.width, 3), rgb


def _decode_j2k(stream: bytes, says: Codestream, rgb: bool, name: str) -> tuple[Pixels, bool]:
    codec = require("openjpeg", extra="dicom")
    if says.subsampled:
        raise ReadError(
            f"{name!r} holds JPEG 2000 with subsampled colour.",
            code="dicom.transfer_syntax",
            hint="Convert the object to an uncompressed transfer syntax.",
        )
    return np.asarray(codec.decode(stream)), rgb


_DECODERS = {
    "jpeg": _decode_jpeg,
    "lossless": _decode_lossless,
    "jpeg_ls": _decode_jpeg_ls,
    "j2k": _decode_j2k,
}


def _check_end(stream: bytes, name: str) -> None:
    """Refuse a stream without end marker: decoders fill what is missing with grey and say nothing."""
    if not stream.rstrip(b"\x00\xff").endswith(b"\xff\xd9") and b"\xff\xd9" not in stream[-16:]:
        raise ReadError(f"a frame of {name!r} is cut short.", code="image.truncated", hint="Copy the file again.")


def _native(dataset: Any, header: PixelHeader, frames: Sequence[int], name: str) -> Pixels:
    """Return uncompressed or run-length coded samples, colour by pixel, nothing converted."""
    library = require("pydicom.pixels", extra="dicom")
    # Unused bits are taken out here: the library takes the high ones for unused even where HighBit says the low ones are.
    try:
        with quiet():
            options: dict[str, Any] = {"raw": True, "correct_unused_bits": False}
            if header.frames == 1:
                pixels = np.asarray(library.pixel_array(dataset, **options))[None]
            else:
                pixels = np.stack([library.pixel_array(dataset, index=f - 1, **options) for f in frames])
    except MemoryError:
        raise
    except Exception as error:
        raise ReadError(
            f"the pixels of {name!r} are cut or damaged.", code="image.corrupt", hint="Copy the file again."
        ) from error
    wanted = (len(frames), header.rows, header.columns) + ((3,) if header.samples == 3 else ())
    if pixels.shape != wanted:
        raise ReadError(f"the pixels of {name!r} have shape {pixels.shape}, not {wanted}.", code="image.corrupt")
    return _used_bits(pixels, header)


def _used_bits(pixels: Pixels, header: PixelHeader) -> Pixels:
    """Return the stored bits alone: shifted down when they lie high, without overlays in the bits above."""
    if header.stored == header.allocated:
        return pixels
    unsigned: Pixels = pixels.view(np.uint16 if pixels.dtype.itemsize == 2 else np.uint8)
    value = (unsigned >> (header.high + 1 - header.stored)) & ((1 << header.stored) - 1)
    if not header.signed:
        return value
    half = 1 << (header.stored - 1)
    return (value.astype(np.int32) ^ half) - half


def _check_colour_claim(pixels: Pixels, header: PixelHeader, name: str) -> None:
    """Refuse uncompressed colour that cannot be what the header says; which of the two is right is not guessed.

    True YCbCr stays inside RGB after conversion but for rounding and the ringing of JPEG; RGB read as YCbCr does not. True RGB has
    no large area of red 0 with green and blue at half, which is what black is in YCbCr. On 219 photographs the share of pixels
    outside by more than 40 levels was below 0.0001 where the claim was true and above 0.12 where it was not.
    """
    if header.interpretation in _AFTER_TRANSFORM:
        contradicts = True
    elif pixels.dtype != np.uint8:
        contradicts = False
    else:
        sample = pixels[0, :: max(1, header.rows // 256), :: max(1, header.columns // 256)].astype(np.float32)
        if header.interpretation in _YBR:
            converted = _conversion(sample)
            contradicts = bool(((converted < -40) | (converted > 295)).any(-1).mean() > 0.03)
        else:
            dark = (sample[..., 0] < 24) & (np.abs(sample[..., 1:] - 128) <= 4).all(-1)
            contradicts = bool(dark.mean() > 0.03)
    if contradicts:
        raise ReadError(
            f"the pixels of {name!r} cannot be {header.interpretation} as the header says.",
            code="dicom.pi_mismatch",
            hint="Correct PhotometricInterpretation or export the object again.",
        )


def _conversion(ybr: Pixels) -> Pixels:
    """Full-range YCbCr to RGB, unclipped. Source: DICOM PS3.3 C.7.6.3.1.2; ITU-R BT.601."""
    y, cb, cr = ybr[..., 0], ybr[..., 1] - 128, ybr[..., 2] - 128
    return np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)


def _ybr_to_rgb(frame: Pixels) -> Pixels:
    return np.rint(np.clip(_conversion(frame.astype(np.float32)), 0, 255)).astype(np.uint8)


def _to_8_bit(frame: Pixels, bits: int, signed: bool, notes: list[str]) -> Pixels:
    """Scale the full range of the stored bits to 0..255; nothing is clipped, no window is applied."""
    if signed:
        frame = frame.astype(np.int32) + (1 << (bits - 1))
        _note(notes, "dicom.signed", True)
    if bits == 8:
        return frame.astype(np.uint8)
    _note(notes, f"image.scaled_from_{bits}_bit", True)
    return np.rint(frame.astype(np.float32) * (255.0 / ((1 << bits) - 1))).astype(np.uint8)


def _palette(pixels: Pixels, dataset: Any, name: str, notes: list[str]) -> Pixels:
    library = require("pydicom.pixels", extra="dicom")
    try:
        with quiet():
            colours = np.asarray(library.apply_color_lut(pixels, dataset))[..., :3]
            bits = {int(dataset[f"{c}PaletteColorLookupTableDescriptor"].value[2]) for c in ("Red", "Green", "Blue")}
    except MemoryError:
        raise
    except Exception as error:
        raise ReadError(f"the palette of {name!r} is damaged.", code="dicom.palette") from error
    if len(bits) != 1 or bits & {8, 16} != bits:
        raise ReadError(f"the palette of {name!r} says {sorted(bits)} bits.", code="dicom.palette")
    notes.append("dicom.palette")
    depth = bits.pop()
    return np.stack([_to_8_bit(frame, depth, False, notes) for frame in colours])
