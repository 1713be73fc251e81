"""One modality only: the baseline that a fusion has to beat.

Source: none; the control arm of every fusion study.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Features
from ..core.registry import Card, fusions
from ..core.tasks import Task
from ..layers.projection import Projections


class Single(nn.Module):
    """Projection of one modality; a study without it is refused."""

    def __init__(self, modality: str, width: int, embed_dim: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.modality = modality
        self.projections = Projections({modality: width}, embed_dim)

    def forward(self, features: Mapping[str, Features], present: Mapping[str, Tensor]) -> Features:
        """Return the projected vector of the one modality."""
        vectors, _ = self.projections.pooled(features, present)
        return Features(pooled=vectors[:, 0])


@fusions.register("single", Card(title="One modality only", facts={"level": "feature", "needs": "modality"}))
def single(*, dims: Mapping[str, int], tasks: Mapping[str, Task], embed_dim: int, modality: str) -> Single:
    """Return the baseline that reads `modality` and nothing else."""
    if modality not in dims:
        raise InvalidInput(f"modality {modality!r} is none of {sorted(dims)}.")
    return Single(modality, dims[modality], embed_dim)
