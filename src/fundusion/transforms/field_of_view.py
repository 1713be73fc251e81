"""Where the retina is in a photograph: the circle of the camera aperture, what cuts it, or that there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from .aperture import hidden_rows
from .rim import Circle, Corner, fit_circle, median, polish_circle

KINDS = ("circle", "notch", "clipped", "wide", "full", "none")

#: Longest side of the picture on which the field is looked for, px; its rim is then measured at full resolution.
_SEARCH_PX = 320
#: Least share of the rim that must lie on one circle before it is believed.
_LEAST_SUPPORT = 0.35
#: A circle with this support is taken without looking further.
_GOOD_SUPPORT = 0.6
#: A rim that moved by less, px, is not measured again; the second where it should be quick.
_SETTLED_PX, _SETTLED_QUICK_PX = 0.02, 2.0
#: How much brighter than the noise of the border haze is.
_HAZE = 6
#: Outlines that are tried, as shares of the brightness of the field: the lowest keeps a dim rim, the others leave the
#: haze of scanned film and of scattered light outside.
_LEVELS = (0.10, 0.22, 0.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldOfView:
    """The visible field of one photograph.

    Coordinates are `(row, column)` of pixel centres: the first pixel is (0, 0) and a frame of H rows spans -0.5 to
    H - 0.5. They are fractional and belong to the full-resolution picture.

    Args:
        center: Of the circle, which may lie outside the frame's middle; of the box for "wide", "full" and "none".
        radius_px: Of the circle; "wide": half the longer side; "full" and "none": half the diagonal.
        box: (top, left, bottom, right) of what is visible.
        kind: "circle" (whole), "notch" (whole, with an orientation mark), "clipped" (cut by the frame or an aperture),
            "wide" (ellipse of an ultra-wide camera), "full" (no dark border was found; the frame is used),
            "none" (the picture is empty).
        coverage: Share of the field's area that is visible, in [0, 1]; 0 for "none".
        confidence: Share of the visible rim that lies on the curve, in [0, 1]; 0 where no curve was found.
    """

    center: tuple[float, float]
    radius_px: float
    box: tuple[float, float, float, float]
    kind: str
    coverage: float
    confidence: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput(f"kind of field {self.kind!r} is not one of {KINDS}.")
        top, left, bottom, right = self.box
        if not (all(math.isfinite(v) for v in (*self.center, *self.box)) and bottom > top and right > left):
            raise InvalidInput(f"a field needs a finite box with positive sides, got {self.box}.")

    @property
    def is_round(self) -> bool:
        """Whether the field is a circle or part of one."""
        return self.kind in ("circle", "notch", "clipped")

    def scaled(self, factor: float, shape: tuple[int, ...] | None = None) -> FieldOfView:
        """Return the same field in a picture of more (factor > 1) or fewer pixels.

        Args:
            factor: Pixels there per pixel here, along each axis.
            shape: `(H, W, ...)` of that picture; the box is kept inside it.

        Example:
            >>> field = FieldOfView(center=(9.5, 9.5), radius_px=8.0, box=(1.5, 1.5, 17.5, 17.5), kind="circle",
            ...                     coverage=1.0, confidence=1.0)
            >>> field.scaled(4).center, field.scaled(4).box
            ((39.5, 39.5), (7.5, 7.5, 71.5, 71.5))
        """
        box = [(v + 0.5) * factor - 0.5 for v in self.box]
        if shape is not None:
            box[2], box[3] = min(box[2], shape[0] - 0.5), min(box[3], shape[1] - 0.5)
        return FieldOfView(
            center=((self.center[0] + 0.5) * factor - 0.5, (self.center[1] + 0.5) * factor - 0.5),
            radius_px=self.radius_px * factor,
            box=(box[0], box[1], box[2], box[3]),
            kind=self.kind,
            coverage=self.coverage,
            confidence=self.confidence,
        )

    def mask(self, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Return which pixels of a picture of shape `(H, W, ...)` show the field.

        Example:
            >>> field = FieldOfView(center=(4.0, 4.0), radius_px=4.0, box=(0.0, 0.0, 8.0, 8.0), kind="circle",
            ...                     coverage=1.0, confidence=1.0)
            >>> field.mask((9, 9)).sum()
            np.int64(49)
        """
        rows = np.arange(shape[0], dtype=np.float64)[:, None]
        columns = np.arange(shape[1], dtype=np.float64)[None, :]
        if self.kind == "none":
            return np.zeros(shape[:2], np.bool_)
        top, left, bottom, right = self.box
        inside = (rows >= top) & (rows <= bottom) & (columns >= left) & (columns <= right)
        if self.is_round:
            return inside & ((rows - self.center[0]) ** 2 + (columns - self.center[1]) ** 2 <= self.radius_px**2)
        if self.kind == "wide":
            half = (bottom - top) / 2, (right - left) / 2
            return ((rows - self.center[0]) / half[0]) ** 2 + ((columns - self.center[1]) / half[1]) ** 2 <= 1
        return inside


def find_field_of_view(
    pixels: npt.NDArray[np.uint8], *, search_px: int = _SEARCH_PX, quick: bool = False
) -> FieldOfView:
    """Return the field of view of a photograph; when no curve is found the kind is "full" or "none" and says so.

    The picture is compared with its own border (dark, noisy or white), the outline of what differs is fitted by a
    circle that may be cut, carry a mark or stand beside a caption, and the rim is then measured at full resolution.

    Args:
        pixels: `(H, W, C)` uint8, C 1 or 3.
        search_px: Longest side of the picture on which the outline is sought; the rim is measured on `pixels` all the same.
        quick: Look at the rim once where it lies near to where the outline puts it. On pictures that were reduced while they were decoded
            this changes it by less than 0.1 px.

    Raises:
        InvalidInput: Another shape or type.

    Example:
        >>> rows, columns = np.mgrid[:200, :260]
        >>> disc = (((rows - 99.5) ** 2 + (columns - 120.25) ** 2 <= 90**2) * 120).astype(np.uint8)
        >>> field = find_field_of_view(np.repeat(disc[..., None], 3, axis=2))
        >>> field.kind, [round(v) for v in field.center], round(field.radius_px)
        ('circle', [100, 120], 90)
    """
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        shape = getattr(pixels, "shape", type(pixels).__name__)
        raise InvalidInput(f"expected pixels of shape (H, W, 1 or 3), got {shape}.", code="image.shape")
    if pixels.dtype != np.uint8:
        raise InvalidInput(f"expected uint8 pixels, got {pixels.dtype}.", code="image.dtype")
    factor = max(1, math.ceil(max(pixels.shape[:2]) / search_px))
    small = _reduce(pixels, factor)
    if min(small.shape[:2]) < 8:
        return _frame(pixels.shape, "full" if small.std() >= 1.0 else "none")
    border = _Border.of(small)
    level = _difference_from_border(small, border)
    counts = cv2.calcHist([level], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    if _is_flat(small, counts):
        return _frame(pixels.shape, "none")
    floor = max(4.0, 4 * border.noise)
    lit = np.where(np.arange(256) > floor, counts, 0)
    if lit.sum() < 0.02 * level.size:
        return _frame(pixels.shape, "none" if _quantile(counts, 0.75) < 3 and not border.plain else "full")
    bright = _quantile(lit, 0.5)
    best: tuple[Circle, npt.NDArray[np.bool_]] | None = None
    corner = Corner(color=border.color, noise=border.noise)
    settled = _SETTLED_QUICK_PX if quick else _SETTLED_PX
    for share in _LEVELS:
        # Levels are whole: a whole threshold keeps the comparison in bytes.
        largest = _largest_region(level > math.floor(max(floor, share * bright)))
        if largest is None:
            continue
        region, outline = largest
        if np.count_nonzero(region) > 0.985 * region.size:
            continue
        oval = _ellipse(region, factor=factor, shape=pixels.shape)
        if oval is not None:
            return oval
        guess = fit_circle(outline, frame=region.shape)
        if guess is None or not _encloses(guess, region, outline):
            continue
        found = polish_circle(
            pixels, guess.scaled(factor), corner=corner, reach_px=2.0 * factor + 1, settled_px=settled
        )
        if best is None or found.support > best[0].support:
            best = found, region
        if found.support >= _GOOD_SUPPORT:
            break
    if best is None or best[0].support < _LEAST_SUPPORT:
        return _frame(pixels.shape, "full")
    return _round_field(*best, _Looks(small, level, floor), factor=factor, shape=pixels.shape)


def _is_flat(small: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64]) -> bool:
    """Return whether no channel of a picture varies by a level; `counts` are of its differences from the border."""
    values = np.arange(len(counts))
    total = int(counts.sum())
    mean = int(counts @ values) / total
    # A cheap look first: where the channels vary by less than one, their largest difference varies by less than two.
    return int(counts @ (values * values)) / total - mean**2 < 4 and cv2.meanStdDev(small)[1].max() < 1.0


def _reduce(pixels: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """Return block means, so that pixel i of the small picture covers i * factor .. (i + 1) * factor exactly."""
    if factor == 1:
        return pixels
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    if height == 0 or width == 0:
        return pixels[:1, :1]
    small = pixels[: height * factor, : width * factor]
    while factor > 1:
        # Halving is several times as fast as any other factor.
        step = 2 if factor % 2 == 0 else factor
        factor //= step
        size = small.shape[1] // step, small.shape[0] // step
        small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
    return small if small.ndim == 3 else small[..., None]


@dataclass(frozen=True, slots=True)
class _Border:
    """Colour of what surrounds the field, its noise, and whether it is dark or white as borders are."""

    color: tuple[float, ...]
    noise: float
    plain: bool

    @classmethod
    def of(cls, small: npt.NDArray[np.uint8]) -> _Border:
        side = max(2, round(0.04 * min(small.shape[:2])))
        rows = np.concatenate((small[:side], small[-side:]))
        corners = np.concatenate((rows[:, :side], rows[:, -side:]), axis=1)
        patches = corners.reshape(2, side, 2, side, -1).swapaxes(1, 2).reshape(4, side * side, -1)
        # Brightest last: a caption or a logo stands in one or two corners, never in the two darkest.
        brightness = _medians(patches.max(axis=2))
        white = min(brightness) > 200 and min(_medians(patches.min(axis=2))) > 200
        darkest = np.concatenate(patches[np.argsort(brightness, kind="stable")[:2]])
        color = tuple(_medians((np.concatenate(patches) if white else darkest).T))
        noise = 0.0 if min(color) > 200 else 1.4826 * median(np.abs(darkest - np.array(color)).ravel())
        return cls(color, noise, max(color) < 90 or min(color) > 200)


@dataclass(frozen=True, slots=True)
class _Looks:
    """The small picture, how far it is from the colour of the border, and how far it must be to be more than noise."""

    small: npt.NDArray[np.uint8]
    level: npt.NDArray[np.uint8]
    floor: float


def _difference_from_border(small: npt.NDArray[np.uint8], border: _Border) -> npt.NDArray[np.uint8]:
    """Return how far each pixel is from the colour of the border, in whole levels."""
    # A difference that stops at zero; of half levels the whole ones are kept.
    if min(border.color) > 200:
        apart = [cv2.subtract(math.floor(c), plane) for plane, c in zip(cv2.split(small), border.color, strict=True)]
    else:
        apart = [cv2.subtract(plane, math.ceil(c)) for plane, c in zip(cv2.split(small), border.color, strict=True)]
    return cv2.medianBlur(reduce(cv2.max, apart), 3)


def _medians(rows: npt.NDArray[np.uint8]) -> list[float]:
    """Return the median of each row, between two neighbours where their number is even."""
    ordered = np.sort(rows, axis=1)
    count = ordered.shape[1]
    pairs = zip(ordered[:, (count - 1) // 2].tolist(), ordered[:, count // 2].tolist(), strict=True)
    return [(low + high) / 2 for low, high in pairs]


def _quantile(counts: npt.NDArray[np.int64], share: float) -> float:
    """Return a quantile of whole numbers from how often each occurs, between neighbours as `np.percentile` does."""
    total = np.cumsum(counts)
    place = share * (int(total[-1]) - 1)
    low, high = (float(np.searchsorted(total, k, side="right")) for k in (math.floor(place), math.ceil(place)))
    return low + (place - math.floor(place)) * (high - low)


def _largest_region(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]] | None:
    """Return the largest connected part, holes filled, and its outline `(N, 2)` (row, column) in order; None without one."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    opened = cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_OPEN, kernel)
    contours, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    largest = max(contours, key=lambda c: (cv2.contourArea(c), len(c)))
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, [largest], -1, 1, thickness=cv2.FILLED)
    return filled.view(np.bool_), largest[:, 0, ::-1].astype(np.float64)


def _encloses(circle: Circle, region: npt.NDArray[np.bool_], outline: npt.NDArray[np.float64]) -> bool:
    """Return whether the region lies in the circle and is no small part of the frame."""
    total = np.count_nonzero(region)
    if total < 0.05 * region.size:
        return False
    limit = (1.02 * circle.radius + 1) ** 2
    down, right = outline[:, 0] - circle.row, outline[:, 1] - circle.column
    # What has its whole outline in a circle lies in it.
    if (down * down + right * right).max() <= limit:
        return True
    return np.count_nonzero(region & (_squared_distance(region.shape, circle) <= limit)) >= 0.95 * total


def _squared_distance(shape: tuple[int, ...], circle: Circle) -> npt.NDArray[np.float32]:
    rows = (np.arange(shape[0]) - circle.row).astype(np.float32)
    columns = (np.arange(shape[1]) - circle.column).astype(np.float32)
    return (rows * rows)[:, None] + (columns * columns)[None, :]


def _frame(shape: tuple[int, ...], kind: str) -> FieldOfView:
    height, width = shape[:2]
    return FieldOfView(
        center=((height - 1) / 2, (width - 1) / 2),
        radius_px=math.hypot(height, width) / 2,
        box=(-0.5, -0.5, height - 0.5, width - 0.5),
        kind=kind,
        coverage=0.0 if kind == "none" else 1.0,
        confidence=0.0,
    )


def _ellipse(region: npt.NDArray[np.bool_], *, factor: int, shape: tuple[int, ...]) -> FieldOfView | None:
    """Return the field of an ultra-wide camera, or None: a broad region that equals the ellipse of its own box."""
    left, top, width, height = cv2.boundingRect(region.view(np.uint8))
    first, last = np.array([top, left]), np.array([top + height - 1, left + width - 1])
    sides = np.array([height, width], float)
    area, round_area = np.count_nonzero(region), math.pi / 4 * height * width
    # Areas that differ by a tenth cannot overlap by what is asked below.
    if not (
        1.12 <= sides.max() / sides.min() <= 2.2 and area >= 0.35 * region.size and abs(area / round_area - 1) < 0.1
    ):
        return None
    middle = (first + last) / 2
    grid = [((np.arange(region.shape[i]) - middle[i]) / (sides[i] / 2)) ** 2 for i in range(2)]
    ideal = grid[0][:, None] + grid[1][None, :] <= 1
    overlap = float(np.count_nonzero(ideal & region) / np.count_nonzero(ideal | region))
    # A circle cut to the same box by a straight aperture overlaps its ellipse by less than 0.95.
    if overlap < 0.96:
        return None
    box = [*(first * factor), *((last + 1) * factor)]
    top, left, bottom, right = (float(v) - 0.5 for v in box)
    bottom, right = min(bottom, shape[0] - 0.5), min(right, shape[1] - 0.5)
    return FieldOfView(
        center=((top + bottom) / 2, (left + right) / 2),
        radius_px=float(max(bottom - top, right - left)) / 2,
        box=(top, left, bottom, right),
        kind="wide",
        coverage=1.0,
        confidence=overlap,
    )


def _round_field(
    circle: Circle, region: npt.NDArray[np.bool_], looks: _Looks, *, factor: int, shape: tuple[int, ...]
) -> FieldOfView:
    across = (circle.row - circle.radius, circle.column - circle.radius)
    ideal = (*across, circle.row + circle.radius, circle.column + circle.radius)
    reduced = circle.scaled(1 / factor)
    turned = Circle(row=reduced.column, column=reduced.row, radius=reduced.radius)
    squares = _squared_distance(region.shape, reduced)
    # Lengths of the rows and columns of the region.
    lengths = [cv2.reduce(region.view(np.uint8), axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() for axis in (1, 0)]
    top, bottom = _straight_cuts(lengths[0], reduced)
    left, right = _straight_cuts(lengths[1], turned)
    if _is_hazy(looks, squares, reduced.radius):
        top, bottom = _inner((top, bottom), hidden_rows(looks.small, reduced), region.shape[0])
        left, right = _inner((left, right), hidden_rows(looks.small.transpose(1, 0, 2), turned), region.shape[1])
    limits = (-0.5, -0.5, shape[0] - 0.5, shape[1] - 0.5)
    box: list[float] = []
    for i, cut in enumerate((top, left, bottom, right)):
        edge = ideal[i] if cut is None else (cut + 0.5) * factor - 0.5
        box.append(max(edge, limits[i]) if i < 2 else min(edge, limits[i]))
    lost = any(abs(a - b) > 0.02 * circle.radius for a, b in zip(box, ideal, strict=True))
    return FieldOfView(
        center=(circle.row, circle.column),
        radius_px=circle.radius,
        box=(box[0], box[1], box[2], box[3]),
        kind="clipped" if lost else "notch" if _has_notch(region, reduced, squares) else "circle",
        coverage=_visible_share(circle, box),
        confidence=circle.support,
    )


def _is_hazy(looks: _Looks, squares: npt.NDArray[np.float32], radius: float) -> bool:
    """Return whether a good part of what lies outside the circle is brighter than the border, as on scanned film."""
    outside = squares > (1.03 * radius) ** 2
    bright = looks.level > math.floor(looks.floor + _HAZE)
    return np.count_nonzero(outside & bright) > 0.2 * np.count_nonzero(outside)


def _inner(
    cuts: tuple[float | None, float | None], hidden: tuple[float | None, float | None], length: int
) -> tuple[float | None, float | None]:
    """Return the cuts, moved inwards where the aperture hides clearly more than the outline shows."""
    first, last = cuts
    if hidden[0] is not None and hidden[0] > (-0.5 if first is None else first) + 1.5:
        first = hidden[0]
    if hidden[1] is not None and hidden[1] < (length - 0.5 if last is None else last) - 1.5:
        last = hidden[1]
    return first, last


def _straight_cuts(lengths: npt.NDArray[np.int32], circle: Circle) -> tuple[float | None, float | None]:
    """Return the rows (small picture, pixel edges at .5) where a straight aperture ends the field, None where none.

    A straight cut takes the whole chord away within a few rows; a dim rim fades and is no cut.

    Args:
        lengths: How many pixels of each row belong to the field.
        circle: Of the field.
    """
    away = np.arange(len(lengths)) - circle.row
    chord = 2 * np.sqrt(np.maximum(circle.radius**2 - away * away, 0))
    share = lengths / np.maximum(chord, 1.0)
    found: list[float | None] = []
    for order in (1, -1):
        filled = share[::order] > 0.8
        first = int(np.argmax(filled)) if filled.any() else 0
        outside = share[::order][:first]
        touched = np.count_nonzero(chord[::order][:first])
        # Three rows beyond the edge are left out: they hold the blur of the edge itself.
        beyond = outside[max(0, len(outside) - touched) : max(0, len(outside) - 3)]
        cut = len(beyond) >= 2 and beyond.max() < 0.2 and chord[::order][first] > 0.3 * circle.radius
        edge = first - 0.5 - 0.5 * float(outside[-1] if len(outside) and outside[-1] > 0.3 else 0.0)
        found.append(None if not cut else edge if order == 1 else len(lengths) - 1 - edge)
    return found[0], found[1]


def _has_notch(region: npt.NDArray[np.bool_], circle: Circle, squares: npt.NDArray[np.float32]) -> bool:
    """Return whether a small tab stands out of the rim or a small bite is taken from it."""
    margin = 0.012 + 1.0 / circle.radius
    beyond, within = ((circle.radius * m) ** 2 for m in (1 + margin, 1 - margin))
    least = 0.0006 * math.pi * circle.radius**2
    for part in (region & (squares > beyond), ~region & (squares < within) & (squares > (0.75 * circle.radius) ** 2)):
        if np.count_nonzero(part) < least:
            continue
        count, labels, stats, _ = cv2.connectedComponentsWithStats(part.astype(np.uint8))
        for label in range(1, count):
            if stats[label, cv2.CC_STAT_AREA] < least:
                continue
            rows, columns = np.nonzero(labels == label)
            angle = np.arctan2(rows - circle.row, columns - circle.column)
            spread = np.abs(np.angle(np.exp(1j * (angle - np.angle(np.exp(1j * angle).mean()))))).max()
            if spread < math.radians(18):
                return True
    return False


def _visible_share(circle: Circle, box: list[float]) -> float:
    """Return the share of the circle's area inside the box, by strips."""
    rows = circle.row + circle.radius * (np.arange(-511.5, 512) / 512)
    half = np.sqrt(np.maximum(circle.radius**2 - (rows - circle.row) ** 2, 0))
    length = np.minimum(circle.column + half, box[3]) - np.maximum(circle.column - half, box[1])
    seen = np.maximum(length, 0)[(rows >= box[0]) & (rows <= box[2])].sum()
    return min(1.0, float(seen / (2 * half.sum())))
