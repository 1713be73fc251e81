"""Which parts of a generator a stage of training moves: image tower, queries, projector, language model.

Source: LLaVA (arXiv:2304.08485) moves the projector, then projector and language model; BLIP-2 (arXiv:2301.12597) and InstructBLIP the
queries and the projector; EyeFM's copilot (doi:10.1038/s41591-025-03900-7) the projector in both stages.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from torch import nn

from ..core.errors import InvalidInput

#: Part -> expression for names of weights, the first that fits decides.
PARTS = {
    "projector": r".*(multi_modal_projector|language_projection|\bprojector|visual\.merger)\..*",
    "queries": r".*(\bqformer\.|query_tokens).*",
    "vision": r".*(vision_model|vision_tower|\bvisual|\btower)\..*",
    "language": r".*",
}


def part_of(name: str) -> str:
    """Return the part a weight belongs to.

    Example:
        >>> [part_of(n) for n in ("body.qformer.layer.0.w", "body.language_projection.bias", "body.lm_head.weight")]
        ['queries', 'projector', 'language']
    """
    return next(part for part, pattern in PARTS.items() if re.fullmatch(pattern, name))


def train_parts(model: nn.Module, parts: Collection[str]) -> list[nn.Parameter]:
    """Freeze all other parts of a generator and return the weights that are trained.

    Args:
        model: A generator.
        parts: Of `PARTS`.

    Raises:
        InvalidInput: An unknown part, or one this model has not.
    """
    unknown = sorted(set(parts) - set(PARTS))
    if unknown or not parts:
        raise InvalidInput(f"parts {unknown or '()'} are not of {', '.join(PARTS)}.", code="config.invalid")
    found: dict[str, list[nn.Parameter]] = {part: [] for part in PARTS}
    for name, weight in model.named_parameters():
        found[part_of(name)].append(weight)
    empty = [p for p in parts if not found[p]]
    if empty:
        raise InvalidInput(
            f"this model has no {empty[0]}.",
            code="config.invalid",
            hint=f"It has {', '.join(p for p, own in found.items() if own)}.",
        )
    model.requires_grad_(False)
    chosen = [weight for part in PARTS if part in parts for weight in found[part]]
    for weight in chosen:
        weight.requires_grad_(True)
    return chosen
