"""Modalities of different width brought to one width, with absent rows taken out before they can count."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Features


class Projections(nn.Module):
    """LayerNorm and a linear map per modality. Absent rows are replaced before the first operation.

    Even a NaN in an absent row then reaches neither the result nor a gradient.
    """

    def __init__(self, dims: Mapping[str, int], embed_dim: int) -> None:
        super().__init__()
        self.maps = nn.ModuleDict(
            {m: nn.Sequential(nn.LayerNorm(d), nn.Linear(d, embed_dim)) for m, d in sorted(dims.items())}
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Modalities in their fixed order."""
        return tuple(self.maps)

    def pooled(self, features: Mapping[str, Features], present: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return `(B, M, E)` and the mask `(B, M)` in the order of `names`; absent entries are zero.

        Raises:
            InvalidInput: A study has none of the modalities (`study.empty`).
        """
        first = next(iter(present.values()), None)
        rows = 0 if first is None else first.shape[0]
        vectors, masks = [], []
        for name, project in self.maps.items():
            mask = present.get(name)
            if mask is None or name not in features:
                like = next(iter(features.values())).pooled if features else torch.zeros(rows, 1)
                width = project[1].out_features
                vectors.append(torch.zeros(rows, width, device=like.device))
                masks.append(torch.zeros(rows, dtype=torch.bool, device=like.device))
                continue
            clean = torch.where(mask[:, None], features[name].pooled.float(), torch.zeros((), device=mask.device))
            vectors.append(torch.where(mask[:, None], project(clean), torch.zeros((), device=mask.device)))
            masks.append(mask)
        stacked = torch.stack(masks, 1)
        if rows == 0 or not bool(stacked.any(1).all()):
            raise InvalidInput(
                f"a study has none of the modalities {', '.join(self.names)}.",
                code="study.empty",
                hint="Every study needs at least one modality the network reads.",
            )
        return torch.stack(vectors, 1), stacked

    def tokens(
        self, features: Mapping[str, Features], present: Mapping[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Return modality to tokens `(B, N, E)` and their mask; the pooled vector is the first token."""
        result = {}
        for name, project in self.maps.items():
            if name not in features or name not in present:
                continue
            f, mask = features[name], present[name]
            parts, masks = [f.pooled[:, None]], [mask[:, None]]
            if f.tokens is not None:
                known = f.token_mask if f.token_mask is not None else torch.ones(f.tokens.shape[:2], dtype=torch.bool)
                parts.append(f.tokens)
                masks.append(known.to(mask.device) & mask[:, None])
            joined, seen = torch.cat([p.float() for p in parts], 1), torch.cat(masks, 1)
            zero = torch.zeros((), device=joined.device)
            clean = torch.where(seen[..., None], joined, zero)
            result[name] = (torch.where(seen[..., None], project(clean), zero), seen)
        return result
