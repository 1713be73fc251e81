"""The gate: a verdict on one picture with a calibrated score, reasons a person understands, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import cv2
import numpy as np

from ..core.errors import InvalidInput
from ..core.results import Quality
from ..core.study import Image
from ..core.vocabulary import Modality
from ..transforms.field_of_view import FieldOfView, find_field_of_view
from .calibration import QualityModel, recalibrate, shipped_model
from .measures import measure

__all__ = ["REASONS", "QualityModel", "assess", "fit_quality"]

#: Code of a reason to (what is wrong, what to do).
REASONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "quality.not_fundus": (
            "the picture does not look like a colour photograph of a fundus",
            "Check the file, and that angiograms, OCT scans and outer-eye photographs are listed as what they are.",
        ),
        "quality.empty": (
            "the picture is empty or of one colour",
            "Check the file; export the picture again from the camera.",
        ),
        "quality.no_contrast": ("the picture has almost no contrast", "Export it again, or take another one."),
        "quality.grey": (
            "the picture has no colour",
            "Give a colour photograph; list angiograms and red-free pictures under their own modality.",
        ),
        "quality.too_small": ("the picture has too few pixels", "Give the original at full resolution."),
        "quality.dark": ("the photograph is too dark", "Take it again with more flash or a wider pupil."),
        "quality.bright": ("the photograph is overexposed", "Take it again with less flash or gain."),
        "quality.uneven": ("the light is uneven, part of the field is in shadow", "Centre the camera on the pupil."),
        "quality.blurred": ("the photograph is out of focus", "Refocus and take it again; a cataract can blur too."),
        "quality.motion": ("the photograph is blurred by motion", "Ask the patient to fixate and take it again."),
        "quality.haze": ("the photograph is hazy", "Clean the lens; cataract or vitreous haze may be the cause."),
        "quality.low_contrast": ("the contrast is too low", "Check the focus, the flash and the media of the eye."),
        "quality.noisy": ("the photograph is noisy", "Take it with more light and less gain."),
        "quality.compressed": ("the file is compressed too strongly", "Export the original without re-compression."),
        "quality.occluded": (
            "an eyelid, lashes or a reflection hide part of the field",
            "Lift the lid, change the distance and take it again.",
        ),
        "quality.color": (
            "the colours are not those of a retina",
            "Check white balance, filters and colour conversion.",
        ),
        "quality.cut": ("a large part of the field is cut off or dark", "Widen the pupil, align and take it again."),
        "fov.clipped": ("the field of view is cut by the frame", "Nothing, if the disc and the macula are inside."),
        "fov.not_found": ("no circular field of view was found", "Give the uncropped picture of the camera."),
    }
)

#: Which reason a drawn degradation stands for.
REASON_OF_KIND: Mapping[str, str] = MappingProxyType(
    {
        "defocus": "quality.blurred",
        "motion": "quality.motion",
        "underexposure": "quality.dark",
        "overexposure": "quality.bright",
        "uneven": "quality.uneven",
        "haze": "quality.haze",
        "low_contrast": "quality.low_contrast",
        "noise": "quality.noisy",
        "jpeg": "quality.compressed",
        "occlusion": "quality.occluded",
        "color_cast": "quality.color",
        "field_cut": "quality.cut",
    }
)

#: Shorter side below which no photograph is judged, px.
LEAST_SIDE_PX = 64


def assess(image: Image, *, field: FieldOfView | None = None, model: QualityModel | None = None) -> Quality:
    """Return the verdict on one image.

    A colour fundus photograph is judged by the calibrated model. Other modalities only have to be a picture: not
    empty, not of one grey.

    Args:
        image: Read image.
        field: Its field of view, when already found.
        model: Calibration; None takes the shipped one.

    Source:
        Measures in `quality.measures`; the calibration is fitted by `recipes/fit_quality.py` on drawn degradations of
        public photographs (after the illumination, focus and field criteria of Fleming et al. 2006,
        doi:10.1167/iovs.05-1155).

    Example:
        >>> black = Image(pixels=np.zeros((300, 300, 3), np.uint8), modality="cfp")
        >>> verdict = assess(black)
        >>> verdict.gradable, verdict.reasons
        (False, ('quality.not_fundus', 'quality.empty'))
    """
    if image.modality != Modality.CFP or image.is_volume:
        return _assess_any(image)
    pixels = image.pixels
    foreign = _obviously_foreign(pixels)
    if foreign:
        return Quality(gradable=False, score=0.0, reasons=foreign, measures=_spread(pixels))
    found = field or find_field_of_view(pixels)
    calibration = model or shipped_model()
    values = measure(pixels, found)
    answers = calibration.probabilities(values)
    is_fundus = answers["fundus"] >= calibration.fundus_threshold
    # What shows no fundus cannot be graded, however sharp it is.
    score = min(1.0, answers["fundus"] * answers["gradable"]) if is_fundus else 0.0
    gradable = is_fundus and score >= calibration.threshold
    reasons = _reasons(answers, found, gradable=gradable, is_fundus=is_fundus)
    numbers = {**values, "fundus": answers["fundus"], "field_coverage": found.coverage}
    return Quality(gradable=gradable, score=score, reasons=reasons, measures=numbers)


def fit_quality(images: Iterable[tuple[Image, bool]], *, model: QualityModel | None = None) -> QualityModel:
    """Return a calibration that agrees with labels of one's own photographs; about a hundred are enough.

    Args:
        images: Colour fundus photographs with whether a reader would grade them.
        model: Where to start from; None takes the shipped one.

    Raises:
        InvalidInput: An image is no colour fundus photograph, or there are too few of a class.
    """
    start = model or shipped_model()
    rows, labels = [], []
    for image, gradable in images:
        if image.modality != Modality.CFP or image.is_volume:
            raise InvalidInput(f"quality is fitted on colour fundus photographs, got {image.modality!r}.")
        rows.append(measure(image.pixels, find_field_of_view(image.pixels)))
        labels.append(bool(gradable))
    return recalibrate(start, rows, labels)


def _obviously_foreign(pixels: np.ndarray) -> tuple[str, ...]:
    """Return the reasons for pictures that need no calibration to be refused; empty when it must be looked at."""
    if min(pixels.shape[:2]) < LEAST_SIDE_PX:
        return ("quality.too_small",)
    spread = _spread(pixels)
    if spread["deviation"] < 2.0:
        return ("quality.not_fundus", "quality.empty")
    if pixels.shape[2] == 1 or spread["color"] < 3.0:
        return ("quality.not_fundus", "quality.grey")
    return ()


def _spread(pixels: np.ndarray) -> dict[str, float]:
    """Return the brightest-to-darkest spread and the mean difference between channels, on a coarse grid."""
    step = max(1, min(pixels.shape[:2]) // 128)
    coarse = np.ascontiguousarray(pixels[::step, ::step])
    deviation = float(cv2.meanStdDev(coarse)[1].max())
    if pixels.shape[2] == 1:
        return {"deviation": deviation, "color": 0.0}
    red, blue = coarse[..., 0].astype(np.int16), coarse[..., 2].astype(np.int16)
    green = coarse[..., 1].astype(np.int16)
    apart = np.maximum(np.abs(red - blue), np.abs(red - green))
    lit = coarse.max(axis=2) > 24
    return {"deviation": deviation, "color": float(apart[lit].mean() if lit.any() else apart.max())}


def _reasons(answers: Mapping[str, float], field: FieldOfView, *, gradable: bool, is_fundus: bool) -> tuple[str, ...]:
    """Return codes, the most telling first."""
    if not is_fundus:
        return ("quality.not_fundus",)
    codes = sorted((c for c in answers if c in REASONS and c != "quality.not_fundus"), key=lambda c: -answers[c])
    # A gradable picture is only warned about where the sign is strong.
    listed = [c for c in codes if answers[c] >= (0.9 if gradable else 0.5)]
    if not gradable and not listed:
        listed = codes[:1]
    if field.kind == "full":
        listed.append("fov.not_found")
    elif field.coverage < 0.6:
        listed.append("fov.clipped")
    return tuple(listed)


def _assess_any(image: Image) -> Quality:
    planes = image.planes()
    spreads = [_spread(plane)["deviation"] for plane in planes]
    best = max(spreads)
    empty = sum(s < 2.0 for s in spreads)
    measures = {"deviation": best, "empty_frames": float(empty), "frames": float(len(planes))}
    if min(planes[0].shape[:2]) < 16:
        return Quality(gradable=False, score=0.0, reasons=("quality.too_small",), measures=measures)
    if best < 2.0:
        return Quality(gradable=False, score=0.0, reasons=("quality.empty",), measures=measures)
    if best < 6.0:
        return Quality(gradable=False, score=0.25, reasons=("quality.no_contrast",), measures=measures)
    return Quality(gradable=True, score=1.0, measures=measures)
