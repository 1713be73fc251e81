"""The exception tree, stable codes, and the import of optional dependencies."""

from __future__ import annotations

import importlib
from types import ModuleType


class FundusionError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: What was received, what is needed.
        code: Stable machine-readable code such as `image.truncated`.
        hint: What to do about it, one sentence; may be empty.
    """

    code = "error"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UnknownName(FundusionError, LookupError):
    """No component of that name."""

    code = "name.unknown"


class InvalidInput(FundusionError, ValueError):
    """Shape, range, unit or combination is wrong."""

    code = "input.invalid"


class ReadError(FundusionError, OSError):
    """A file is unreadable, truncated or of another format."""

    code = "file.unreadable"


class MissingDependency(FundusionError, ImportError):
    """An optional package is not installed."""

    code = "dependency.missing"


class IncompatibleWeights(FundusionError, RuntimeError):
    """Digest or keys of a weights file differ from what the model needs."""

    code = "model.incompatible"


class NotGradable(FundusionError):
    """The quality gate refused; reasons are attached."""

    code = "quality.ungradable"

    def __init__(self, message: str, *, reasons: tuple[str, ...] = (), code: str | None = None, hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.reasons = reasons


class ExhaustedResource(FundusionError):
    """Disk, memory or time ran out; what was finished is intact."""

    code = "resource.exhausted"


class Busy(FundusionError):
    """Another run holds the output folder."""

    code = "run.busy"


def require(module: str, *, extra: str) -> ModuleType:
    """Return an optional module, or say which extra installs it.

    Args:
        module: Dotted module name.
        extra: Name of the extra in `pyproject.toml`.

    Raises:
        MissingDependency: The package is not installed.

    Example:
        >>> require("json", extra="dicom").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if error.name and error.name.split(".")[0] != package:
            raise
        raise MissingDependency(
            f"the package {package!r} is needed for this and is not installed.",
            hint=f'Install it with: pip install "fundusion[{extra}]"',
        ) from error
