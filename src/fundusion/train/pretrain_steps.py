"""Steps of training without labels: views of pictures, hidden patches, losses, and pictures of what was rebuilt.

Everything random in a step comes from generators seeded by (seed, step), so that a resumed run goes on exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..core.interfaces import Loss
from ..core.registry import ImageInput
from ..layers.masking import block_mask
from ..objectives.ibot import masked_tokens
from ..transforms.collate import normalise_images
from ..transforms.crops import random_colours, random_crops
from .data import PreparedSet
from .embeddings import resized
from .steps import generators_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Pictures of some studies.

    Args:
        pictures: Per view, modality to normalised `(B, 3, S, S)`.
        present: Modality to bool `(B,)`.
    """

    pictures: tuple[Mapping[str, Tensor], ...]
    present: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: Any) -> Views:
        """Return the views on a device."""
        return Views(
            pictures=tuple({m: x.to(device) for m, x in view.items()} for view in self.pictures),
            present={m: x.to(device) for m, x in self.present.items()},
        )


class PretrainStep:
    """What the objectives share: where pictures are and how they are cut.

    Args:
        system: The objective with its networks.
        data: Prepared studies.
        inputs: Modality to the pixels the encoder wants.
        seed: Of everything random.
        scale: Shares of the area of random cuts.
        mask_ratio: Share of hidden patches.
        steps_per_epoch: Batches per epoch.
    """

    def __init__(
        self,
        system: Any,
        data: PreparedSet,
        inputs: Mapping[str, ImageInput],
        *,
        seed: int,
        scale: tuple[float, float],
        mask_ratio: float,
        steps_per_epoch: int,
    ) -> None:
        self.system, self.data, self.inputs = system, data, inputs
        self.seed, self.scale, self.mask_ratio, self.steps_per_epoch = seed, scale, mask_ratio, steps_per_epoch

    @property
    def modality(self) -> str:
        """The only modality of objectives on single pictures."""
        return next(iter(self.inputs))

    def still(self, rows: npt.NDArray[np.int64]) -> Views:
        """Return whole pictures, for validation and for looking at."""
        picture = resized(self._stored(self.modality, rows), self.inputs[self.modality].size)
        return Views(pictures=({self.modality: normalise_images(picture, self.inputs[self.modality])},))

    def _stored(self, modality: str, rows: npt.NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.data.images[modality][rows]))

    def batch(self, rows: npt.NDArray[np.int64], step: int, size: int | None) -> Views:
        """Return randomly cut pictures; a row is a picture."""
        generator, _ = generators_of(self.seed, step)
        wanted = self.inputs[self.modality]
        cut = random_crops(
            self._stored(self.modality, rows), size or wanted.size, generator=generator, scale=self.scale
        )
        return Views(pictures=({self.modality: normalise_images(cut, wanted)},))

    def noise(self, step: int, count: int, tokens: int) -> Tensor:
        """Return what decides the hidden patches of a step."""
        return torch.rand(count, tokens, generator=generators_of(self.seed + 1, step)[0])


class MAEStep(PretrainStep):
    """One cut of each picture, a share of its patches hidden."""

    def loss(self, batch: Views, step: int) -> Loss:
        """Return the reconstruction loss."""
        images = batch.pictures[0][self.modality]
        total, _, _ = self.system.forward_loss(
            images, mask_ratio=self.mask_ratio, noise=self._noise_of(images, step).to(images.device)
        )
        return Loss(total=total, parts={"reconstruction": total})

    def _noise_of(self, images: Tensor, step: int) -> Tensor:
        p = self.system.patch_size
        return self.noise(step, len(images), (images.shape[2] // p) * (images.shape[3] // p))

    @torch.no_grad()
    def shown(self, batch: Views) -> list[dict[str, Tensor]]:
        """Return columns of pictures: as they are, what was visible, what was rebuilt."""
        images = batch.pictures[0][self.modality]
        noise = self._noise_of(images, 0).to(images.device)
        _, predicted, mask = self.system.forward_loss(images, mask_ratio=self.mask_ratio, noise=noise)
        grey = torch.zeros_like(images)
        return [
            {self.modality: images},
            {self.modality: _painted(self.system, images, grey, mask)},
            {self.modality: self.system.painted(images, predicted, mask)},
        ]


def _painted(system: Any, images: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    p = system.patch_size
    grid = (images.shape[2] // p, images.shape[3] // p)
    hidden = mask.reshape(len(images), 1, *grid).repeat_interleave(p, 2).repeat_interleave(p, 3)
    return torch.where(hidden > 0, other, images)


class IBOTStep(PretrainStep):
    """Two differently cut and lit views; blocks of patches are hidden from the student."""

    def batch(self, rows: npt.NDArray[np.int64], step: int, size: int | None) -> Views:
        """Return both views of each picture."""
        generator, _ = generators_of(self.seed, step)
        wanted = self.inputs[self.modality]
        stored = self._stored(self.modality, rows)
        views = []
        for blur, solarise in ((1.0, 0.0), (0.1, 0.2)):
            cut = random_crops(stored, size or wanted.size, generator=generator, scale=self.scale, ratio=(0.8, 1.2))
            lit = random_colours(cut, generator=generator, blur=blur, solarise=solarise)
            views.append({self.modality: normalise_images(lit, wanted)})
        return Views(pictures=tuple(views))

    def loss(self, batch: Views, step: int) -> Loss:
        """Return the loss across views and within hidden patches."""
        views = [v[self.modality] for v in batch.pictures]
        masks = [self._masks(v, step * 2 + i).to(v.device) for i, v in enumerate(views)]
        return self.system.forward_loss(views, masks, epoch=step // self.steps_per_epoch)

    def _masks(self, images: Tensor, number: int) -> Tensor:
        """Half of the pictures are whole; of the others 10 to 50 % are hidden (0.3 +- 0.2)."""
        generator, _ = generators_of(self.seed + 1, number)
        p = int(self.system.student["backbone"].patch_embed.proj.kernel_size[0])
        grid = (images.shape[2] // p, images.shape[3] // p)
        masks = []
        for _ in range(len(images)):
            draw = torch.rand(2, generator=generator)
            ratio = 0.0 if float(draw[0]) < 0.5 else max(0.0, self.mask_ratio + 0.2 * (2 * float(draw[1]) - 1))
            masks.append(block_mask(grid, ratio, generator=generator))
        return torch.stack(masks)

    @torch.no_grad()
    def shown(self, batch: Views) -> list[dict[str, Tensor]]:
        """Return columns: the picture, and how like the teacher finds each patch to the class token."""
        images = batch.pictures[0][self.modality]
        tokens = masked_tokens(self.system.teacher["backbone"], images)
        tokens = torch.nn.functional.normalize(tokens - tokens[:, 1:].mean(1, keepdim=True), dim=-1)
        like = (tokens[:, 1:] * tokens[:, :1]).sum(-1)
        p = int(self.system.student["backbone"].patch_embed.proj.kernel_size[0])
        grid = like.reshape(len(images), 1, images.shape[2] // p, images.shape[3] // p)
        grid = nn.functional.interpolate(grid, size=images.shape[-2:], mode="nearest")
        return [{self.modality: images}, {self.modality: grid.expand_as(images)}]


class MultiMAEStep(PretrainStep):
    """One picture of each modality a study has, each cut by itself; a row is a study."""

    def _pictures(
        self, rows: npt.NDArray[np.int64], generator: torch.Generator | None, size: int | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        pictures, present = {}, {}
        for modality, wanted in self.inputs.items():
            starts = self.data.starts[modality]
            there = torch.from_numpy(starts[rows + 1] > starts[rows])
            side = size or wanted.size
            made = torch.zeros(len(rows), 3, side, side)
            if bool(there.any()):
                stored = self._stored(modality, starts[rows[there.numpy()]])
                cut = resized(stored, side) if generator is None else random_crops(
                    stored, side, generator=generator, scale=self.scale
                )  # fmt: skip
                made[there] = normalise_images(cut, wanted)
            pictures[modality], present[modality] = made, there
        return pictures, present

    def still(self, rows: npt.NDArray[np.int64]) -> Views:
        """Return whole pictures."""
        pictures, present = self._pictures(rows, None, None)
        return Views(pictures=(pictures,), present=present)

    def batch(self, rows: npt.NDArray[np.int64], step: int, size: int | None) -> Views:
        """Return randomly cut pictures."""
        pictures, present = self._pictures(rows, generators_of(self.seed, step)[0], size)
        return Views(pictures=(pictures,), present=present)

    def loss(self, batch: Views, step: int) -> Loss:
        """Return the sum over modalities of their reconstruction losses."""
        generator, _ = generators_of(self.seed + 1, step)
        loss, _, _ = self.system.forward_loss(batch.pictures[0], batch.present, generator=generator)
        return loss

    @torch.no_grad()
    def shown(self, batch: Views) -> list[dict[str, Tensor]]:
        """Return columns of pictures: as they are, what was visible, what was rebuilt."""
        images = batch.pictures[0]
        generator, _ = generators_of(self.seed + 1, 0)
        _, rebuilt, masks = self.system.forward_loss(images, batch.present, generator=generator)
        model = self.system.model
        visible, made = {}, {}
        for m, picture in images.items():
            mask = masks[m].to(picture.device)
            visible[m] = _painted(model, picture, torch.zeros_like(picture), mask)
            answer = model.repainted(rebuilt[m], picture) if self.system.normalised else rebuilt[m]
            made[m] = _painted(model, picture, answer, mask)
        return [dict(images), visible, made]


def picture_grid(columns: list[dict[str, Tensor]], inputs: Mapping[str, ImageInput]) -> npt.NDArray[np.uint8]:
    """Return all pictures as one `(H, W, 3)`: a row per picture and modality, a column per entry of `columns`."""
    rows = []
    for modality, wanted in inputs.items():
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (wanted.mean, wanted.std))
        across = []
        for column in columns:
            x = (column[modality].float().cpu() * std + mean).clamp(0, 1)
            across.append(nn.functional.pad(x, (1, 1, 1, 1), value=1.0))
        rows += list(torch.cat(across, 3))
    whole = torch.cat(rows, 1)
    return (whole.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
