"""Learning rates by depth: layers near the input move less.

Source: Clark et al. 2020, arXiv:2003.10555 (layer-wise decay); numbering of Bao et al. 2022, arXiv:2106.08254: the patch embedding, positions
and class token are layer 0, block i is layer i + 1, everything after the blocks is the last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

_FIRST = re.compile(
    r"(^|\.)(patch_embed|pos_embed|cls_token|masked_embed|global_tokens|input_adapters|conv1|bn1)(\.|$)"
)
_BLOCK = re.compile(r"(^|\.)(blocks|encoder|layers)\.(\d+)\.")
_STAGE = re.compile(r"(^|\.)layer(\d)\.")


def layer_of(name: str, depth: int) -> int:
    """Return the layer of a parameter, from 0 to `depth + 1`.

    Example:
        >>> [layer_of(n, 12) for n in ("body.pos_embed", "body.blocks.0.norm1.weight", "body.blocks.11.mlp.fc1.bias", "head.weight")]
        [0, 1, 12, 13]
    """
    block = _BLOCK.search(name)
    if block:
        return int(block.group(3)) + 1
    stage = _STAGE.search(name)
    if stage:
        return int(stage.group(2))
    return 0 if _FIRST.search(name) else depth + 1


def depth_of(names: Iterable[str]) -> int:
    """Return the number of blocks (or stages of a residual network) that parameter names show."""
    found = [0]
    for name in names:
        block, stage = _BLOCK.search(name), _STAGE.search(name)
        if block:
            found.append(int(block.group(3)) + 1)
        elif stage:
            found.append(int(stage.group(2)))
    return max(found)


def decayed_groups(module: nn.Module, *, rate: float, decay: float, weight_decay: float) -> list[dict[str, object]]:
    """Return parameter groups with the rate `rate * decay ** (depth + 1 - layer)` and no weight decay on vectors.

    Args:
        module: Its trainable parameters are grouped.
        rate: Of the head.
        decay: Factor per layer; 1 gives every layer the same rate. RETFound uses 0.65.
        weight_decay: On matrices.
    """
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    depth = depth_of(n for n, _ in module.named_parameters())
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in named:
        groups.setdefault((layer_of(name, depth), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rate * decay ** (depth + 1 - layer),
            "weight_decay": weight_decay if is_matrix else 0.0,
        }
        for (layer, is_matrix), parameters in sorted(groups.items(), key=lambda g: g[0])
    ]
