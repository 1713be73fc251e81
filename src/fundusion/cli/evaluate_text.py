"""`evaluate-text`: texts of a generator against the truth in words, with a page of pictures and findings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .screen import REJECTED, fail, print_error, progress, say, table

if TYPE_CHECKING:
    from ..narrative.comparison import Pair

#: Largest table that is read, bytes.
_LARGEST = 64_000_000


def evaluate_text(
    texts: Annotated[
        Path, typer.Argument(help="CSV: study_id, text, reference; laterality, kind, image where there are any.")
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="HTML page to write; scores go beside it as JSON.")
    ] = None,
    language: Annotated[str, typer.Option(help="en or zh.")] = "en",
    root: Annotated[
        Path | None, typer.Option(help="Folder that image paths are relative to; that of the table.")
    ] = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "Texts beside the truth",
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """Score texts: findings and eyes by the report reader, contradictions, invented numbers, BLEU, ROUGE-L, METEOR.

    Rows with a kind are answers to questions of that kind; they are compared word by word. Exit codes: 0 all scored, 3 some rows
    rejected, 4 refused before work began.

    Examples:

      fundusion evaluate-text captions.csv --out captions.html

      fundusion evaluate-text berichte.csv --language zh --root photographs --out page.html
    """
    try:
        code = _evaluate(texts, out, language, root or texts.parent, title=title)
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    raise typer.Exit(code)


def _evaluate(texts: Path, out: Path | None, language: str, root: Path, *, title: str) -> int:
    from ..core.durable import write_json, write_text
    from ..core.errors import InvalidInput
    from ..narrative.comparison import MOST_SHOWN, compare_texts, comparison_page, score_rows

    pairs, rejected = read_pairs(texts)
    for name, why in rejected:
        print_error(f"rejected: {name}: {why}")
    if not pairs:
        raise InvalidInput(
            f"{texts.name} holds no text with a reference.",
            code="text.none",
            hint="Columns: study_id, text, reference.",
        )
    found = compare_texts([p for p, _ in pairs], language=language)
    table(score_rows(found), ("score", "value"))
    if out is not None:
        shown, count = [], 0
        with progress("pictures") as show:
            for i, (pair, image) in enumerate(pairs):
                wanted = image and not pair.kind and count < MOST_SHOWN
                shown.append(_with_picture(pair, root / image) if wanted else pair)
                count += not pair.kind
                show(i + 1, len(pairs))
        write_text(out, comparison_page(shown, found, title=title, language=language))
        write_json(out.with_suffix(".json"), found.to_dict())
        say(f"Page:   {out}")
        say(f"Scores: {out.with_suffix('.json')}")
    say(f"{len(pairs) + len(rejected)} rows: {len(pairs)} ok, {len(rejected)} rejected, 0 pending")
    return REJECTED if rejected else 0


def read_pairs(path: Path) -> tuple[list[tuple[Pair, str]], list[tuple[str, str]]]:
    """Return texts with the path of their picture ("" without one), and the rows that cannot be used with the reason.

    Raises:
        ReadError: No such file, too large, or no UTF-8 table.
        InvalidInput: A column is missing.
    """
    import csv
    import io

    from ..core.errors import InvalidInput, ReadError
    from ..narrative.comparison import Pair

    try:
        if path.stat().st_size > _LARGEST:
            raise InvalidInput(f"{path.name} has more than {_LARGEST} bytes.", code="table.too_large")
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(f"{path.name!r} cannot be read as a UTF-8 CSV table.", code="file.unreadable") from error
    needed = ("study_id", "text", "reference")
    missing = [n for n in needed if rows and n not in rows[0]]
    if missing:
        raise InvalidInput(
            f"{path.name} has no column {', '.join(missing)}.",
            code="table.column",
            hint=f"Columns: {', '.join(needed)}.",
        )
    pairs, rejected = [], []
    for number, row in enumerate(rows, 2):
        cells = {k: (row.get(k) or "").strip() for k in (*needed, "laterality", "kind", "image")}
        name = cells["study_id"] or f"line {number}"
        if not cells["reference"]:
            # An empty text is a text that says nothing; an empty truth is no truth.
            rejected.append((name, "no reference"))
        elif cells["laterality"] not in ("", "OD", "OS"):
            rejected.append((name, f"laterality {cells['laterality'][:20]!r} is not OD or OS"))
        else:
            image = cells.pop("image")
            pairs.append((Pair(**{**cells, "study_id": name}), image))
    return pairs, rejected


def _with_picture(pair: Pair, path: Path) -> Pair:
    from dataclasses import replace

    from ..core.errors import FundusionError
    from ..core.study import StudyRecord
    from ..readers import read_study
    from ..report.figures import data_uri

    try:
        study = read_study(StudyRecord(study_id=pair.study_id, images={"cfp": (str(path),)}))
    except FundusionError as error:
        print_error(f"note: no picture of {pair.study_id}: {error.message}")
        return pair
    return replace(pair, picture=data_uri(study.images["cfp"][0].pixels, max_px=300))
