"""Where numbers of a run go: JSON lines and CSV always, MLflow and TensorBoard when asked."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..core.durable import write_text
from ..core.errors import require


class Logger(Protocol):
    """Receives one row per epoch."""

    def row(self, values: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class History:
    """Rows of a run in `metrics.jsonl` and `metrics.csv`; both are replaced whole, so a kill leaves no half row."""

    def __init__(self, folder: Path, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = [dict(r) for r in rows]

    def row(self, values: Mapping[str, Any]) -> None:
        """Add a row and write both files."""
        self.rows.append(dict(values))
        write_text(self.folder / "metrics.jsonl", "".join(json.dumps(r, allow_nan=False) + "\n" for r in self.rows))
        names = list(dict.fromkeys(k for r in self.rows for k in r))
        stream = io.StringIO()
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.folder / "metrics.csv", stream.getvalue())

    def close(self) -> None:
        """Nothing is open between rows."""


class MLflow:
    """Rows as MLflow metrics in the run's folder, or wherever the user's tracking address points."""

    def __init__(self, folder: Path, parameters: Mapping[str, Any]) -> None:
        self._mlflow = require("mlflow", extra="tracking")
        self._mlflow.start_run(run_name=folder.name)
        self._mlflow.log_params({k: str(v)[:250] for k, v in parameters.items()})

    def row(self, values: Mapping[str, Any]) -> None:
        """Log the numbers of a row."""
        numbers = {k: float(v) for k, v in values.items() if isinstance(v, int | float)}
        self._mlflow.log_metrics(numbers, step=int(values.get("epoch", 0)))

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


class TensorBoard:
    """Rows as TensorBoard scalars below the run folder."""

    def __init__(self, folder: Path) -> None:
        require("tensorboard", extra="tracking")
        self._writer = require("torch.utils.tensorboard", extra="tracking").SummaryWriter(str(folder / "tensorboard"))

    def row(self, values: Mapping[str, Any]) -> None:
        """Log the numbers of a row."""
        for name, value in values.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(name, value, int(values.get("epoch", 0)))

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


def open_loggers(names: Sequence[str], folder: Path, parameters: Mapping[str, Any]) -> list[Logger]:
    """Return the optional loggers that were asked for."""
    makers = {"mlflow": lambda: MLflow(folder, parameters), "tensorboard": lambda: TensorBoard(folder)}
    return [makers[n]() for n in names]
