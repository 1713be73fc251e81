"""A warning travels with the masks: written into their folders, taken away when another segmenter writes there, never lost silently."""

from types import SimpleNamespace

import pytest

from fundusion.batch.unproven import FILE, read_warning, warnings_of, write_warnings
from fundusion.shipped import segmenter_facts, shipped_segmenters


def segmenter(**unproven):
    return SimpleNamespace(name="a", facts={"unproven": unproven} if unproven else {})


def test_sentences_of_all_segmenters_come_together():
    found = warnings_of([segmenter(EX="in healthy eyes"), segmenter(), segmenter(cup="too wide")])
    assert found == {"EX": "in healthy eyes", "cup": "too wide"}


def test_what_the_package_ships_has_something_to_say_of_cup_and_lesions():
    shipped = [SimpleNamespace(name=n, facts=segmenter_facts(n)) for n in shipped_segmenters()]
    found = warnings_of(shipped)
    for n in shipped:
        assert set(n.facts.get("unproven", {})) <= set(n.facts.get("classes", ()))
    assert all(text.endswith(".") for text in found.values())


def test_the_file_lies_beside_the_masks_and_is_read_from_there(tmp_path):
    for name in ("EX", "vessel"):
        (tmp_path / name).mkdir()
    write_warnings(
        tmp_path, {"EX": "Often wrong: ünsicher.", "vessel": "x.", "SE": "no folder"}, ["EX", "vessel", "SE"]
    )
    assert read_warning(tmp_path / "EX") == {"EX": "Often wrong: ünsicher."}
    # Vessels are measured under another name than they are segmented.
    assert read_warning(tmp_path / "vessel") == {"vessels": "x."}
    assert not (tmp_path / "SE").exists()
    # The folder may be called anything after it was moved.
    (tmp_path / "EX").rename(tmp_path / "exudates")
    assert read_warning(tmp_path / "exudates") == {"EX": "Often wrong: ünsicher."}


def test_masks_of_a_better_segmenter_lose_the_warning_of_the_earlier(tmp_path):
    (tmp_path / "EX").mkdir()
    write_warnings(tmp_path, {"EX": "old."}, ["EX"])
    write_warnings(tmp_path, {}, ["HE"])
    assert read_warning(tmp_path / "EX") == {"EX": "old."}
    write_warnings(tmp_path, {}, ["EX"])
    assert read_warning(tmp_path / "EX") == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"structure": 3, "warning": "x"}',
        '{"structure": "EX"}',
        '{"structure": "EX", "warning": " "}',
        "\xff",
    ],
)
def test_a_damaged_file_is_still_a_warning(tmp_path, text):
    folder = tmp_path / "EX"
    folder.mkdir()
    (folder / FILE).write_bytes(text.encode("latin-1"))
    found = read_warning(folder)
    assert list(found) == ["EX"]
    assert FILE in found["EX"]
    assert read_warning(tmp_path) == {}
