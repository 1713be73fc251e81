"""Questions in words to pictures: an image-text model with prompts, calibration and prediction sets around it."""

from .answers import ZeroShot
from .fitting import Fit, fit_zeroshot

__all__ = ["Fit", "ZeroShot", "fit_zeroshot"]
