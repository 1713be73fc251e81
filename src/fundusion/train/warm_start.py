"""Segmenters that begin from the weights of another one: fine-tuning on few masks, or a last phase under lighter changes of the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..core.errors import InvalidInput
from ..layers.weights import fit_state
from ..segmenting import load_segmenter
from ..shipped import segmenter_facts

_LAST = "unet1.final."


def _facts(name: str) -> dict[str, Any]:
    if ("/" in name or "\\" in name) and not Path(name).is_dir():
        raise InvalidInput(
            f"the recipe begins from {name!r}, and no such folder lies beside it.",
            code="config.start",
            hint="Train that segmenter first (its recipe says with which command), or name one of the package.",
        )
    return segmenter_facts(name)


def start_digest(name: str) -> str:
    """Return the SHA-256 of the weights that a recipe begins from, so that a run of other weights is another run.

    Args:
        name: Shipped segmenter, or a folder with `segmenter.json`.

    Raises:
        InvalidInput: `config.start`: a folder that does not exist.
        UnknownName: No such segmenter.
    """
    return str(_facts(name)["sha256"])


def seen_before(name: str) -> set[str]:
    """Return the sets that the weights begun from were trained on; none where nothing is begun from."""
    return set(_facts(name).get("training_data", ())) if name else set()


def left_out(name: str, marks: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return by set the patients that neither a run nor the weights it began from were trained on, as `MaskData.marks`.

    Args:
        name: What the run began from; none where it is empty.
        marks: What the run itself holds out.
    """
    before = _facts(name).get("held_out", {}) if name else {}
    return {key: list(marks.get(key, before.get(key, ()))) for key in sorted({*before, *marks})}


def refuse_trained_patients(name: str, marks: Mapping[str, Sequence[str]]) -> None:
    """Compare the patients that a run holds out with those that the weights it begins from were trained on.

    Args:
        name: Shipped segmenter, or a folder with `segmenter.json`; nothing is compared where it is empty.
        marks: What the run holds out, as `MaskData.marks`.

    Raises:
        InvalidInput: `train.leak`: some of them were trained on before, or nothing says whether they were.
    """
    facts = _facts(name) if name else {}
    both = sorted(seen_before(name) & marks.keys())
    if both and "held_out" not in facts:
        raise InvalidInput(
            f"{name!r} saw {', '.join(both)} and does not say which patients it left out.",
            code="train.leak",
            hint="Begin from a segmenter that was trained with this version, or leave the set out.",
        )
    known = [mark for key in both for mark in marks[key] if mark not in facts["held_out"].get(key, ())]
    if known:
        total = sum(len(marks[key]) for key in both)
        raise InvalidInput(
            f"{len(known)} of the {total} patients that would be held out of {', '.join(both)} were trained on by {name!r}.",
            code="train.leak",
            hint="Keep the sets, `validation_fraction` and `train.seed` of its recipe, or leave the set out.",
        )


def start_from(name: str, model: Any, *, model_name: str, options: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Load the weights of a segmenter into a new network; structures that both have keep their answer, new ones begin at random.

    Args:
        name: Shipped segmenter, or a folder with `segmenter.json`.
        model: New network, of `classes`.
        model_name: Registered name of it.
        options: Of it, without classes.
        classes: Structures, in the order of its outputs.

    Raises:
        UnknownName: No such segmenter.
        InvalidInput: Its network is another one; or it is a W-Net of other structures, whose second part reads every answer of the first.
        IncompatibleWeights: The file was damaged or exchanged (`model.digest`).
    """
    _facts(name)
    begun = load_segmenter(name)
    facts = begun.facts
    theirs = {k: v for k, v in facts["options"].items() if k != "classes"}
    if (facts["model"], theirs) != (model_name, dict(options)):
        raise InvalidInput(
            f"{name!r} is {facts['model']} with {theirs}, the recipe is {model_name} with {dict(options)}.",
            code="config.invalid",
            hint="Give model and options of the segmenter that is begun from.",
        )
    state = begun.model.state_dict()
    known = list(begun.classes)
    if known != list(classes):
        if getattr(model, "unet2", None) is not None:
            raise InvalidInput(
                f"{name!r} is a W-Net of {', '.join(known)}; one of {', '.join(classes)} cannot begin from it.",
                code="config.invalid",
                hint="Give the same structures in the same order.",
            )
        state = state | _rows(model.state_dict(), state, known, classes)
    fit_state(model, state)


def _rows(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], known: list[str], classes: Sequence[str]
) -> dict[str, Tensor]:
    """Return the last layer: rows of structures that both have, the others as they are."""
    made = {k: v.clone() for k, v in own.items() if k.startswith(_LAST)}
    for number, structure in enumerate(classes):
        if structure in known:
            for key, value in made.items():
                value[number] = given[key][known.index(structure)]
    return made
