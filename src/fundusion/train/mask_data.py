"""Pictures with their masks at one scale: the square around the field of view, structures as shares of a pixel, unknown pixels marked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..core.durable import write_bytes
from ..core.errors import FundusionError, InvalidInput, ReadError
from ..core.registry import ImageInput, datasets
from ..core.study import StudyRecord
from ..datasets._splits import position_of
from ..readers import read_study
from ..readers.mask import read_artery_vein, read_labels, read_mask
from ..segmenting import whole_frame
from ..transforms.field_of_view import FieldOfView, find_field_of_view
from ..transforms.image import prepare
from .run import Reporter

#: Of a stored mask: this value is unknown, 0 to 254 is the share of the pixel.
UNKNOWN = 255
#: Structures that one file tells apart by colour.
_BY_COLOUR = ("artery", "vein")
#: Structures that one file of class numbers tells apart.
_BY_NUMBER = {"brvo": 1, "non_perfusion": 2}
#: Lesions: the publishers give no file where there is none.
_LESIONS = ("MA", "HE", "EX", "SE")
_VERSION = 2


class MaskSet(BaseModel):
    """A public set as downloaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    root: str
    #: Structures this set is used for; all that it has when empty.
    classes: tuple[str, ...] = ()
    #: Structures that none of its pictures has: pictures of healthy eyes teach what is no lesion.
    absent: tuple[str, ...] = ()
    #: Only pictures with these labels, such as `{ dr_grade = 0 }`.
    where: dict[str, float | str] = {}
    #: Pictures at most; which ones depends on the patients alone.
    most: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _known(self) -> MaskSet:
        if both := set(self.absent) & set(self.classes):
            raise ValueError(f"{', '.join(sorted(both))}: either annotated or absent")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskData:
    """Pictures and masks in memory.

    Args:
        pixels: uint8 `(N, S, S, 3)`.
        masks: uint8 `(N, K, S, S)`; see `UNKNOWN`.
        names: Set and study of each picture.
        groups: Patient, or the picture where no patient is named.
        rejected: Name, code and sentence of pictures that were left out.
        digest: Of everything above.
    """

    pixels: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    groups: tuple[str, ...]
    rejected: tuple[tuple[str, str, str], ...]
    digest: str
    _places: dict[tuple[int, int], npt.NDArray[np.int32] | None] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return pixels `(S, S, 3)`, shares `(K, S, S)` and which are known."""
        stored = self.masks[i]
        return self.pixels[i], np.minimum(stored, 254).astype(np.float32) / 254, stored != UNKNOWN

    def places(self, row: int, structure: int) -> npt.NDArray[np.int32] | None:
        """Return where in a picture a structure is, as numbers of pixels by row; None where all of it is unknown. Looked for once."""
        key = (int(row), structure)
        if key not in self._places:
            mask = self.masks[row, structure]
            there = np.flatnonzero((mask >= 127) & (mask != UNKNOWN)).astype(np.int32)
            self._places[key] = None if not len(there) and bool((mask == UNKNOWN).all()) else there
        return self._places[key]

    def held_out(self, fraction: float, *, seed: int) -> npt.NDArray[np.bool_]:
        """Return which pictures are never trained on: the same share of the patients of every set, whatever else is there."""
        places = np.array([position_of(g, seed=seed) for g in self.groups])
        sets = np.array([n.split("/")[0] for n in self.names])
        outside = np.zeros(len(self), np.bool_)
        for name in np.unique(sets):
            mine = np.flatnonzero(sets == name)
            people = {self.groups[i]: places[i] for i in mine}
            first = sorted(people, key=lambda g: people[g])[: max(1, round(len(people) * fraction))]
            outside[[i for i in mine if self.groups[i] in first]] = len(people) > 1
        return outside

    def marks(self, rows: npt.NDArray[np.int64]) -> dict[str, list[str]]:
        """Return the patients of some pictures by set, as digests so short that many numbers share one.

        Numbers of patients are few enough to be tried one after another: a longer digest in a shared file would give them away. At 16 bits two of a
        set's patients are rarely taken for one another, and every digest fits to one number in 65,536.
        """
        found: dict[str, set[str]] = {}
        for row in rows:
            name = self.names[row].split("/")[0]
            mark = hashlib.sha256(f"{name}|{self.groups[row]}".encode()).hexdigest()[:4]
            found.setdefault(name, set()).add(mark)
        return {name: sorted(marks) for name, marks in sorted(found.items())}


def prepare_masks(
    sets: Sequence[MaskSet],
    classes: Sequence[str],
    *,
    field_px: int,
    reporter: Reporter,
    cache: str | Path | None = None,
) -> MaskData:
    """Read every picture of some sets with its masks.

    A structure that a set does not annotate is unknown in its pictures; a lesion without a file is absent, and so is what a set
    declares absent. What lies outside the
    field of view is unknown to none and belongs to no structure.

    Args:
        sets: As downloaded.
        classes: Structures, in order.
        field_px: Side of the square.
        reporter: Shows progress.
        cache: Folder where the result is kept; it is made anew when a file changes.

    Raises:
        InvalidInput: No picture of the sets has one of the structures.
    """
    records = [(s, r) for s in sets for r in records_of(s)]
    if not records:
        raise InvalidInput("the sets hold no pictures.", code="input.empty")
    key = _key(records, classes, field_px)
    kept = Path(cache) / f"masks-{key[:16]}.npz" if cache else None
    if kept is not None and kept.is_file():
        return _load(kept)
    rows: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], str, str]] = []
    rejected: list[tuple[str, str, str]] = []
    with reporter("reading masks") as show:
        for number, (source, record) in enumerate(records, 1):
            name = f"{source.name}/{record.study_id}"
            try:
                pixels, masks = _one(record, source, classes, field_px)
            except FundusionError as error:
                rejected.append((name, error.code or "image.unusable", str(error)))
            else:
                if (masks != UNKNOWN).any():
                    rows.append((pixels, masks, name, f"{source.name}/{record.group}"))
            show(number, len(records), {"rejected": len(rejected)})
    if not rows:
        raise InvalidInput(
            f"no picture of {', '.join(s.name for s in sets)} has a mask of {', '.join(classes)}.", code="input.empty"
        )
    pixels, masks = np.stack([r[0] for r in rows]), np.stack([r[1] for r in rows])
    data = MaskData(
        pixels=pixels,
        masks=masks,
        names=tuple(r[2] for r in rows),
        groups=tuple(r[3] for r in rows),
        rejected=tuple(rejected),
        digest=hashlib.sha256(pixels.tobytes() + masks.tobytes()).hexdigest(),
    )
    if kept is not None:
        _save(kept, data)
    return data


def records_of(source: MaskSet) -> list[StudyRecord]:
    """Return the pictures of a set that are used.

    Raises:
        InvalidInput: None has the labels that are asked for.
    """
    every = list(datasets.create(source.name, root=source.root))
    records = [r for r in every if all(_has(r.labels.get(k), v) for k, v in source.where.items())]
    if every and not records:
        known = sorted({k for r in every for k in r.labels})
        raise InvalidInput(
            f"no picture of {source.name} has {source.where}.", code="input.empty", hint=f"Its labels are {known}."
        )
    if source.most is not None:
        chosen = sorted(records, key=lambda r: position_of(f"{source.name}/{r.group}", seed=0))[: source.most]
        records = [r for r in records if r in chosen]
    return records


def _has(label: Any, wanted: float | str) -> bool:
    return wanted in label if isinstance(label, tuple) else bool(label == wanted)


def _wanted(source: MaskSet, classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(c for c in classes if not source.classes or c in source.classes)


def _one(
    record: StudyRecord, source: MaskSet, classes: Sequence[str], field_px: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return pixels and masks of one picture."""
    study = read_study(record)
    image = next((v[0] for v in study.images.values() if v), None)
    if image is None:
        raise InvalidInput("there is no picture.", code="input.empty")
    field = find_field_of_view(image.pixels) if image.modality == "cfp" else whole_frame(image.pixels.shape)
    ready = prepare(image.pixels, ImageInput(size=field_px), field=field)
    masks = np.full((len(classes), field_px, field_px), UNKNOWN, np.uint8)
    annotated = any(s in record.masks for s in _LESIONS)
    wanted = _wanted(source, classes)
    for number, name in enumerate(classes):
        if name in source.absent:
            masks[number] = 0
        if name not in wanted or name in source.absent:
            continue
        full = _mask_of(record, name, image.pixels.shape[:2], absent=annotated and name in _LESIONS)
        if full is None:
            continue
        truth, unknown = full
        masks[number] = np.minimum(_scaled(truth, field, field_px), 254)
        if unknown is not None:
            masks[number][_scaled(unknown, field, field_px) > 0] = UNKNOWN
    return ready.pixels, masks


def _scaled(mask: npt.NDArray[np.uint8], field: FieldOfView, size: int) -> npt.NDArray[np.uint8]:
    return prepare(mask[..., None], ImageInput(size=size, mean=(0.0,), std=(1.0,), channels=1), field=field).pixels[
        ..., 0
    ]


def _mask_of(
    record: StudyRecord, name: str, shape: tuple[int, int], *, absent: bool
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None] | None:
    """Return the mask of a structure and where it is unknown; None when the set does not annotate it."""
    found: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None] | None
    if name in _BY_COLOUR:
        if "artery_vein" not in record.masks:
            return None
        artery, vein, uncertain = read_artery_vein(record.masks["artery_vein"][0])
        found = (artery if name == "artery" else vein), uncertain
    elif name in _BY_NUMBER:
        if "non_perfusion" not in record.masks:
            return None
        found = (read_labels(record.masks["non_perfusion"][0]) == _BY_NUMBER[name]).astype(np.uint8) * 255, None
    else:
        files = _files(record.masks, name)
        if not files:
            return (np.zeros(shape, np.uint8), None) if absent else None
        soft = name in ("disc", "cup")
        parts = [read_mask(f) for f in files]
        union = np.maximum.reduce(parts)
        found = (union if soft else ((union > 0) * np.uint8(255))), None
    if found[0].shape != shape:
        raise ReadError(
            f"the mask of {name} is {found[0].shape[1]} x {found[0].shape[0]} px, the picture {shape[1]} x {shape[0]}.",
            code="mask.size",
        )
    return found


def _files(masks: Mapping[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    keys = {"vessel": ("vessels",), "disc": ("disc", "OD")}.get(name, (name,))
    return next((masks[k] for k in keys if k in masks), ())


def _key(records: Sequence[tuple[MaskSet, StudyRecord]], classes: Sequence[str], field_px: int) -> str:
    seen: list[Any] = [_VERSION, list(classes), field_px]
    for source, record in records:
        files = [f for v in (*record.images.values(), *record.masks.values()) for f in v]
        stats = [(Path(f).name, Path(f).stat().st_size, Path(f).stat().st_mtime_ns) for f in files if Path(f).is_file()]
        seen.append([source.name, list(source.classes), list(source.absent), record.study_id, stats])
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _save(path: Path, data: MaskData) -> None:
    import io

    stream = io.BytesIO()
    np.savez_compressed(
        stream, pixels=data.pixels, masks=data.masks, names=np.array(data.names), groups=np.array(data.groups),
        rejected=np.array(data.rejected).reshape(-1, 3), digest=np.array(data.digest),
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, stream.getvalue())


def _load(path: Path) -> MaskData:
    with np.load(path, allow_pickle=False) as stored:
        return MaskData(
            pixels=stored["pixels"],
            masks=stored["masks"],
            names=tuple(str(n) for n in stored["names"]),
            groups=tuple(str(g) for g in stored["groups"]),
            rejected=tuple((str(a), str(b), str(c)) for a, b, c in stored["rejected"]),
            digest=str(stored["digest"]),
        )
