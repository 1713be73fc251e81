"""`instruct-data`: conversations for training generators, from labels that are known, from files as downloaded, or from feedback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .screen import REJECTED, fail, print_error, progress, say

if TYPE_CHECKING:
    from ..core.study import StudyRecord
    from ..readers.conversations import Conversation

_Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT...", help="Tables of studies, folders of public sets, or .json/.jsonl of LLaVA or Qwen."
    ),
]


def instruct_data(
    inputs: _Inputs,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON lines to write; pictures are named relative to its folder.")],
    language: Annotated[str, typer.Option(help="en, zh or both.")] = "both",
    per_study: Annotated[int, typer.Option(min=1, max=200, help="Most questions on one study.")] = 8,
    pairs: Annotated[bool, typer.Option("--pairs", help="Descriptions, each with a wrong one beside it, for --objective dpo.")] = False,
    feedback: Annotated[bool, typer.Option("--feedback", help="The inputs are drafts that were accepted or edited.")] = False,
    validation: Annotated[float, typer.Option(min=0, max=0.5, help="Share of the patients in the part val, where the table has none.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=0.5, help="Share of the patients in the part test, where the table has none.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the wording and the parts.")] = 0,
    modality: Annotated[str, typer.Option(help="What loose pictures are.")] = "cfp",
    columns: Annotated[Path | None, typer.Option(help="TOML with [columns].")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:  # fmt: skip
    """Write questions and answers on pictures whose truth is known; or read conversations as downloaded and say which can be used.

    Exit codes: 0 all items written, 3 some rejected (named in OUT.rejected.json), 4 refused before work began.

    Examples:

      fundusion draw --out eyes --count 200

      fundusion instruct-data eyes/manifest.csv --out eyes/conversations.jsonl

      fundusion instruct-data eyes/manifest.csv --out eyes/pairs.jsonl --pairs --language zh

      fundusion instruct-data llava_instruct.json --root pictures --out pictures/checked.jsonl

      fundusion instruct-data edits.jsonl --feedback --out learned.jsonl
    """
    how = {"language": language, "per_study": per_study, "pairs": pairs, "shares": (validation, test), "seed": seed,
           "modality": modality, "columns": columns, "root": root}  # fmt: skip
    try:
        code = _feedback(inputs, out) if feedback else _write(inputs, out, **how)
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    raise typer.Exit(code)


def _write(inputs: Sequence[Path], out: Path, **how: Any) -> int:
    from ..core.errors import InvalidInput
    from ..narrative.names import LANGUAGES
    from ..readers.conversations import is_conversations

    languages = LANGUAGES if how["language"] == "both" else (how["language"],)
    files = [p for p in inputs if is_conversations(p)]
    tables = [p for p in inputs if not is_conversations(p)]
    if how["pairs"] and files:
        raise InvalidInput("--pairs are made from tables of studies.", code="config.pairs")
    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, str]] = []
    for file in files:
        found, wrong = _of_file(file, out, how["root"])
        rows += found
        rejected += wrong
    if tables:
        found, wrong = _of_tables(tables, out, languages, **how)
        rows += found
        rejected += wrong
    return _finish(rows, rejected, out)


def _of_file(file: Path, out: Path, root: Path | None) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    from ..readers.conversations import read_conversations

    found = read_conversations(file, root=root)
    wrong = [{"item_id": r.item_id, "code": r.code, "message": r.message, "origin": r.origin} for r in found.rejected]
    return [_row(i, out) for i in found.items], wrong


def _row(item: Conversation, out: Path) -> dict[str, Any]:
    group = item.group.removeprefix("patient:") if item.group.startswith("patient:") else None
    row: dict[str, Any] = {"id": item.item_id, "messages": [{"role": t.role, "content": t.text} for t in item.turns]}
    if item.chosen is not None:
        row |= {"chosen": item.chosen, "rejected": item.refused}
    row["images"] = {m: _relative(p, out) for m, p in item.images.items()}
    return {**row, **({"patient_id": group} if group else {}), **({"split": item.split} if item.split else {})}


def _of_tables(
    tables: Sequence[Path], out: Path, languages: Sequence[str], **how: Any
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    from ..datasets.folder import discover

    found = discover(tables, columns=how["columns"], root=how["root"], modality=how["modality"])
    for note in found.notes:
        print_error(f"note: {note}")
    rows: list[dict[str, Any]] = []
    rejected = [
        {"item_id": r.study_id, "code": r.code, "message": r.message, "origin": r.origin or ""} for r in found.rejected
    ]
    with progress("studies") as show:
        for done, record in enumerate(found, 1):
            made = list(_of_record(record, out, languages, **how))
            if made:
                rows += made
            else:
                rejected.append({"item_id": record.study_id, "code": "instruct.nothing_known", "origin": record.origin or "",
                                 "message": "no label, no picture or no side that a question could be about."})  # fmt: skip
            show(done, len(found))
    return rows, rejected


def _of_record(record: StudyRecord, out: Path, languages: Sequence[str], **how: Any) -> Iterator[dict[str, Any]]:
    from ..datasets._splits import position_of
    from ..narrative.instructions import instructions_of

    first = {m: p[0] for m, p in record.images.items()}
    if not first:
        return
    images = {m: _relative(p, out) for m, p in first.items()}
    validation, test = how["shares"]
    place = position_of(record.group, seed=how["seed"])
    split = record.split or ("test" if place < test else "val" if place < test + validation else "train")
    made = instructions_of(record, languages=languages, count=how["per_study"], seed=how["seed"], pairs=how["pairs"])
    for number, item in enumerate(made):
        asked = [{"role": "user", "content": item.question}]
        if item.system:
            asked.insert(0, {"role": "system", "content": item.system})
        said = (
            {"messages": asked, "chosen": item.answer, "rejected": item.refused}
            if item.refused is not None
            else {"messages": [*asked, {"role": "assistant", "content": item.answer}]}
        )
        # What is known of a finding needs no picture, and must not be learned as something this one shows.
        shown = {} if item.kind == "definition" else images
        yield {
            "id": f"{record.study_id}-{number}", **said, "images": shown, "patient_id": record.group, "split": split,
            "kind": item.kind, "language": item.language,
        }  # fmt: skip


def _relative(path: str, out: Path) -> str:
    from ..core.errors import InvalidInput

    folder = out.parent.resolve()
    found = Path(path).resolve()
    if not found.is_relative_to(folder):
        raise InvalidInput(
            f"the pictures do not lie below the folder of {out.name!r}.",
            code="instruct.folder",
            hint="Write the file beside the table or above the pictures; training reads pictures below it only.",
        )
    return found.relative_to(folder).as_posix()


def _feedback(inputs: Sequence[Path], out: Path) -> int:
    from ..narrative.feedback import read_feedback

    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, str]] = []
    unused = 0
    for file in inputs:
        found = read_feedback(file)
        rows += [*found.pairs, *found.answers]
        unused += found.unused
        rejected += [
            {"item_id": str(n), "code": c, "message": m, "origin": f"{file.name}:{n}"} for n, c, m in found.rejected
        ]
        say(
            f"{file.name}: {len(found.pairs)} pairs, {len(found.answers)} answers, {found.unused} drafts without a better text"
        )
    return _finish(rows, rejected, out)


def _finish(rows: list[dict[str, Any]], rejected: list[dict[str, str]], out: Path) -> int:
    import json

    from ..core.durable import write_json, write_text
    from ..core.errors import InvalidInput

    if not rows:
        first = f"; first {rejected[0]['origin']}: {rejected[0]['message']}" if rejected else ""
        raise InvalidInput(f"nothing can be asked: {len(rejected)} rejected{first}", code="instruct.empty")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    counts: dict[str, int] = {}
    for row in rows:
        name = str(row.get("kind") or ("pair" if "chosen" in row else "conversation"))
        counts[name] = counts.get(name, 0) + 1
    say(f"Written: {out}: {len(rows)} items ({', '.join(f'{n} {k}' for k, n in sorted(counts.items()))})")
    if rejected:
        listed = out.with_name(out.name + ".rejected.json")
        write_json(listed, rejected)
        say(
            f"Rejected: {len(rejected)}, first {rejected[0]['origin']} [{rejected[0]['code']}]: {rejected[0]['message']} ({listed.name})"
        )
    return REJECTED if rejected else 0
