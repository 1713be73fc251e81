"""Components by name: one file per family, found by listing the folder, imported on first use."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, TypeVar

from .errors import FundusionError, InvalidInput, UnknownName
from .pins import check_loaded, check_pin

Builder = TypeVar("Builder", bound=Callable[..., Any])


_FITS = ("square", "corner", "stretch", "center")
_FILTERS = ("area", "bilinear", "bicubic")
#: What may be done to the contrast of a prepared picture; `transforms.enhance` does it.
ENHANCEMENTS = ("none", "clahe", "clahe_green", "graham")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """What pixels an image encoder wants.

    Args:
        size: Side of the square input, px.
        mean: Per channel, in the unit of [0, 1] pixels.
        std: Per channel.
        crop: "field_of_view" (cut to the circle), "foreground" (cut to the largest bright region, by brightness alone) or "none".
        channels: 3 (grey is repeated) or 1.
        max_frames: Most frames of one volume or series that are encoded, spread evenly.
        fit: "square" (padded evenly with black to a square, then scaled), "corner" (the longer side is scaled to the size, black fills
            the right and the bottom), "stretch" (both sides are scaled, whatever the aspect) or "center" (the shorter side is scaled,
            the middle is kept).
        resample: "area" (the house's, for "square" only), "bilinear" or "bicubic", both without aliasing.
        enhance: What is done to the contrast after cutting and scaling, one of `ENHANCEMENTS`.
    """

    size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop: str = "field_of_view"
    channels: int = 3
    max_frames: int = 9
    fit: str = "square"
    resample: str = "area"
    enhance: str = "none"

    def __post_init__(self) -> None:
        known = self.crop in ("field_of_view", "foreground", "none") and self.fit in _FITS and self.resample in _FILTERS
        if self.size < 16 or self.channels not in (1, 3) or not known:
            raise InvalidInput(f"image input is not usable: {self}.")
        if self.fit != "square" and self.resample == "area":
            raise InvalidInput(f"fit {self.fit!r} needs resample bilinear or bicubic: {self}.")
        if self.enhance not in ENHANCEMENTS:
            raise InvalidInput(f"enhancement {self.enhance!r} is not one of {ENHANCEMENTS}.", code="config.enhancement")
        if len(self.mean) != self.channels or len(self.std) != self.channels or min(self.std) <= 0:
            raise InvalidInput(f"mean and std need {self.channels} positive-std channels: {self}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Facts about a registered component.

    Args:
        title: Words for a list.
        roles: Verbs: "encode", "encode_text", "encode_table", "align", "segment", "generate", "measure"; empty for non-models.
        modalities: What it reads; empty means any.
        input: Pixels it wants, for image encoders.
        paper: DOI or arXiv id, or why there is none.
        code_license: Licence of the implementation.
        weight_license: Licence of published weights; None when none exist.
        weights: Where published weights are ("hub:owner/name", "https://..."); None when none can be fetched.
        training_data: Sets the published weights saw.
        notes: Anything a user must know.
        classes: What published weights answer, in order; empty means encoder only.
        obtain: How to get the published file where "published" cannot, one or two sentences.
        sha256: Digests, or their beginnings, of published files by source ("hub:owner/name/file") or file name, where known.
        strides: Of the maps of `encode(images, maps="all")`, fine to coarse; empty when only the last map is offered.
    """

    title: str
    roles: frozenset[str] = frozenset()
    modalities: frozenset[str] = frozenset()
    input: ImageInput | None = None
    paper: str = ""
    code_license: str = "Apache-2.0"
    weight_license: str | None = None
    weights: str | None = None
    training_data: tuple[str, ...] = ()
    notes: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    obtain: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    strides: tuple[int, ...] = ()


def is_non_commercial(licence: str) -> bool:
    """Return whether a licence forbids commercial use, or nothing permissive is stated.

    Example:
        >>> [is_non_commercial(x) for x in ("Apache-2.0", "CC BY-NC 4.0", "none stated", "MIT; academic use only")]
        [False, True, True, True]
    """
    lowered = licence.lower()
    if re.search(r"\bnc\b|non-?commercial|academic|research only|not stated|none stated", lowered):
        return True
    return not lowered.startswith(("apache", "mit", "bsd", "cc0", "cc by", "public domain"))


def describe_origin(record: Mapping[str, Any]) -> str:
    """Return one sentence on the origin of weights, for provenance.

    Example:
        >>> describe_origin({"source": "a.pth", "sha256": "ab" * 32, "license": "CC BY-NC 4.0", "non_commercial": True})
        'a.pth (SHA-256 abababababababab, CC BY-NC 4.0: no commercial use)'
    """
    limit = ": no commercial use" if record["non_commercial"] else ""
    return f"{record['source']} (SHA-256 {record['sha256'][:16]}, {record['license']}{limit})"


def terms_of_weights(records: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any]:
    """Return what an output says about published weights in a model: their origin, and the limit they put on its use.

    Args:
        records: Modality to the record `layers.checkpoints` made.

    Example:
        >>> terms_of_weights({"cfp": {"source": "a.pth", "sha256": "ab" * 32, "license": "CC BY-NC 4.0", "non_commercial": True}})["terms_of_use"]
        'not for commercial use: weights under CC BY-NC 4.0'
        >>> terms_of_weights(None)
        {}
    """
    if not records:
        return {}
    terms: dict[str, Any] = {"encoder_weights": {m: describe_origin(r) for m, r in records.items()}}
    limited = sorted({r["license"] for r in records.values() if r["non_commercial"]})
    if limited:
        terms["terms_of_use"] = f"not for commercial use: weights under {', '.join(limited)}"
    return terms


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCard(Card):
    """Facts about a public set; the licence of the pictures is `license`, not that of the code that reads them.

    Args:
        labels: Task name to what its values mean.
        masks: Structure to what the grey levels of its files mean.
        images: Number of pictures or volumes as published; None when no number is published.
        patients: Number of patients as published; None when the set does not tell.
        license: Terms of the pictures.
        ask: Where to ask for the set.
        layout: What a folder needs to be read as this set; part of the message when it is not.
        splits: Parts that the publisher made.
        contained_in: Sets that hold all of this one.
        contains: Sets that are parts of this one.
        overlaps: Sets that share some pictures with this one.
    """

    labels: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    images: int | None = None
    patients: int | None = None
    license: str = ""
    ask: str = ""
    layout: str = ""
    splits: tuple[str, ...] = ()
    contained_in: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    overlaps: tuple[str, ...] = ()


class Registry:
    """Names of one kind of component.

    A name is `<family>.<variant>` or `<family>`; the family is the file that registers it.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._builders: dict[str, Callable[..., Any]] = {}
        self._cards: dict[str, Card] = {}

    def register(self, name: str, card: Card) -> Callable[[Builder], Builder]:
        """Return a decorator that gives a builder its name.

        Raises:
            InvalidInput: The name does not start with the name of the file, or belongs to another builder.
        """

        def decorate(builder: Builder) -> Builder:
            family = builder.__module__.rsplit(".", 1)[-1]
            if name.split(".")[0] != family:
                raise InvalidInput(f"{self.kind} {name!r} is registered in {family}.py; the names must agree.")
            known = self._builders.get(name)
            if known is not None and known.__qualname__ != builder.__qualname__:
                raise InvalidInput(f"{self.kind} {name!r} is taken by {known.__module__}.{known.__qualname__}.")
            self._builders[name] = builder
            self._cards[name] = card
            return builder

        return decorate

    def families(self) -> list[str]:
        """Return the files of the folder and the entry points of other packages."""
        folder = importlib.import_module(self.package)
        own = [m.name for m in pkgutil.iter_modules(folder.__path__) if not m.name.startswith("_")]
        return sorted({*own, *(e.name for e in entry_points(group=self.package))})

    def names(self) -> list[str]:
        """Return every name; imports every file of the folder."""
        for family in self.families():
            self._import(family)
        return sorted(self._builders)

    def variants(self, family: str) -> list[str]:
        """Return the names of one family, none for an unknown one; imports that file alone."""
        if family in self.families():
            self._import(family)
        return sorted(n for n in self._builders if n.split(".")[0] == family)

    def card(self, name: str) -> Card:
        """Return the card of a name.

        Raises:
            UnknownName: With the closest names.
        """
        self._find(name)
        return self._cards[name]

    def builder(self, name: str) -> Callable[..., Any]:
        """Return the function that makes a component; its signature lists the options.

        Raises:
            UnknownName: With the closest names.
        """
        return self._find(name)

    def create(self, name: str, **options: Any) -> Any:
        """Return a new component.

        Args:
            name: Of the component.
            **options: Of its builder, and `sha256`: the digest its weights must have.

        Raises:
            UnknownName: With the closest names.
            InvalidInput: The builder has no such option.
            IncompatibleWeights: The weights have another digest.
        """
        builder = self._find(name)
        pin = options.pop("sha256", None)
        wanted = None if pin is None else check_pin(pin, options.get("weights"))
        try:
            component = builder(**options)
        except TypeError as error:
            if "unexpected keyword argument" in str(error):
                raise InvalidInput(f"{self.kind} {name!r}: {error}.") from error
            raise
        if wanted is not None:
            check_loaded(component, wanted, options["weights"])
        return component

    def _find(self, name: str) -> Callable[..., Any]:
        if name not in self._builders:
            family = name.split(".")[0]
            if family in self.families():
                self._import(family)
        if name not in self._builders:
            close = difflib.get_close_matches(name, self.names(), n=3, cutoff=0.4)
            raise UnknownName(
                f"no {self.kind} is called {name!r}.",
                hint=(f"Did you mean {', '.join(close)}? " if close else "") + f"Known: {_shorten(self.names())}.",
            )
        return self._builders[name]

    def _import(self, family: str) -> None:
        foreign = {e.name: e for e in entry_points(group=self.package)}
        if family in foreign:
            foreign[family].load()
            return
        try:
            importlib.import_module(f"{self.package}.{family}")
        except FundusionError:
            # A family whose optional library is absent is listed by its folder but has no names to offer.
            return


def _shorten(names: Iterable[str], limit: int = 12) -> str:
    listed = list(names)
    return ", ".join(listed[:limit]) + (f" and {len(listed) - limit} more" if len(listed) > limit else "")


models = Registry("model", "fundusion.models")
fusions = Registry("fusion", "fundusion.fusion")
objectives = Registry("objective", "fundusion.objectives")
datasets = Registry("dataset", "fundusion.datasets")
explainers = Registry("explainer", "fundusion.explain")
