"""Errors carry a stable code, what was received and what to do."""

from fundusion.core.errors import FundusionError, InvalidInput, NotGradable, ReadError


def test_code_message_and_hint():
    error = ReadError("the file is cut.", code="image.truncated", hint="Copy it again.")
    assert (error.code, str(error)) == ("image.truncated", "the file is cut. Copy it again.")
    assert ReadError("x").code == "file.unreadable"


def test_tree_fits_the_builtin_kinds():
    assert issubclass(InvalidInput, ValueError)
    assert issubclass(ReadError, OSError)
    assert issubclass(NotGradable, FundusionError)
    assert NotGradable("x", reasons=("quality.dark",)).reasons == ("quality.dark",)
