"""`index` and `search`: eyes and reports found again by what a model sees in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .screen import REJECTED, fail, print_error, progress, say, table

if TYPE_CHECKING:
    from ..retrieval.index import Index, Item
    from ..retrieval.query import Hit, Query
    from ..train.embedder import Embedder

_DEBUG = typer.Option("--debug", help="Show the full trace of an internal error.")
_INTERRUPTED = 130
#: Cells of the table that are shown with a hit.
_CELLS = 6
_KINDS = {"images": "image", "reports": "report", "any": "any"}


def index(
    manifest: Annotated[Path | None, typer.Argument(help="Table of studies, folder, files, or a public set.")] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the index.")],
    model: Annotated[
        str | None, typer.Option(help="Name of a model, run folder, or 'shipped' (the default of a new index).")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="File or folder, for the name of a model.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Of the model: name=value; can be repeated.")] = None,
    modality: Annotated[str, typer.Option(help="cfp, oct, ...")] = "cfp",
    space: Annotated[
        str | None, typer.Option(help="aligned (shared with words) or encoder; the first where the model has it.")
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="Add to the index that is there.")] = False,
    forget: Annotated[list[str] | None, typer.Option(help="Erase a patient from the bytes on disk.")] = None,
    forget_study: Annotated[list[str] | None, typer.Option(help="Erase a study from the bytes on disk.")] = None,
    approximate: Annotated[str | None, typer.Option(help="ivf or hnsw: build it and measure its recall.")] = None,
    floor: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least recall@10 of an approximate index; below, it is refused.")
    ] = 0.95,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every vector with its checksum.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read files.")] = 0,
    columns: Annotated[Path | None, typer.Option(help="TOML with [columns].")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Make an index of pictures (and of reports, where the model reads words), add to it, or erase from it.

    An interrupted run goes on with the same command.

    Examples:

      fundusion index our_clinic.csv --model shipped --out eyes.index

      fundusion index new_visits.csv --add --out eyes.index

      fundusion index --forget P0173 --out eyes.index

      fundusion index our_clinic.csv --model flair.resnet_50 --weights FLAIR/ --out eyes.index

      fundusion index --approximate hnsw --floor 0.98 --out eyes.index
    """
    try:
        wanted = _Wanted(model, weights, _options(option), modality, space, device)
        code = _index(
            manifest, out, wanted, add=add, forget=forget or [], forget_study=forget_study or [], approximate=approximate,
            floor=floor, verify=verify, workers=workers, how={"columns": columns, "root": root},
        )  # fmt: skip
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    raise typer.Exit(code)


class _Wanted:
    """The model a person asked for; what was left out comes from the index."""

    def __init__(
        self,
        model: str | None,
        weights: str | None,
        options: dict[str, Any],
        modality: str,
        space: str | None,
        device: str,
    ) -> None:
        self.model, self.weights, self.options = model, weights, options
        self.modality, self.space, self.device = modality, space, device

    def make(self, facts: dict[str, Any] | None = None) -> Embedder:
        from ..train.embedder import make_embedder

        model, weights, options, modality, space = self.model, self.weights, self.options, self.modality, self.space
        if facts is not None:
            source = facts["source"]
            modality, space = facts["modality"], space or facts["space"]
            if model is None:
                model = source["model"]
                weights, options = weights or source.get("weights"), options or source.get("options") or {}
        return make_embedder(
            model or "shipped", modality=modality, weights=weights, options=options, space=space, device=self.device
        )


def _index(
    manifest: Path | None,
    out: Path,
    wanted: _Wanted,
    *,
    add: bool,
    forget: list[str],
    forget_study: list[str],
    approximate: str | None,
    floor: float,
    verify: bool,
    workers: int,
    how: dict[str, Any],
) -> int:
    from ..core.errors import InvalidInput
    from ..retrieval.changes import forget as erase
    from ..retrieval.changes import open_index
    from ..retrieval.index import counts_of
    from ..retrieval.index import verify as compare

    if manifest is None and not (forget or forget_study or approximate or verify):
        raise InvalidInput(
            "nothing is to be done.", code="config.index", hint="Give a manifest, --forget, --approximate or --verify."
        )
    code = 0
    if manifest is not None:
        code = _add(manifest, out, wanted, add=add, workers=workers, how=how)
    if forget or forget_study or approximate or verify:
        with open_index(out, write=True) as index:
            for name, values in (("patient_id", forget), ("study_id", forget_study)):
                for value in values:
                    say(f"Erased:   {erase(index, **{name: value})} vectors of {name.partition('_')[0]} {value}")
            if verify:
                say(f"Verified: {compare(index)} vectors are what was written")
            if approximate:
                _approximate(index, approximate, floor)
            say(f"Holds:    {_held(counts_of(index))}")
    return code


def _add(manifest: Path, out: Path, wanted: _Wanted, *, add: bool, workers: int, how: dict[str, Any]) -> int:
    from ..batch.indexing import index_records
    from ..retrieval.index import BASE, counts_of
    from .tables import read_table

    if add and not (out / BASE).is_file():
        from ..retrieval.changes import open_index

        open_index(out)
    records = read_table(manifest, modality=wanted.modality, **how)
    for note in records.notes:
        say(f"! {note}")
    opened, embedder = _opened(out, wanted, [r.study_id for r in records], add)
    with opened as index, progress("pictures") as show:
        done = index_records(records, index, embedder, workers=workers, progress=show)
        held = counts_of(index)
    counts = done.counts
    say(f"{counts['total']} items: {counts['ok']} ok, {counts['rejected']} rejected, {counts['pending']} pending"
        + (f" ({done.already} were there)" if done.already else ""))  # fmt: skip
    if done.codes:
        table(sorted(done.codes.items()), ("rejected because", "items"))
        for study, code, message in done.rejected[:10]:
            say(f"! {study} [{code}]: {message}")
    say(f"Holds:    {_held(held)}")
    if done.interrupted:
        print_error("Stopped; the same command goes on.")
        return _INTERRUPTED
    say(f"Use it:   fundusion search PICTURE --index {out} --k 10")
    return REJECTED if counts["rejected"] else 0


def _opened(out: Path, wanted: _Wanted, studies: list[str], add: bool) -> tuple[Index, Embedder]:
    """Return the index to write to and its model: a new one, one that is added to, or one that was interrupted."""
    import hashlib

    from ..core.errors import InvalidInput
    from ..retrieval.changes import create_index, is_begun, open_index
    from ..retrieval.index import need_same_model

    listed = hashlib.sha256("\0".join(studies).encode()).hexdigest()
    if not is_begun(out):
        embedder = wanted.make()
        return create_index(out, {**embedder.facts(), "studies_sha256": listed}), embedder
    index = open_index(out, write=True)
    try:
        if not add and index.fact("studies_sha256") != listed:
            raise InvalidInput(
                f"{out.name!r} holds an index of other studies.",
                code="output.exists",
                hint="Add these to it with --add, or choose another --out.",
            )
        embedder = wanted.make(index.facts())
        need_same_model(index, embedder.facts())
    except BaseException:
        index.close()
        raise
    return index, embedder


def _approximate(index: Index, kind: str, floor: float) -> None:
    from ..retrieval.approximate import build_approximate

    with progress("vectors") as show:
        measured = build_approximate(index, kind, floor=floor, progress=show)
    say(
        f"Measured: {kind} finds {measured.recall:.3f} of the ten nearest neighbours of {measured.queries} vectors of this index "
        f"(floor {floor:.3f}); search with --method approximate"
    )


def _held(counts: dict[str, int]) -> str:
    return f"{counts['images']} pictures, {counts['reports']} reports, {counts['rejected']} rejected items"


def _options(given: list[str] | None) -> dict[str, Any]:
    from ..core.errors import InvalidInput

    found: dict[str, Any] = {}
    for item in given or []:
        name, sign, value = item.partition("=")
        if not sign or not name.strip().isidentifier():
            raise InvalidInput(
                f"--option {item!r} is not name=value.", code="config.option", hint="For instance image_size=224."
            )
        words: dict[str, Any] = {"true": True, "false": False}
        word = value.strip()
        found[name.strip()] = int(word) if word.lstrip("-").isdigit() else words.get(word.lower(), word)
    return found


def search(
    query: Annotated[list[str] | None, typer.Argument(help="Pictures, or words in quotes.")] = None,
    *,
    index: Annotated[Path, typer.Option("--index", "-i", help="Folder of the index.")],
    k: Annotated[int, typer.Option("--k", min=1, help="Hits per query.")] = 10,
    where: Annotated[str | None, typer.Option(help='Condition on the table: "age > 60 and sex = female".')] = None,
    find: Annotated[str, typer.Option(help="images, reports or any.")] = "images",
    study: Annotated[str | None, typer.Option(help="Search by the pictures of a study of the index.")] = None,
    patient: Annotated[
        str | None, typer.Option(help="Whose picture the query is; nothing of this patient is found.")
    ] = None,
    same_patient: Annotated[
        bool, typer.Option("--same-patient", help="Find the patient and copies of the query too.")
    ] = False,
    method: Annotated[
        str, typer.Option(help="auto; float32: one pass over all vectors; scan: in 8 bits, ranked again; approximate.")
    ] = "auto",
    similarity: Annotated[str, typer.Option(help="cosine, or asymmetric (as RetiZero retrieves).")] = "cosine",
    html: Annotated[Path | None, typer.Option(help="Page with the pictures.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file with all hits.")] = None,
    model: Annotated[str | None, typer.Option(help="Another place of the index's model.")] = None,
    weights: Annotated[str | None, typer.Option(help="Another place of its weights.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Find the eyes, or the reports, that resemble a picture or are described by words.

    Examples:

      fundusion search eye.jpg --index eyes.index --k 10 --html similar.html

      fundusion search "hard exudates near the macula" --index eyes.index --where "age > 60"

      fundusion search eye.jpg --index eyes.index --find reports

      fundusion search --study 17_left --index eyes.index
    """
    try:
        from ..core.errors import InvalidInput

        if find not in _KINDS:
            raise InvalidInput(
                f"--find {find!r} is not known.", code="config.find", hint=f"Known: {', '.join(_KINDS)}."
            )
        if not query and study is None:
            raise InvalidInput(
                "nothing is searched for.", code="input.empty", hint="Give a picture, words, or --study."
            )
        wanted = _Wanted(model, weights, {}, "cfp", None, device)
        options = {"k": k, "find": _KINDS[find], "where": where, "same_patient": same_patient, "similarity": similarity}
        _search(
            query or [], index, wanted, study=study, patient=patient, method=method, options=options, html=html, out=out
        )
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None


def _search(
    words: list[str],
    folder: Path,
    wanted: _Wanted,
    *,
    study: str | None,
    patient: str | None,
    method: str,
    options: dict[str, Any],
    html: Path | None,
    out: Path | None,
) -> None:
    from ..core.durable import write_json, write_text
    from ..retrieval.changes import open_index
    from ..retrieval.query import Searcher

    with open_index(folder) as index:
        asked = _asked(index, words, wanted, study, patient)
        with progress("vectors") as show:
            searcher = Searcher(index, method=method, progress=show)
            found = searcher.search([q for _, q, _ in asked], **options)
        for (title, _, _), hits in zip(asked, found, strict=True):
            if len(asked) > 1:
                say(f"\n{title}")
            table([_line(h) for h in hits], ("", "similarity", "study", "patient", "eye", "what"))
        if out is not None:
            write_json(out, [_plain(title, hits) for (title, _, _), hits in zip(asked, found, strict=True)])
            say(f"Written:  {out}")
        if html is not None:
            write_text(html, _page(asked, found, index, options))
            say(f"Open:     {html.absolute()}")


def _asked(
    index: Index, words: list[str], wanted: _Wanted, study: str | None, patient: str | None
) -> list[tuple[str, Query, str | None]]:
    """Return title, query and file of everything that is searched for."""
    from dataclasses import replace

    from ..core.errors import ReadError
    from ..readers import split_part
    from ..readers.image import SUFFIXES
    from ..retrieval.index import need_same_model
    from ..retrieval.query import Query, query_of_study

    found: list[tuple[str, Query, str | None]] = []
    if study is not None:
        found += [
            (f"{item.study_id} ({Path(item.path or '').name})", q, item.path)
            for item, q in query_of_study(index, study)
        ]
    if not words:
        return found
    embedder = wanted.make(index.facts())
    need_same_model(index, embedder.facts())
    for word in words:
        path = split_part(word)[0] if len(word) < 4096 and "\n" not in word and "\0" not in word else None
        try:
            exists = path is not None and path.exists()
        except OSError:
            exists = False
        if exists:
            vector, digest = _picture(word, embedder)
            found.append((Path(word).name, Query(vector=vector, digest=digest, patient_id=patient), word))
        elif word.lower().endswith((*SUFFIXES, ".dcm")):
            raise ReadError(f"there is no file {Path(word).name!r}.", code="input.missing", hint="Check the path.")
        else:
            found.append((f"“{word}”", Query(vector=embedder.texts([word])[0], patient_id=patient), None))
    if patient is not None:
        found = [(t, replace(q, patient_id=patient), f) for t, q, f in found]
    return found


def _picture(path: str, embedder: Embedder) -> tuple[Any, str | None]:
    from ..batch.indexing import read_frames
    from ..core.study import StudyRecord

    record = StudyRecord(study_id="query", images={embedder.modality: (path,)})
    ready = read_frames(record, modality=embedder.modality, wanted=embedder.wanted)
    return embedder.pictures([ready.frames])[0], ready.digest


def _line(hit: Hit) -> tuple[Any, ...]:
    item = hit.item
    what = (item.report or "")[:80] if item.kind == "report" else Path(item.path or "").name
    return hit.rank, f"{hit.similarity:.4f}", item.study_id, item.patient_id, item.laterality, what


def _said(item: Item) -> str:
    cells = [f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in item.cells.items()]
    return ", ".join([x for x in (item.patient_id, item.laterality) if x] + cells[:_CELLS])


def _plain(title: str, hits: list[Hit]) -> dict[str, Any]:
    from dataclasses import asdict

    return {"query": title, "hits": [{"rank": h.rank, "similarity": h.similarity, **asdict(h.item)} for h in hits]}


def _page(
    asked: list[tuple[str, Query, str | None]], found: list[list[Hit]], index: Index, options: dict[str, Any]
) -> str:
    from ..report.similar import Answer, Card, similar_page

    facts = index.facts()
    modality = str(facts["modality"])
    answers = []
    for (title, query, file), hits in zip(asked, found, strict=True):
        shown = Card(title=title, facts=query.patient_id or "", picture=_drawn(file, modality))
        cards = [
            Card(
                title=h.item.study_id, facts=_said(h.item), similarity=h.similarity, rank=h.rank,
                picture=_drawn(h.item.path, modality) if h.item.kind == "image" else "",
                text=(h.item.report or "") if h.item.kind == "report" else "",
            )
            for h in hits
        ]  # fmt: skip
        answers.append(Answer(query=shown, hits=tuple(cards)))
    notes = [f"Vectors of {facts['model']} (weights {str(facts['weights_sha256'])[:12]})."]
    notes += [f"Only where {options['where']}."] if options["where"] else []
    return similar_page(answers, notes=notes)


def _drawn(path: str | None, modality: str) -> str:
    """Return a picture as a data URI; nothing when its file is gone or can no longer be read."""
    from ..core.errors import FundusionError
    from ..readers import read_images
    from ..report.figures import data_uri

    if path is None:
        return ""
    try:
        planes = read_images(path, modality=modality, enough_px=320)[0].planes()
    except FundusionError:
        return ""
    return data_uri(planes[len(planes) // 2], max_px=240, quality=78)
