"""What the tests of image-text objectives share: an aligner that hands out given vectors, and batches of rows."""

import torch
from torch import nn

from fundusion.core.interfaces import Batch

NAN = float("nan")


class Given(nn.Module):
    """An aligner whose pictures and texts are numbers of given vectors."""

    def __init__(self, images, texts, log_scale=0.0, shift=0.0):
        super().__init__()
        self.images, self.texts = nn.Parameter(images), nn.Parameter(texts)
        self.log_scale, self.offset = nn.Parameter(torch.as_tensor(log_scale)), nn.Parameter(torch.as_tensor(shift))
        self.align_dim = images.shape[1]

    def align_images(self, images):
        return torch.nn.functional.normalize(self.images[images[:, 0, 0, 0].long()], dim=1)

    def align_texts(self, ids, mask):
        return torch.nn.functional.normalize(self.texts[ids[:, 0]], dim=1)

    def scale(self):
        return self.log_scale.exp()

    def shift(self):
        return self.offset


def rows(pictures, texts, **targets):
    """Return a batch: per row the number of its picture and of its text, None where there is none."""
    count = len(pictures)
    shown = [i for i, p in enumerate(pictures) if p is not None]
    images = torch.zeros(len(shown), 3, 1, 1)
    images[:, 0, 0, 0] = torch.tensor([float(pictures[i]) for i in shown])
    ids = torch.tensor([[t or 0] for t in texts])
    mask = torch.tensor([[t is not None] for t in texts])
    return Batch(
        study_ids=tuple(map(str, range(count))),
        modalities=("cfp", "text"),
        present=torch.stack([torch.tensor([p is not None for p in pictures]), mask[:, 0]], 1),
        images={"cfp": images} if shown else {},
        owner={"cfp": torch.tensor(shown)} if shown else {},
        text_ids=ids,
        text_mask=mask,
        targets={k: torch.as_tensor(v, dtype=torch.float32) for k, v in targets.items()},
    )


def random_given(images=6, texts=6, width=8, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return Given(
        torch.randn(images, width, generator=generator), torch.randn(texts, width, generator=generator), **options
    )
