"""`describe`, `ask`, `recommend`: findings in words, answers from them, and what guidelines say; offline, with the shipped model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .screen import REJECTED, fail, print_error, progress, say

if TYPE_CHECKING:
    from ..core.study import StudyRecord
    from ..narrative.picture_words import PictureWriter
    from ..pipeline import Analysis

_Inputs = Annotated[
    list[Path], typer.Argument(metavar="INPUT...", help="Image files, folders, DICOM, or a table of studies.")
]
_Language = Annotated[str, typer.Option(help="en or zh.")]
_Model = Annotated[str, typer.Option(help="Shipped model, or folder that `train` wrote.")]
_Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
_Columns = Annotated[Path | None, typer.Option(help="TOML with [columns] for tables that look different.")]
_Root = Annotated[Path | None, typer.Option(help="Folder that image paths of a table are relative to.")]
_Captioner = Annotated[
    str,
    typer.Option(help="shipped, a folder of train-captioner, or none: words of a small model on the picture alone."),
]
_Modality = Annotated[str, typer.Option(help="What loose pictures are.")]
_Out = Annotated[Path | None, typer.Option("--out", "-o", help="Also write the answers to this JSON file.")]
_Debug = Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")]
#: Largest draft that is read, bytes.
_LARGEST_DRAFT = 4_000_000
_END = {
    "en": "Not a medical device. For research and education only.",
    "zh": "本结果不是医疗器械输出，仅供研究和教学。",
}


def describe(
    inputs: _Inputs,
    *,
    language: _Language = "en",
    draft: Annotated[
        Path | None, typer.Option(help="Text of another generator: only what the findings support is shown. One study.")
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence/--no-evidence", help="Show what each sentence rests on.")
    ] = True,
    captioner: _Captioner = "shipped",
    model: _Model = "screen",
    device: _Device = "cpu",
    columns: _Columns = None,
    root: _Root = None,
    modality: _Modality = "cfp",
    out: _Out = None,
    debug: _Debug = False,
) -> None:
    """Describe the findings of a model in words; every sentence names its evidence, what is uncertain is worded so.

    Beside them stands the caption of a small model that looks at the picture alone, and which of its findings differ.

    Exit codes: 0 all described, 3 some studies rejected, 4 refused before work began.

    Examples:

      fundusion describe eye.jpg

      fundusion describe clinic.csv --language zh --out told.json

      fundusion describe eye.jpg --draft draft.txt
    """
    how = {"model": model, "device": device, "columns": columns, "root": root, "modality": modality}
    _guarded(lambda: _describe(inputs, language, draft, evidence=evidence, captioner=captioner, out=out, **how), debug)


def _describe(
    inputs: list[Path],
    language: str,
    draft: Path | None,
    *,
    evidence: bool,
    captioner: str,
    out: Path | None,
    **how: Any,
) -> int:
    from ..core.errors import InvalidInput
    from ..narrative.checker import check_text
    from ..narrative.facts import facts_of
    from ..narrative.names import check_language
    from ..narrative.writer import write_narrative

    check_language(language)
    text = None if draft is None else _draft(draft)
    writer = _writer(captioner)
    rows, rejected = [], 0
    for record, analysis, count in _studies(inputs, **how):
        if text is not None and count != 1:
            raise InvalidInput(
                f"a draft is about one study, {count} were given.", code="describe.one_study", hint="Name one picture."
            )
        facts = facts_of(analysis.result)
        checked = (
            None if text is None else check_text(text, facts, language=language, origin=draft.name if draft else "")
        )
        told = checked.narrative if checked else write_narrative(facts, language=language)
        rejected += _heading(analysis)
        for sentence in told.sentences:
            say(f"  {sentence.text}" + (f"  [{', '.join(sentence.evidence)}]" if evidence else ""))
        for item in checked.removed if checked else ():
            say(f"  removed ({item.kinds[0]}): {' '.join(item.text.split())[:160]}")
        words = writer.describe(analysis.study, facts, language) if writer else None
        for i, line in enumerate(words.lines(language) if words else ()):
            say(f"  {'  ' * bool(i)}{line}")
        aside = _aside(record, analysis)
        entry = {**_identity(analysis), "set_aside": aside, "narrative": told.to_dict()}
        if checked:
            entry |= {"removed": [r.to_dict() for r in checked.removed], "fell_back": checked.fell_back}
        if words:
            entry["caption"] = words.to_dict()
        rows.append(entry)
        say()
    _write(out, rows)
    return REJECTED if rejected else 0


def ask(
    image: Annotated[Path, typer.Argument(help="One picture, DICOM file, or table with one study.")],
    question: Annotated[str, typer.Argument(help="In English or Chinese.")],
    *,
    language: Annotated[str | None, typer.Option(help="en or zh; left out, that of the question.")] = None,
    captioner: _Captioner = "none",
    model: _Model = "screen",
    device: _Device = "cpu",
    columns: _Columns = None,
    root: _Root = None,
    modality: _Modality = "cfp",
    out: _Out = None,
    debug: _Debug = False,
) -> None:
    """Answer a question from the findings: modality, eye, quality, grade, a finding, a measurement, all findings.

    What the findings cannot answer is refused. Exit codes: 0 answered, 3 refused or the picture was rejected, 4 the question or the input
    cannot be used.

    Examples:

      fundusion ask eye.jpg "Is there glaucoma?"

      fundusion ask eye.jpg "糖尿病视网膜病变几级？"
    """
    how = {"model": model, "device": device, "columns": columns, "root": root, "modality": modality}
    _guarded(lambda: _ask(image, question, language, out, captioner=captioner, **how), debug)


def _ask(image: Path, question: str, language: str | None, out: Path | None, *, captioner: str, **how: Any) -> int:
    from ..core.errors import InvalidInput
    from ..narrative.facts import facts_of
    from ..narrative.questions import answer_question, check_question

    # Before a picture is read: a bad question costs nothing.
    _, spoken = check_question(question, language)
    writer = _writer(captioner)
    rows, code = [], 0
    for record, analysis, count in _studies([image], **how):
        if count != 1:
            raise InvalidInput(
                f"a question is about one study, {count} were given.", code="ask.one_study", hint="Name one picture."
            )
        answer = answer_question(question, facts_of(analysis.result), language=language)
        rejected = _heading(analysis)
        say(f"  {answer.text}" + (f"  [{', '.join(answer.evidence)}]" if answer.evidence else ""))
        own = writer.ask(analysis.study, answer.kind, spoken) if writer and not rejected else None
        if own:
            say(f"  {own}")
        code = REJECTED if rejected or answer.kind == "refused" else 0
        aside = {**_aside(record, analysis), "question": int(answer.code == "ask.injection")}
        told = {"captioner": own} if own else {}
        rows.append({**_identity(analysis), "set_aside": aside, "answer": answer.to_dict(), **told})
    say(_END[spoken])
    _write(out, rows)
    return code


def recommend(
    inputs: _Inputs,
    *,
    language: _Language = "en",
    diabetes: Annotated[
        str | None,
        typer.Option(help="yes or no; left out, the column `diabetes` of the table decides, if there is one."),
    ] = None,
    setting: Annotated[
        str, typer.Option(help="high or low resources: the ICO guideline has intervals for both.")
    ] = "high",
    model: _Model = "screen",
    device: _Device = "cpu",
    columns: _Columns = None,
    root: _Root = None,
    modality: _Modality = "cfp",
    out: _Out = None,
    debug: _Debug = False,
) -> None:
    """Say what guidelines ask for: referral and the next examination, from a rule table with its sources; never a treatment.

    What is missing gives "not determined" with the reason. Exit codes: 0 done, 3 some studies rejected, 4 refused before work began.

    Examples:

      fundusion recommend eye.jpg --diabetes yes

      fundusion recommend clinic.csv --setting low --language zh
    """
    how = {"model": model, "device": device, "columns": columns, "root": root, "modality": modality}
    _guarded(lambda: _recommend(inputs, language, diabetes, setting=setting, out=out, **how), debug)


def _recommend(
    inputs: list[Path], language: str, diabetes: str | None, *, setting: str, out: Path | None, **how: Any
) -> int:
    from ..core.errors import InvalidInput
    from ..narrative.facts import Facts, facts_of
    from ..narrative.recommend import recommend as rules
    from ..narrative.recommend import sources, urgency_of

    if diabetes not in (None, "yes", "no"):
        raise InvalidInput(f"--diabetes is {diabetes[:40]!r}.", code="config.diabetes", hint="Use yes or no.")
    # Language and setting are judged before a picture is read.
    rules(Facts(), setting=setting, language=language)
    rows, rejected, cited = [], 0, {}
    for record, analysis, _ in _studies(inputs, **how):
        known = diabetes_of(record.metadata.get("diabetes") if diabetes is None else diabetes)
        items = rules(facts_of(analysis.result), diabetes=known, setting=setting, language=language)
        rejected += _heading(analysis)
        for item in items:
            rests = (*item.evidence, *item.sources)
            say(f"  {item.text}" + (f"  [{', '.join(rests)}]" if rests else ""))
            cited |= dict.fromkeys(item.sources)
        rows.append(
            {
                **_identity(analysis),
                "set_aside": _aside(record, analysis),
                "urgency": urgency_of(items),
                "recommendations": [i.to_dict() for i in items],
            }
        )
        say()
    for key in cited:
        source = sources()[key]
        say(f"{key}: {source['title']}, {source['link']} ({source['checked']})")
    say(_END[language])
    _write(out, rows)
    return REJECTED if rejected else 0


def _writer(captioner: str) -> PictureWriter | None:
    if captioner == "none":
        return None
    from ..narrative.picture_words import PictureWriter

    return PictureWriter(captioner)


def diabetes_of(value: object) -> bool | None:
    """Return whether a cell says that the person has diabetes; None when it does not say.

    Example:
        >>> diabetes_of("yes"), diabetes_of(0.0), diabetes_of("type 2"), diabetes_of(None)
        (True, False, None, None)
    """
    words = str(value).strip().casefold()
    if words in ("yes", "true", "1", "1.0", "是", "有"):
        return True
    return False if words in ("no", "false", "0", "0.0", "否", "无") else None


def _studies(inputs: list[Path], **how: Any) -> Iterator[tuple[StudyRecord, Analysis, int]]:
    """Yield each record with its analysis and how many there are; one that cannot be used is a rejected analysis."""
    from ..core.errors import FundusionError, InvalidInput
    from ..core.study import StudyRecord
    from ..datasets.folder import discover

    found = discover(inputs, columns=how["columns"], modality=how["modality"], root=how["root"])
    for note in found.notes:
        print_error(f"note: {note}")
    from ..pipeline import Pipeline

    pipeline = Pipeline.load(how["model"], device=how["device"], explain="none")
    total = len(found) + len(found.rejected)
    with progress("studies") as show:
        for i, record in enumerate(found):
            try:
                analysis = pipeline(record)
            except FundusionError as error:
                analysis = pipeline.reject(record, error)
            show(i + 1, total)
            yield record, analysis, total
        for i, row in enumerate(found.rejected):
            record = StudyRecord(study_id=row.study_id)
            error = InvalidInput(row.message, code=row.code)
            show(len(found) + i + 1, total)
            yield record, pipeline.reject(record, error), total


def _heading(analysis: Analysis) -> int:
    """Print which study follows; returns 1 for a rejected one."""
    from ..narrative.intake import shown_name

    result = analysis.result
    say(f"{shown_name(result.study_id)} {result.laterality or ''}".rstrip())
    if result.status == "ok":
        return 0
    print_error(f"rejected [{result.code}]: {result.message} {result.hint}".rstrip())
    return 1


def _aside(record: StudyRecord, analysis: Analysis) -> dict[str, int]:
    from ..narrative.intake import set_aside

    found = set_aside(record, analysis.study)
    if any(found.values()):
        where = ", ".join(f"{k.replace('_', ' ')} {n}" for k, n in found.items() if n)
        print_error(f"note: words that speak to a machine were set aside and changed nothing ({where}).")
    return found


def _identity(analysis: Analysis) -> dict[str, Any]:
    result = analysis.result
    return {
        "study_id": result.study_id,
        "laterality": result.laterality,
        "status": result.status,
        "code": result.code,
        "model": result.provenance.get("model"),
    }


def _draft(path: Path) -> str:
    from ..core.errors import InvalidInput, ReadError

    try:
        size = path.stat().st_size
        if size > _LARGEST_DRAFT:
            raise InvalidInput(
                f"{path.name} has {size} bytes; at most {_LARGEST_DRAFT} are read.",
                code="describe.draft_too_long",
                hint="Give the text of one study.",
            )
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"the draft {path.name!r} cannot be read as UTF-8 text.", code="file.unreadable") from error


def _write(out: Path | None, rows: list[dict[str, Any]]) -> None:
    if out is None:
        return
    from ..core.durable import write_json

    write_json(out, rows)
    say(f"Written: {out}")


def _guarded(work: Any, debug: bool) -> None:
    try:
        code = work()
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    raise typer.Exit(code)
