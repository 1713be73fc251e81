"""The door from files to pictures: faithful when reduced, strict, the same in every process, and the same for all commands."""

import io
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image as Pillow

from fundusion.core.errors import ReadError
from fundusion.core.registry import ImageInput
from fundusion.core.study import StudyRecord
from fundusion.intake import enough_px, field_of, prepare_photograph, take_study
from fundusion.readers.image import decode_image
from fundusion.transforms.cache import cache_key
from fundusion.transforms.enhance import enhance
from fundusion.transforms.field_of_view import find_field_of_view
from fundusion.transforms.image import preprocessing_signature
from fundusion.transforms.prepared import prepare_study


def photograph(width=2050, height=1542, *, radius=0.47, seed=0):
    """Return a drawn fundus of some megapixels whose sides are no multiple of eight."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot(rows - 0.497 * height, columns - 0.503 * width)
    coarse = generator.uniform(0.6, 1.2, (height // 24, width // 24)).astype(np.float32)
    texture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(30):
        a, b = generator.uniform(0.2, 0.8, (2, 2)) * (width, height)
        cv2.line(
            texture, a.astype(int).tolist(), b.astype(int).tolist(), 0.4, int(generator.integers(3, 12)), cv2.LINE_AA
        )
    edge = np.clip(radius * height - distance + 0.5, 0, 1)
    picture = (texture * edge)[..., None] * np.array([150, 85, 40], np.float32) + 3
    return np.clip(picture + generator.normal(0, 1.5, (height, width, 1)), 0, 255).astype(np.uint8)


def coded(picture, quality=90, **options):
    stream = io.BytesIO()
    Pillow.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling=2, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def jpeg():
    return coded(photograph())


def area_average(full, made):
    """Return the exact average over each pixel of the same crop; black outside the frame."""
    size, step = made.pixels.shape[0], made.to_original[0, 0]
    corner = made.to_original[:, 2] - step / 2 + 0.5
    weights = []
    for axis, first in ((0, corner[1]), (1, corner[0])):
        edges = first + np.arange(size + 1) * step
        covered = np.minimum.outer(edges[1:], np.arange(full.shape[axis]) + 1.0) - np.maximum.outer(
            edges[:-1], np.arange(full.shape[axis]) * 1.0
        )
        weights.append((np.clip(covered, 0, None) / step).astype(np.float32))
    return np.stack([weights[0] @ full[..., c].astype(np.float32) @ weights[1].T for c in range(3)], axis=-1)


def psnr(made, wanted):
    return 10 * np.log10(255**2 / np.mean((made.astype(np.float64) - wanted) ** 2))


@pytest.mark.parametrize("size", [224, 320, 512, 1024])
@pytest.mark.parametrize("shape", [(2050, 1542), (3003, 2001)])
def test_the_square_is_the_average_of_the_full_picture(size, shape):
    data = coded(photograph(*shape))
    made = prepare_photograph(data, ImageInput(size=size))
    assert psnr(made.pixels, area_average(simplejpeg.decode_jpeg(data), made)) >= 45


def test_a_picture_cut_by_the_frame_keeps_its_edge():
    # The last row of a reduced picture stands for less than a block: it must not be as bright as a whole one.
    data = coded(photograph(2051, 1365, radius=0.7))
    made = prepare_photograph(data, ImageInput(size=224))
    assert decode_image(data, "a", enough_px=enough_px(224)).reduction > 1
    assert psnr(made.pixels, area_average(simplejpeg.decode_jpeg(data), made)) >= 45


@pytest.mark.parametrize("reduction", [2, 4])
def test_the_field_of_a_reduced_picture_is_that_of_the_full_one(jpeg, reduction):
    full = find_field_of_view(simplejpeg.decode_jpeg(jpeg))
    image = decode_image(jpeg, "a", enough_px=1542 // reduction)
    assert image.reduction == reduction
    assert image.full_shape == (1542, 2050)
    found = field_of(image)
    assert found.kind == full.kind == "circle"
    assert found.center == pytest.approx(full.center, abs=0.25 * reduction)
    assert found.radius_px == pytest.approx(full.radius_px, abs=0.25 * reduction)


def test_a_shifted_circle_shifts_the_crop_by_fractions():
    """The crop is no whole number of reduced pixels: moving the picture by one moves the crop by one."""
    picture = photograph(2048, 1536)
    crops = [
        prepare_photograph(coded(np.roll(picture, k, axis=1), 95), ImageInput(size=224)).to_original[0, 2]
        for k in range(4)
    ]
    assert np.diff(crops) == pytest.approx([1, 1, 1], abs=0.25)


def test_a_small_field_in_a_large_frame_is_read_again_more_finely():
    data = coded(photograph(2600, 2600, radius=0.2))
    made = prepare_photograph(data, ImageInput(size=224))
    side = made.to_original[0, 0] * 224
    assert side == pytest.approx(2 * 0.2 * 2600, rel=0.02)
    assert psnr(made.pixels, area_average(simplejpeg.decode_jpeg(data), made)) >= 45


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_reduced_picture(orientation):
    picture = photograph(2048, 1536)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = coded(picture, 92, exif=exif)
    image = decode_image(data, "a", enough_px=224)
    assert image.reduction > 1
    from PIL import ImageOps

    turned = np.asarray(ImageOps.exif_transpose(Pillow.open(io.BytesIO(data))))
    assert image.full_shape == turned.shape[:2]
    made = prepare_photograph(data, ImageInput(size=224))
    assert psnr(made.pixels, area_average(turned, made)) >= 45
    assert ("orientation.mirrored" in image.notes) == (orientation in (2, 4, 5, 7))


def test_odd_sides_that_are_turned_are_not_reduced_the_wrong_way():
    exif = Pillow.Exif()
    exif[0x0112] = 3
    data = coded(photograph(2051, 1539), 92, exif=exif)
    made = prepare_photograph(data, ImageInput(size=224))
    full = np.ascontiguousarray(simplejpeg.decode_jpeg(data)[::-1, ::-1])
    assert psnr(made.pixels, area_average(full, made)) >= 45


@pytest.mark.parametrize("progressive", [False, True])
def test_reduced_decoding_is_as_strict_as_full_decoding(progressive):
    """Every code is read also where most detail is dropped, so each damage is found at every scale or at none."""
    data = coded(photograph(1600, 1200), progressive=progressive)
    start = data.index(b"\xff\xda") + 14
    generator = np.random.default_rng(4)
    refused = 0
    for _ in range(24):
        spoilt = bytearray(data)
        at = int(generator.integers(start, len(data) - 80))
        spoilt[at : at + 64] = generator.integers(0, 255, 64).astype(np.uint8).tobytes()
        codes = set()
        for enough in (None, 600, 300, 150):
            try:
                decode_image(bytes(spoilt), "a", enough_px=enough)
                codes.add(None)
            except ReadError as error:
                codes.add(error.code)
        assert len(codes) == 1, codes
        refused += None not in codes
    # Progressive scans hold long runs in which many random codes are valid.
    assert refused >= (8 if progressive else 15)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("enough", [None, 600, 150])
def test_cut_files_are_refused_at_every_scale(share, enough):
    data = coded(photograph(1600, 1200))
    with pytest.raises(ReadError) as caught:
        decode_image(data[: int(len(data) * share)], "a", enough_px=enough)
    assert caught.value.code == "image.truncated"
    assert "image.missing_eoi" in decode_image(data[:-2], "a", enough_px=enough).notes


def _square(data):
    cv2.setNumThreads(2)
    return prepare_photograph(data, ImageInput(size=224)).pixels.tobytes()


def test_one_and_eight_workers_give_the_same_bytes(jpeg):
    alone = _square(jpeg)
    with ProcessPoolExecutor(8, mp_context=get_context("fork")) as pool:
        assert set(pool.map(_square, [jpeg] * 16)) == {alone}


def test_a_study_is_taken_once_for_the_network_and_larger_to_be_seen(tmp_path, jpeg):
    (tmp_path / "a.jpg").write_bytes(jpeg)
    record = StudyRecord(study_id="a", images={"cfp": (str(tmp_path / "a.jpg"),)})
    inputs = {"cfp": ImageInput(size=224)}
    plain, seen = take_study(record, inputs), take_study(record, inputs, view_px=600)
    assert plain.view is plain.study
    assert min(seen.view.images["cfp"][0].pixels.shape[:2]) >= 600
    # What the network gets does not depend on what is shown.
    squares = [prepare_study(t.study, inputs, fields=t.fields).images["cfp"][0] for t in (plain, seen)]
    np.testing.assert_array_equal(squares[0].pixels, squares[1].pixels)
    np.testing.assert_array_equal(squares[0].pixels, prepare_photograph(jpeg, inputs["cfp"]).pixels)
    np.testing.assert_array_equal(squares[0].to_original, squares[1].to_original)


def test_a_file_that_changes_between_two_looks_is_refused(tmp_path, jpeg, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg)
    other = coded(photograph(seed=5))
    import fundusion.intake as intake

    real = intake.read_images

    def swapped(*args, **options):
        found = real(*args, **options)
        path.write_bytes(other)
        return found

    monkeypatch.setattr(intake, "read_images", swapped)
    record = StudyRecord(study_id="a", images={"cfp": (str(path),)})
    with pytest.raises(ReadError) as caught:
        take_study(record, {"cfp": ImageInput(size=224)}, view_px=600)
    assert caught.value.code == "file.changed"


def test_small_pictures_are_read_whole(tmp_path):
    picture = photograph(1200, 900)
    image = decode_image(coded(picture), "a", enough_px=100)
    assert (image.reduction, image.full_shape) == (1, (900, 1200))


def test_training_and_use_see_the_same_pixels(tmp_path, jpeg):
    from fundusion.train.data import prepare_set

    (tmp_path / "a.jpg").write_bytes(jpeg)
    record = StudyRecord(study_id="a", images={"cfp": (str(tmp_path / "a.jpg"),)})
    inputs = {"cfp": ImageInput(size=64)}
    taken = take_study(record, inputs, view_px=600)
    used = prepare_study(taken.study, inputs, fields=taken.fields)
    trained = prepare_set([record], inputs)
    cached = [prepare_set([record], inputs, cache=tmp_path / "cache") for _ in range(2)]
    for found in (trained, *cached):
        np.testing.assert_array_equal(np.asarray(found.images["cfp"])[0], used.images["cfp"][0].pixels)


def test_an_epoch_decodes_no_original(tmp_path, jpeg, monkeypatch):
    from fundusion.train.data import prepare_set

    (tmp_path / "a.jpg").write_bytes(jpeg)
    record = StudyRecord(study_id="a", images={"cfp": (str(tmp_path / "a.jpg"),)})
    records = [record, replace(record, study_id="b")]
    first = prepare_set(records, {"cfp": ImageInput(size=64)}, cache=tmp_path / "cache")

    def never(*_, **__):
        raise AssertionError("an original was decoded again")

    monkeypatch.setattr("fundusion.train.data.take_study", never)
    again = prepare_set(records, {"cfp": ImageInput(size=64)}, cache=tmp_path / "cache")
    for data in (first, again):
        assert data.images["cfp"][np.array([1, 0])].shape == (2, 64, 64, 3)
    assert again.digest == first.digest


def test_enhancement_is_asked_for_by_the_encoder_and_has_its_own_place_in_the_cache(jpeg):
    plain, asked = ImageInput(size=224), ImageInput(size=224, enhance="clahe_green")
    made = prepare_photograph(jpeg, asked)
    assert np.array_equal(made.pixels, enhance(prepare_photograph(jpeg, plain).pixels, "clahe_green"))
    keys = {cache_key("content", preprocessing_signature(wanted)) for wanted in (plain, asked)}
    assert len(keys) == 2
