"""Texts -> unit vectors of an aligner, and the vector of a class from several texts.

Source: prompt ensembles, Radford et al. 2021, arXiv:2103.00020, section 3.1.4; FLAIR, Silva-Rodriguez et al. 2023, arXiv:2308.07898 (jusiro/FLAIR):
the mean of unit vectors, not scaled to length one again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Aligner, TextEncoder

#: Most texts of one forward pass.
_BATCH = 64
CALLS = ("alone", "class", "together")


@torch.no_grad()
def embed_texts(aligner: Aligner, texts: Sequence[str], *, device: str | torch.device = "cpu") -> Tensor:
    """Return a unit vector `(N, D)` per text that depends on that text only.

    Texts are encoded in groups of equal length in tokens, so that no text is padded for the sake of a longer one: an encoder that averages
    over padding gives each text the vector it has alone.

    Args:
        aligner: With `tokenize`.
        texts: At least one.
        device: Where the aligner is.

    Raises:
        InvalidInput: No text, or one that has no tokens (`text.empty`); an aligner that gave a number that is not finite.
    """
    _check(texts)
    _, mask = _tokens(aligner, list(texts))
    lengths = mask.sum(1)
    if not bool((lengths > 0).all()):
        raise InvalidInput("a text has no tokens.", code="text.empty", hint="Write a word or a sentence.")
    found: list[Tensor | None] = [None] * len(texts)
    for length in lengths.unique().tolist():
        for rows in (lengths == length).nonzero()[:, 0].split(_BATCH):
            # Tokenised again without longer neighbours: what a tokeniser puts behind a text is its own matter.
            part_ids, part_mask = _tokens(aligner, [texts[i] for i in rows.tolist()])
            vectors = _finite(aligner.align_texts(part_ids.to(device), part_mask.to(device)))
            for i, vector in zip(rows.tolist(), vectors, strict=True):
                found[i] = vector
    return torch.stack([v for v in found if v is not None])


@torch.no_grad()
def class_vectors(
    aligner: Aligner,
    groups: Sequence[Sequence[str]],
    *,
    calls: str = "alone",
    renormalise: bool = False,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Return one vector `(K, D)` per class: the mean of the unit vectors of its texts.

    Args:
        aligner: With `tokenize`.
        groups: Texts of each class.
        calls: "alone": a text never depends on its neighbours. "class": the texts of a class are tokenised in one call, as released code makes
            prototypes; "together": all texts of all classes in one call, as released code answers. The last two differ from the first
            where the model averages over padding.
        renormalise: Scale the mean to length one (CLIP); False leaves it shorter, as FLAIR does.
        device: Where the aligner is.

    Raises:
        InvalidInput: No class, or a class without text.
    """
    if calls not in CALLS:
        raise InvalidInput(f"calls is {calls!r}; choose one of {', '.join(CALLS)}.", code="config.calls")
    if not groups or not all(groups):
        raise InvalidInput("a class has no text.", code="text.empty", hint="Give each label at least one prompt.")
    texts = [t for g in groups for t in g]
    _check(texts)
    if calls == "alone":
        # The same text of two classes is encoded once.
        unique = list(dict.fromkeys(texts))
        place = {t: i for i, t in enumerate(unique)}
        vectors = embed_texts(aligner, unique, device=device)[[place[t] for t in texts]]
    else:
        chunks = [texts] if calls == "together" else [list(g) for g in groups]
        vectors = torch.cat([_one_call(aligner, chunk, device) for chunk in chunks])
    means = torch.stack([part.mean(0) for part in vectors.split([len(g) for g in groups])])
    return torch.nn.functional.normalize(means, dim=1) if renormalise else means


def similarity_logits(aligner: Aligner, images: Tensor, classes: Tensor) -> Tensor:
    """Return `scale * image . class + shift`, `(B, K)`, of vectors `(B, D)` and `(K, D)`."""
    return aligner.scale() * (images @ classes.T) + aligner.shift()


def _one_call(aligner: Aligner, texts: list[str], device: str | torch.device) -> Tensor:
    ids, mask = _tokens(aligner, texts)
    return _finite(aligner.align_texts(ids.to(device), mask.to(device)))


def _tokens(aligner: Aligner, texts: list[str]) -> tuple[Tensor, Tensor]:
    if not isinstance(aligner, TextEncoder):
        raise InvalidInput(f"{type(aligner).__name__} cannot read texts.", code="model.role")
    return aligner.tokenize(texts)


def _check(texts: Sequence[str]) -> None:
    if not texts or not all(t.strip() for t in texts):
        raise InvalidInput("a text is empty.", code="text.empty", hint="Write a word or a sentence.")


def _finite(vectors: Tensor) -> Tensor:
    vectors = vectors.float()
    if not bool(vectors.isfinite().all()):
        raise InvalidInput("the text encoder gave a number that is not finite.", code="model.not_finite")
    return vectors
