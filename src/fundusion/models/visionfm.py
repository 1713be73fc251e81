"""VisionFM: one ViT-B/16 per modality, pre-trained by iBOT on eight kinds of eye pictures, and its decoders.

Source: Qiu et al. 2024, doi:10.1056/AIoa2300221 (arXiv:2310.04992); written from a description of the released code
(ABILab-CUHK/VisionFM), not from the code. Where code and paper differ there is a switch whose default follows the released weights:
`position_rule` and `levels` below. Two faults of the released scripts are not repeated: the learning-rate schedule of segmentation is
stepped, and scores are computed from probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InvalidInput
from ..core.interfaces import Features
from ..core.registry import Card, ImageInput, models
from ..layers.checkpoints import Rules, find_weights
from ..layers.origins import origin_record
from ..layers.plain_vit import PlainViT, PositionRule, as_map, resized_positions
from ..layers.weights import LoadReport, fit_state, load_state

_PAPER = "doi:10.1056/AIoa2300221"
_LICENSE = "CC BY-NC 4.0; research and education only"
Pool = Literal["last4_cls", "cls", "patch_mean"]
_STATISTICS = {
    "cfp": ((0.42374, 0.26095, 0.12840), (0.29483, 0.20167, 0.13668)),
    "oct": ((0.21092,) * 3, (0.17599,) * 3),
    "ffa": ((0.20205, 0.20205, 0.20201), (0.17406, 0.17404, 0.17401)),
    "ultrasound": ((0.05989, 0.05979, 0.05669), (0.15428, 0.15505, 0.14465)),
    "external": ((0.49363, 0.36325, 0.25957), (0.32001, 0.27109, 0.21992)),
    "slit_lamp": ((0.55567, 0.40289, 0.38858), (0.26517, 0.23312, 0.23904)),
    "mri": ((0.17369,) * 3, (0.16199,) * 3),
    "ubm": ((0.09611,) * 3, (0.20978,) * 3),
}
#: Blocks whose tokens the segmentation decoders read (0-based). "named" are those its layer names promise.
LEVELS = {"released": (3, 5, 7, 11), "named": (2, 5, 8, 11)}
_ALIASES = {"fundus": "cfp", "siltlamp": "slit_lamp", "slitlamp": "slit_lamp"}


def modality_name(word: str) -> str:
    """Return the name of a modality for any of the spellings the published files and folders use.

    Raises:
        InvalidInput: None of the eight.

    Example:
        >>> modality_name("Silt-Lamp"), modality_name("UltraSound"), modality_name("Fundus")
        ('slit_lamp', 'ultrasound', 'cfp')
    """
    plain = "".join(c for c in word.lower() if c.isalnum())
    found = _ALIASES.get(plain, plain)
    if found not in _STATISTICS:
        raise InvalidInput(
            f"VisionFM has no modality {word!r}.", code="modality.unknown", hint=f"It has {', '.join(_STATISTICS)}."
        )
    return found


class VisionFM(nn.Module):
    """Encoder of one modality.

    Args:
        body: The transformer.
        pool: "last4_cls": class tokens of the last four blocks, each through the last norm, `(T, 4E)`; "cls": of the last
            block; "patch_mean": mean of its patch tokens.
    """

    def __init__(self, body: PlainViT, *, pool: Pool = "last4_cls") -> None:
        super().__init__()
        if pool not in ("last4_cls", "cls", "patch_mean"):
            raise InvalidInput(f"unknown pool {pool!r}; known are last4_cls, cls and patch_mean.")
        self.body, self.pool = body, pool
        self.embed_dim = body.embed_dim * (4 if pool == "last4_cls" else 1)

    def encode(self, images: Tensor) -> Features:
        """Return pooled features, patch tokens of the last block and a map whose mean is the pooled vector.

        A class token is no mean of patches; the map is then the patches moved by what the class token has beside them, so that
        a gradient of the pooled vector weighs its channels.
        """
        wanted = range(-4, 0) if self.pool == "last4_cls" else (-1,)
        found, grid = self.body.levels(images, wanted)
        patches = torch.cat([x[:, 1:] for x in found], -1)
        if self.pool == "patch_mean":
            pooled = patches.mean(1)
        else:
            pooled = torch.cat([x[:, 0] for x in found], -1)
            patches = patches + (pooled - patches.mean(1))[:, None]
        return Features(pooled=pooled, tokens=found[-1][:, 1:], maps=(as_map(patches, grid),))

    def segmentation_maps(self, images: Tensor, *, levels: str | Sequence[int] = "released") -> list[Tensor]:
        """Return the four maps `(T, E, h, w)` that `UnetrHead` and `LinearSegmentation` read."""
        blocks = LEVELS[levels] if isinstance(levels, str) else tuple(levels)
        found, grid = self.body.levels(images, blocks)
        return [as_map(x[:, 1:], grid) for x in found]


class ChannelHead(nn.Module):
    """Batch norm and a perceptron: `classifier` d, d/2, d/4, C or `regressor` d, d/4, 38.

    The momentum of the norm is 0.99: its running statistics are nearly those of the last batch.
    """

    def __init__(self, widths: Sequence[int], *, dropout: float = 0.1) -> None:
        super().__init__()
        self.channel_bn = nn.BatchNorm1d(widths[0], eps=1e-6, momentum=0.99)
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(widths)):
            layers += [nn.GELU(), nn.Dropout(dropout)] if i else []
            linear = nn.Linear(a, b)
            nn.init.normal_(linear.weight, std=0.01)
            nn.init.zeros_(linear.bias)
            layers.append(linear)
        self.classifier = nn.Sequential(*layers)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return logits or values."""
        return self.classifier(self.channel_bn(pooled))


def classifier(embed_dim: int, num_classes: int) -> ChannelHead:
    """Return the classification head."""
    return ChannelHead((embed_dim, embed_dim // 2, embed_dim // 4, num_classes))


def regressor(embed_dim: int, values: int = 38) -> ChannelHead:
    """Return the head of the 38 vascular measurements."""
    return ChannelHead((embed_dim, embed_dim // 4, values))


class _Deconv(nn.Module):
    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(inner, outer, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.deconv(x)


class _Conv(nn.Module):
    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(inner, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class UnetrHead(nn.Module):
    """Decoder with a skip from three earlier blocks and from the picture itself; answers at full size.

    Args:
        embed_dim: Of the encoder.
        num_classes: Channels of the answer.
        base: Width of the second finest level.
        dropout: Of whole channels, before the last layer.
    """

    def __init__(self, embed_dim: int, num_classes: int, *, base: int = 32, dropout: float = 0.3) -> None:
        super().__init__()
        w = (base * 4, base * 2, base, base // 2)
        self.d1, self.d2, self.d3, self.d4 = (_Deconv(a, b) for a, b in zip((embed_dim, *w[:3]), w, strict=True))
        self.c1, self.c2, self.c3, self.c4 = (nn.Sequential(_Conv(2 * x, x), _Conv(x, x)) for x in w)
        self.s1, self.s2, self.s3 = (self._skip(embed_dim, w[i], i + 1) for i in range(3))
        self.s4 = nn.Sequential(_Conv(3, w[3]), _Conv(w[3], w[3]))
        self.dropout = nn.Dropout2d(dropout)
        self.cls = nn.Conv2d(w[3], num_classes, 1)

    @staticmethod
    def _skip(embed_dim: int, width: int, times: int) -> nn.Sequential:
        steps: list[nn.Module] = []
        for i in range(times):
            steps += [_Deconv(width if i else embed_dim, width), _Conv(width, width)]
        return nn.Sequential(*steps)

    def forward(self, images: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Return `(T, C, H, W)` for pictures and the maps of `segmentation_maps`, early to late."""
        early, middle, late, last = maps
        x = self.c1(torch.cat([self.d1(last), self.s1(late)], 1))
        x = self.c2(torch.cat([self.d2(x), self.s2(middle)], 1))
        x = self.c3(torch.cat([self.d3(x), self.s3(early)], 1))
        x = self.c4(torch.cat([self.d4(x), self.s4(images)], 1))
        return self.cls(self.dropout(x))


class LinearSegmentation(nn.Module):
    """A 1 x 1 convolution on the four maps, then bilinear enlargement to the picture."""

    def __init__(self, embed_dim: int, num_classes: int, *, patch_size: int = 16) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.conv_seg = nn.Conv2d(4 * embed_dim, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return `(T, C, H, W)`."""
        coarse = self.conv_seg(torch.cat(list(maps), 1))
        return F.interpolate(coarse, scale_factor=self.patch_size, mode="bilinear", align_corners=False)


class LandmarkHead(nn.Module):
    """Heat maps of points: `UnetrHead` and a softmax over the picture."""

    def __init__(self, embed_dim: int, points: int, *, base: int = 32) -> None:
        super().__init__()
        self.decoder = UnetrHead(embed_dim, points, base=base)

    def forward(self, images: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Return log probabilities `(T, K, H, W)`; each map's probabilities sum to one."""
        scores = self.decoder(images, maps)
        return scores.flatten(2).log_softmax(-1).reshape(scores.shape)


def landmark_loss(log_maps: Tensor, heat: Tensor) -> Tensor:
    """Return the negative log likelihood of heat maps `(T, K, H, W)`, each scaled to sum to one."""
    weight = heat / heat.flatten(2).sum(-1)[..., None, None].clamp(min=1e-12)
    return -(weight * log_maps).sum((2, 3)).mean()


def landmark_points(log_maps: Tensor) -> Tensor:
    """Return `(T, K, 2)`, the expected (x, y) in px."""
    p = log_maps.exp()
    rows = torch.arange(p.shape[2], dtype=p.dtype, device=p.device)
    columns = torch.arange(p.shape[3], dtype=p.dtype, device=p.device)
    return torch.stack([(p.sum(2) * columns).sum(-1), (p.sum(3) * rows).sum(-1)], -1)


def radial_error(found: Tensor, truth: Tensor) -> Tensor:
    """Return the mean distance of points `(T, K, 2)`, px."""
    return (found - truth).norm(dim=-1).mean()


class ForecastHead(nn.Module):
    """One logit from a token and the days until the question; days have a sinusoidal code.

    Args:
        embed_dim: Of the token.
        max_days: Longest interval.
    """

    def __init__(self, embed_dim: int, *, max_days: int = 6500) -> None:
        super().__init__()
        day = torch.arange(max_days, dtype=torch.float32)[:, None]
        rate = torch.exp(torch.arange(0, embed_dim, 2, dtype=torch.float32) * (-math.log(10000.0) / embed_dim))
        code = torch.zeros(max_days, 1, embed_dim)
        code[:, 0, 0::2], code[:, 0, 1::2] = torch.sin(day * rate), torch.cos(day * rate)
        self.pe: Tensor
        self.register_buffer("pe", code)
        self.fc_1 = nn.Linear(embed_dim, 1)

    def forward(self, token: Tensor, days: Tensor) -> Tensor:
        """Return `(B, 1)` for tokens `(B, E)` and whole days `(B,)`."""
        if bool((days < 0).any()) or bool((days >= len(self.pe)).any()):
            raise InvalidInput(f"days must be from 0 to {len(self.pe) - 1}, got {days.tolist()}.")
        return self.fc_1(token + self.pe[days, 0])


def load_visionfm(body: PlainViT, path: str) -> LoadReport:
    """Load a `VFM_<Modality>_weights.pth`, a training checkpoint (its teacher) or a file of plain names.

    Prefixes `module.` and `backbone.` are cut, heads are left out, and positions of another size are interpolated to the size.

    Raises:
        IncompatibleWeights: Nothing fits, or a shape differs.
    """
    state: Mapping[str, Tensor] = {
        k.removeprefix("module.").removeprefix("backbone."): v for k, v in load_state(path).items()
    }
    table = state.get("pos_embed")
    if table is not None and table.ndim == 3 and table.shape[1] != body.pos_embed.shape[1]:
        side = math.isqrt(body.pos_embed.shape[1] - 1)
        state = {**state, "pos_embed": resized_positions(table, (side, side), rule="size")}
    return fit_state(body, state, allow_unexpected=("head.", "masked_embed"))


def _build(weights: str | None, drop_path: float, image_size: int, pool: Pool, position_rule: PositionRule) -> VisionFM:
    return _loaded(PlainViT(image_size=image_size, drop_path=drop_path, position_rule=position_rule), weights, pool)


def _loaded(body: PlainViT, weights: str | None, pool: Pool) -> VisionFM:
    model = VisionFM(body, pool=pool)
    if weights:
        path, source = find_weights(weights, card=_card("cfp", ""), rules=Rules())
        model.weights_record = origin_record(path, load_visionfm(body, str(path)), _LICENSE, source=source)
    return model


def _card(modality: str, title: str) -> Card:
    mean, std = _STATISTICS[modality]
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        modalities=frozenset({modality}),
        input=ImageInput(size=224, mean=mean, std=std),
        paper=_PAPER,
        weight_license=_LICENSE,
        training_data=("3.4 million private and public pictures of 560,457 people",),
        notes="Squares are made without cutting.",
        obtain="Download VFM_<Modality>_weights.pth by the links on the page of ABILab-CUHK/VisionFM and give its path.",
        facts={"pools": ["last4_cls", "cls", "patch_mean"]},
    )


def _register(modality: str, title: str) -> None:
    def build(
        *,
        weights: str | None = None,
        drop_path: float = 0.0,
        image_size: int = 224,
        pool: Pool = "last4_cls",
        position_rule: PositionRule = "dino",
    ) -> VisionFM:
        """Return the encoder of one modality (85.8 M parameters); see `VisionFM` for `pool`."""
        return _build(weights, drop_path, image_size, pool, position_rule)

    build.__qualname__ = f"build_{modality}"
    models.register(f"visionfm.{modality}", _card(modality, title))(build)


for _modality, _title in (
    ("cfp", "colour photographs"), ("oct", "OCT B-scans"), ("ffa", "fluorescein angiograms"), ("ultrasound", "ultrasound"),
    ("external", "external photographs"), ("slit_lamp", "slit-lamp photographs"), ("mri", "magnetic resonance"),
    ("ubm", "ultrasound biomicroscopy"),
):  # fmt: skip
    _register(_modality, f"VisionFM ViT-B/16, {_title}")


@models.register("visionfm.test", _card("cfp", "VisionFM, smallest"))
def test(
    *,
    weights: str | None = None,
    pool: Pool = "last4_cls",
    image_size: int = 64,
    position_rule: PositionRule = "dino",
) -> VisionFM:
    """Return the smallest legal configuration."""
    body = PlainViT(image_size=image_size, embed_dim=16, depth=4, num_heads=2, position_rule=position_rule)
    return _loaded(body, weights, pool)
