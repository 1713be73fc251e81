"""The example of FLAIR's page from its published weights: eight texts and one picture of a macular hole.

    python benchmarks/reproduce/flair_readme.py FOLDER IMAGE

FOLDER holds model.safetensors of the hub repository jusiro2/FLAIR and vocab.txt of emilyalsentzer/Bio_ClinicalBERT. IMAGE is the sample of
the repository jusiro/FLAIR, in its folder `documents`. Exit status 0 when every logit is as on the page, 1 when one is not.

Three switches make it so: all texts stand in one call and are averaged with their padding, as the page does; the picture is fitted to
the corner without rounding; words are read in lower case, since the word list has no settings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

import fundusion as fu
from fundusion.core.registry import models
from fundusion.transforms.image import model_input

TEXTS = (
    "normal", "healthy", "macular edema", "diabetic retinopathy", "glaucoma", "macular hole", "lesion", "lesion in the macula",
)  # fmt: skip
#: On the page of the repository; the probability of the last text is 0.962.
PUBLISHED = (-0.186, -3.092, 3.357, 4.444, 6.223, 7.493, 7.028, 11.395)
NAME = "flair.resnet_50"


@torch.no_grad()
def logits(folder: Path, pixels: npt.NDArray[np.uint8], texts: Sequence[str]) -> list[float]:
    """Return the logit of each text for one picture `(H, W, 3)`."""
    model = fu.create_model(NAME, weights=folder, pooling="mean_with_padding").eval()
    image = torch.from_numpy(model_input(pixels, models.card(NAME).input))[None]
    words = model.tokenize([f"A fundus photograph of {text}" for text in texts])
    found = model.scale() * model.align_images(image) @ model.align_texts(*words).T + model.shift()
    return [float(v) for v in found[0]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both columns and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.02, help="greatest difference of a logit")
    given = parser.parse_args(arguments)
    found = logits(given.folder, np.asarray(Image.open(given.image).convert("RGB")), TEXTS)
    print(f"{'text':<24}{'published':>10}{'here':>10}")
    for text, published, here in zip(TEXTS, PUBLISHED, found, strict=True):
        print(f"{text:<24}{published:>10.3f}{here:>10.3f}")
    last = float(torch.tensor(found).softmax(0)[-1])
    worst = max(abs(a - b) for a, b in zip(PUBLISHED, found, strict=True))
    print(f"probability of the last text: published 0.962, here {last:.3f}; greatest difference {worst:.3f}")
    return 0 if worst <= given.tolerance else 1


if __name__ == "__main__":
    raise SystemExit(main())
