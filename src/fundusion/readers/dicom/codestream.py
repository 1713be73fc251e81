"""What a compressed frame says about itself: size, components, precision and colour. Nothing is decoded here."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.errors import ReadError

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_J2K = b"\xff\x4f\xff\x51"
_JP2 = b"\x00\x00\x00\x0cjP  "
#: Start-of-frame markers of JPEG (ITU-T T.81 table B.1) and JPEG-LS (T.87): what coding follows.
_FRAMES = {0xC0: "jpeg", 0xC1: "jpeg", 0xC2: "jpeg", 0xC3: "lossless", 0xF7: "jpeg_ls"}
_OTHER_FRAMES = (0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """Header of one compressed frame.

    Args:
        kind: "jpeg" (lossy, 8 or 12 bit), "lossless" (JPEG process 14), "jpeg_ls" or "j2k" (JPEG 2000, also HTJ2K).
        height: Rows.
        width: Columns.
        components: 1 or 3.
        precision: Bits per sample.
        signed: Whether samples are signed (JPEG 2000 only).
        colour: "rgb" or "ycc" where the stream decides what a decoder of it gives or must convert; None where it is silent.
        transform: Whether a JPEG 2000 component transform is undone by every decoder, so that the result is RGB.
        subsampled: Whether the colour components are stored smaller, which only luminance and chrominance are.
    """

    kind: str
    height: int
    width: int
    components: int
    precision: int
    signed: bool = False
    colour: str | None = None
    transform: bool = False
    subsampled: bool = False


def inspect(data: bytes, name: str) -> Codestream:
    """Return the header of a compressed frame; the transfer syntax of the file is not asked.

    Raises:
        ReadError: `image.corrupt`: no known codestream; `dicom.transfer_syntax`: one that is not read.
    """
    if data.startswith(_SOI):
        return _inspect_jpeg(data, name)
    if data.startswith(_J2K):
        return _inspect_j2k(data, 0, name)
    if data.startswith(_JP2):
        start = data.find(_J2K)
        if start > 0:
            return _inspect_j2k(data, start, name)
    raise ReadError(f"a frame of {name!r} is no known codestream.", code="image.corrupt", hint="Copy the file again.")


def _damaged(name: str) -> ReadError:
    return ReadError(
        f"the codestream of {name!r} is cut or damaged.", code="image.corrupt", hint="Copy the file again."
    )


def _inspect_jpeg(data: bytes, name: str) -> Codestream:
    position, jfif, adobe = 2, False, None
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise _damaged(name)
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : position + 2 + length]
        if length < 2 or len(body) != length - 2:
            raise _damaged(name)
        if marker in _FRAMES:
            return _frame(_FRAMES[marker], body, jfif, adobe, name)
        if marker in _OTHER_FRAMES:
            raise ReadError(
                f"a frame of {name!r} uses a JPEG coding that is not read (marker {marker:#x}).",
                code="dicom.transfer_syntax",
                hint="Convert the object to an uncompressed transfer syntax.",
            )
        if marker in (0xDA, 0xD9):
            break
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            jfif = True
        if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        position += 2 + length
    raise _damaged(name)


def _frame(kind: str, body: bytes, jfif: bool, adobe: int | None, name: str) -> Codestream:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise _damaged(name)
    components = body[5]
    ids = bytes(body[6 + 3 * i] for i in range(components))
    sampling = {body[7 + 3 * i] for i in range(components)}
    subsampled = components == 3 and len(sampling) > 1
    colour = None
    if components == 3 and kind == "jpeg":
        # The order every JPEG decoder follows: JFIF is always YCbCr, then Adobe's word, then the names of components.
        if jfif:
            colour = "ycc"
        elif adobe is not None:
            colour = "rgb" if adobe == 0 else "ycc"
        elif ids == b"RGB":
            colour = "rgb"
        elif subsampled:
            colour = "ycc"
    elif components == 3 and kind == "lossless" and adobe is not None:
        colour = "rgb" if adobe == 0 else "ycc"
    return Codestream(
        kind=kind,
        precision=body[0],
        height=int.from_bytes(body[1:3], "big"),
        width=int.from_bytes(body[3:5], "big"),
        components=components,
        colour=colour,
        subsampled=subsampled,
    )


def _inspect_j2k(data: bytes, start: int, name: str) -> Codestream:
    position = start + 2
    size: tuple[int, int, int, int, bool, bool] | None = None
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : position + 2 + length]
        if length < 2 or len(body) != length - 2:
            break
        if marker == 0x51:
            size = _siz(body, name)
        elif marker == 0x52 and size is not None:
            if len(body) < 5:
                break
            height, width, components, precision, signed, subsampled = size
            transform = body[4] == 1 and components >= 3
            return Codestream(
                kind="j2k",
                height=height,
                width=width,
                components=components,
                precision=precision,
                signed=signed,
                transform=transform,
                subsampled=subsampled,
                colour="rgb" if transform else None,
            )
        elif marker in (0x90, 0x93):
            break
        position += 2 + length
    raise _damaged(name)


def _siz(body: bytes, name: str) -> tuple[int, int, int, int, bool, bool]:
    if len(body) < 36:
        raise _damaged(name)
    x1, y1, x0, y0 = (int.from_bytes(body[2 + 4 * i : 6 + 4 * i], "big") for i in range(4))
    components = int.from_bytes(body[34:36], "big")
    if x1 <= x0 or y1 <= y0 or not 1 <= components <= 4 or len(body) < 36 + 3 * components:
        raise _damaged(name)
    depth = body[36]
    steps = {body[37 + 3 * i : 39 + 3 * i] for i in range(components)}
    return y1 - y0, x1 - x0, components, (depth & 0x7F) + 1, bool(depth & 0x80), len(steps) > 1
