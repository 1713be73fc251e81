"""The one door from files to pictures: `analyze`, `train`, `embed` and `check` read photographs here and nowhere else.

It stands above `readers` and `transforms` because it needs both: how far a JPEG may be reduced while it is decoded follows from the
size that is wanted, and whether that was too far is known only when the field of view has been found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .core.errors import ReadError
from .core.files import ReadLimits
from .core.registry import ImageInput
from .core.study import Image, Study, StudyRecord
from .readers import assemble_study, of_one_eye, read_images, split_part
from .readers.image import decode_image
from .transforms.field_of_view import FieldOfView, find_field_of_view
from .transforms.image import PreparedImage, prepare

#: Largest wanted square, pixels of the shorter side of the picture per pixel of it, and the least that the field itself must have. A
#: 224 px square with sharp detail was 44 dB from the average of the full picture at 1.13 and above 45 dB from 1.2; larger squares reach
#: the finest detail of a photograph and are above 48 dB from 1.1.
_ROOM = ((384, 1.28, 1.2), (1 << 30, 1.12, 1.05))
#: Longest side on which the field of a reduced picture is sought, px: it is halved until it is no longer.
_SEARCH_PX = 300


def enough_px(size: int) -> int:
    """Return the length of the shorter side from which a square of some size is made faithfully.

    Example:
        >>> enough_px(224), enough_px(512), enough_px(1024)
        (287, 574, 1147)
    """
    return math.ceil(size * next(room for most, room, _ in _ROOM if size <= most))


def _least_side(size: int) -> float:
    return size * next(least for most, _, least in _ROOM if size <= most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A study as it was read for a network.

    Args:
        study: With pictures just large enough for the network.
        fields: Image modality to the field of view of each image, in coordinates of the full picture; None where none is looked for.
        view: The same study with pictures large enough to be shown and judged; often `study` itself.
        fine: Image modality to the pictures to measure in, as fine as was asked for where the file is; often those of `study`.
    """

    study: Study
    view: Study
    fields: Mapping[str, tuple[FieldOfView | None, ...]] = field(default_factory=dict)
    fine: Mapping[str, tuple[Image, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """One picture of a file: for the network, to show, to measure in, and its field of view."""

    image: Image
    found: FieldOfView | None
    view: Image
    fine: Image


def take_study(
    record: StudyRecord,
    inputs: Mapping[str, ImageInput],
    *,
    view_px: int | None = None,
    fine_px: int | None = None,
) -> Taken:
    """Return a record read for a network.

    Args:
        record: Whose files are read.
        inputs: Image modality to the pixels its encoder wants; files of other modalities are read whole.
        view_px: Shorter side that `Taken.view` has at least where the file has it; None asks for no more than the network.
        fine_px: Side of the square that the field of `Taken.fine` is brought to; None asks for no more than the network.

    Raises:
        ReadError: A file cannot be used; the message names it without its folder.
        ReadError: `file.changed`: it was replaced while it was read.
        ReadError: `laterality.conflict`.
    """
    images: dict[str, tuple[Image, ...]] = {}
    views: dict[str, tuple[Image, ...]] = {}
    fines: dict[str, tuple[Image, ...]] = {}
    fields: dict[str, tuple[FieldOfView | None, ...]] = {}
    for modality, paths in record.images.items():
        side = fine_px if modality == "cfp" else None
        of_files = [
            _of_the_eye(_take(path, modality, inputs.get(modality), (view_px, side)), record, path) for path in paths
        ]
        taken = [p for pictures in of_files for p in pictures]
        images[modality] = tuple(p.image for p in taken)
        fields[modality] = tuple(p.found for p in taken)
        views[modality] = tuple(p.view for p in taken)
        fines[modality] = tuple(p.fine for p in taken)
    study = assemble_study(record, images)
    same = all(a is b for m in images for a, b in zip(images[m], views[m], strict=True))
    return Taken(study=study, view=study if same else assemble_study(record, views), fields=fields, fine=fines)


def prepare_photograph(
    data: bytes,
    image_input: ImageInput,
    *,
    name: str = "photograph",
    modality: str = "cfp",
    limits: ReadLimits | None = None,
) -> PreparedImage:
    """Return the square an encoder wants from the bytes of a photograph.

    Args:
        data: Content of a JPEG, PNG, TIFF or PPM file.
        image_input: What the encoder wants.
        name: For messages.
        modality: What kind of picture it is.
        limits: Caps.

    Raises:
        ReadError: As in `readers.image.read_image`.
    """

    def read(px: int | None) -> Image:
        return decode_image(data, name, modality=modality, limits=limits, enough_px=px)

    image, found = _with_field(read, image_input, modality)
    return prepare(image.pixels, image_input, field=found, reduction=image.reduction, full_shape=image.full_shape)


def field_of(image: Image) -> FieldOfView | None:
    """Return the field of view of a colour photograph in coordinates of the full picture; None for other images."""
    if image.modality != "cfp" or image.is_volume:
        return None
    if image.reduction == 1:
        return find_field_of_view(image.pixels)
    # A reduced picture has little noise and its outline is clear on fewer pixels; halving is much faster than other factors.
    longest = max(image.pixels.shape[:2])
    halvings = math.ceil(math.log2(max(1.0, longest / _SEARCH_PX)))
    found = find_field_of_view(image.pixels, search_px=math.ceil(longest / 2**halvings), quick=True)
    return found.scaled(image.reduction, image.full_shape)


def _with_field(
    read: Callable[[int | None], Image], image_input: ImageInput | None, modality: str
) -> tuple[Image, FieldOfView | None]:
    """Return a picture that is fine enough for its field of view, and that field."""
    enough = enough_px(image_input.size) if image_input is not None else None
    image = read(enough)
    found = field_of(image)
    cut = image_input is not None and image_input.crop == "field_of_view"
    while enough and found is not None and cut and image.reduction > 1:
        side = max(found.box[2] - found.box[0], found.box[3] - found.box[1])
        # A small field in a large frame: the shorter side promised more than the field has.
        if image_input is None or side >= _least_side(image_input.size) * image.reduction:
            break
        image = read(min(image.full_shape or (0,)) * 2 // image.reduction)
        found = field_of(image)
    return image, found


def _of_the_eye(taken: list[_Picture], record: StudyRecord, path: str) -> list[_Picture]:
    """Leave out scans of the other eye where a file holds both."""
    kept = of_one_eye([p.image for p in taken], record.laterality, split_part(path)[0])
    if len(kept) == len(taken):
        return taken
    chosen = [p.found for p in taken if p.image.laterality is record.laterality]
    return [_Picture(image=i, found=f, view=i, fine=i) for i, f in zip(kept, chosen, strict=True)]


def _take(
    path: str, modality: str, image_input: ImageInput | None, more: tuple[int | None, int | None]
) -> list[_Picture]:
    """Return each image of a file with its field, the picture to show and the one to measure in."""
    rest: list[Image] = []
    view_px, fine_px = more

    def read(px: int | None) -> Image:
        first, *others = read_images(path, modality=modality, enough_px=px)
        rest[:] = others
        return first

    image, found = _with_field(read, image_input, modality)

    def again(px: int) -> Image:
        other = read(px)
        if other.digest != image.digest:
            raise ReadError(
                f"{Path(path).name!r} changed while it was read.", code="file.changed", hint="Run the command again."
            )
        return other

    view = again(view_px) if view_px and image.reduction > 1 and min(image.pixels.shape[:2]) < view_px else image
    fine = view if view.reduction < image.reduction else image
    if fine_px and found is not None and fine.reduction > 1:
        side = max(found.box[2] - found.box[0], found.box[3] - found.box[1])
        if side < _least_side(fine_px) * fine.reduction:
            # Of the whole file as many pixels as give its field enough of them.
            whole = min(fine.full_shape or fine.pixels.shape[:2])
            fine = again(math.ceil(whole / max(1.0, side / _least_side(fine_px))))
    first = _Picture(image=image, found=found, view=view, fine=fine)
    return [first, *(_Picture(image=i, found=field_of(i), view=i, fine=i) for i in rest)]
