"""Files -> fingerprints in compact arrays, in parallel, from the cache where it knows them; a bad file is rejected alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..batch.workers import prepare_all
from ..core.errors import FundusionError
from ..core.vocabulary import Laterality
from .cache import FingerprintCache, Key, key_of
from .disc_side import disc_side
from .fingerprint import WORDS, bits_of, detail_of
from .picture import normalise, open_picture

Progress = Callable[[int, int], Any]
#: Modality and path: what one file is.
File = tuple[str, str]

_SIDES = {"": 0, Laterality.RIGHT.value: 1, Laterality.LEFT.value: -1}
#: Photographs of the fundus, in which the place of the disc tells the eye.
_FUNDUS = ("cfp",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """What was found in n files; about 110 bytes a file.

    Args:
        files: Modality and path.
        digests: `(n, 32)` uint8, SHA-256 of the content.
        circle: `(n, 4)` uint64, bits of the picture framed by the field's circle.
        box: The same framed by its visible box.
        sides: `(n,)` int8: 1 the disc lies as in a right eye, -1 as in a left one, 0 no answer.
        usable: `(n,)` bool.
        rejected: Index to code and sentence.
        remembered: How many came from the cache.
    """

    files: Sequence[File]
    digests: npt.NDArray[np.uint8]
    circle: npt.NDArray[np.uint64]
    box: npt.NDArray[np.uint64]
    sides: npt.NDArray[np.int8]
    usable: npt.NDArray[np.bool_]
    rejected: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    remembered: int = 0


def fingerprint_file(file: File) -> dict[str, Any]:
    """Return the facts of one file, ready for JSON.

    Raises:
        ReadError: The file cannot be used.
    """
    modality, path = file
    opened = open_picture(path, modality=modality)
    circle, box = normalise(opened.pixels)
    by_box = bits_of(detail_of(box))
    by_circle = by_box if circle is box else bits_of(detail_of(circle))
    side = disc_side(circle) if modality in _FUNDUS else None
    return {
        "digest": opened.digest,
        "circle": by_circle.tobytes().hex(),
        "box": by_box.tobytes().hex(),
        "side": side.value if side else "",
    }


def scan(
    files: Sequence[File],
    *,
    cache: FingerprintCache | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> Scan:
    """Return the fingerprints of files, each looked at once.

    Args:
        files: Modality and path; each file once.
        cache: Where results are kept; None keeps none.
        workers: Processes; 0 works in this one, without protection from files that hang or crash a decoder.
        progress: Called with (files done, files).
    """
    keys = [key_of(path, modality) for modality, path in files]
    known = cache.read([k for k in keys if k]) if cache else {}
    made = _empty(files)
    rejected: dict[int, tuple[str, str]] = {}
    todo = []
    for i, key in enumerate(keys):
        if key is None:
            rejected[i] = ("file.missing", "the file does not exist.")
        elif key in known:
            _put(made, rejected, i, known[key])
        else:
            todo.append(i)
    done = len(files) - len(todo)
    remembered = done - sum(k is None for k in keys)
    if progress:
        progress(done, len(files))
    results = prepare_all([files[i] for i in todo], fingerprint_file, workers=workers)
    for i, found in zip(todo, results, strict=True):
        facts = {"rejected": [found.code, found.message]} if isinstance(found, FundusionError) else found
        _put(made, rejected, i, facts)
        key = keys[i]
        # A worker that died or a file that could not be reached may do better next time.
        if cache and key and not facts.get("rejected", ["image"])[0].startswith(("worker.", "file.", "internal")):
            _keep(cache, key, facts)
        done += 1
        if progress:
            progress(done, len(files))
    return Scan(files=files, rejected=rejected, remembered=remembered, **made)


def _keep(cache: FingerprintCache, key: Key, facts: Mapping[str, Any]) -> None:
    # What changed while it was read belongs to no known state of the file.
    if key_of(key[0], key[1]) == key:
        cache.add(key, facts)


def _empty(files: Sequence[File]) -> dict[str, Any]:
    n = len(files)
    return {
        "digests": np.zeros((n, 32), np.uint8),
        "circle": np.zeros((n, WORDS), np.uint64),
        "box": np.zeros((n, WORDS), np.uint64),
        "sides": np.zeros(n, np.int8),
        "usable": np.zeros(n, np.bool_),
    }


def _put(made: dict[str, Any], rejected: dict[int, tuple[str, str]], i: int, facts: Mapping[str, Any]) -> None:
    if "rejected" in facts:
        code, sentence = facts["rejected"]
        rejected[i] = (str(code), str(sentence))
        return
    made["digests"][i] = np.frombuffer(bytes.fromhex(facts["digest"]), np.uint8)
    for name in ("circle", "box"):
        made[name][i] = np.frombuffer(bytes.fromhex(facts[name]), np.uint64)
    made["sides"][i] = _SIDES[facts["side"]]
    made["usable"][i] = True
