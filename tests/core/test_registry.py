"""Names, files and builders agree; unknown ones are errors that help."""

import sys
import types

import pytest

from fundusion.core.errors import InvalidInput, MissingDependency, UnknownName, require
from fundusion.core.registry import Card, ImageInput, Registry


@pytest.fixture
def registry(tmp_path, monkeypatch):
    folder = tmp_path / "toy_parts"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "alpha.py").write_text(
        "from toy_registry import parts, Card\n"
        "@parts.register('alpha.small', Card(title='A'))\ndef small(*, width=1):\n    return ('alpha', width)\n"
    )
    module = types.ModuleType("toy_registry")
    module.parts = Registry("part", "toy_parts")
    module.Card = Card
    monkeypatch.setitem(sys.modules, "toy_registry", module)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield module.parts
    for name in [n for n in sys.modules if n.startswith("toy_parts")]:
        del sys.modules[name]


def test_a_file_is_found_without_a_list(registry):
    assert registry.families() == ["alpha"]
    assert registry.names() == ["alpha.small"]
    assert registry.create("alpha.small", width=3) == ("alpha", 3)
    assert registry.card("alpha.small").title == "A"


def test_unknown_name_offers_close_ones(registry):
    with pytest.raises(UnknownName, match=r"Did you mean alpha\.small"):
        registry.create("alpha.smal")


def test_unknown_option_is_an_error(registry):
    with pytest.raises(InvalidInput, match="depth"):
        registry.create("alpha.small", depth=3)


def test_name_must_match_the_file_and_be_free(registry):
    registry.names()

    def other():
        return None

    other.__module__ = "toy_parts.alpha"
    with pytest.raises(InvalidInput, match="taken"):
        registry.register("alpha.small", Card(title="B"))(other)
    with pytest.raises(InvalidInput, match="must agree"):
        registry.register("beta.small", Card(title="B"))(other)


def test_require_names_the_extra():
    with pytest.raises(MissingDependency, match=r"fundusion\[dicom\]"):
        require("surely_not_installed_package", extra="dicom")


def test_image_input_is_checked():
    with pytest.raises(InvalidInput):
        ImageInput(size=4)
    with pytest.raises(InvalidInput):
        ImageInput(mean=(0.5,), std=(0.5,))
