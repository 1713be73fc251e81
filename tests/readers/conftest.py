"""Small files of every format a clinic hands over, written from the descriptions of the formats. No patient is in them."""

import io
import struct
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PHOTOGRAPHY, TOMOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.4"


def dicom(pixels, *, sop=PHOTOGRAPHY, bits=8, interpretation=None, colour=None, **tags):
    """An uncompressed object; pixels (H, W), (F, H, W), (H, W, 3) or (F, H, W, 3)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = sop
    ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[sop, str(pixels.shape)])
    ds.SOPClassUID, ds.SOPInstanceUID = sop, ds.file_meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Canary^Tweety", "CANARY-4711", "19500101"
    ds.SeriesInstanceUID = "1.2.3"
    colour = pixels.ndim >= 3 and pixels.shape[-1] == 3 if colour is None else colour
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = interpretation or ("RGB" if colour else "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    if pixels.ndim == (4 if colour else 3):
        ds.NumberOfFrames = len(pixels)
    ds.Rows, ds.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    ds.BitsAllocated = 16 if bits > 8 else 8
    signed = pixels.dtype.kind == "i"
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(signed)
    ds.PixelData = pixels.astype(("<i2" if signed else "<u2") if bits > 8 else ("i1" if signed else "u1")).tobytes()
    ds["PixelData"].VR = "OW" if bits > 8 else "OB"
    with warnings.catch_warnings():
        # Values that no writer should write are what some tests are about.
        warnings.simplefilter("ignore")
        for name, value in tags.items():
            setattr(ds, name, value)
    return ds


def encapsulated(ds, streams, syntax):
    """The same object with compressed frames."""
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(list(streams))
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


def written(folder, ds, name="a.dcm", **options):
    path = folder / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(path, enforce_file_format=True, **options)
    return path


def vol(slices, *, eye="OD", spacing_mm=(0.12, 0.0039, 0.0115), lines=None, pattern=3, slo=None, cut=0):
    """Heidelberg raw export; slices (D, H, W) float32 in 0..1. Lines are x, y of start and end in millimetres."""
    depth, height, width = slices.shape
    slo = np.full((64, 64), 77, np.uint8) if slo is None else slo
    distance, scale_y, scale_x = spacing_mm
    head = struct.pack("<12sIIIddd", b"HSF-OCT-103\0", width, depth, height, scale_x, distance, scale_y)
    head += struct.pack("<IIddId", slo.shape[1], slo.shape[0], 0.1, 0.2, 30, 0.5)
    ticks = 131277024000000000  # 2017-01-01 00:00
    head += struct.pack("<4sQiI", eye.encode(), ticks, pattern, 256)
    head += b"CANARY-ID".ljust(16, b"\0") + b"CANARY-REF".ljust(16, b"\0") + struct.pack("<I", 4711)
    head += "CANARY-名".encode().ljust(24, b"\0") + struct.pack("<dI", 18000.0, 3) + b"CANARY-VISIT".ljust(24, b"\0")
    head += struct.pack("<dIIII", 42000.0, 0, 0, 0, 0) + b"CANARY-PROG".ljust(34, b"\0")
    body = head.ljust(2048, b"\0") + slo.tobytes()
    if lines is None:
        lines = [(0.5, 3.0 - 0.12 * i, 5.0, 3.0 - 0.12 * i) for i in range(depth)]
    for plane, line in zip(slices, lines, strict=True):
        body += struct.pack("<12sIddddIIfI6f", b"HSF-BS-103\0\0", 256, *line, 0, 256, 0.9, 0, *[0.0] * 6).ljust(
            256, b"\0"
        )
        body += plane.astype("<f4").tobytes()
    return body[: len(body) - cut] if cut else body


def _e2e_element(kind, ids, ind, data, where):
    patient, study, series, slice_id = ids
    head = struct.pack("<12sIIII", b"MDbData\0\0\0\0\0", 0, where, where, len(data))
    head += struct.pack("<IiiiiHHII", 0, patient, study, series, slice_id, ind, 0, kind, 0)
    return head + data


def e2e(volumes, *, missing=(), say=None, circle=False, eyes_of=None):
    """Heidelberg database; volumes are (eye letter, (D, H, W) uint16 in the file's own floats), one series each."""
    elements = [(9, (1, -1, -1, -1), 0, b"CANARY".ljust(31, b"\0") + b"\xe9CANARY".ljust(51 + 15, b"\0") + bytes(30))]
    for number, (eye, planes) in enumerate(volumes):
        ids = (1, 10, 100 + number)
        elements.append((3, (*ids, -1), 0, bytes(4) + eye.encode() + bytes(91)))
        elements.append((11, (*ids, -1), 0, bytes(14) + eye.encode() + bytes(12)))
        for i, plane in enumerate(planes):
            if (number, i) in missing:
                continue
            height, width = plane.shape
            y = 5.0 - 0.25 * i
            meta = struct.pack("<IIIffffIfffI2fI", 0, height, width, -10.0, y, 10.0, y, 0, 0.0, 0.0039, 0.0, 0, 0, 0, 0)
            meta += struct.pack("<IIIIffIQIf", width, say or len(planes), i, 3, 0.0, y, 0, 131277024000000000, 1, 0.9)
            elements.append((10004, (*ids, 2 * i), 0, meta.ljust(428, b"\0")))
            data = (
                struct.pack("<IIIII", plane.size * 2, 35652097, plane.size, height, width)
                + plane.astype("<u2").tobytes()
            )
            elements.append((0x40000000, (*ids, 2 * i), 1, data))
        slo = np.full((32, 40), 99, np.uint8)
        data = struct.pack("<IIIII", slo.size, 33620481, slo.size, 32, 40) + slo.tobytes()
        elements.append((0x40000000, (*ids, -1), 0, data))
    first = 88
    position = first + 52 + 44 * len(elements)
    headers, body = b"", b""
    for index, (kind, ids, ind, data) in enumerate(elements):
        headers += struct.pack("<IIIIiiiiHHII", first + 52 + 44 * index, position, len(data), 0, *ids, ind, 0, kind, 0)
        body += _e2e_element(kind, ids, ind, data, position)
        position += 60 + len(data)
    version = struct.pack("<12sI20s", b"CMDb\0\0\0\0\0\0\0\0", 100, bytes(20))
    main = struct.pack("<12sI20sIIII", b"MDbMDir\0\0\0\0\0", 100, bytes(20), 512, first, 0, 0)
    previous = first if circle else 0
    directory = struct.pack("<12sI20sIIII", b"MDbDir\0\0\0\0\0\0", 100, bytes(20), len(elements), first, previous, 0)
    return version + main + directory + headers + body


def topcon(slices, *, kind="fda", eye=0, scan_mode=2, coded=None, extra=b"", box=(100, 50, 300, 250)):
    """Topcon chunks; slices (D, H, W) uint16, or `coded`, a list of compressed B-scans."""
    depth, height, width = slices.shape

    def chunk(name, data):
        return bytes([len(name)]) + name + struct.pack("<I", len(data)) + data

    if coded is not None:
        data = struct.pack("<BIIIIII", scan_mode, 0, 0, width, height, depth, 0)
        data += b"".join(struct.pack("<i", len(c)) + c for c in coded)
        pixels = chunk(b"@IMG_JPEG", data)
    else:
        name = b"@IMG_MOT_COMP_03" if kind == "fda" else b"@IMG_SCAN_03"
        raw = np.transpose(slices, (0, 1, 2)).astype("<u2").tobytes()
        pixels = chunk(name, struct.pack("<BIIIIBI", scan_mode, width, height, 16, depth, 0, len(raw)) + raw)
    body = b"FOCT" + kind.upper().encode() + struct.pack("<II", 2, 0)
    body += chunk(b"@PATIENT_INFO_02", "CANARY名".encode().ljust(400, b"\0"))
    body += chunk(b"@CAPTURE_INFO_02", struct.pack("<BBI100s6H", eye, scan_mode, 9, b"CANARY", 2019, 5, 6, 7, 8, 9))
    body += chunk(b"@PARAM_SCAN_04", struct.pack("<IIIdddddBB", 0, 0, 0, 6.0, 3.0, 2.6, 0, 0, 0, 0))
    body += chunk(b"@HW_INFO_03", b"DRI OCT Triton".ljust(16, b"\0") + b"CANARY-SERIAL".ljust(80, b"\0"))
    body += chunk(b"@REGIST_INFO", struct.pack("<BII4I32s4I", 0, 0, 0, *box, b"", 0, 0, 0, 0))
    return body + pixels + extra + b"\0"


def bioptigen(frames, *, lines, depth, kind=1, scans=None, cut=0):
    """Bioptigen frames: (F, lines, depth) uint16."""

    def put(key, data):
        return struct.pack("<I", len(key)) + key + struct.pack("<I", len(data)) + data

    def number(key, value):
        return put(key, struct.pack("<I", value))

    real = struct.pack("<d", 1.0)
    scans = len(frames) if scans is None else scans
    body = struct.pack("<IH", 0x0FDA_CBE8, 1) + put(b"FRAMEHEADER", b"")
    body += number(b"FRAMECOUNT", len(frames)) + number(b"LINECOUNT", lines) + number(b"LINELENGTH", depth)
    body += number(b"SAMPLEFORMAT", 2) + put(b"DESCRIPTION", b"CANARY")
    body += put(b"XMIN", real) + put(b"XMAX", real) + put(b"XCAPTION", b"x")
    body += put(b"YMIN", real) + put(b"YMAX", real) + put(b"YCAPTION", b"y")
    body += number(b"SCANTYPE", kind)
    for key in (b"SCANDEPTH", b"SCANLENGTH", b"AZSCANLENGTH", b"ELSCANLENGTH", b"OBJECTDISTANCE", b"SCANANGLE"):
        body += put(key, real)
    body += number(b"SCANS", scans) + number(b"FRAMES", len(frames) // scans) + number(b"DOPPLERFLAG", 0)
    body += put(b"CONFIG", b"\0\0\0\0") + bytes(4)
    for frame in frames:
        body += put(b"FRAMEDATA", b"")
        body += put(b"FRAMEDATETIME", struct.pack("<8H", 2018, 3, 0, 4, 5, 6, 7, 8)) + put(b"FRAMETIMESTAMP", real)
        body += number(b"FRAMELINES", lines)
        body += struct.pack("<I", 16) + b"FRAMESAMPLES\0\0\0\0" + struct.pack("<I", frame.size * 2)
        body += frame.astype("<u2").tobytes() + bytes(4)
    return body[: len(body) - cut] if cut else body


def npz(**arrays):
    """A NumPy archive in memory."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


@pytest.fixture(scope="session")
def clinic():
    """Writers of clinic files."""
    return SimpleNamespace(
        dicom=dicom, encapsulated=encapsulated, written=written, vol=vol, e2e=e2e, topcon=topcon, bioptigen=bioptigen,
        npz=npz, PHOTOGRAPHY=PHOTOGRAPHY, TOMOGRAPHY=TOMOGRAPHY,
    )  # fmt: skip


@pytest.fixture(scope="session")
def picture():
    """Blocks of colour, so that lossy codings stay near."""
    blocks = np.random.default_rng(5).integers(30, 220, (8, 10, 3))
    return np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)
