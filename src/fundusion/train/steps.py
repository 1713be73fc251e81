"""One training step: pictures changed at random, some spoilt, some mixed; the loss of all heads.

Everything random in a step comes from generators seeded by (seed, step), so that a resumed run goes on exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..core.interfaces import Batch, Loss, NetworkOutput
from ..core.tasks import Task
from ..layers.heads import Head
from ..network import MultimodalNetwork, drop_modalities
from ..objectives.multitask import Multitask
from ..quality.degradations import KINDS, UNGRADABLE_FROM, degrade
from ..transforms.augment import augment
from ..transforms.collate import normalise_images
from .config import TrainConfig
from .data import PreparedSet


class AuxiliaryHeads(nn.Module):
    """Heads on one modality's own features; they teach an encoder and are not part of the model."""

    def __init__(self, network: MultimodalNetwork, tasks: Mapping[str, Task], modality_of: Mapping[str, str]) -> None:
        super().__init__()
        self.modality_of = dict(modality_of)
        self.heads = nn.ModuleDict(
            {n: Head(t, network.encoders[modality_of[n]].embed_dim, dropout=0.2) for n, t in tasks.items()}
        )

    def forward(self, output: NetworkOutput) -> NetworkOutput:
        """Return logits of the heads whose modality is there; targets of absent rows are masked by the caller."""
        logits = {
            n: head(output.features[self.modality_of[n]].pooled)
            for n, head in self.heads.items()
            if self.modality_of[n] in output.features
        }
        return NetworkOutput(logits=logits, fused=None, features=output.features, presence=output.presence)


def generators_of(seed: int, step: int) -> tuple[torch.Generator, np.random.Generator]:
    """Return the generators of a step; nothing before it matters."""
    sequence = np.random.SeedSequence([seed, step])
    words = sequence.generate_state(2, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1))), np.random.default_rng(int(words[1]))


class Step:
    """Makes batches and losses of a run."""

    def __init__(
        self,
        config: TrainConfig,
        network: MultimodalNetwork,
        auxiliary: AuxiliaryHeads,
        main_loss: Multitask,
        auxiliary_loss: Multitask,
        *,
        data: PreparedSet,
    ) -> None:
        self.config, self.network, self.auxiliary = config, network, auxiliary
        self.main_loss, self.auxiliary_loss, self.data = main_loss, auxiliary_loss, data
        self.single_tasks = [n for n in network.spec.tasks if n != "gradable"]

    def batch(self, rows: npt.NDArray[np.int64], step: int, size: int | None) -> Batch:
        """Return the augmented batch of some studies."""
        torch_generator, numpy_generator = generators_of(self.config.train.seed, step)
        spoilt_rows: set[int] = set()
        settings = self.config.augment

        def pixels(modality: str, stored: Tensor, where: Tensor) -> Tensor:
            if stored.dtype != torch.uint8:
                return stored
            wanted = self.network.spec.inputs[modality]
            if modality == "cfp" and settings.degrade > 0:
                stored = self._spoil(stored, where, rows, numpy_generator, spoilt_rows)
            side = size or wanted.size
            changed = augment(stored, side, generator=torch_generator, strength=settings.strength, flip=settings.flip)
            return normalise_images(changed, wanted)

        tokenize = self.network.encoders["text"].tokenize if "text" in self.network.encoders else None
        batch = self.data.batch(rows, self.network.modalities, pixels=pixels, tokenize=tokenize)
        batch = self._with_gradable(batch, spoilt_rows)
        return self._hide_cells(batch, torch_generator)

    def _spoil(
        self,
        stored: Tensor,
        where: Tensor,
        rows: npt.NDArray[np.int64],
        generator: np.random.Generator,
        spoilt: set[int],
    ) -> Tensor:
        pictures = stored.numpy().copy()
        starts = self.data.starts["cfp"]
        row_of = {int(i): k for k, r in enumerate(rows) for i in range(starts[r], starts[r + 1])}
        for i in np.flatnonzero(generator.random(len(pictures)) < self.config.augment.degrade):
            kind = KINDS[int(generator.integers(len(KINDS)))]
            severity = float(generator.uniform(min(1.0, UNGRADABLE_FROM[kind] + 0.1), 1.0))
            pictures[i] = degrade(pictures[i], kind, severity, generator)
            spoilt.add(row_of[int(where[i])])
        return torch.from_numpy(pictures)

    def _with_gradable(self, batch: Batch, spoilt: set[int]) -> Batch:
        """A spoilt picture is ungradable and says nothing else; the others are gradable unless labelled."""
        if "gradable" not in batch.targets or self.config.augment.degrade <= 0:
            return batch
        bad = torch.tensor([i in spoilt for i in range(len(batch))])
        targets = {}
        for name, y in batch.targets.items():
            hidden = bad if y.ndim == 1 else bad[:, None]
            targets[name] = torch.where(hidden, torch.full_like(y, torch.nan), y)
        known = torch.where(torch.isnan(targets["gradable"]), torch.ones_like(targets["gradable"]), targets["gradable"])
        targets["gradable"] = torch.where(bad, torch.zeros_like(known), known)
        return replace(batch, targets=targets)

    def _hide_cells(self, batch: Batch, generator: torch.Generator) -> Batch:
        rate = self.config.table.cell_dropout
        if batch.table_mask is None or rate <= 0:
            return batch
        kept = batch.table_mask & (torch.rand(batch.table_mask.shape, generator=generator) >= rate)
        # A study keeps its table as long as one cell is known.
        lost = ~kept.any(1) & batch.table_mask.any(1)
        kept = torch.where(lost[:, None], batch.table_mask, kept)
        return replace(batch, table_mask=kept)

    def loss(self, batch: Batch, step: int) -> Loss:
        """Return the loss of a batch; a share of the steps mixes pictures."""
        generator, numpy_generator = generators_of(self.config.train.seed + 1, step)
        settings = self.config.augment
        pictures = [m for m, x in batch.images.items() if x.ndim == 4]
        if settings.mixup > 0 and pictures and numpy_generator.random() < settings.mixup_rate:
            return self._mixed(batch, pictures, generator, numpy_generator)
        presence = {m: p for m, p in batch.presence().items() if m in self.network.encoders}
        if self.network.spec.modality_dropout > 0:
            presence = drop_modalities(presence, self.network.spec.modality_dropout, vary=True, generator=generator)
        return self._of(self.network.fuse(self.network.encode(batch), presence), batch.targets)

    def _mixed(
        self, batch: Batch, pictures: Sequence[str], generator: torch.Generator, numpy_generator: np.random.Generator
    ) -> Loss:
        """Mix pictures of pairs of studies that have one picture each; the table and the report cannot be mixed.

        Source: Zhang et al. 2018, arXiv:1710.09412.
        """
        share = float(numpy_generator.beta(self.config.augment.mixup, self.config.augment.mixup))
        share = max(share, 1 - share)
        images = dict(batch.images)
        partner = torch.arange(len(batch))
        presence = {m: p for m, p in batch.presence().items() if m in pictures}
        modality = pictures[0]
        single = torch.bincount(batch.owner[modality], minlength=len(batch)) == 1
        rows = torch.nonzero(single)[:, 0]
        if len(rows) > 1 and len(pictures) == 1:
            shuffled = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
            partner = partner.to(rows.device)
            partner[rows] = shuffled
            place = torch.zeros(len(batch), dtype=torch.int64, device=rows.device)
            place[batch.owner[modality]] = torch.arange(len(batch.owner[modality]), device=rows.device)
            mixed = images[modality].clone()
            mixed[place[rows]] = share * images[modality][place[rows]] + (1 - share) * images[modality][place[shuffled]]
            images[modality] = mixed
        present = torch.stack(list(presence.values())).any(0)
        output_rows = replace(batch, images=images)
        if not bool(present.all()):
            # Studies without a picture keep what they have.
            presence = {m: p for m, p in batch.presence().items() if m in self.network.encoders}
            presence = {m: p if m in pictures else p & ~present for m, p in presence.items()}
        output = self.network.fuse(self.network.encode(output_rows), presence)
        first = self._of(output, batch.targets)
        other = {n: y[partner.to(y.device)] for n, y in batch.targets.items()}
        second = self._of(output, other)
        parts = {k: share * v + (1 - share) * second.parts[k] for k, v in first.parts.items()}
        return Loss(total=share * first.total + (1 - share) * second.total, parts=parts)

    def _of(self, output: NetworkOutput, targets: Mapping[str, Tensor]) -> Loss:
        main = self.main_loss.of(output, targets)
        if not self.auxiliary.heads:
            return main
        masked = {}
        for name, y in targets.items():
            modality = self.auxiliary.modality_of.get(name)
            if modality in output.presence:
                there = output.presence[modality] if y.ndim == 1 else output.presence[modality][:, None]
                masked[name] = torch.where(there, y, torch.full_like(y, torch.nan))
        extra = self.auxiliary(output)
        if not extra.logits:
            return main
        side = self.auxiliary_loss.of(extra, {k: v for k, v in masked.items() if k in extra.logits})
        return Loss(
            total=main.total + side.total, parts={**main.parts, **{f"aux.{k}": v for k, v in side.parts.items()}}
        )
