"""Whether the data that were given are among those a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import UnknownName
from ..datasets._overlap import MODEL_DATA, overlap
from ..shipped import encoder_facts, shipped_encoders, shipped_facts
from .problems import Problem


def training_sets(model: str) -> tuple[str, ...]:
    """Return what a model was trained on: the sets of a shipped or trained model, or the published model itself by name.

    Raises:
        UnknownName: Neither a shipped model, a folder with one, nor a published model whose training data are known.

    Example:
        >>> training_sets("screen"), training_sets("FLAIR")
        (('odir', 'idrid'), ('FLAIR',))
        >>> training_sets("image_text")
        ('odir', 'idrid', 'stare')
    """
    if model in MODEL_DATA:
        return (model,)
    try:
        facts = encoder_facts(model) if model in shipped_encoders() else shipped_facts(model)
    except UnknownName as error:
        raise UnknownName(
            f"{error.message} Nor is it a published model whose training data are known.",
            hint=f"Published ones: {', '.join(MODEL_DATA)}.",
        ) from error
    return tuple(str(s["name"]) for s in facts.get("split", {}).get("sets", ()))


def contaminated(sources: Sequence[tuple[str, str]], model: str) -> list[Problem]:
    """Return a problem for each way in which an input is, holds or shares training data of the model.

    Args:
        sources: Name of an input and the registered set it was read as.
        model: Shipped model, folder of a trained one, or published model.
    """
    training = training_sets(model)
    return [
        Problem(code="model.contamination", sentence=f"{source}, model {model!r}: {sentence}", studies=())
        for source, name in sources
        for sentence in overlap(name, training)
    ]
