"""Encoders by modality, one fusion, a dictionary of heads: build, run, save and load."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .core.differences import differences
from .core.durable import write_json
from .core.errors import IncompatibleWeights, InvalidInput
from .core.interfaces import Batch, Features, NetworkOutput
from .core.registry import ImageInput, fusions, models
from .core.table import TableSchema
from .core.tasks import Task
from .core.vocabulary import TABLE, TEXT, Modality
from .layers.heads import Head
from .layers.pooling import FramePool, patches_by_study
from .layers.weights import digest, fit_state, load_state, metadata_of, save_state

FORMAT = 1
_IMAGE_MODALITIES = frozenset(m.value for m in Modality)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """Everything needed to build the same network again.

    Args:
        encoders: Modality to (name, options) of a registered model.
        fusion: Name and options of a registered fusion.
        tasks: Head name to what it answers.
        table: Columns the table encoder reads.
        embed_dim: Width of the fused vector.
        modality_dropout: Greatest probability that a present modality is hidden in training; each study draws its own.
        head_dropout: Dropout before the heads.
        inputs: Image modality to the pixels its encoder wants.
    """

    encoders: Mapping[str, tuple[str, dict[str, Any]]]
    fusion: tuple[str, dict[str, Any]]
    tasks: Mapping[str, Task]
    table: TableSchema | None = None
    embed_dim: int = 256
    modality_dropout: float = 0.75
    head_dropout: float = 0.0
    inputs: Mapping[str, ImageInput] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        from dataclasses import asdict

        return {
            "encoders": {m: [name, dict(options)] for m, (name, options) in self.encoders.items()},
            "fusion": [self.fusion[0], dict(self.fusion[1])],
            "tasks": {name: task.to_dict() for name, task in self.tasks.items()},
            "table": self.table.to_dict() if self.table else None,
            "embed_dim": self.embed_dim,
            "modality_dropout": self.modality_dropout,
            "head_dropout": self.head_dropout,
            "inputs": {m: asdict(i) for m, i in self.inputs.items()},
        }

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> NetworkSpec:
        """Return the spec a `to_dict` form describes."""
        return NetworkSpec(
            encoders={m: (name, dict(options)) for m, (name, options) in value["encoders"].items()},
            fusion=(value["fusion"][0], dict(value["fusion"][1])),
            tasks={name: Task.from_dict(task) for name, task in value["tasks"].items()},
            table=TableSchema.from_dict(value["table"]) if value.get("table") else None,
            embed_dim=int(value["embed_dim"]),
            modality_dropout=float(value["modality_dropout"]),
            head_dropout=float(value.get("head_dropout", 0.0)),
            inputs={
                m: ImageInput(**{**i, "mean": tuple(i["mean"]), "std": tuple(i["std"])})
                for m, i in value["inputs"].items()
            },
        )


class MultimodalNetwork(nn.Module):
    """Encoders by modality, frame pooling, one fusion and heads. Build it with `build_network`."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.modalities = tuple(spec.encoders)
        #: Modality to the origin of published weights its encoder started from: source, digest, licence.
        self.origins: dict[str, dict[str, Any]] = {}
        self.encoders = nn.ModuleDict()
        self.pools = nn.ModuleDict()
        inputs = dict(spec.inputs)
        for modality, (name, options) in spec.encoders.items():
            card = models.card(name)
            if modality in _IMAGE_MODALITIES:
                _need_role(modality, name, card.roles, "encode")
                inputs.setdefault(modality, _input_of(name, options))
            else:
                _need_role(modality, name, card.roles, {TEXT: "encode_text", TABLE: "encode_table"}[modality])
            more = {"schema": spec.table} if modality == TABLE else {}
            chosen = {k: v for k, v in options.items() if k not in _INPUT_OPTIONS}
            encoder = models.create(name, **_pretrained(chosen, name, inputs.get(modality)), **more)
            if "align" in card.roles:
                # Fusion reads one tower; the other one and the projections would be weights that nothing trains.
                encoder = encoder.text_tower() if modality == TEXT else encoder.image_tower()
            self.encoders[modality] = encoder
            if getattr(encoder, "weights_record", None):
                self.origins[modality] = {"model": name, **encoder.weights_record}
            if modality in _IMAGE_MODALITIES:
                self.pools[modality] = FramePool(encoder.embed_dim)
        self.spec = replace(spec, inputs=inputs)
        dims = {m: int(e.embed_dim) for m, e in self.encoders.items()}
        self.decision_level = fusions.card(spec.fusion[0]).facts.get("level") == "decision"
        self.fusion = fusions.create(
            spec.fusion[0], dims=dims, tasks=dict(spec.tasks), embed_dim=spec.embed_dim, **spec.fusion[1]
        )
        self.heads = nn.ModuleDict()
        for name, task in spec.tasks.items():
            if self.decision_level:
                self.heads[name] = nn.ModuleDict({m: Head(task, d, dropout=spec.head_dropout) for m, d in dims.items()})
            else:
                self.heads[name] = Head(task, self.fusion.embed_dim, dropout=spec.head_dropout)

    def image_vectors(self, modality: str, images: Tensor) -> Features:
        """Return features per image.

        Shapes:
            images `(T, C, H, W)`; pooled `(T, E)`; maps of the last stage `(T, E, h, w)`.
        """
        return self.encoders[modality].encode(images)

    def encode(self, batch: Batch) -> dict[str, Features]:
        """Return features by modality, one row per study; rows of absent studies are zero.

        Images that are already vectors `(T, E)` (cached by a frozen encoder) skip the encoder.
        """
        features: dict[str, Features] = {}
        present = batch.presence()
        for modality in self.modalities:
            if modality not in present or not bool(present[modality].any()):
                continue
            if modality == TEXT:
                features[modality] = self.encoders[TEXT].encode_text(batch.text_ids, batch.text_mask)
            elif modality == TABLE:
                features[modality] = self.encoders[TABLE].encode_table(batch.table, batch.table_mask)
            else:
                features[modality] = self._encode_images(modality, batch)
        return features

    def _encode_images(self, modality: str, batch: Batch) -> Features:
        images, owner = batch.images[modality], batch.owner[modality]
        vectors = Features(pooled=images) if images.ndim == 2 else self.image_vectors(modality, images)
        pooled, attention, tokens, token_mask = self.pools[modality](vectors.pooled, owner, len(batch))
        if getattr(self.encoders[modality], "gives_patches", False) and vectors.tokens is not None:
            tokens, token_mask = patches_by_study(vectors.tokens, owner, len(batch))
        return Features(
            pooled=pooled,
            tokens=tokens,
            token_mask=token_mask,
            maps=vectors.maps[-1:],
            extras={"frame_attention": attention, "frame_vectors": vectors.pooled, "owner": owner},
        )

    def fuse(self, features: Mapping[str, Features], presence: Mapping[str, Tensor]) -> NetworkOutput:
        """Return the answer for features that are already encoded; cheap, so that it can be asked for every subset.

        Raises:
            InvalidInput: A study has no modality that the network reads (`study.empty`).
        """
        used = {m: presence[m] for m in self.modalities if m in presence and m in features}
        rows = next(iter(presence.values())).shape[0] if presence else 0
        covered = torch.stack(list(used.values())).any(0) if used else torch.zeros(rows, dtype=torch.bool)
        if not bool(covered.all()):
            raise InvalidInput(
                f"{int((~covered).sum())} of {rows} studies have none of the modalities this network reads: "
                f"{', '.join(self.modalities)}.",
                code="study.empty",
                hint="Give at least one of them, or use another model.",
            )
        features = {m: features[m] for m in used}
        if not self.decision_level:
            fused = self.fusion(features, used)
            logits = {name: head(fused.pooled) for name, head in self.heads.items()}
            return NetworkOutput(logits=logits, fused=fused, features=features, presence=used)
        by_modality = {
            name: {m: heads[m](_zero_absent(features[m].pooled, used[m])) for m in used}
            for name, heads in self.heads.items()
        }
        logits = {name: self.fusion.combine(name, parts, used) for name, parts in by_modality.items()}
        return NetworkOutput(logits=logits, fused=None, features=features, presence=used, by_modality=by_modality)

    def forward(self, batch: Batch, *, generator: torch.Generator | None = None) -> NetworkOutput:
        """Return logits for a batch. In training, present modalities are hidden at random, never the last one."""
        presence = {m: p for m, p in batch.presence().items() if m in self.encoders}
        if self.training and self.spec.modality_dropout > 0:
            presence = drop_modalities(presence, self.spec.modality_dropout, vary=True, generator=generator)
        return self.fuse(self.encode(batch), presence)

    def save(
        self, folder: str | Path, *, extra: Mapping[str, Any] | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Write `weights.safetensors` and `network.json` (spec, digest of the weights, `extra`).

        Args:
            folder: Created when it does not exist.
            extra: JSON-ready facts that travel with the weights: calibration, thresholds, card.
            dtype: Storage type of floating point tensors; None keeps theirs.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        state = {
            k: (v.to(dtype) if dtype is not None and v.is_floating_point() else v).contiguous()
            for k, v in self.state_dict().items()
        }
        if TEXT in self.encoders and hasattr(self.encoders[TEXT], "save_words"):
            self.encoders[TEXT].save_words(target / _WORDS)
        # What the weights mean travels in their own file: a description of another order of classes, or of other pixels, is found out.
        save_state(
            target / "weights.safetensors",
            state,
            metadata={"meaning": json.dumps(_meaning(self.spec.to_dict()), sort_keys=True)},
        )
        write_json(
            target / "network.json",
            {
                "format": FORMAT,
                "network": self.spec.to_dict(),
                "weights_sha256": digest(target / "weights.safetensors"),
                "encoder_weights": self.origins,
                "extra": dict(extra or {}),
            },
        )


#: Options that say where first weights came from.
_FIRST = ("weights", "sha256")
#: Folder of a saved network with the tokenizer of a text encoder that has one.
_WORDS = "words"


def _without_origin(modality: str, name: str, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return options that build an encoder without the files its first weights and words came from."""
    kept = {k: v for k, v in options.items() if k not in _FIRST}
    words = folder / _WORDS
    if modality == TEXT and words.is_dir():
        known = inspect.signature(models.builder(name)).parameters
        kept |= {k: v for k, v in (("source", None), ("tokenizer", str(words))) if k in known}
    return kept


_INPUT_OPTIONS = ("mean", "std", "crop", "max_frames", "fit", "resample", "enhance")


def _meaning(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a spec that shapes cannot tell: pixels, questions with their classes in order, columns."""
    return {k: spec.get(k) for k in ("inputs", "tasks", "table")}


def _check_meaning(weights: Path, spec: Mapping[str, Any]) -> None:
    """Refuse weights whose file says they were trained for something else; older files say nothing."""
    said = metadata_of(weights).get("meaning")
    if said is None:
        return
    found = differences(_meaning(spec), json.loads(said))
    if found:
        raise IncompatibleWeights(
            f"network.json does not describe these weights: {'; '.join(found[:3])}"
            + (f" and {len(found) - 3} more." if len(found) > 3 else "."),
            code="model.meaning",
            hint="Both files must come from one training; get the folder again.",
        )


def _input_of(name: str, options: Mapping[str, Any]) -> ImageInput:
    base = models.card(name).input or ImageInput()
    changes = {k: tuple(options[k]) if k in ("mean", "std") else options[k] for k in _INPUT_OPTIONS if k in options}
    if "image_size" in options:
        changes["size"] = int(options["image_size"])
    return replace(base, **changes)


def _pretrained(options: dict[str, Any], name: str, pixels: ImageInput | None) -> dict[str, Any]:
    """Return options with the folder of `fundusion pretrain` replaced by the encoder in it."""
    folder = Path(options["weights"]) if options.get("weights") else None
    if folder is None or not (folder / "encoder.json").is_file():
        return options
    facts = json.loads((folder / "encoder.json").read_text("utf-8"))
    weights = folder / "encoder.safetensors"
    # Another size of the family is refused by its shapes.
    if facts["model"].partition(".")[0] != name.partition(".")[0]:
        raise IncompatibleWeights(
            f"the encoder in {folder.name!r} is a {facts['model']!r}, asked for was {name!r}.",
            hint=f"Use name = {facts['model']!r}.",
        )
    # Training without labels shows every encoder the pixels of its card; the size alone may change.
    seen = models.card(name).input
    if pixels is not None and seen is not None:
        check_pixels(pixels, seen, what=f"the encoder in {folder.name!r}")
    if not weights.is_file() or digest(weights) != facts["sha256"]:
        raise IncompatibleWeights(
            f"encoder.safetensors of {folder.name!r} is missing or damaged.",
            code="model.digest",
            hint="Train it again.",
        )
    return {**options, "weights": str(weights)}


def check_pixels(wanted: ImageInput, seen: ImageInput, *, what: str) -> None:
    """Refuse pixels that weights never saw: another normalisation, cut or number of channels.

    Raises:
        IncompatibleWeights: `model.preprocessing`, with the first differences.
    """
    names = ("mean", "std", "crop", "channels")
    found = differences({n: getattr(wanted, n) for n in names}, {n: getattr(seen, n) for n in names})
    if found:
        raise IncompatibleWeights(
            f"{what} was trained on other pixels: {'; '.join(found[:3])}.",
            code="model.preprocessing",
            hint="Leave mean, std and crop as the weights saw them.",
        )


def _need_role(modality: str, name: str, roles: frozenset[str], role: str) -> None:
    if role not in roles:
        raise InvalidInput(
            f"model {name!r} cannot read {modality!r}: it has the roles {sorted(roles)}, needed is {role!r}.",
            hint=f"List fitting ones with: fundusion models --role {role}",
        )


def _zero_absent(pooled: Tensor, present: Tensor) -> Tensor:
    return torch.where(present[:, None], pooled, torch.zeros((), dtype=pooled.dtype, device=pooled.device))


def drop_modalities(
    presence: Mapping[str, Tensor], rate: float, *, vary: bool = False, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Return a presence with each present modality hidden with probability `rate`; every study keeps at least one.

    Args:
        presence: Modality to bool `(B,)`.
        rate: Probability, in [0, 1).
        vary: Each study draws its own probability uniformly from 0 to `rate`, so that complete studies and studies with
            one modality left are both common, whatever the number of modalities. This is how networks are trained.
        generator: Of the draws.

    Source: Neverova et al. 2016 (ModDrop), doi:10.1109/TPAMI.2015.2461544. A study that would lose everything keeps the
    modality with the largest draw, so the choice stays uniform. Deviation: the varying rate, which
    `benchmarks/reproduce/missing_modalities.py` measures.
    """
    names = list(presence)
    present = torch.stack([presence[m] for m in names], 1)
    draw = torch.rand(present.shape, generator=generator, device="cpu").to(present.device)
    draw = draw.masked_fill(~present, -1.0)
    limit: float | Tensor = rate
    if vary:
        limit = (torch.rand((len(present), 1), generator=generator, device="cpu") * rate).to(present.device)
    kept = present & (draw >= limit)
    lost = ~kept.any(1) & present.any(1)
    kept[lost, draw[lost].argmax(1)] = True
    return {m: kept[:, i] for i, m in enumerate(names)}


def build_network(
    encoders: Mapping[str, str | tuple[str, dict[str, Any]]],
    fusion: str | tuple[str, dict[str, Any]] = "gated",
    heads: Mapping[str, Task] | None = None,
    *,
    table: TableSchema | None = None,
    embed_dim: int = 256,
    modality_dropout: float = 0.75,
    head_dropout: float = 0.0,
    seed: int | None = None,
) -> MultimodalNetwork:
    """Return a network with fresh weights.

    Args:
        encoders: Modality ("cfp", "oct", ..., "text", "table") to the name of a model, or (name, options).
        fusion: Name of a fusion, or (name, options).
        heads: Task name to `Task`; `Ordinal(5)`, `MultiLabel("NDGCAHMO")`, ...
        table: Columns of the table; needed when "table" is among the encoders.
        embed_dim: Width of the fused vector.
        modality_dropout: Greatest probability that a present modality is hidden in a training step; each study draws
            its own probability below it.
        head_dropout: Dropout before the heads.
        seed: Makes the fresh weights reproducible without touching the global generator.

    Raises:
        InvalidInput: No head, unknown modality, or a model that cannot read its modality.

    Example:
        >>> from fundusion.core.tasks import Ordinal
        >>> network = build_network({"cfp": "resnet.test"}, "concat", {"dr_grade": Ordinal(5)}, embed_dim=16)
        >>> network.modalities
        ('cfp',)
    """
    if not heads:
        raise InvalidInput("a network needs at least one head.", hint='For instance heads={"dr_grade": fu.Ordinal(5)}.')
    if not encoders:
        raise InvalidInput("a network needs at least one encoder.", hint='For instance encoders={"cfp": "resnet.18"}.')
    known = _IMAGE_MODALITIES | {TEXT, TABLE}
    unknown = sorted(set(encoders) - known)
    if unknown:
        raise InvalidInput(f"unknown modalities {unknown}.", code="modality.unknown", hint=f"Known: {sorted(known)}.")
    if TABLE in encoders and (table is None or len(table) == 0):
        raise InvalidInput(
            "a table encoder needs a schema of at least one column.", hint="Give table=fu.TableSchema.fit(rows)."
        )
    spec = NetworkSpec(
        encoders={m: (e, {}) if isinstance(e, str) else (e[0], dict(e[1])) for m, e in encoders.items()},
        fusion=(fusion, {}) if isinstance(fusion, str) else (fusion[0], dict(fusion[1])),
        tasks=dict(heads),
        table=table,
        embed_dim=embed_dim,
        modality_dropout=modality_dropout,
        head_dropout=head_dropout,
    )
    if seed is None:
        return MultimodalNetwork(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MultimodalNetwork(spec)


def load_network(folder: str | Path) -> tuple[MultimodalNetwork, dict[str, Any]]:
    """Return a saved network in evaluation mode and the facts saved with it.

    Raises:
        IncompatibleWeights: Not a saved network, of another format, the digest differs, or a tensor is missing,
            unexpected or of another shape.
    """
    source = Path(folder)
    try:
        description = json.loads((source / "network.json").read_text("utf-8"))
        spec = NetworkSpec.from_dict(description["network"])
        expected = description["weights_sha256"]
    except FileNotFoundError as error:
        raise IncompatibleWeights(
            f"{source.name!r} holds no saved network: {Path(error.filename).name} is missing.",
            code="model.not_found",
            hint="Give the folder that training wrote, or a name from `fundusion models --role analyze`.",
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise IncompatibleWeights(
            f"network.json of {source.name!r} cannot be read: {error}.", code="model.corrupt"
        ) from error
    if description.get("format") != FORMAT:
        raise IncompatibleWeights(
            f"network.json has format {description.get('format')!r}; this version reads {FORMAT}.",
            code="model.format",
            hint="Use the version of fundusion that wrote it, or train again.",
        )
    weights = source / "weights.safetensors"
    if not weights.is_file():
        raise IncompatibleWeights(f"{source.name!r} has no weights.safetensors.", code="model.not_found")
    found = digest(weights)
    if found != expected:
        raise IncompatibleWeights(
            f"weights.safetensors has SHA-256 {found[:16]}..., network.json expects {expected[:16]}...",
            code="model.digest",
            hint="The file was damaged or exchanged; get it again.",
        )
    _check_meaning(weights, description["network"])
    # Every tensor is in the file: where the first weights came from is history, and need not exist any more.
    fresh = {m: (n, _without_origin(m, n, o, source)) for m, (n, o) in spec.encoders.items()}
    joined = (spec.fusion[0], {k: v for k, v in spec.fusion[1].items() if k not in _FIRST})
    network = MultimodalNetwork(replace(spec, encoders=fresh, fusion=joined))
    network.spec = replace(network.spec, encoders=spec.encoders, fusion=spec.fusion)
    network.origins = dict(description.get("encoder_weights") or {})
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_state(weights).items()}
    fit_state(network, state)
    facts = {**description.get("extra", {}), "weights_sha256": found}
    if network.origins:
        facts["encoder_weights"] = network.origins
    return network.eval(), facts
