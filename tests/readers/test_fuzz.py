"""Mutated files of every format: each ends in images, rows, or an error with a code; no crash of the caller, no hang, bounded memory."""

import functools
import io
import struct
from collections import Counter

import imagecodecs
import numpy as np
import psutil
import pytest
import simplejpeg
import tifffile
from PIL import Image as Pillow
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from fundusion.batch.workers import prepare_all
from fundusion.core.errors import FundusionError
from fundusion.core.study import Image
from fundusion.readers import read_images
from fundusion.readers.manifest import Manifest, read_manifest

SEEDS = 20
#: 512 MB beyond what the interpreter and its libraries map. An item takes milliseconds, but the first one of a worker imports
#: the libraries of its format, on a machine that may be busy: what is looked for is a hang.
SECONDS, MEMORY = 30.0, (512 << 20) + (1800 << 20)


def colour(rng, height=64, width=80):
    blocks = rng.integers(20, 230, (height // 8, width // 8, 3))
    return np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)


def pillow(pixels, form, **options):
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def jpeg(rng, i, clinic):
    pixels = colour(rng)
    if i % 4 == 0:
        return simplejpeg.encode_jpeg(pixels, quality=60 + i, colorsubsampling=("444", "422", "420")[i % 3])
    exif = Pillow.Exif()
    exif[0x0112] = i % 8 + 1
    return pillow(pixels if i % 3 else pixels[..., 0], "JPEG", progressive=i % 2 == 1, exif=exif, quality=60 + i)


def png(rng, i, clinic):
    pixels = colour(rng)
    grey16 = (pixels[..., 0].astype(np.uint16) << 4).copy()
    return pillow((pixels, pixels[..., 0], grey16, np.dstack([pixels, pixels[..., :1] | 128]))[i % 4], "PNG")


def tiff(rng, i, clinic):
    pixels = colour(rng)
    kinds = (pixels, pixels[..., 0], pixels[..., 0].astype(np.uint16) << 6, (pixels[..., 0] / 255).astype(np.float32))
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        kinds[i % 4],
        photometric="rgb" if i % 4 == 0 else "minisblack",
        compression=(None, "zlib", "lzw")[i % 3],
        byteorder="<>"[i % 2],
    )
    return stream.getvalue()


def dicom(rng, i, clinic):
    pixels = colour(rng)
    grey = (pixels[..., 0].astype(np.uint16) * 16).copy()
    made = clinic.dicom
    objects = [
        lambda: made(pixels),
        lambda: made(grey, bits=12),
        lambda: made(
            np.stack([pixels[..., 0]] * 3), sop=clinic.TOMOGRAPHY, PixelSpacing=[0.004, 0.01], SpacingBetweenSlices=0.1
        ),
        lambda: made(pixels // 8 + 112, interpretation="YBR_FULL", ImageLaterality="L"),
        lambda: clinic.encapsulated(
            made(pixels, interpretation="YBR_FULL"), [simplejpeg.encode_jpeg(pixels)], JPEGBaseline8Bit
        ),
        lambda: clinic.encapsulated(
            made(grey, bits=12), [imagecodecs.jpeg8_encode(grey, bitspersample=12)], JPEGExtended12Bit
        ),
        lambda: clinic.encapsulated(made(pixels), [imagecodecs.jpeg8_encode(pixels, lossless=True)], JPEGLosslessSV1),
        lambda: clinic.encapsulated(made(pixels), [imagecodecs.jpegls_encode(pixels)], JPEGLSLossless),
        lambda: clinic.encapsulated(
            made(pixels), [imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k")], JPEG2000Lossless
        ),
        lambda: syntax(made(pixels), RLELossless),
        lambda: syntax(made(pixels), ImplicitVRLittleEndian),
        lambda: syntax(made(pixels), DeflatedExplicitVRLittleEndian),
        lambda: syntax(made(pixels), ExplicitVRBigEndian),
    ]
    stream = io.BytesIO()
    objects[i % len(objects)]().save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def syntax(ds, uid):
    if uid == RLELossless:
        ds.compress(uid, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = uid
    return ds


def npz(rng, i, clinic):
    volume = rng.integers(0, 255, (3 + i % 4, 40, 48)).astype((np.uint8, np.uint16)[i % 2])
    return clinic.npz(oct_bscans=volume, slo_fundus=volume[0], rnflt=volume[0].astype(float))


def vol(rng, i, clinic):
    return clinic.vol((rng.random((2 + i % 4, 40, 48)) ** 4).astype(np.float32), eye=("OD", "OS")[i % 2])


def e2e(rng, i, clinic):
    planes = rng.integers(52000, 63000, (2 + i % 3, 24, 32)).astype(np.uint16)
    return clinic.e2e([("R", planes), ("L", planes)][: 1 + i % 2])


def fda(rng, i, clinic):
    planes = rng.integers(0, 60000, (2 + i % 4, 40, 48)).astype(np.uint16)
    coded = [imagecodecs.jpeg2k_encode((p >> 8).astype(np.uint8), level=0, codecformat="jp2") for p in planes]
    return clinic.topcon(planes, coded=coded if i % 2 else None, eye=i % 3)


def fds(rng, i, clinic):
    return clinic.topcon(rng.integers(0, 60000, (2 + i % 4, 40, 48)).astype(np.uint16), kind="fds", eye=i % 2)


def oct(rng, i, clinic):
    return clinic.bioptigen(rng.integers(0, 4000, (2 + i % 4, 16, 32)).astype(np.uint16), lines=16, depth=32)


def rows(rng, i):
    header = ["patient_id", "laterality", "visit", "cfp", "meta.age", "meta.眼压", "label.dr_grade", "report"]
    body = [
        [f"00{i}{k}", ("OD", "左眼", "R")[k % 3], f"2024-0{k % 9 + 1}-01", f"images/{k}.png", str(40 + k), "", str(k % 5), "no haemorrhage"]
        for k in range(3 + i % 5)
    ]  # fmt: skip
    return [header, *body]


def csv(rng, i, clinic):
    text = "\n".join((",", ";", "\t")[i % 3].join(r) for r in rows(rng, i))
    return (text.encode("utf-8-sig"), text.encode("utf-16"), text.encode("utf-8"))[i % 3]


def xlsx(rng, i, clinic):
    import openpyxl

    book = openpyxl.Workbook()
    for row in rows(rng, i):
        book.active.append(row)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


FORMATS = {
    "jpg": jpeg, "png": png, "tif": tiff, "dcm": dicom, "npz": npz, "vol": vol, "e2e": e2e, "fda": fda, "fds": fds,
    "oct": oct, "csv": csv, "xlsx": xlsx,
}  # fmt: skip
READERS = {
    name: functools.partial(read_manifest, on_bad_row="collect")
    if name in ("csv", "xlsx")
    else functools.partial(read_images, modality="cfp" if name in ("jpg", "png", "tif") else "oct")
    for name in FORMATS
}


@pytest.fixture(scope="module")
def seeds(clinic):
    """Bytes of twenty valid files of each format."""
    return {name: [make(np.random.default_rng(i), i, clinic) for i in range(SEEDS)] for name, make in FORMATS.items()}


def mutated(rng, seed, other):
    """One to three changes: bits, cuts, splices, fields that look like lengths, insertions."""
    data = bytearray(seed)
    for _ in range(rng.integers(1, 4)):
        if not data:
            return bytes(data)
        at = int(rng.integers(0, len(data)))
        # Headers are short and matter most: half of the changes go to the first kilobyte.
        at = at % 1024 % len(data) if rng.random() < 0.5 else at
        kind = rng.integers(0, 6)
        if kind == 0:
            for _ in range(rng.integers(1, 17)):
                data[int(rng.integers(0, len(data)))] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            piece = other[int(rng.integers(0, len(other))) :][: int(rng.integers(1, 600))]
            data[at : at + int(rng.integers(0, len(piece) + 1))] = piece
        elif kind == 3:
            wide = int(rng.choice([1, 2, 4, 8]))
            value = int(
                rng.choice([0, 1, 2, 127, 255, 256, 32767, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
            )
            field = (value % (1 << (8 * wide))).to_bytes(wide, ("little", "big")[int(rng.integers(0, 2))])
            data[at : at + wide] = field
        elif kind == 4:
            data[at:at] = bytes(rng.integers(0, 256, int(rng.integers(1, 40)), dtype=np.uint8))
        else:
            length = int(rng.integers(1, 400))
            data[at : at + length] = bytes([int(rng.choice([0, 255]))]) * len(data[at : at + length])
    return bytes(data)


def run(name, seeds, folder, count):
    """Return the states of mutated files; the files themselves are written as they are asked for and taken away again."""
    rng = np.random.default_rng(len(name) * 1000 + ord(name[0]))
    written = []

    def files():
        for i in range(count):
            path = folder / f"{i}.{name}"
            path.write_bytes(mutated(rng, seeds[i % SEEDS], seeds[int(rng.integers(0, SEEDS))]))
            # A spoilt item stays on the disk for whoever looks into a failure; the others go.
            if len(written) > 200:
                written.pop(0).unlink(missing_ok=True)
            written.append(path)
            yield f"{path}#oct_bscans" if name == "npz" else path

    return Counter(
        state_of(result)
        for result in prepare_all(files(), READERS[name], workers=2, timeout_s=SECONDS, memory_bytes=MEMORY)
    )


def state_of(result):
    if isinstance(result, FundusionError):
        assert result.message, result.code
        return result.code
    if isinstance(result, Manifest):
        return "ok"
    assert isinstance(result, list)
    assert result
    for image in result:
        assert isinstance(image, Image)
        assert image.pixels.size
    return "ok"


@pytest.mark.parametrize("name", FORMATS)
def test_the_seeds_themselves_are_read(tmp_path, seeds, name):
    for i, seed in enumerate(seeds[name]):
        path = tmp_path / f"{i}.{name}"
        path.write_bytes(seed)
        if name == "npz":
            assert read_images(f"{path}#oct_bscans", modality="oct")
        else:
            found = READERS[name](path)
            assert len(found) + len(getattr(found, "rejected", ())) > 0


def check(states, count):
    assert sum(states.values()) == count
    # Whatever is not foreseen, takes too long, or ends the process is a defect of a reader, not a state of a file.
    unforeseen = {
        code: n
        for code, n in states.items()
        if code in ("internal", "worker.timeout", "worker.died", "worker.memory", "error")
    }
    assert not unforeseen, unforeseen
    assert len(states) > 1, "mutations that change nothing test nothing"


@pytest.mark.parametrize("name", FORMATS)
def test_some_mutated_files_of_each_format_end_in_a_defined_state(tmp_path, seeds, name):
    before = psutil.Process().memory_info().rss
    check(run(name, seeds[name], tmp_path, 25), 25)
    assert psutil.Process().memory_info().rss - before < 200 << 20


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_ten_thousand_mutated_files_end_in_a_defined_state(tmp_path, seeds, name):
    count = 850
    before = psutil.Process().memory_info().rss
    states = run(name, seeds[name], tmp_path, count)
    print(name, dict(states.most_common()))
    check(states, count)
    assert psutil.Process().memory_info().rss - before < 200 << 20
    assert count * len(FORMATS) >= 10_000


def test_mutations_are_many_and_the_same_each_time():
    seed = bytes(range(256)) * 20

    def all_of():
        rng = np.random.default_rng(1)
        return [mutated(rng, seed, seed) for _ in range(200)]

    assert all_of() == all_of()
    assert len(set(all_of())) > 190
    assert sum(m == seed for m in all_of()) < 5
    assert struct.calcsize("<I") == 4
