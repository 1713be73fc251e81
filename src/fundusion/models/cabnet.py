"""CABNet: global and category attention on the last map of a convolutional network.

Source: He et al. 2021, doi:10.1109/TMI.2020.3023463 (CABNet), sections III-B and III-C; numbers of the released Keras functions (kernel sizes,
epsilon 1e-3, order of channels). Switch `pixels`: the released models read raw values from 0 to 255 although their backbones start from
ImageNet; "imagenet" scales them as the backbones expect.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Features
from ..core.registry import Card, ImageInput, models
from ..layers.backbones import Scales, check_scales, create_body
from ..layers.checkpoints import Rules, load_weights
from ..layers.keras_weights import is_keras, load_keras

Pixels = Literal["raw", "imagenet"]


class GlobalAttention(nn.Module):
    """Gates of channels from their means, then gates of places from the mean over channels; `(T, C, h, w)` in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels, 1)
        self.expand = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated map."""
        gates = torch.sigmoid(self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))))
        channels = x * gates
        return torch.sigmoid(channels.mean(1, keepdim=True)) * channels


class CategoryAttention(nn.Module):
    """`k` detectors per class say where each class is; `(T, C, h, w)` in and out.

    Channels are ordered class by class, the `k` detectors of a class side by side.
    """

    def __init__(self, channels: int, num_classes: int, k: int) -> None:
        super().__init__()
        self.num_classes, self.k = num_classes, k
        self.detect = nn.Conv2d(channels, num_classes * k, 1)
        self.norm = nn.BatchNorm2d(num_classes * k, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map weighed by where classes are."""
        found = torch.relu(self.norm(self.detect(x)))
        t, _, h, w = found.shape
        found = found.reshape(t, self.num_classes, self.k, h, w)
        scores = found.amax((3, 4)).mean(2)
        attention = (scores[:, :, None, None] * found.mean(2)).mean(1, keepdim=True)
        return x * attention


class CABNet(nn.Module):
    """Backbone, global attention, category attention; pooled features are the mean of the attended map.

    Args:
        body: Gives the last map by `forward_features`.
        channels: Of that map.
        num_classes: Classes the category attention tells apart.
        k: Detectors per class.
        classifier: Has the last layer of the released models, for `classify`.
        pixels: "raw" hands values from 0 to 255 to the backbone; "imagenet" scales them first.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        body: nn.Module,
        channels: int,
        *,
        num_classes: int,
        k: int = 5,
        classifier: bool = False,
        pixels: Pixels = "raw",
    ) -> None:
        super().__init__()
        if pixels not in ("raw", "imagenet"):
            raise InvalidInput(f'pixels is {pixels!r}; choose "raw" (0 to 255) or "imagenet".')
        self.body, self.embed_dim, self.pixels = body, channels, pixels
        self.gab = GlobalAttention(channels)
        self.cab = CategoryAttention(channels, num_classes, k)
        self.head = nn.Linear(channels, num_classes) if classifier else nn.Identity()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None] * 255, persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None] * 255, persistent=False)

    def encode(self, images: Tensor, *, maps: Scales = "last") -> Features:
        """Return pooled `(T, E)` and maps.

        Args:
            images: `(T, 3, H, W)` in [0, 255], which is what the card's input gives.
            maps: "last" gives the attended map at stride 32; "all" also the backbone's at strides 4, 8 and 16.
        """
        x = (images - self.mean) / self.std if self.pixels == "imagenet" else images
        levels: list[Tensor] = []
        if check_scales(maps):
            last, levels = self.body.forward_intermediates(x, indices=4)
        else:
            last = self.body.forward_features(x)
        attended = self.cab(self.gab(last))
        return Features(pooled=attended.mean((2, 3)), maps=(*levels[:-1], attended))

    def classify(self, images: Tensor) -> Tensor:
        """Return logits `(T, num_classes)`.

        Raises:
            InvalidInput: The model was built without classifier.
        """
        if not isinstance(self.head, nn.Linear):
            raise InvalidInput("this encoder has no classifier.", hint="Build it with classifier=True.")
        return self.head(self.encode(images).pooled)


def smoothed_cross_entropy(probabilities: Tensor, target: Tensor, *, smoothing: float = 0.1) -> Tensor:
    """Return the label-smoothed loss `(T,)` of the published code, which its published training does not use.

    Its targets `(1 - s) y + s / 2` sum to 1.15 over five classes, so they are no distribution.

    Args:
        probabilities: `(T, K)`.
        target: One-hot `(T, K)`.
        smoothing: Share taken from the true class.
    """
    smooth = target * (1 - smoothing) + smoothing / 2
    return -(smooth * probabilities.clamp(1e-7, 1 - 1e-7).log()).sum(1)


def _build(
    card: Card,
    backbone: str | nn.Module,
    *,
    weights: str | None,
    num_classes: int,
    k: int,
    classifier: bool,
    pixels: Pixels,
) -> CABNet:
    body = create_body(backbone, global_pool="") if isinstance(backbone, str) else backbone
    model = CABNet(body, int(body.num_features), num_classes=num_classes, k=k, classifier=classifier, pixels=pixels)
    heads = ("head.",)
    rules = Rules(
        optional=heads if classifier else (),
        ignored=() if classifier else heads,
        read=(lambda path: load_keras(path, model)) if is_keras(weights) else None,
    )
    load_weights(model, weights, card=card, rules=rules)
    return model


def _card(title: str, file: str = "", *, strides: tuple[int, ...] = (4, 8, 16, 32)) -> Card:
    obtain = (
        f"{file} is on the authors' drive (github.com/he2016012996/CABnet); give its path and classifier=True. Groups are read by "
        "name; code in the file is not run."
    )
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        modalities=frozenset({"cfp"}),
        # Raw pixels: values of [0, 1] times 255.
        input=ImageInput(size=512, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255)),
        paper="doi:10.1109/TMI.2020.3023463",
        weight_license="MIT file, but the page says academic use only: treat as non-commercial" if file else None,
        training_data=("ImageNet-1k", "DDR or EyePACS (by file)") if file else (),
        classes=("0", "1", "2", "3", "4") if file else (),
        obtain=obtain if file else "",
        notes='Raw pixels from 0 to 255 (pixels="raw"), as the released models; pixels="imagenet" to train from ImageNet weights.',
        strides=strides,
    )  # fmt: skip


_VGG = _card("CABNet on VGG-16", "vgg16_CAB_DDR.h5")
_RESNET = _card("CABNet on ResNet-50", "resnet50_CAB_DDR.h5")
_DENSENET = _card("CABNet on DenseNet-121", "densenet121_CAB_DDR.h5")
_XCEPTION = _card("CABNet on Xception", "Xception_CAB_DDR.h5", strides=())
_MOBILENET = _card("CABNet on MobileNet 1.0", "mobilenet1.0_CAB_DDR.h5")
_ANY = _card("CABNet on any convolutional timm backbone")
_TEST = _card("CABNet, smallest")


def _set_epsilon(body: nn.Module, epsilon: float) -> None:
    """Give the normalisations of a backbone the epsilon of Keras."""
    for layer in body.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = epsilon


def _vgg_body() -> nn.Module:
    body = create_body("vgg16", global_pool="")
    # timm keeps the two wide layers before the classifier; CABNet has none.
    body.pre_logits = nn.Identity()
    body.num_features = 512
    return body


@models.register("cabnet.vgg_16", _VGG)
def vgg_16(
    *, weights: str | None = None, num_classes: int = 5, k: int = 5, classifier: bool = False, pixels: Pixels = "raw"
) -> CABNet:
    """Return CABNet on VGG-16 (15.3 M parameters)."""
    return _build(
        _VGG, _vgg_body(), weights=weights, num_classes=num_classes, k=k, classifier=classifier, pixels=pixels
    )


@models.register("cabnet.resnet_50", _RESNET)
def resnet_50(
    *, weights: str | None = None, num_classes: int = 5, k: int = 5, classifier: bool = False, pixels: Pixels = "raw"
) -> CABNet:
    """Return CABNet on ResNet-50 (32.0 M parameters), with the stride of a block on its first convolution as in Keras."""
    body = create_body("resnet50", global_pool="")
    for stage in (body.layer2, body.layer3, body.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    _set_epsilon(body, 1.001e-5)
    return _build(_RESNET, body, weights=weights, num_classes=num_classes, k=k, classifier=classifier, pixels=pixels)


@models.register("cabnet.densenet_121", _DENSENET)
def densenet_121(
    *, weights: str | None = None, num_classes: int = 5, k: int = 5, classifier: bool = False, pixels: Pixels = "raw"
) -> CABNet:
    """Return CABNet on DenseNet-121 (9.1 M parameters), the best of the paper."""
    body = create_body("densenet121", global_pool="")
    _set_epsilon(body, 1.001e-5)
    return _build(_DENSENET, body, weights=weights, num_classes=num_classes, k=k, classifier=classifier, pixels=pixels)


@models.register("cabnet.xception", _XCEPTION)
def xception(
    *, weights: str | None = None, num_classes: int = 5, k: int = 5, classifier: bool = False, pixels: Pixels = "raw"
) -> CABNet:
    """Return CABNet on Xception (29.3 M parameters), padded as Keras does."""
    from timm.layers import create_pool2d

    body = create_body("legacy_xception", global_pool="")
    for block in (body.block1, body.block2, body.block3, body.block12):
        block.rep[-1] = create_pool2d("max", 3, 2, padding="same")
    _set_epsilon(body, 1e-3)
    return _build(_XCEPTION, body, weights=weights, num_classes=num_classes, k=k, classifier=classifier, pixels=pixels)


@models.register("cabnet.mobilenet", _MOBILENET)
def mobilenet(
    *, weights: str | None = None, num_classes: int = 5, k: int = 5, classifier: bool = False, pixels: Pixels = "raw"
) -> CABNet:
    """Return CABNet on MobileNet 1.0 (5.3 M parameters), padded as Keras does."""
    body = create_body("mobilenetv1_100", global_pool="", pad_type="same")
    _set_epsilon(body, 1e-3)
    return _build(_MOBILENET, body, weights=weights, num_classes=num_classes, k=k, classifier=classifier, pixels=pixels)


@models.register("cabnet.any", _ANY)
def any_backbone(
    *,
    backbone: str = "mobilenetv2_100",
    weights: str | None = None,
    num_classes: int = 5,
    k: int = 5,
    classifier: bool = False,
    pixels: Pixels = "imagenet",
) -> CABNet:
    """Return CABNet on a timm network by its name, for instance "mobilenetv2_100" or "inception_v3"; trained from scratch or by path."""
    return _build(_ANY, backbone, weights=weights, num_classes=num_classes, k=k, classifier=classifier, pixels=pixels)


@models.register("cabnet.test", _TEST)
def test(
    *, weights: str | None = None, num_classes: int = 3, k: int = 2, classifier: bool = False, pixels: Pixels = "raw"
) -> CABNet:
    """Return the smallest legal configuration."""
    from timm.models.resnet import BasicBlock, ResNet

    body = ResNet(BasicBlock, [1, 1, 1, 1], channels=(8, 8, 16, 16), num_classes=0, global_pool="")
    return _build(_TEST, body, weights=weights, num_classes=num_classes, k=k, classifier=classifier, pixels=pixels)
