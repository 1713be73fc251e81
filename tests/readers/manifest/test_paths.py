"""Nothing that stands in a table leads out of its folder (T11)."""

import os

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.readers.manifest.paths import paths_of, safe_path


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "in"
    (inside / "sub").mkdir(parents=True)
    (tmp_path / "in_secret").mkdir()
    (tmp_path / "in_secret" / "x.jpg").write_bytes(b"x")
    os.symlink(tmp_path, inside / "out")
    os.symlink("/etc/hostname", inside / "file.jpg")
    os.symlink("loop.jpg", inside / "loop.jpg")
    os.symlink("sub", inside / "near")
    return inside


@pytest.mark.parametrize(
    "text",
    [
        "../x.jpg", "a/../../x.jpg", "sub/../../in_secret/x.jpg", "..", "/etc/passwd", "//etc/passwd", "out/x.jpg", "out/in_secret/x.jpg",
        "file.jpg", "loop.jpg", "..\\x.jpg", "a\\b.jpg", "\\\\server\\share\\x", "C:\\x.jpg", "C:/x.jpg", "file:///etc/passwd",
        "file:x.jpg", "http://h/x.jpg", "https://h/x", "ftp://h/x", "data:image/png;base64,AA", "s3://b/x", "~/x.jpg", "~root/x", "a\0b.jpg",
        "a\nb.jpg", "a\u202egpj.exe", "a\u200b.jpg", "NUL", "con.jpg", "sub/COM1", "lpt1.png", "../in_secret/x.jpg",
    ],
)  # fmt: skip
def test_refused(folder, text):
    with pytest.raises(InvalidInput) as error:
        safe_path(text, folder)
    assert error.value.code == "manifest.path"


@pytest.mark.parametrize(
    "text", ["a.jpg", "sub/b.jpg", "near/c.jpg", "左眼/1.jpg", "a b.jpg", "%2e%2e/x.jpg", "x..y.jpg", "console.jpg"]
)
def test_taken(folder, text):
    assert safe_path(text, folder) == str(folder / text)


def test_absolute_paths_inside_are_taken_and_a_folder_of_like_name_is_not(folder):
    assert safe_path(str(folder / "a.jpg"), folder) == str(folder / "a.jpg")
    with pytest.raises(InvalidInput):
        safe_path(str(folder) + "_secret/x.jpg", folder)


def test_several_files_in_a_cell(folder):
    assert paths_of("a.jpg | b.jpg|", folder) == (str(folder / "a.jpg"), str(folder / "b.jpg"))
    assert paths_of(["a.jpg", "b.jpg"], folder) == paths_of("a.jpg|b.jpg", folder)
    with pytest.raises(InvalidInput):
        paths_of("a.jpg|../b.jpg", folder)
