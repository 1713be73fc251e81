"""`describe`, `ask`, `recommend`: findings in words, answers from them, and what guidelines say; offline, with the shipped model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import wording
from .screen import REJECTED, fail, print_error, say
from .studies import analysed, aside_of, heading, identity
from .wording import Wording

if TYPE_CHECKING:
    from ..core.study import StudyRecord
    from ..narrative.checker import Checked
    from ..narrative.facts import Facts
    from ..narrative.generators import Worder
    from ..narrative.picture_words import PictureWriter
    from ..pipeline import Analysis

_Inputs = Annotated[
    list[Path], typer.Argument(metavar="INPUT...", help="Image files, folders, DICOM, or a table of studies.")
]
_Language = Annotated[str, typer.Option(help="en or zh.")]
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
    model: wording.Model = "screen",
    screen: wording.Screen = "screen",
    weights: wording.Weights = None,
    adapter: wording.Adapter = None,
    precision: wording.Precision = None,
    seed: wording.Seed = 0,
    max_words: wording.MaxWords = 120,
    stream: wording.Stream = False,
    captioner: _Captioner = "shipped",
    device: _Device = "cpu",
    columns: _Columns = None,
    root: _Root = None,
    modality: _Modality = "cfp",
    out: _Out = None,
    debug: _Debug = False,
) -> None:
    """Describe the findings of a model in words; every sentence names its evidence, what is uncertain is worded so.

    Templates write unless --model names a generator; then only what the findings support of its words is shown.
    Beside them stands the caption of a small model that looks at the picture alone, and which of its findings differ.

    Exit codes: 0 all described, 3 some studies rejected, 4 refused before work began.

    Examples:

      fundusion describe eye.jpg

      fundusion describe clinic.csv --language zh --out told.json

      fundusion describe eye.jpg --draft draft.txt

      fundusion describe eye.jpg --model llava-hf/llava-1.5-7b-hf --precision int8 --stream
    """
    words = Wording(
        model=model, screen=screen, weights=weights, adapter=adapter, precision=precision, seed=seed, max_words=max_words,
        is_streamed=stream, device=device,
    )  # fmt: skip
    how = {"device": device, "columns": columns, "root": root, "modality": modality}
    how |= {"words": words, "captioner": captioner}
    _guarded(lambda: _describe(inputs, language, draft, evidence=evidence, out=out, **how), debug)


def _describe(
    inputs: list[Path],
    language: str,
    draft: Path | None,
    *,
    words: Wording,
    evidence: bool,
    captioner: str,
    out: Path | None,
    **how: Any,
) -> int:
    from ..core.errors import InvalidInput
    from ..narrative.facts import facts_of
    from ..narrative.names import check_language
    from ..narrative.writer import write_narrative

    check_language(language)
    text = None if draft is None else _draft(draft)
    worder = words.open()
    if worder is not None and draft is not None:
        raise InvalidInput("--draft and a generator are two texts.", code="config.generator", hint="Give one of them.")
    writer = _writer(captioner)
    rows, rejected = [], 0
    for record, analysis, count in analysed(inputs, model=words.findings_model, **how):
        if text is not None and count != 1:
            raise InvalidInput(
                f"a draft is about one study, {count} were given.", code="describe.one_study", hint="Name one picture."
            )
        facts = facts_of(analysis.result)
        rejected += heading(analysis)
        checked, written = _checked(
            record, analysis, facts, language, text=text, draft=draft, worder=worder, words=words
        )
        told = checked.narrative if checked else write_narrative(facts, language=language)
        for sentence in told.sentences:
            say(f"  {sentence.text}" + (f"  [{', '.join(sentence.evidence)}]" if evidence else ""))
        if checked:
            wording.show_removed(checked.removed)
        if checked and worder is not None:
            wording.show_counts(checked.counts, fell_back=checked.fell_back and written is not None)
        seen = writer.describe(analysis.study, facts, language) if writer else None
        for i, line in enumerate(seen.lines(language) if seen else ()):
            say(f"  {'  ' * bool(i)}{line}")
        aside = aside_of(record, analysis)
        entry = {**identity(analysis), "set_aside": aside, "narrative": told.to_dict()}
        if checked:
            entry |= {"removed": [r.to_dict() for r in checked.removed], "fell_back": checked.fell_back}
        if worder is not None:
            entry |= {"generator": worder.origin, "draft": written}
        if seen:
            entry["caption"] = seen.to_dict()
        rows.append(entry)
        say()
    _write(out, rows)
    return REJECTED if rejected else 0


def _checked(
    record: StudyRecord,
    analysis: Analysis,
    facts: Facts,
    language: str,
    *,
    text: str | None,
    draft: Path | None,
    worder: Worder | None,
    words: Wording,
) -> tuple[Checked | None, str | None]:
    """Return the checked text of a generator or of a draft, and what the generator wrote; None where the template writes."""
    from ..core.errors import InvalidInput
    from ..narrative.checker import check_text

    if worder is not None:
        from ..narrative.telling import describe_with

        shown = wording.pictures_of(worder, record, analysis)
        try:
            with words.watching() as watch:
                told = describe_with(
                    worder, facts, shown, language=language, words=words.max_words, seed=words.seed, watch=watch
                )
        except InvalidInput as error:
            # One study that a generator cannot read leaves the others alone.
            print_error(f"note: not worded by the generator [{error.code}]: {error.message} The template stands.")
            return None, None
        return told.checked, told.draft
    if text is None:
        return None, None
    return check_text(text, facts, language=language, origin=draft.name if draft else ""), None


def ask(
    image: Annotated[Path, typer.Argument(help="One picture, DICOM file, or table with one study.")],
    question: Annotated[str, typer.Argument(help="In English or Chinese.")],
    *,
    language: Annotated[str | None, typer.Option(help="en or zh; left out, that of the question.")] = None,
    model: wording.Model = "screen",
    screen: wording.Screen = "screen",
    weights: wording.Weights = None,
    adapter: wording.Adapter = None,
    precision: wording.Precision = None,
    seed: wording.Seed = 0,
    max_words: wording.MaxWords = 120,
    stream: wording.Stream = False,
    captioner: _Captioner = "none",
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

      fundusion ask eye.jpg "Is there glaucoma?" --model qwen2_5_vl.3b --weights published
    """
    words = Wording(
        model=model, screen=screen, weights=weights, adapter=adapter, precision=precision, seed=seed, max_words=max_words,
        is_streamed=stream, device=device,
    )  # fmt: skip
    how = {"device": device, "columns": columns, "root": root, "modality": modality}
    how |= {"words": words, "captioner": captioner}
    _guarded(lambda: _ask(image, question, language, out, **how), debug)


def _ask(
    image: Path,
    question: str,
    language: str | None,
    out: Path | None,
    *,
    words: Wording,
    captioner: str,
    **how: Any,
) -> int:
    from ..core.errors import InvalidInput
    from ..narrative.facts import facts_of
    from ..narrative.questions import answer_question, check_question

    # Before a picture is read: a bad question costs nothing.
    _, spoken = check_question(question, language)
    worder = words.open()
    writer = _writer(captioner)
    rows, code = [], 0
    for record, analysis, count in analysed([image], model=words.findings_model, **how):
        if count != 1:
            raise InvalidInput(
                f"a question is about one study, {count} were given.", code="ask.one_study", hint="Name one picture."
            )
        facts = facts_of(analysis.result)
        rejected = heading(analysis)
        told = None
        if worder is not None:
            from ..narrative.telling import answer_with

            shown = wording.pictures_of(worder, record, analysis)
            with words.watching() as watch:
                told = answer_with(worder, question, facts, shown, language=language, seed=words.seed, watch=watch)
        answer = told.answer if told else answer_question(question, facts, language=language)
        say(f"  {answer.text}" + (f"  [{', '.join(answer.evidence)}]" if answer.evidence else ""))
        own = writer.ask(analysis.study, answer.kind, spoken) if writer and not rejected else None
        if own:
            say(f"  {own}")
        code = REJECTED if rejected or answer.kind == "refused" else 0
        aside = {**aside_of(record, analysis), "question": int(answer.code == "ask.injection")}
        entry = {**identity(analysis), "set_aside": aside, "answer": answer.to_dict()}
        if told and worder:
            wording.show_removed(told.removed)
            removed = [r.to_dict() for r in told.removed]
            entry |= {"generator": worder.origin, "worded_by": told.origin, "draft": told.draft, "removed": removed}
        if own:
            entry["captioner"] = own
        rows.append(entry)
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
    model: wording.Model = "screen",
    screen: wording.Screen = "screen",
    weights: wording.Weights = None,
    adapter: wording.Adapter = None,
    precision: wording.Precision = None,
    seed: wording.Seed = 0,
    max_words: wording.MaxWords = 120,
    stream: wording.Stream = False,
    device: _Device = "cpu",
    columns: _Columns = None,
    root: _Root = None,
    modality: _Modality = "cfp",
    out: _Out = None,
    debug: _Debug = False,
) -> None:
    """Say what guidelines ask for: referral and the next examination, from a rule table with its sources; never a treatment.

    What is missing gives "not determined" with the reason. A generator may word a rule; where it says more, less or another number, the
    words of the rule stand. Exit codes: 0 done, 3 some studies rejected, 4 refused before work began.

    Examples:

      fundusion recommend eye.jpg --diabetes yes

      fundusion recommend clinic.csv --setting low --language zh

      fundusion recommend eye.jpg --diabetes yes --model deepdr_llm.llama --weights llama/ --adapter adapters/
    """
    words = Wording(
        model=model, screen=screen, weights=weights, adapter=adapter, precision=precision, seed=seed, max_words=max_words,
        is_streamed=stream, device=device,
    )  # fmt: skip
    how = {"device": device, "columns": columns, "root": root, "modality": modality}
    _guarded(lambda: _recommend(inputs, language, diabetes, words=words, setting=setting, out=out, **how), debug)


def _recommend(
    inputs: list[Path],
    language: str,
    diabetes: str | None,
    *,
    words: Wording,
    setting: str,
    out: Path | None,
    **how: Any,
) -> int:
    from ..core.errors import InvalidInput
    from ..narrative.facts import Facts, facts_of
    from ..narrative.recommend import recommend as rules
    from ..narrative.recommend import sources, urgency_of

    if diabetes not in (None, "yes", "no"):
        raise InvalidInput(f"--diabetes is {diabetes[:40]!r}.", code="config.diabetes", hint="Use yes or no.")
    # Language and setting are judged before a picture is read.
    rules(Facts(), setting=setting, language=language)
    worder = words.open()
    rows, rejected, cited = [], 0, {}
    for record, analysis, _ in analysed(inputs, measure=False, model=words.findings_model, **how):
        known = diabetes_of(record.metadata.get("diabetes") if diabetes is None else diabetes)
        items = rules(facts_of(analysis.result), diabetes=known, setting=setting, language=language)
        rejected += heading(analysis)
        told = None
        if worder is not None:
            from ..narrative.telling import recommend_with

            shown = wording.pictures_of(worder, record, analysis)
            with words.watching() as watch:
                told = recommend_with(worder, items, shown, language=language, seed=words.seed, watch=watch)
        for i, item in enumerate(items):
            rests = (*item.evidence, *item.sources)
            say(f"  {told[i].text if told else item.text}" + (f"  [{', '.join(rests)}]" if rests else ""))
            if told and told[i].reason is not None:
                say(f"  wording of the generator not shown ({told[i].reason}): {' '.join(told[i].draft.split())[:160]}")
            cited |= dict.fromkeys(item.sources)
        entry = {
            **identity(analysis),
            "set_aside": aside_of(record, analysis),
            "urgency": urgency_of(items),
            "recommendations": [i.to_dict() for i in items],
        }
        if told and worder:
            entry |= {"generator": worder.origin, "wordings": [_wording(t) for t in told]}
        rows.append(entry)
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


def _wording(told: Any) -> dict[str, Any]:
    return {"text": told.text, "origin": told.origin, "reason": told.reason, "draft": told.draft}


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
