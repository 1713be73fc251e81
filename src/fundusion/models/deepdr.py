"""DeepDR-Transformer: ViT-B/16 at 448 px that grades diabetic retinopathy, or marks its lesions.

Source: Li et al. 2024, doi:10.1038/s41591-024-03139-8; released code DeepPros/DeepDR-LLM (MIT). Deviation:
`stitched` cuts quadrants of the size the model was made for (the released test cuts a 448 px picture, whose quadrants do not fit it).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Features
from ..core.registry import Card, ImageInput, models
from ..layers.checkpoints import Rules, find_weights
from ..layers.origins import origin_record
from ..layers.plain_vit import PlainViT, as_map, resized_positions
from ..layers.weights import LoadReport, fit_state, load_state

_PAPER = "doi:10.1038/s41591-024-03139-8"
_INPUT = ImageInput(
    size=448,
    mean=(108.646 / 255, 75.869 / 255, 54.340 / 255),
    std=(70.539 / 255, 51.715 / 255, 43.034 / 255),
)
#: Principal colours of normalised photographs (columns) and their spreads.
_COLOURS = (
    (-0.56543481, 0.71983482, 0.40240142),
    (-0.5989477, -0.02304967, -0.80036049),
    (-0.56694071, -0.6935729, 0.44423429),
)
_SPREADS = (1.65513492, 0.48450358, 0.1565086)
#: Blocks the segmentation heads read (0-based) and the weight of each head's loss.
HEAD_WEIGHTS = {2: 0.2, 5: 0.3, 8: 0.4, 11: 1.0}


class DeepDR(nn.Module):
    """Encoder and classifier: mean of the patch tokens, then the norm, then the head.

    Args:
        body: The transformer.
        num_classes: 5 (DR grade), 2 (referable, macular oedema), 3 (quality); 0 leaves the head out.
    """

    def __init__(self, body: PlainViT, num_classes: int = 0) -> None:
        super().__init__()
        self.body = body
        self.embed_dim = body.embed_dim
        self.head = nn.Linear(body.embed_dim, num_classes) if num_classes else None

    def encode(self, images: Tensor) -> Features:
        """Return pooled features, patch tokens, and their map moved so that its mean is the pooled vector."""
        found, grid = self.body.levels(images, (-1,), norm=False)
        patches = found[0][:, 1:]
        pooled = self.body.norm(patches.mean(1))
        moved = patches + (pooled - patches.mean(1))[:, None]
        return Features(pooled=pooled, tokens=patches, maps=(as_map(moved, grid),))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `(T, K)`."""
        if self.head is None:
            raise InvalidInput("this DeepDR has no classification head; build it with num_classes.")
        return self.head(self.encode(images).pooled)


class _ProgressiveHead(nn.Module):
    """Four times convolution, norm, ReLU and enlargement by two, then a convolution to classes."""

    def __init__(self, embed_dim: int, num_classes: int, width: int) -> None:
        super().__init__()
        for i in range(4):
            convolution = nn.Conv2d(width if i else embed_dim, width, 3, padding=1)
            stage = nn.Sequential(
                convolution, nn.BatchNorm2d(width), nn.ReLU(),
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            )  # fmt: skip
            self.add_module(f"UP_stage_{i + 1}", stage)
        self.cls_seg = nn.Conv2d(width, num_classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(4):
            x = self.get_submodule(f"UP_stage_{i + 1}")(x)
        return self.cls_seg(x)


class DeepDRSegmenter(nn.Module):
    """Lesions: a head on each of four blocks; the last is the answer, the others teach.

    Args:
        body: The transformer.
        num_classes: Background and lesions.
        width: Channels of the heads.
    """

    def __init__(self, body: PlainViT, num_classes: int = 5, *, width: int = 256) -> None:
        super().__init__()
        self.body = body
        self.blocks = tuple(b for b in HEAD_WEIGHTS if b < len(body.blocks))
        self.heads = nn.ModuleDict(
            {f"Head{b}": _ProgressiveHead(body.embed_dim, num_classes, width) for b in self.blocks}
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return logits `(T, C, H, W)` per head in the order of the blocks; the last is the answer."""
        found, grid = self.body.levels(images, self.blocks, norm=False)
        return [self.heads[f"Head{b}"](as_map(x[:, 1:], grid)) for b, x in zip(self.blocks, found, strict=True)]


def segmentation_loss(answers: list[Tensor], target: Tensor) -> Tensor:
    """Return the weighted sum over heads of cross-entropy with (soft) one-hot masks `(T, C, H, W)`; order of `forward`."""
    weights = [*list(HEAD_WEIGHTS.values())[: len(answers) - 1], HEAD_WEIGHTS[11]]
    terms = [-(target * a.log_softmax(1)).sum(1).mean() * w for a, w in zip(answers, weights, strict=True)]
    return torch.stack(terms).sum()


@torch.no_grad()
def stitched(model: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Return the answer on a picture `(1, 3, 2S, 2S)` put together from its four quadrants, `(C, 2S, 2S)`."""
    if image.shape[0] != 1 or image.shape[2] % 2 or image.shape[3] % 2:
        raise InvalidInput(f"expected one picture with even sides, got {tuple(image.shape)}.")
    h, w = image.shape[2] // 2, image.shape[3] // 2
    rows = [torch.cat([model(image[:, :, y : y + h, x : x + w])[0] for x in (0, w)], 2) for y in (0, h)]
    return torch.cat(rows, 1)


def colour_noise(image: Tensor, draws: Tensor) -> Tensor:
    """Return a normalised picture `(3, H, W)` moved along the principal colours of retinal photographs.

    Args:
        image: After normalisation, as the released training does.
        draws: `(3,)`, from a normal distribution of spread 0.5.

    Source: colour noise of Krizhevsky et al. 2012; principal colours of the EyePACS pictures.
    """
    move = torch.tensor(_COLOURS) @ (draws * torch.tensor(_SPREADS))
    return image + move.to(image)[:, None, None]


def iou_and_f1(
    predicted: npt.NDArray[np.int64], truth: npt.NDArray[np.int64], classes: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return intersection over union of each class over the pixels of all pictures, and the mean over pictures of its F1.

    So the released code has it. A picture that lacks the class on both sides does not count; NaN for a class that is nowhere.

    Example:
        >>> iou, f1 = iou_and_f1(np.array([[0, 1, 1]]), np.array([[0, 1, 0]]), 2)
        >>> iou.tolist(), f1.round(3).tolist()
        ([0.5, 0.5], [0.667, 0.667])
    """
    iou, f1 = np.full(classes, np.nan), np.full(classes, np.nan)
    for k in range(classes):
        p, t = (predicted == k).reshape(len(predicted), -1), (truth == k).reshape(len(truth), -1)
        either = (p | t).sum(1)
        if either.any():
            both = (p & t).sum(1)
            iou[k] = both.sum() / either.sum()
            f1[k] = (2 * both / np.maximum(p.sum(1) + t.sum(1), 1))[either > 0].mean()
    return iou, f1


_TORCHVISION = (
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_1\.", ".norm1."),
    (r"\.ln_2\.", ".norm2."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(3|linear_2)\.", ".mlp.fc2."),
    (r"^heads\.(head\.)?", "head."),
)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision's `vit_b_16` with the names of this model; other names stay.

    Example:
        >>> list(renamed({"encoder.layers.encoder_layer_3.mlp.0.weight": torch.zeros(1)}))
        ['blocks.3.mlp.fc1.weight']
    """
    result = {}
    for name, value in state.items():
        for pattern, words in _TORCHVISION:
            name = re.sub(pattern, words, name)
        result[name] = value
    return result


def load_deepdr(model: DeepDR | DeepDRSegmenter, path: str) -> LoadReport:
    """Load a checkpoint of the released code (`model` at its top, or plain) or torchvision's ViT-B/16.

    Positions of another size are interpolated to the size. The classification head must fit when the model has one and the file
    too; heads only one of the two has are left alone.

    Raises:
        IncompatibleWeights: A part of the transformer is missing or has another shape.
    """
    body = model.body
    state = renamed({k.removeprefix("module."): v for k, v in load_state(path).items()})
    table = state.get("pos_embed")
    if table is not None and table.ndim == 3 and table.shape != body.pos_embed.shape:
        side = math.isqrt(body.pos_embed.shape[1] - 1)
        state["pos_embed"] = resized_positions(table, (side, side))
    placed = {}
    for name, value in state.items():
        place = "heads." + name.removeprefix("Head.") if name.startswith("Head.") else name
        placed[place if place.startswith(("heads.", "head.")) else f"body.{name}"] = value
    return fit_state(model, placed, allow_missing=("head.", "heads."), allow_unexpected=("head.", "heads."))


def _load(model: DeepDR | DeepDRSegmenter, weights: str) -> None:
    path, source = find_weights(weights, card=_card(""), rules=Rules())
    model.weights_record = origin_record(path, load_deepdr(model, str(path)), None, source=source)


def _card(title: str) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        modalities=frozenset({"cfp"}),
        input=_INPUT,
        paper=_PAPER,
        weight_license=None,
        notes="Order of the lesion classes is not published.",
        obtain="No weights were released; give the path of a file of yours, or of torchvision's ViT-B/16 (ImageNet).",
        facts={"segmenter": "models.deepdr.segmenter()"},
    )


@models.register("deepdr.base", _card("DeepDR-Transformer, ViT-B/16 at 448"))
def base(*, weights: str | None = None, drop_path: float = 0.0, image_size: int = 448, num_classes: int = 0) -> DeepDR:
    """Return the encoder (86.4 M parameters), with its classifier when `num_classes` is given."""
    model = DeepDR(PlainViT(image_size=image_size, drop_path=drop_path), num_classes)
    if weights:
        _load(model, weights)
    return model


def segmenter(*, weights: str | None = None, image_size: int = 448, num_classes: int = 5) -> DeepDRSegmenter:
    """Return the lesion model (ViT-B/16, four heads)."""
    model = DeepDRSegmenter(PlainViT(image_size=image_size), num_classes)
    if weights:
        _load(model, weights)
    return model


@models.register("deepdr.test", _card("DeepDR-Transformer, smallest"))
def test(*, weights: str | None = None, image_size: int = 64, num_classes: int = 0) -> DeepDR:
    """Return the smallest legal configuration."""
    model = DeepDR(PlainViT(image_size=image_size, embed_dim=16, depth=2, num_heads=2), num_classes)
    if weights:
        _load(model, weights)
    return model
