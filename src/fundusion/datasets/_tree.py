"""Find a public set in the folder a person gives: names without case and stray spaces, doubled folders, no rename needed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
#: Also what truth is drawn in: old sets keep masks as GIF, BMP or (gzipped) PPM.
DRAWINGS = (*PICTURES, ".gif", ".bmp", ".ppm", ".ppm.gz")
_LEFTOVERS = frozenset({"__macosx", "thumbs.db", "desktop.ini", "lost+found"})
#: Folders that are opened, and names of pictures in one folder that are kept, while a set is being recognised.
_MOST_FOLDERS = 400
_MOST_PICTURES = 5000
#: Names of one folder that are passed over, as a multiple of those that are kept: tables stand anywhere among them.
_PASSED_OVER = 40


def key_of(name: str) -> str:
    """Return the form in which names are compared: no case, no outer or repeated spaces, no %20.

    Example:
        >>> key_of("OCT2017 "), key_of("A.%20Segmentation"), key_of("01_dr.JPG")
        ('oct2017', 'a. segmentation', '01_dr.jpg')
    """
    return re.sub(r"\s+", " ", unquote(name)).strip().casefold()


def stem_of(name: str) -> str:
    """Return the compared form of a file name without its type.

    Example:
        >>> stem_of("im0001.ppm.gz"), stem_of("985.1.JPG"), stem_of("985.1")
        ('im0001', '985.1', '985.1')
    """
    key = key_of(name)
    for suffix in sorted(DRAWINGS, key=len, reverse=True):
        if key.endswith(suffix):
            return key[: -len(suffix)]
    return key


class Folder:
    """One folder; it is listed once, when first asked."""

    def __init__(self, path: str | Path, *, most: int | None = None, shadowed: set[Path] | None = None) -> None:
        self.path = Path(path)
        self._most = most
        #: What another file or folder of the same compared name hides, here and below.
        self.shadowed: set[Path] = set() if shadowed is None else shadowed

    def __repr__(self) -> str:
        return f"Folder({self.path.name!r})"

    @cached_property
    def _entries(self) -> tuple[dict[str, Path], dict[str, Folder]]:
        files: dict[str, Path] = {}
        folders: dict[str, Folder] = {}
        found: list[tuple[str, bool]] = []
        pictures = 0
        try:
            with os.scandir(self.path) as entries:
                for count, entry in enumerate(entries):
                    if self._most is not None and entry.name.lower().endswith(PICTURES):
                        if count >= self._most * _PASSED_OVER:
                            break
                        pictures += 1
                        if pictures > self._most:
                            continue
                    if entry.name.startswith(".") or key_of(entry.name) in _LEFTOVERS:
                        continue
                    found.append((entry.name, entry.is_dir()))
        except OSError:
            return {}, {}
        for name, is_folder in sorted(found):
            key, path = key_of(name), self.path / name
            if key in (folders if is_folder else files):
                self.shadowed.add(path)
            elif is_folder:
                folders[key] = Folder(path, most=self._most, shadowed=self.shadowed)
            else:
                files[key] = path
        return files, folders

    @property
    def files(self) -> dict[str, Path]:
        """Compared name to path of each file, in order of name."""
        return self._entries[0]

    @property
    def folders(self) -> dict[str, Folder]:
        """Compared name to each folder inside."""
        return self._entries[1]

    def file(self, *patterns: str) -> Path | None:
        """Return the first file whose name fits one of the patterns (`*` and `?` as in a shell)."""
        return next(iter(self.all(*patterns)), None)

    def all(self, *patterns: str) -> list[Path]:
        """Return the files of this folder that fit one of the patterns, in the order of the patterns."""
        found: dict[Path, None] = {}
        for pattern in patterns:
            wanted = key_of(pattern)
            if wanted in self.files:
                found[self.files[wanted]] = None
            elif "*" in wanted or "?" in wanted:
                found |= {path: None for key, path in self.files.items() if fnmatchcase(key, wanted)}
        return list(found)

    def folder(self, *parts: str) -> Folder | None:
        """Return a folder by the names that lead to it; each may be a pattern, and each may stand in a doubled folder."""
        here: Folder | None = self
        for part in parts:
            here = here._child(key_of(part)) if here is not None else None
        return here

    def _child(self, pattern: str) -> Folder | None:
        found = self.folders.get(pattern) or next(
            (f for key, f in self.folders.items() if fnmatchcase(key, pattern)), None
        )
        if found is None:
            return None
        # An archive unpacked into a folder of its own name gives Training400/Training400.
        inner = found.folders.get(key_of(found.path.name))
        return inner if inner is not None and not found.files else found

    def below(self, *, depth: int) -> Iterator[Folder]:
        """Yield this folder and those inside, nearest first, to a depth; a link that leads back is entered once."""
        level, seen = [self], {_identity(self.path)}
        for _ in range(depth + 1):
            following: list[Folder] = []
            for here in level:
                yield here
                for child in here.folders.values():
                    identity = _identity(child.path)
                    if identity not in seen:
                        seen.add(identity)
                        following.append(child)
            level = following

    def pictures(self, *, depth: int = 0, types: tuple[str, ...] = PICTURES) -> dict[str, Path]:
        """Return compared stem to path of the pictures here (and deeper); of a stem met twice the second is shadowed."""
        found: dict[str, Path] = {}
        for here in self.below(depth=depth):
            for key, path in here.files.items():
                if not key.endswith(types):
                    continue
                if stem_of(key) in found:
                    self.shadowed.add(path)
                else:
                    found[stem_of(key)] = path
        return found


def locate(given: Folder | str | Path, fits: Callable[[Folder], object], *, depth: int = 3) -> Folder | None:
    """Return the folder that fits: the one that was given, else the nearest inside it.

    Args:
        given: What a person pointed at: the set as unpacked, its parent, or an outer folder of the same name.
        fits: Says whether a folder is the root of the set.
        depth: How far down to look.
    """
    start = given if isinstance(given, Folder) else Folder(given)
    for count, here in enumerate(start.below(depth=depth)):
        if count >= _MOST_FOLDERS:
            return None
        if fits(here):
            return here
    return None


def glance(path: str | Path) -> Folder:
    """Return a folder of which little is listed: enough to recognise a layout, never a million pictures."""
    return Folder(path, most=_MOST_PICTURES)


def _identity(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return (0, hash(path))
    return (facts.st_dev, facts.st_ino)
