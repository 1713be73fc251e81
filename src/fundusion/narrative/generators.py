"""Generators by name, hub id or folder: what they are, what memory they need, and their words on one study, unchecked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import ExhaustedResource, IncompatibleWeights, InvalidInput, UnknownName
from ..core.interfaces import Decoding, Turn
from ..core.registry import Card, ImageInput, models
from ..core.results import StudyResult
from ..core.study import Study, StudyRecord
from ..intake import take_study
from ..layers.hub_folder import check_folder, fetch_folder, free_bytes, memory_needed
from ..layers.int8 import to_int8
from ..layers.lora import load_lora, merge_lora
from ..layers.placement import place
from ..layers.weights import metadata_of
from ..report.compose import Row
from ..transforms.collate import normalise_images
from ..transforms.prepared import PreparedStudy, prepare_study
from .facts import facts_of
from .names import LANGUAGES
from .prompting import LENGTHS
from .telling import describe_with
from .writer import narrative_rows

_SENTENCE = re.compile(r"[^.。!！?？]*(?:[.。!！?？](?![0-9])|\.(?=[0-9])[^.。!！?？]*[.。!！?？]?|$)", re.DOTALL)
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:[-'.][^\W\u3400-\u9fff]+)*")
#: What the command line calls a precision, and the type weights are loaded in.
PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "int8": "bfloat16"}
#: Kind of model in the settings of a folder -> name here.
_KINDS = {
    "blip": "blip.captioning_base", "blip-2": "blip2.opt_2_7b", "instructblip": "instructblip.vicuna_7b",
    "llava": "llava.v1_5_7b", "qwen2_5_vl": "qwen2_5_vl.7b",
}  # fmt: skip
#: Where the language model has an encoder.
_WITH_ENCODER = {"blip-2": "blip2.flan_t5_xl", "instructblip": "instructblip.flan_t5_xl"}
#: Families that are nothing but what their folder holds.
_READ_AS_THEY_ARE = frozenset({"blip", "blip2", "instructblip", "llava", "qwen2_5_vl"})
#: Families that go on writing from a picture and were never taught to read a list of findings.
_CAPTIONERS = frozenset({"blip"})
#: Written by training beside the weights.
RUN_FILE = "generator.json"
ADAPTER_FILE = "adapter.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A generator before it is loaded.

    Args:
        name: Registered name.
        weights: Folder, "hub:owner/name" or "published"; None makes fresh ones of the smallest variant.
        title: For messages.
        adapter: File of low-rank adapters; None without.
    """

    name: str
    weights: str | None
    title: str
    adapter: Path | None = None

    @property
    def card(self) -> Card:
        """Its card."""
        return models.card(self.name)


def is_generator(model: str) -> bool:
    """Return whether a name, hub id or folder means a generator and no screening network; nothing is loaded.

    Example:
        >>> is_generator("llava.v1_5_7b"), is_generator("screen"), is_generator("hub:llava-hf/llava-1.5-7b-hf")
        (True, False, True)
    """
    folder = Path(model)
    if folder.is_dir():
        return (folder / RUN_FILE).is_file() or (folder / "config.json").is_file()
    if model.startswith("hub:") or _is_hub_id(model):
        return True
    return bool(_names_of(model.partition(".")[0]))


def _is_hub_id(model: str) -> bool:
    """Return whether a name can only be owner/name: a path whose first folder is here is a path with a slip, and nothing is fetched."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", model) is not None and not Path(model).parent.exists()


def choose(model: str, *, weights: str | None = None, adapter: Path | None = None) -> Chosen:
    """Return which generator is meant; a hub repository without a card is fetched to see what it is.

    Args:
        model: Registered name, family, hub id ("hub:owner/name" or "owner/name"), or folder.
        weights: Of a registered name: folder, hub id or "published"; None takes those its card names.
        adapter: Folder or file of low-rank adapters.

    Raises:
        UnknownName: No such generator.
        InvalidInput: A folder without settings or with code in it (`model.code`).
        IncompatibleWeights: A folder of another kind of model.
    """
    file = None if adapter is None else _adapter_file(adapter)
    folder = Path(model)
    if folder.is_dir():
        return _of_folder(folder, file)
    names = _names_of(model.partition(".")[0])
    if names:
        name = model if model in names else next((n for n in names if models.card(n).weights), names[0])
        if "." in model and model not in names:
            raise UnknownName(f"no generator is called {model!r}.", hint=f"Known: {', '.join(names)}.")
        known = weights if weights is not None else "published" if models.card(name).weights else None
        return Chosen(name=name, weights=known, title=models.card(name).title, adapter=file)
    if not model.startswith("hub:") and not _is_hub_id(model):
        every = [n for n in models.names() if "generate" in models.card(n).roles and not n.endswith(".test")]
        raise UnknownName(
            f"no generator is called {model!r}.", hint=f"Known: {', '.join(every)}; or a folder or hub id."
        )
    hub = model if model.startswith("hub:") else f"hub:{model}"
    for name in models.names():
        if models.card(name).weights == hub and "generate" in models.card(name).roles:
            return Chosen(name=name, weights=hub, title=models.card(name).title, adapter=file)
    found = _of_folder(fetch_folder(hub), file)
    return replace(found, weights=hub, title=hub)


def _names_of(family: str) -> list[str]:
    """Return the generators of a family, those that need the least memory first and the one for tests last."""

    def place(name: str) -> tuple[bool, float]:
        weights = models.card(name).weights
        needed = None if weights is None else memory_needed(weights, models.card(name), "bfloat16")
        return name.endswith(".test"), float("inf") if needed is None else needed

    return sorted((n for n in models.variants(family) if "generate" in models.card(n).roles), key=place)


def _of_folder(folder: Path, adapter: Path | None) -> Chosen:
    told = folder / RUN_FILE
    if told.is_file():
        run = json.loads(told.read_text("utf-8"))
        if adapter is None and run.get("adapter"):
            adapter = folder / ADAPTER_FILE
        weights = str(folder / "model") if (folder / "model").is_dir() else run.get("weights")
        weights = str(folder / weights) if weights == "base" else weights
        return Chosen(name=str(run["model"]), weights=weights, title=folder.name, adapter=adapter)
    settings = check_folder(folder)
    kind = str(settings.get("model_type"))
    if (folder / "copilot.json").is_file():
        return Chosen(name="eyefm_copilot.llama", weights=str(folder), title=folder.name, adapter=adapter)
    if kind == "llama" and (folder / "adapter.json").is_file():
        return Chosen(name="deepdr_llm.llama", weights=str(folder), title=folder.name, adapter=adapter)
    if kind not in _KINDS:
        raise IncompatibleWeights(
            f"{folder.name!r} holds a {kind!r}; generators are {', '.join(_KINDS)}.",
            code="model.kind",
            hint="A plain LLaMA is named by what is built on it: --model eyefm_copilot.llama --weights FOLDER.",
        )
    language = str((settings.get("text_config") or {}).get("model_type"))
    name = _WITH_ENCODER.get(kind, _KINDS[kind]) if language == "t5" else _KINDS[kind]
    return Chosen(name=name, weights=str(folder), title=folder.name, adapter=adapter)


def _adapter_file(path: Path) -> Path:
    file = path / ADAPTER_FILE if path.is_dir() else path
    if not file.is_file():
        raise InvalidInput(
            f"no adapters in {path.name!r}.", code="model.not_found", hint=f"A folder of adapters holds {ADAPTER_FILE}."
        )
    return file


def memory_words(chosen: Chosen, precision: str | None) -> str:
    """Return one sentence on the memory the weights need, before they are loaded.

    Raises:
        InvalidInput: An unknown precision.
        ExhaustedResource: It is not there.
    """
    kind = _dtype(chosen, precision)
    streamed = precision == "int8" and _rounds_while_reading(chosen)
    needed = (
        None if chosen.weights is None else memory_needed(chosen.weights, chosen.card, "int8" if streamed else kind)
    )
    if needed is None:
        return f"{chosen.title}: how much memory its weights need is known once its files are here."
    free = free_bytes()
    words = f"{chosen.title}: the weights need {_size(needed)} ({precision or kind})"
    if precision == "int8" and not streamed:
        words = f"{chosen.title}: the weights need {_size(needed)} while loading and {_size(needed // 2)} after (int8)"
    if free is not None and needed * 1.1 > free:
        raise ExhaustedResource(
            f"{words}; {_size(free)} are free.",
            code="memory.weights",
            hint=(
                "Use a smaller model, or another machine."
                if precision == "int8"
                else "Use --precision int8 (half of bf16, a quarter of fp32), a smaller model, or another machine."
            ),
        )
    return f"{words}; {_size(free)} are free." if free is not None else f"{words}."


def _rounds_while_reading(chosen: Chosen) -> bool:
    """Return whether weights become eight bits as they are read; adapters are merged first, and two families have some of their own."""
    return chosen.adapter is None and chosen.weights is not None and chosen.name.partition(".")[0] in _READ_AS_THEY_ARE


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _dtype(chosen: Chosen, precision: str | None) -> str:
    if precision is None:
        return "float32" if chosen.name.startswith("blip.") or chosen.name.endswith(".test") else "bfloat16"
    if precision not in PRECISIONS:
        raise InvalidInput(
            f"precision {precision[:40]!r} is not known.", code="config.precision", hint=f"Use {', '.join(PRECISIONS)}."
        )
    return PRECISIONS[precision]


def open_generator(chosen: Chosen, *, precision: str | None = None, device: str = "cpu") -> Worder:
    """Return a loaded generator.

    Args:
        chosen: Which one.
        precision: "fp32", "bf16" or "int8"; None takes what its family is published in.
        device: "cpu", "cuda", "cuda:1", or "auto" to spread it over all there is.

    Raises:
        ExhaustedResource: Not enough memory; says how much is needed.
        IncompatibleWeights: Another model, or adapters of another base.
        InvalidInput: A folder with code, an unknown precision or device.
    """
    kind = _dtype(chosen, precision)
    streamed = precision == "int8" and _rounds_while_reading(chosen)
    options: dict[str, Any] = {"dtype": "int8" if streamed else kind}
    own = False
    if chosen.weights is not None:
        options["weights"] = chosen.weights
    if chosen.adapter is not None:
        own = chosen.name.startswith("deepdr_llm.") and metadata_of(chosen.adapter).get("kind") != "lora"
        options |= {"adapter": chosen.adapter} if own else {}
    model = models.create(chosen.name, **options).eval()
    if chosen.adapter is not None and not own:
        merge_lora(load_lora(chosen.adapter, model))
    model.requires_grad_(False)
    if precision == "int8" and not streamed:
        to_int8(model.body)
    place(model.body, device)
    return Worder(chosen, model)


class Worder:
    """A loaded generator and what it wants.

    Args:
        chosen: Which one it is.
        model: Loaded, with the role generate.
    """

    def __init__(self, chosen: Chosen, model: Any) -> None:
        self.name, self.model, self.title = chosen.name, model, chosen.title
        self.lengths = LENGTHS[-1:] if chosen.name.partition(".")[0] in _CAPTIONERS else LENGTHS
        card = chosen.card
        self.modalities = tuple(getattr(model.body, "settings", {}).get("modalities", ()))
        self.wanted: ImageInput | None = card.input
        tower = getattr(model.body, "settings", {}).get("tower")
        if tower is not None:
            self.wanted = models.card(tower).input or card.input
        elif card.input is not None and model.side is not None:
            self.wanted = replace(card.input, size=model.side)

    @property
    def origin(self) -> str:
        """Name and digest of the weights, for the record."""
        record = self.weights_record
        return f"{self.title} ({record['sha256'][:16]})" if record else f"{self.title} (fresh weights)"

    @property
    def is_fresh(self) -> bool:
        """Whether its weights were drawn and never trained, so that what it says means nothing."""
        return self.weights_record is None

    @property
    def weights_record(self) -> dict[str, Any] | None:
        """Origin, digest and terms of the weights; None for fresh ones."""
        return getattr(self.model, "weights_record", None)

    def pictures(self, record: StudyRecord) -> dict[str, Tensor]:
        """Return one picture per modality the generator reads, `(1, 3, H, W)`: the first file; of a volume the middle frame."""
        if self.wanted is None:
            return {}
        order = self.modalities or tuple(sorted(record.images, key=lambda m: m != "cfp"))
        names = [m for m in order if m in record.images][: None if self.modalities else 1]
        if not names:
            return {}
        inputs = dict.fromkeys(names, self.wanted)
        first = replace(record, images={m: record.images[m][:1] for m in names})
        taken = take_study(first, inputs)
        return self._ready(prepare_study(taken.study, inputs, fields=taken.fields))

    def pictures_of(self, study: Study) -> dict[str, Tensor]:
        """Return the same from a study that was read."""
        if self.wanted is None:
            return {}
        order = self.modalities or tuple(sorted(study.images, key=lambda m: m != "cfp"))
        names = [m for m in order if m in study.images][: None if self.modalities else 1]
        first = replace(study, images={m: study.images[m][:1] for m in names})
        return self._ready(prepare_study(first, dict.fromkeys(names, self.wanted)))

    def _ready(self, ready: PreparedStudy) -> dict[str, Tensor]:
        if self.wanted is None:
            return {}
        shown = {m: torch.from_numpy(np.array(v[len(v) // 2].pixels))[None] for m, v in ready.images.items()}
        return {m: normalise_images(x, self.wanted) for m, x in shown.items()}

    def write(
        self,
        wishes: Sequence[Sequence[Turn]],
        pictures: Mapping[str, Tensor],
        *,
        words: int,
        seed: int = 0,
        watch: Callable[[str], None] | None = None,
        decoding: Decoding | None = None,
    ) -> tuple[str, int]:
        """Return the words of the generator, unchecked, and which wish was used: the first that it has room for.

        Args:
            wishes: The same wish, from the longest to the shortest.
            pictures: Of `pictures`.
            words: Most words; a sentence that was cut is left out.
            seed: Of draws.
            watch: Called with the words so far.
            decoding: None takes the rule of the model.

        Raises:
            InvalidInput: Not even the shortest wish fits (`text.too_long`), or a picture is needed and there is none (`chat.images`).
        """
        tokens = 2 * words + 8
        seen = None if watch is None else (lambda rows: watch(rows[0]))
        images: Any = dict(pictures) if self.modalities else next(iter(pictures.values()), None)
        for number, turns in enumerate(wishes):
            try:
                (text,) = self.model.generate(
                    images or None if isinstance(images, dict) else images, [list(turns)], max_tokens=tokens, seed=seed,
                    stop=self.model.marks, watch=seen, decoding=decoding,
                )  # fmt: skip
            except InvalidInput as error:
                if error.code != "text.too_long" or number + 1 == len(wishes):
                    raise
                continue
            return within(text, words), number
        raise InvalidInput("nothing was asked.", code="chat.empty")


def within(text: str, words: int) -> str:
    """Return the first whole sentences of a text that together have no more words; a Chinese sign is a word.

    Example:
        >>> within("Signs of cataract. No sign of glaucoma in the", 5), within("可见白内障。未见青光眼。", 6)
        ('Signs of cataract.', '可见白内障。')
        >>> within("No sign of glaucoma", 5), within("k k k k", 2)
        ('No sign of glaucoma', 'k k')
    """
    kept, count = "", 0
    for sentence in _SENTENCE.findall(text):
        count += len(_WORD.findall(sentence))
        if count > words:
            break
        kept += sentence
    if not kept:
        # A first sentence without end is cut; what is left is checked like any other.
        ends = [m.end() for m in _WORD.finditer(text)]
        kept = text[: ends[words - 1]] if len(ends) > words else text
    return kept.strip()


def narrate_with(
    worder: Worder, *, words: int = 120, seed: int = 0
) -> Callable[[StudyResult, Study], tuple[tuple[tuple[str, tuple[Row, ...]], ...], str]]:
    """Return what words the findings of a report page with a generator, in every language, checked.

    A study that the generator cannot read, such as one without the picture it needs, is worded by the templates; the page says so.

    Args:
        worder: The generator.
        words: Most words in each language.
        seed: Of draws.
    """

    def narrate(result: StudyResult, study: Study) -> tuple[tuple[tuple[str, tuple[Row, ...]], ...], str]:
        facts, pictures = facts_of(result), worder.pictures_of(study)
        told = []
        for language in LANGUAGES:
            try:
                done = describe_with(worder, facts, pictures, language=language, words=words, seed=seed)
            except InvalidInput:
                return narrative_rows(result), ""
            shown = done.checked.narrative
            # The page ends with the words of the disclaimer.
            kept = [s for s in shown.sentences if s.kind != "disclaimer"]
            told.append((language, tuple(Row(name=s.text, text=", ".join(s.evidence)) for s in kept)))
        return tuple(told), worder.origin

    return narrate
