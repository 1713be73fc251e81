"""Train, calibrate, evaluate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import TrainConfig as TrainConfig
    from .config import load_config as load_config
    from .evaluation import embed_table as embed_table
    from .evaluation import evaluate as evaluate
    from .evaluation import predict_table as predict_table
    from .loop import train as train
    from .loop import train_from_config as train_from_config

_HOMES = {
    "TrainConfig": "config",
    "load_config": "config",
    "embed_table": "evaluation",
    "evaluate": "evaluation",
    "predict_table": "evaluation",
    "train": "loop",
    "train_from_config": "loop",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(name)
