"""The small captioner trained by the loop of supervised training: the tower sees every picture once, the decoder learns.

Which findings a photograph's caption names is the matter of a head that is fitted at once, before the decoder, on training patients.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from ..core.durable import digest_of, write_json
from ..core.errors import InvalidInput
from ..core.interfaces import Loss, Turn, Words
from ..core.registry import models
from ..layers.chat import answer_tokens
from ..layers.eye_words import FINDINGS
from ..layers.weights import digest, save_state
from ..shipped import resolve_model
from .caption_data import DRAWN_PX, ToldSet, prepare_told, questions_about
from .config import FitConfig, SetConfig, deciding
from .finding_fit import FindingRows, FittedFindings, fit_findings
from .job import PlainJob, decayed_groups
from .loop import RunResult, fit
from .run import Reporter
from .steps import generators_of

#: How often a kind of question is asked; the others twice.
_OFTEN = {"modality": 0.5, "retinopathy": 8.0}


class CaptionConfig(BaseModel):
    """Everything that decides the weights, besides the pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Name of a registered captioner, and its options.
    model: str = "captioner.small"
    options: dict[str, Any] = {}
    #: Shipped or trained network whose photograph encoder is the tower; it stays as it is. Empty: random weights, saved with the rest.
    tower: str = "screen"
    sets: tuple[SetConfig, ...] = ()
    #: Drawn pictures, and the seed of their patients.
    drawn: int = Field(default=3000, ge=0)
    drawn_seed: int = 1
    drawn_px: int = Field(default=DRAWN_PX, ge=48)
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    #: Parts of the training patients that decide the cuts of findings, and in how many ways; 0 leaves findings to the decoder.
    folds: int = Field(default=5, ge=0)
    repeats: int = Field(default=3, ge=1)
    #: On the squared weights of the head of findings.
    penalty: float = Field(default=3e-3, gt=0)
    #: Families with fewer training eyes, or a lower F1 over folds, are not named on photographs.
    min_count: int = Field(default=15, ge=1)
    min_f1: float = Field(default=0.05, ge=0, lt=1)
    #: In the loss of the decoder a finding counts by its rarity to this power.
    rarity: float = Field(default=0.3, ge=0, le=1)
    #: Share of the cells of a picture that are hidden in training.
    cell_dropout: float = Field(default=0.2, ge=0, lt=1)
    cache: str | None = None
    #: Written beside the weights, deciding nothing in training.
    license: str = ""
    training_data: tuple[str, ...] = ()
    train: FitConfig = FitConfig(epochs=12, batch_size=128, learning_rate=1e-3, warmup_steps=30, ema=0.99, clip=1.0)

    def digest(self) -> str:
        """Return a digest of everything that decides the weights."""
        value = self.model_dump(mode="json")
        value["train"] = deciding(value["train"])
        for key in ("cache", "license", "training_data"):
            value.pop(key)
        # Where the folders lie decides nothing.
        value["sets"] = [s["name"] for s in value["sets"]]
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A batch: what the tower saw `(B, N, E)`, and conversations."""

    cells: Tensor
    words: Words

    def to(self, device: Any) -> Asked:
        """Return the batch on a device."""
        w = self.words
        moved = Words(ids=w.ids.to(device), mask=w.mask.to(device), answer=w.answer.to(device))
        return Asked(cells=self.cells.to(device), words=moved)


@dataclass(slots=True)
class CaptionStep:
    """Makes batches and losses; everything random is decided by the number of the step."""

    config: CaptionConfig
    data: ToldSet
    model: Any
    weights: Tensor
    kinds: tuple[str, ...] = ()

    def batch(self, rows: npt.NDArray[np.int64], step: int, size: int | None) -> Asked:
        """Return one question per picture, or per its mirror image, which is of the other eye."""
        generator, numbers = generators_of(self.config.train.seed, step)
        views = numbers.integers(0, 2, len(rows))
        conversations = []
        for row, view in zip(rows, views, strict=True):
            told = self.data.told[row].mirrored() if view else self.data.told[row]
            asked = [q for q in questions_about(told) if not self.kinds or q[0] in self.kinds]
            # Kinds first, so that what can be asked in more ways is not asked more often; the easy one least.
            kinds = sorted({q[0] for q in asked})
            chance = np.asarray([_OFTEN.get(k, 2.0) for k in kinds])
            kind = kinds[int(numbers.choice(len(kinds), p=chance / chance.sum()))]
            chosen = [q for q in asked if q[0] == kind]
            _, question, answer = chosen[int(numbers.integers(len(chosen)))]
            conversations.append([Turn(role="user", text=question), Turn(role="assistant", text=answer)])
        cells = torch.from_numpy(self.data.cells[rows, views]).float()
        kept = torch.rand(cells.shape[:2], generator=generator)[..., None] >= self.config.cell_dropout
        # The last rows hold numbers of the whole picture; they are hidden as one.
        kept[:, -self.model.fine_rows :] = True
        return Asked(cells=cells * kept, words=self.model.read(None, conversations))

    def loss(self, batch: Asked, step: int) -> Loss:
        """Return the cross-entropy of the answers, rare findings weighted."""
        logits = self.model.answer_logits(batch.cells, batch.words)
        wanted, counted = answer_tokens(batch.words)
        labels = wanted.masked_fill(~counted, -100)
        total = F.cross_entropy(
            logits[:, :-1].transpose(1, 2), labels, weight=self.weights.to(logits.device), ignore_index=-100
        )
        return Loss(total=total, parts={"words": total})


@dataclass(slots=True)
class CaptionRun(PlainJob):
    """What the loop trains; only the decoder changes."""

    folder: Path
    config: CaptionConfig
    model: Any
    data: ToldSet
    training: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
    metric: str = "answers"
    findings: FittedFindings = field(default_factory=lambda: FittedFindings(cuts={}, expected={}))
    _step: Any = field(default=None)

    def modules(self) -> nn.ModuleDict:
        """Return everything with weights."""
        return nn.ModuleDict({"model": self.model})

    def model_of(self, trained: nn.ModuleDict) -> nn.Module:
        """Return the captioner."""
        return trained["model"]

    def training_mode(self, trained: nn.ModuleDict, epoch: int) -> None:
        """Let the decoder drop out; the tower stays as it is."""
        trained.train()
        trained["model"].tower.eval()

    def step(self) -> CaptionStep:
        """Return what makes batches and losses."""
        if self._step is None:
            self._step = CaptionStep(self.config, self.data, self.model, self.word_weights())
        return self._step

    def word_weights(self) -> Tensor:
        """Return the weight of each word in the loss: rare findings count more, by real training pictures."""
        told = [self.data.told[i] for i in self.training if self.data.told[i].source != "drawn"]
        counts = {k: sum(k in (t.findings or ()) for t in told) for k in FINDINGS}
        tokenizer = self.model._tokenizer
        weights = torch.ones(len(tokenizer))
        most = max(counts.values(), default=0)
        for key, names in FINDINGS.items():
            for name in names:
                if counts[key]:
                    weights[tokenizer.convert_tokens_to_ids(name)] = (most / max(5, counts[key])) ** self.config.rarity
        return weights

    def names(self, rows: npt.NDArray[np.int64]) -> str:
        """Return the pictures of rows."""
        return ", ".join(self.data.told[i].study_id for i in rows)

    @torch.no_grad()
    def score(self, model: Any, epoch: int, device: Any) -> dict[str, float]:
        """Return the share of held-out questions whose first word of the answer is right, by kind, in English."""
        model.eval()
        hits: dict[str, list[bool]] = {}
        for start in range(0, len(self.held_out), 256):
            rows = self.held_out[start : start + 256]
            cells = torch.from_numpy(self.data.cells[rows, 0]).float().to(device)
            for kind in ("modality", "laterality", "retinopathy", "findings"):
                asked = [next((q for q in questions_about(self.data.told[i]) if q[0] == kind), None) for i in rows]
                known = [i for i, q in enumerate(asked) if q is not None]
                if known:
                    chats = [
                        [Turn(role="user", text=asked[i][1]), Turn(role="assistant", text=asked[i][2])] for i in known
                    ]  # type: ignore[index]
                    hits.setdefault(kind, []).extend(_first_right(model, cells[known], model.read(None, chats)))
        each = {k: float(np.mean(v)) for k, v in hits.items()}
        return {"answers": float(np.mean(list(each.values()))), **each} if each else {}

    def groups(self) -> list[dict[str, Any]]:
        """Return parameter groups of the decoder: weight decay on kernels only."""
        own = [p for n, p in self.model.named_parameters() if not n.startswith("tower.")]
        return decayed_groups(own, self.settings.weight_decay)

    def finish(self, model: Any, epochs: int) -> None:
        """Write the weights of the decoder in half precision, and what is needed to use them."""
        # The moving average of what does not change is not it to the last bit.
        model.head.load_state_dict(self.model.head.state_dict())
        path = self.folder / "captioner.safetensors"
        state = model.own_state() if self.config.tower else model.state_dict()
        halved = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        save_state(path, halved, metadata={"model": self.config.model})
        write_json(
            self.folder / "captioner.json",
            {
                "model": self.config.model,
                "options": {k: v for k, v in self.config.options.items() if k != "dropout"},
                "words": list(model._tokenizer.entries),
                "cuts": self.findings.cuts,
                "expected": self.findings.expected,
                "left_out": list(self.findings.left_out),
                **self._tower(),
                "license": self.config.license,
                "training_data": list(self.config.training_data),
                "pictures": len(self.training),
                "split": {"seed": self.config.train.seed, "validation_fraction": self.config.validation_fraction},
                "recipe": self.config.digest(),
                "epochs": epochs,
                "sha256": digest(path),
            },
        )

    def _tower(self) -> dict[str, Any]:
        if not self.config.tower:
            return {}
        folder, name = resolve_model(self.config.tower)
        return {"tower": {"network": name, "sha256": digest_of(folder / "weights.safetensors")}}


def _first_right(model: Any, cells: Tensor, words: Words) -> list[bool]:
    """Return whether the first word of each answer is the likeliest after its question."""
    logits = model.answer_logits(cells, words)
    first = words.answer.int().argmax(1)
    rows = torch.arange(len(first))
    return (logits[rows, first - 1].argmax(1) == words.ids[rows, first]).tolist()


def finding_rows(model: Any, data: ToldSet, rows: npt.NDArray[np.int64]) -> FindingRows:
    """Return the real photographs with known findings among some rows, as the head of findings reads them."""
    known = [int(i) for i in rows if data.told[i].source != "drawn" and data.told[i].findings]
    features = [model.pooled(torch.from_numpy(data.cells[i])).numpy() for i in known]
    return FindingRows(
        features=np.stack(features) if known else np.zeros((0, 2, model.tower.embed_dim), np.float32),
        findings=[data.told[i].findings or () for i in known],
        complete=np.asarray([data.told[i].complete for i in known], np.bool_),
        groups=[data.told[i].group for i in known],
    )


def prepare_captioner(out: str | Path, config: CaptionConfig, reporter: Reporter) -> CaptionRun:
    """Build the captioner, look at every picture, and fit the head of findings.

    Raises:
        InvalidInput: Nothing to train on.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        model = models.create(
            config.model, **config.options, **({"image_weights": config.tower} if config.tower else {})
        )
    for p in model.tower.parameters():
        p.requires_grad_(False)
    card = models.card(config.model).input
    if card is None:
        raise InvalidInput(f"{config.model} says nothing of its pictures.", code="config.model")
    data = prepare_told(
        model.eval(), config.sets, wanted=card, drawn=config.drawn, drawn_seed=config.drawn_seed, drawn_px=config.drawn_px,
        cache=config.cache, reporter=reporter,
    )  # fmt: skip
    write_json(folder / "rejected.json", [{"study_id": n, "code": c, "message": m} for n, c, m in data.rejected])
    outside = data.held_out(config.validation_fraction, seed=config.train.seed)
    training = np.flatnonzero(~outside)
    if len(training) < config.train.batch_size or not outside.any():
        raise InvalidInput(f"{len(training)} pictures to train on are too few.", code="train.too_few")
    # Only of drawn photographs is it asked what small things mean.
    drawn = [i for i in training if data.told[i].retinopathy is not None]
    if drawn:
        small = model.spots_of(torch.from_numpy(data.cells[drawn, 0]).float()).flatten(0, 1)
        small = small[small.any(1)]
        model.fine_mean.copy_(small.mean(0))
        model.fine_std.copy_(small.std(0) + 1e-2)
    run = CaptionRun(
        folder=folder, config=config, model=model, data=data, training=training, held_out=np.flatnonzero(outside)
    )
    known = finding_rows(model, data, training)
    if config.folds and len(known.groups):
        with reporter("fitting findings"):
            run.findings = fit_findings(
                model.head, known, penalty=config.penalty, folds=config.folds, repeats=config.repeats,
                min_count=config.min_count, min_f1=config.min_f1, seed=config.train.seed,
            )  # fmt: skip
    return run


def train_captioner(
    out: str | Path, *, config: CaptionConfig, allow_changes: bool = False, reporter: Reporter | None = None
) -> RunResult:
    """Train a captioner and return where it is; a run that was killed goes on exactly.

    Args:
        out: Run folder; `captioner.safetensors` and `captioner.json` in it are what `weights=FOLDER` reads.
        config: Everything else.
        allow_changes: Go on although configuration or pictures changed; recorded.
        reporter: Called with a title; gives a context whose value is called with (done, total, counts).

    Raises:
        InvalidInput: Nothing to train on, or the folder holds another run.
    """
    reporter = reporter or (lambda title: nullcontext(lambda *a, **k: None))
    with torch.random.fork_rng(devices=[]):
        run = prepare_captioner(out, config, reporter)
        return fit(run, allow_changes=allow_changes, reporter=reporter)


def read_caption_recipe(path: str | Path, data: str | Path | None = None) -> CaptionConfig:
    """Return the configuration in a TOML file.

    Args:
        path: Of the file.
        data: Folder that the roots of the sets are relative to; FUNDUSION_DATA when None.

    Raises:
        InvalidInput: `config.not_found`, `config.invalid` with the key and what is wrong.
    """
    file = Path(path)
    if not file.is_file():
        raise InvalidInput(f"no recipe {file.name!r}.", code="config.not_found", hint="Give a TOML file.")
    try:
        value = tomllib.loads(file.read_text("utf-8"))
        for entry in value.get("sets", []) if data is not None else []:
            entry["root"] = str(Path(data or ".") / entry["root"])
        if "cache" in value:
            value["cache"] = str(file.parent / value["cache"])
        return CaptionConfig.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise InvalidInput(f"{file.name}: {where}: {first['msg']}.", code="config.invalid") from error
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise InvalidInput(f"{file.name} is no recipe: {error}.", code="config.invalid") from error
