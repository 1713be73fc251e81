"""iBOT: a student that sees two views with hidden patches learns the answers of a slowly moving teacher that sees them whole.

Source: Zhou et al. 2022, arXiv:2111.07832 (equations 2 and 3); settings of VisionFM, doi:10.1056/AIoa2300221. Two global views, no local
ones.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InvalidInput
from ..core.interfaces import Loss
from ..core.registry import Card, objectives


class NormedLinear(nn.Module):
    """A linear map whose rows have length `weight_g`, one and fixed."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(outer, 1), requires_grad=False)
        self.weight_v = nn.Parameter(torch.empty(outer, inner))
        nn.init.trunc_normal_(self.weight_v, std=0.02)

    def forward(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """Return `(..., outer)`; a frozen map passes gradients on and gets none."""
        rows = self.weight_v.detach() if frozen else self.weight_v
        return F.linear(x, F.normalize(rows, dim=1) * self.weight_g)


class IBOTHead(nn.Module):
    """Perceptron, unit length, prototypes; one set of prototypes for class token and patches."""

    def __init__(self, embed_dim: int, outputs: int = 8192, *, hidden: int = 2048, bottleneck: int = 256) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer = NormedLinear(bottleneck, outputs)
        self.last_layer2 = self.last_layer

    def forward(self, tokens: Tensor, *, frozen: bool = False) -> tuple[Tensor, Tensor]:
        """Return answers of the class token `(T, K)` and of the patches `(T, N, K)`; class token first in `tokens`.

        Args:
            tokens: `(T, 1 + N, E)`.
            frozen: The prototypes get no gradient.
        """
        x = F.normalize(self.mlp(tokens), dim=-1)
        return self.last_layer(x[:, 0], frozen=frozen), self.last_layer2(x[:, 1:], frozen=frozen)


def teacher_temperature(epoch: float, *, start: float, end: float, warmup: int) -> float:
    """Return the temperature of an epoch: linear over the first `warmup` ones, the last of which has `end`.

    Example:
        >>> round(teacher_temperature(5, start=0.07, end=0.04, warmup=30), 6)
        0.064828
    """
    if warmup < 2 or epoch >= warmup:
        return end
    return start + (end - start) * min(1.0, epoch / (warmup - 1))


class IBOTLoss(nn.Module):
    """Cross-entropy across views on class tokens and within views on hidden patches, with centred teacher answers.

    Args:
        outputs: Prototypes.
        student_temperature: Of the student.
        momentum: Of both centres.
        weights: Of the two parts.
    """

    def __init__(
        self,
        outputs: int,
        *,
        student_temperature: float = 0.1,
        momentum: float = 0.9,
        weights: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        self.student_temperature, self.momentum, self.weights = student_temperature, momentum, weights
        self.center: Tensor
        self.center2: Tensor
        self.register_buffer("center", torch.zeros(1, outputs))
        self.register_buffer("center2", torch.zeros(1, 1, outputs))

    def forward(
        self,
        student: tuple[Tensor, Tensor],
        teacher: tuple[Tensor, Tensor],
        masks: Sequence[Tensor],
        *,
        temperatures: tuple[float, float],
    ) -> Loss:
        """Return the loss and move the centres.

        Args:
            student: Class answers `(V * B, K)` and patch answers `(V * B, N, K)`, view after view.
            teacher: The same, of the teacher.
            masks: Per view `(B, ...)`, true where a patch was hidden from the student.
            temperatures: Of the teacher: class, patch.
        """
        views = len(masks)
        student_cls = (student[0] / self.student_temperature).chunk(views)
        student_patch = (student[1] / self.student_temperature).chunk(views)
        teacher_cls = ((teacher[0] - self.center) / temperatures[0]).softmax(-1).detach().chunk(views)
        teacher_patch = ((teacher[1] - self.center2) / temperatures[1]).softmax(-1).detach().chunk(views)
        across, within = [], []
        for q in range(views):
            for v in range(views):
                if q != v:
                    across.append(-(teacher_cls[q] * student_cls[v].log_softmax(-1)).sum(-1).mean())
            hidden = masks[q].flatten(1).to(student_patch[q].dtype)
            terms = -(teacher_patch[q] * student_patch[q].log_softmax(-1)).sum(-1)
            within.append(((terms * hidden).sum(1) / hidden.sum(1).clamp(min=1)).mean())
        parts = {
            "cls": self.weights[0] * torch.stack(across).mean(),
            "patch": self.weights[1] * torch.stack(within).mean(),
        }
        self._move_centres(*teacher)
        return Loss(total=parts["cls"] + parts["patch"], parts=parts)

    @torch.no_grad()
    def _move_centres(self, cls: Tensor, patch: Tensor) -> None:
        keep = self.momentum
        self.center.mul_(keep).add_(cls.float().mean(0, keepdim=True) * (1 - keep))
        self.center2.mul_(keep).add_(patch.float().mean(1).mean(0)[None, None] * (1 - keep))


class IBOT(nn.Module):
    """Student and teacher around a plain vision transformer.

    Args:
        body: A transformer with `patch_embed` and tokens with the class token first: timm's or the house's.
        embed_dim: Of its tokens.
        outputs: Prototypes.
        hidden: Width of the head.
        bottleneck: Width before the prototypes.
        freeze_epochs: First epochs in which the prototypes do not move, so that the student does not run after random ones.
        warmup_epochs: Of the teacher's temperatures.
        momentum: First inertia of the teacher; it rises to one.
        cls_temperature: Of the teacher, first and last.
        patch_temperature: Of the teacher, first and last.
    """

    def __init__(
        self,
        body: nn.Module,
        embed_dim: int,
        *,
        outputs: int = 8192,
        hidden: int = 2048,
        bottleneck: int = 256,
        freeze_epochs: int = 3,
        warmup_epochs: int = 30,
        momentum: float = 0.996,
        cls_temperature: tuple[float, float] = (0.07, 0.04),
        patch_temperature: tuple[float, float] = (0.04, 0.07),
    ) -> None:
        super().__init__()
        if not hasattr(body, "patch_embed") or not hasattr(body, "cls_token"):
            raise InvalidInput(
                "iBOT needs a plain vision transformer with a class token.", hint="For instance vit.small_16."
            )
        head = IBOTHead(embed_dim, outputs, hidden=hidden, bottleneck=bottleneck)
        self.student = nn.ModuleDict({"backbone": body, "head": head})
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        # One vector stands for every hidden patch.
        self.masked_embed = nn.Parameter(torch.zeros(1, embed_dim))
        self.loss = IBOTLoss(outputs)
        self.freeze_epochs, self.warmup_epochs, self.momentum = freeze_epochs, warmup_epochs, momentum
        self.cls_temperature, self.patch_temperature = cls_temperature, patch_temperature

    def forward_loss(self, views: Sequence[Tensor], masks: Sequence[Tensor], *, epoch: float) -> Loss:
        """Return the loss of views `(B, 3, H, W)` and the masks `(B, h, w)` of what the student does not see."""
        images, hidden = torch.cat(list(views)), torch.cat([m.bool() for m in masks])
        tokens = masked_tokens(self.student["backbone"], images, hidden, self.masked_embed)
        student = self.student["head"](tokens, frozen=epoch < self.freeze_epochs)
        with torch.no_grad():
            teacher = self.teacher["head"](masked_tokens(self.teacher["backbone"], images))
        temperatures = (
            teacher_temperature(epoch, start=self.cls_temperature[0], end=self.cls_temperature[1], warmup=self.warmup_epochs),
            teacher_temperature(epoch, start=self.patch_temperature[0], end=self.patch_temperature[1], warmup=self.warmup_epochs),
        )  # fmt: skip
        return self.loss(student, teacher, masks, temperatures=temperatures)

    @torch.no_grad()
    def move_teacher(self, progress: float) -> None:
        """Move the teacher towards the student; its inertia rises from `momentum` to one along a cosine.

        Args:
            progress: Share of the training that is done, 0 to 1.
        """
        keep = teacher_momentum(progress, start=self.momentum)
        for mine, theirs in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mine.lerp_(theirs, 1 - keep)


def teacher_momentum(progress: float, *, start: float = 0.996) -> float:
    """Return the inertia of the teacher after a share of the training: from `start` to one along a cosine.

    Example:
        >>> [round(teacher_momentum(p), 6) for p in (0.0, 0.5, 1.0)]
        [0.996, 0.998, 1.0]
    """
    return 1 - (1 - start) * (math.cos(math.pi * min(1.0, progress)) + 1) / 2


def masked_tokens(body: nn.Module, images: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> Tensor:
    """Return all tokens of a transformer, class token first, with hidden patches replaced before positions are added.

    Args:
        body: timm's or the house's plain transformer.
        images: `(T, 3, H, W)`.
        mask: bool `(T, h, w)`, True where hidden.
        vector: `(1, E)`, stands for hidden patches.
    """
    run = body.forward_features if hasattr(body, "forward_features") else body
    if mask is None or vector is None:
        return run(images)
    hidden = mask

    def replace(_module: nn.Module, _inputs: tuple[Tensor, ...], patches: Tensor) -> Tensor:
        if patches.ndim == 3:
            return torch.where(hidden.flatten(1)[..., None], vector.to(patches.dtype), patches)
        if patches.shape[1:3] == hidden.shape[1:]:
            return torch.where(hidden[..., None], vector.to(patches.dtype), patches)
        return torch.where(hidden[:, None], vector.to(patches.dtype)[..., None, None], patches)

    handle = body.patch_embed.register_forward_hook(replace)
    try:
        return run(images)
    finally:
        handle.remove()


@objectives.register("ibot.default", Card(title="iBOT: student and teacher", paper="arXiv:2111.07832"))
def default(
    *,
    body: nn.Module,
    embed_dim: int,
    outputs: int = 8192,
    hidden: int = 2048,
    bottleneck: int = 256,
    freeze_epochs: int = 3,
    warmup_epochs: int = 30,
    momentum: float = 0.996,
) -> IBOT:
    """Return student and teacher around a transformer; options as of `IBOT`."""
    return IBOT(
        body, embed_dim, outputs=outputs, hidden=hidden, bottleneck=bottleneck, freeze_epochs=freeze_epochs,
        warmup_epochs=warmup_epochs, momentum=momentum,
    )  # fmt: skip
