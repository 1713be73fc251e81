"""Multimodal retinal (fundus) information processing: quality, fusion, diagnosis, explanation and report.

Importing this package loads neither torch nor numpy; each public name is resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .core.errors import FundusionError as FundusionError
    from .core.errors import IncompatibleWeights as IncompatibleWeights
    from .core.errors import InvalidInput as InvalidInput
    from .core.errors import MissingDependency as MissingDependency
    from .core.errors import NotGradable as NotGradable
    from .core.errors import ReadError as ReadError
    from .core.errors import UnknownName as UnknownName
    from .core.study import Image as Image
    from .core.study import Study as Study
    from .core.study import StudyRecord as StudyRecord
    from .core.table import Column as Column
    from .core.table import TableSchema as TableSchema
    from .core.tasks import Binary as Binary
    from .core.tasks import MultiClass as MultiClass
    from .core.tasks import MultiLabel as MultiLabel
    from .core.tasks import Ordinal as Ordinal
    from .core.tasks import Regression as Regression
    from .core.tasks import Task as Task
    from .core.vocabulary import Laterality as Laterality
    from .core.vocabulary import Modality as Modality
    from .network import MultimodalNetwork as MultimodalNetwork
    from .network import build_network as build_network
    from .network import load_network as load_network
    from .pipeline import Pipeline as Pipeline
    from .readers import read_study as read_study
    from .readers.manifest import read_manifest as read_manifest
    from .train import TrainConfig as TrainConfig
    from .train import evaluate as evaluate
    from .train import train as train

_HOMES = {
    "FundusionError": "core.errors",
    "IncompatibleWeights": "core.errors",
    "InvalidInput": "core.errors",
    "MissingDependency": "core.errors",
    "NotGradable": "core.errors",
    "ReadError": "core.errors",
    "UnknownName": "core.errors",
    "Image": "core.study",
    "Study": "core.study",
    "StudyRecord": "core.study",
    "Column": "core.table",
    "TableSchema": "core.table",
    "Binary": "core.tasks",
    "MultiClass": "core.tasks",
    "MultiLabel": "core.tasks",
    "Ordinal": "core.tasks",
    "Regression": "core.tasks",
    "Task": "core.tasks",
    "Laterality": "core.vocabulary",
    "Modality": "core.vocabulary",
    "MultimodalNetwork": "network",
    "build_network": "network",
    "load_network": "network",
    "Pipeline": "pipeline",
    "read_study": "readers",
    "read_manifest": "readers.manifest",
    "TrainConfig": "train",
    "evaluate": "train",
    "train": "train",
}

__all__ = ["__version__", *sorted([*_HOMES, "create_model", "list_models", "model_card"])]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'fundusion' has no attribute {name!r}; the public names are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def list_models(*, role: str | None = None, modality: str | None = None) -> list[str]:
    """Return the names of registered models, filtered by role ("encode", ...) and modality ("cfp", ...)."""
    from .core.registry import models

    def fits(name: str) -> bool:
        card = models.card(name)
        return (role is None or role in card.roles) and (
            modality is None or not card.modalities or modality in card.modalities
        )

    return [name for name in models.names() if fits(name)]


def create_model(name: str, **options: Any) -> Any:
    """Return a new model by name; unknown names and options are errors that list what exists."""
    from .core.registry import models

    return models.create(name, **options)


def model_card(name: str) -> Any:
    """Return the facts about a model: paper, licence, input, weights."""
    from .core.registry import models

    return models.card(name)
