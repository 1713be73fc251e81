"""Conversations about pictures, as LLaVA and Qwen publish theirs and as this package writes them -> items, each ok or rejected.

LLaVA: one JSON list of `{"id", "image", "conversations": [{"from": "human" | "gpt", "value"}]}`. Qwen: JSON lines of `{"messages":
[{"role", "content"}], "images": [...]}`, content as text or as parts, and the older `<img>file</img>` in the text. Own files are the
latter with `patient_id`, `split`, `modality`; with `chosen` and `rejected` beside `messages` an item is a pair of answers.

Words of a turn are data: the marks for pictures are taken out and everything else stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import FundusionError, InvalidInput, ReadError
from ..core.interfaces import Turn
from ..core.vocabulary import MODALITY_TITLES, TABLE, TEXT

#: Largest list that is read at once, and longest line, bytes.
MAX_LIST_BYTES = 2 << 30
MAX_LINE_BYTES = 8 << 20
#: Longest turn, characters.
MAX_CHARACTERS = 100_000
_SIDES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_KINDS = tuple(m for m in MODALITY_TITLES if m not in (TEXT, TABLE))
_MARK = re.compile(r"\n?<(?:image|video|\|image_pad\|)>\n?|<\|vision_start\|>|<\|vision_end\|>|Picture \d+: (?=<img>)")
_OLD_PICTURE = re.compile(r"<img>([^<]{1,1000})</img>\n?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Turns about pictures.

    Args:
        item_id: As in the file, else its place in it.
        turns: User and assistant in turns; the last is an answer, or, with `chosen`, a question.
        images: Modality to the absolute path of one picture.
        group: What a split must not divide: the patient, else the picture, else the item.
        split: "train", "val" or "test" when the file says so.
        chosen: The answer a reader preferred; None outside pairs.
        refused: The other one.
        origin: For messages: file and place.
    """

    item_id: str
    turns: tuple[Turn, ...]
    images: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    split: str | None = None
    chosen: str | None = None
    refused: str | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedConversation:
    """An item that cannot be used, and why."""

    item_id: str
    code: str
    message: str
    hint: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """What a file came to: every item is in one of the two."""

    items: tuple[Conversation, ...]
    rejected: tuple[RejectedConversation, ...] = ()


def is_conversations(path: str | Path) -> bool:
    """Return whether a file is one of conversations, by its name.

    Example:
        >>> is_conversations("llava_instruct_150k.json"), is_conversations("pairs.jsonl"), is_conversations("manifest.csv")
        (True, True, False)
    """
    return Path(path).suffix.lower() in (".json", ".jsonl")


def read_conversations(path: str | Path, *, root: str | Path | None = None) -> Conversations:
    """Return the conversations of a file.

    Args:
        path: JSON list or JSON lines, UTF-8.
        root: Folder that pictures are relative to; None takes that of the file. Pictures outside it are refused.

    Raises:
        ReadError: No such file, too large, or no JSON (`conversation.syntax`).
        InvalidInput: Not one item was found.
    """
    file = Path(path)
    if not file.is_file():
        raise ReadError(f"no file {file.name!r}.", code="input.missing", hint="Check the path.")
    folder = (Path(root) if root is not None else file.parent).resolve()
    items: list[Conversation] = []
    rejected: list[RejectedConversation] = []
    seen: set[str] = set()
    for number, value in _values(file):
        name, origin = str(number), f"{file.name}:{number}"
        try:
            if isinstance(value, FundusionError):
                raise value
            if isinstance(value, dict) and value.get("id") not in (None, ""):
                name = str(value["id"])
            if name in seen:
                name = f"{name}~{number}"
            seen.add(name)
            items.append(_item(value, name, folder, origin))
        except FundusionError as error:
            rejected.append(
                RejectedConversation(
                    item_id=name, code=error.code, message=error.message, hint=error.hint, origin=origin
                )
            )
    if not items and not rejected:
        raise InvalidInput(f"{file.name!r} holds no conversation.", code="input.empty")
    return Conversations(items=tuple(items), rejected=tuple(rejected))


def _values(file: Path) -> Iterator[tuple[int, Any]]:
    """Yield the items of a file with their place; a line that is no JSON is an error in place of its item."""
    with file.open("rb") as stream:
        first = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if first == b"[":
        if file.stat().st_size > MAX_LIST_BYTES:
            raise ReadError(
                f"{file.name!r} is one list of more than {MAX_LIST_BYTES >> 30} GB.",
                code="conversation.too_large",
                hint="Write one item per line (JSONL); lines are read one by one.",
            )
        try:
            found = json.loads(file.read_text("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise ReadError(f"{file.name!r} is no JSON: {str(error)[:120]}.", code="conversation.syntax") from error
        yield from enumerate(found, 1)
        return
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            if len(line) > MAX_LINE_BYTES:
                yield number, InvalidInput(f"the line has {len(line)} bytes.", code="conversation.too_large")
                continue
            try:
                yield number, json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except (ValueError, RecursionError):
                yield number, InvalidInput("the line is no JSON.", code="conversation.syntax")


def _item(value: Any, name: str, folder: Path, origin: str) -> Conversation:
    said = value.get("messages", value.get("conversations")) if isinstance(value, dict) else None
    if not isinstance(said, list) or not said:
        raise InvalidInput(
            "no turns were found.",
            code="conversation.format",
            hint='Read are "conversations" with from and value (LLaVA) and "messages" with role and content (Qwen).',
        )
    pictures: list[str] = []
    turns = tuple(_turn(t, pictures) for t in said)
    chosen, refused = (_answer(value[k]) if k in value else None for k in ("chosen", "rejected"))
    _check(turns, chosen, refused)
    listed = value.get("image", value.get("images")) or pictures
    images = _images(listed, value.get("modality"), folder)
    group = value.get("patient_id")
    whose = f"patient:{group}" if group not in (None, "") else next(iter(images.values()), f"item:{name}")
    split = value.get("split")
    if split not in (None, "", "train", "val", "test"):
        raise InvalidInput(f"split {str(split)[:40]!r} is not train, val or test.", code="conversation.split")
    return Conversation(
        item_id=name, turns=turns, images=images, group=whose, split=split or None, chosen=chosen, refused=refused, origin=origin
    )  # fmt: skip


def _turn(value: Any, pictures: list[str]) -> Turn:
    if not isinstance(value, dict):
        raise InvalidInput("a turn is no object.", code="conversation.format")
    side = _SIDES.get(str(value.get("from", value.get("role"))).lower())
    if side is None:
        raise InvalidInput(
            f"a turn is of {str(value.get('from', value.get('role')))[:40]!r}.",
            code="conversation.side",
            hint="Known are human, user, gpt, assistant, system.",
        )
    return Turn(role=side, text=_text(value.get("value", value.get("content")), pictures))


def _text(content: Any, pictures: list[str]) -> str:
    if isinstance(content, list):
        parts = []
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text":
                parts.append(str(part.get("text", "")))
            elif kind in ("image", "image_url"):
                named = part.get("image", part.get("image_url"))
                pictures.append(str(named.get("url") if isinstance(named, dict) else named))
            else:
                raise InvalidInput(f"a part of a turn is {str(kind)[:40]!r}.", code="conversation.format")
        content = "\n".join(parts)
    if not isinstance(content, str):
        raise InvalidInput("a turn has no words.", code="conversation.format")
    if len(content) > MAX_CHARACTERS:
        raise InvalidInput(f"a turn has {len(content)} characters; {MAX_CHARACTERS} are read.", code="text.too_long")
    pictures += _OLD_PICTURE.findall(content)
    return _OLD_PICTURE.sub("", _MARK.sub("", content)).strip()


def _answer(value: Any) -> str:
    if isinstance(value, list) and value:
        value = value[-1]
    if isinstance(value, dict):
        value = value.get("content", value.get("value"))
    return _text(value, [])


def _check(turns: tuple[Turn, ...], chosen: str | None, refused: str | None) -> None:
    sides = [t.role for t in turns]
    spoken = sides[1:] if sides[:1] == ["system"] else sides
    is_pair = chosen is not None or refused is not None
    wanted = (["user", "assistant"] * len(spoken))[: len(spoken)]
    if not spoken or spoken != wanted or (spoken[-1] == "user") != is_pair:
        end = "a question, with chosen and rejected beside it" if is_pair else "an answer"
        raise InvalidInput(
            f"the turns are of {', '.join(sides[:8])}; user and assistant take turns, the user begins, the last is {end}.",
            code="chat.order",
        )
    if is_pair and (chosen is None or refused is None or not chosen or not refused or chosen == refused):
        raise InvalidInput("a pair needs two answers that differ.", code="chat.no_choice")
    if any(t.role == "assistant" and not t.text for t in turns):
        raise InvalidInput("an answer is blank.", code="chat.no_answer")


def _images(listed: Any, modality: Any, folder: Path) -> dict[str, str]:
    if isinstance(listed, dict):
        named = {str(k): v for k, v in listed.items()}
    else:
        several = listed if isinstance(listed, list) else [listed]
        if len(several) > 1:
            raise InvalidInput(
                f"{len(several)} pictures in one conversation; one of each kind is read.",
                code="conversation.images",
                hint='Name them by kind: "images": {"cfp": "a.jpg", "oct": "b.png"}.',
            )
        named = {str(modality or "cfp"): p for p in several}
    unknown = sorted(set(named) - set(_KINDS))
    if unknown:
        raise InvalidInput(
            f"no modality is called {unknown[0][:40]!r}.",
            code="modality.unknown",
            hint=f"Known: {', '.join(_KINDS)}.",
        )
    return {m: _inside(p, folder) for m, p in named.items()}


def _inside(path: Any, folder: Path) -> str:
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidInput("the name of a picture is no text.", code="conversation.format")
    if re.match(r"[a-z]{2,10}:", path, re.IGNORECASE):
        raise InvalidInput(
            "a picture is an address; nothing is fetched.",
            code="conversation.address",
            hint="Download the pictures and name their files.",
        )
    found = (folder / path).resolve()
    if not found.is_relative_to(folder):
        raise InvalidInput(
            f"the picture {found.name!r} lies outside the folder of the file.",
            code="conversation.path",
            hint="Give the folder of the pictures with --root.",
        )
    if not found.is_file():
        raise InvalidInput(f"the picture {found.name!r} is not there.", code="file.missing")
    return str(found)
