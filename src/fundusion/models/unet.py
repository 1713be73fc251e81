"""U-Net and W-Net: light segmenters of vessels, arteries and veins, disc and cup; the published LW-Net and AutoMorph weights load.

Source: Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28; Galdran et al. 2022, doi:10.1038/s41598-022-09675-y (LW-Net); Zhou et al. 2022,
doi:10.1167/tvst.11.7.12 (AutoMorph, whose disc and cup net is a W-Net of the same kind). Written from the description; names of parameters agree, so
that the published files load.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Features, Prompts
from ..core.registry import Card, ImageInput, models
from ..layers.checkpoints import Rules, load_weights
from ..layers.fused_unet import FusedCascade
from ..layers.unet import LightUNet, pad_to_stride

_RULES = Rules(wrappers=("model_state_dict", "model", "state_dict"))


class UNet(nn.Module):
    """One U-Net, or two in a row (W-Net): the second sees the image and the logits of the first.

    Args:
        outputs: Channels of the logits.
        widths: Channels by level.
        cascade: Whether there is a second U-Net.
        classes: Names of the outputs, in order.
    """

    def __init__(self, outputs: int, widths: Sequence[int], *, cascade: bool, classes: Sequence[str]) -> None:
        super().__init__()
        if len(classes) != outputs:
            raise InvalidInput(f"{outputs} outputs need as many names, got {tuple(classes)}.")
        self.classes = tuple(classes)
        self.unet1 = LightUNet(3, outputs, widths)
        self.unet2 = LightUNet(3 + outputs, outputs, widths) if cascade else None
        self.embed_dim, self.stride = self.unet1.embed_dim, self.unet1.stride

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the logits of each U-Net, the answer last; a loss on all of them is deep supervision."""
        first = self.unet1(images)
        return [first] if self.unet2 is None else [first, self.unet2(torch.cat([images, first], 1))]

    def segment(self, images: Tensor, prompts: Prompts | None = None) -> Tensor:
        """Return logits `(B, K, H, W)` for images `(B, 3, H, W)` of any size.

        Raises:
            InvalidInput: There are prompts, which a U-Net cannot follow.
        """
        if prompts is not None:
            raise InvalidInput("a U-Net takes no prompts.", hint="Use a family of SAM: list_models(role='segment').")
        padded = pad_to_stride(images, self.stride)
        return self.stages(padded)[-1][:, :, : images.shape[2], : images.shape[3]]

    def fused(self, dtype: torch.dtype = torch.float16) -> FusedCascade:
        """Return the same network, for use only, with its normalisations folded away; in float16 four times as fast on a CPU that has it."""
        both = [self.unet1] if self.unet2 is None else [self.unet1, self.unet2]
        return FusedCascade(both, dtype=dtype).eval()

    def only(self, classes: Sequence[str]) -> UNet:
        """Return a copy that answers some of the structures, as this network does.

        Args:
            classes: Of its own, in the order of the answer.

        Raises:
            InvalidInput: Another structure, or a W-Net, whose second part reads every answer of the first.
        """
        unknown = [c for c in classes if c not in self.classes]
        if unknown or not classes or self.unet2 is not None:
            raise InvalidInput(
                f"a network of {', '.join(self.classes)} cannot be cut to {', '.join(classes) or 'nothing'}"
                + (", because it is a W-Net." if self.unet2 is not None else "."),
                code="config.invalid",
            )
        rows = [self.classes.index(c) for c in classes]
        cut, last = copy.deepcopy(self), self.unet1.final
        cut.classes = tuple(classes)
        cut.unet1.final = nn.Conv2d(last.in_channels, len(rows), last.kernel_size)
        cut.unet1.final.load_state_dict({k: v[rows] for k, v in last.state_dict().items()})
        return cut.train(self.training)

    def encode(self, images: Tensor) -> Features:
        """Return the coarsest map of the first U-Net and its mean."""
        last = self.unet1.levels(pad_to_stride(images, self.stride))[-1]
        return Features(pooled=last.mean((2, 3)), maps=(last,))


def _card(
    title: str, classes: tuple[str, ...], *, file: str = "", saw: tuple[str, ...] = (), license: str | None = None
) -> Card:
    return Card(
        title=title,
        roles=frozenset({"segment"}),
        modalities=frozenset({"cfp"}),
        # Plain values of [0, 1].
        input=ImageInput(size=512, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        paper="doi:10.1038/s41598-022-09675-y" if "LW-Net" in title else
              "doi:10.1167/tvst.11.7.12" if "AutoMorph" in title else "doi:10.1007/978-3-319-24574-4_28",
        weight_license=license,
        training_data=saw,
        classes=classes,
        obtain=f"{file}: give its path." if file else "",
    )  # fmt: skip


_VESSELS = ("vessel",)
_ARTERY_VEIN = ("background", "uncertain", "artery", "vein")
_DISC_CUP = ("background", "disc", "cup")
_LWNET = _card(
    "LW-Net, vessels",
    _VESSELS,
    file="experiments/wnet_drive/model_checkpoint.pth of github.com/agaldran/lwnet",
    saw=("DRIVE",),
    license="MIT",
)
_LWNET_AV = _card(
    "LW-Net, arteries and veins",
    _ARTERY_VEIN,
    file="experiments/big_wnet_drive_av/model_checkpoint.pth of github.com/agaldran/lwnet",
    saw=("DRIVE",),
    license="MIT",
)
_AUTOMORPH = _card(
    "AutoMorph, disc and cup",
    _DISC_CUP,
    file="M2_lwnet_disc_cup/experiments/wnet_All_three_1024_disc_cup of github.com/rmaphoh/AutoMorph",
    saw=("GAMMA", "REFUGE", "IDRiD"),
    license="Apache-2.0",
)
_SMALL = _card("U-Net, small", _VESSELS)
_TEST = _card("U-Net, smallest", _VESSELS)


def _build(
    card: Card, weights: str | None, widths: Sequence[int], *, cascade: bool, classes: Sequence[str] | None = None
) -> UNet:
    named = card.classes if classes is None else tuple(classes)
    model = UNet(len(named), widths, cascade=cascade, classes=named)
    load_weights(model, weights, card=card, rules=_RULES)
    return model


@models.register("unet.lwnet", _LWNET)
def lwnet(*, weights: str | None = None) -> UNet:
    """Return the W-Net of vessels (69,572 parameters)."""
    return _build(_LWNET, weights, (8, 16, 32), cascade=True)


@models.register("unet.lwnet_av", _LWNET_AV)
def lwnet_av(*, weights: str | None = None) -> UNet:
    """Return the W-Net of arteries and veins (281,848 parameters); half of "uncertain" belongs to each in the IDP pipeline."""
    return _build(_LWNET_AV, weights, (8, 16, 32, 64), cascade=True)


@models.register("unet.disc_cup", _AUTOMORPH)
def disc_cup(*, weights: str | None = None) -> UNet:
    """Return the W-Net of disc and cup that AutoMorph publishes."""
    return _build(_AUTOMORPH, weights, (8, 16, 32), cascade=True)


@models.register("unet.small", _SMALL)
def small(
    *,
    weights: str | None = None,
    classes: Sequence[str] = _VESSELS,
    width: int = 16,
    levels: int = 4,
    cascade: bool = False,
) -> UNet:
    """Return a U-Net whose finest level has `width` channels, twice as many at each coarser one but eight times at most."""
    if width < 1 or not 2 <= levels <= 8:
        raise InvalidInput(f"expected a width of at least 1 and 2 to 8 levels, got {width} and {levels}.")
    widths = tuple(width * min(2**i, 8) for i in range(levels))
    return _build(_SMALL, weights, widths, cascade=cascade, classes=classes)


@models.register("unet.test", _TEST)
def test(*, weights: str | None = None) -> UNet:
    """Return the smallest legal configuration."""
    return _build(_TEST, weights, (4, 8), cascade=True)
