"""RETFound: vision transformers pre-trained on retinal photographs and OCT, and their classifiers of both eras.

Source: Zhou et al. 2023, doi:10.1038/s41586-023-06555-x (MAE on ViT-L/16); released DINOv2 variants on ViT-L/14, Oquab et al. 2024,
arXiv:2304.07193. Written from a description of the published files; no code of the authors was used.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Features
from ..core.registry import Card, ImageInput, models
from ..layers.backbones import Scales, check_scales
from ..layers.checkpoints import Rules, load_weights
from ..layers.transformer import as_map, map_with_mean, pyramid, pyramid_taps, resize_positions, run_blocks

#: With timm 0.3.2 (releases until February 2025) the classifier normalises the mean once; with timm 0.9 the same code does it twice.
HeadEra = Literal["timm_0.3", "timm_0.9"]
Pooling = Literal["mean", "cls"]


class RETFound(nn.Module):
    """A vision transformer with the names of the published files, in `body`.

    Args:
        pooling: "mean": mean of the patch tokens, then `fc_norm` (there is no last norm); "cls": class token after the last norm.
        num_classes: Outputs of `classify`; 0 builds the encoder alone.
        head_era: Which forward pass a fine-tuned classifier was trained with; only "mean" differs.
        layer_scale: LayerScale as in DINOv2.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        pooling: Pooling = "mean",
        num_classes: int = 0,
        head_era: HeadEra = "timm_0.9",
        layer_scale: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        from timm.models.vision_transformer import VisionTransformer

        if pooling not in ("mean", "cls"):
            raise InvalidInput(f'pooling is {pooling!r}; choose "mean" or "cls".')
        if head_era not in ("timm_0.3", "timm_0.9"):
            raise InvalidInput(f'head_era is {head_era!r}; choose "timm_0.3" (one norm) or "timm_0.9" (two).')
        self.embed_dim, self.pooling, self.head_era = embed_dim, pooling, head_era
        self.body = VisionTransformer(
            img_size=image_size, patch_size=patch_size, embed_dim=embed_dim, depth=depth, num_heads=num_heads,
            num_classes=num_classes, global_pool="avg" if pooling == "mean" else "token", fc_norm=pooling == "mean",
            init_values=1e-5 if layer_scale else None, drop_path_rate=drop_path,
        )  # fmt: skip
        if num_classes:
            # A new head starts near zero (published fine-tuning recipe), so that the encoder is not torn at the start.
            nn.init.trunc_normal_(self.body.head.weight, std=2e-5)

    def encode(self, images: Tensor, *, maps: Scales = "last") -> Features:
        """Return pooled `(T, E)`, patch tokens `(T, N, E)` and maps of normalised images `(T, 3, H, W)`.

        The mean of the last map is the pooled vector.

        Args:
            images: Any size; position tables follow the rule of the published code.
            maps: "last", or "all" for a pyramid at strides P/4, P/2, P.
        """
        taps = pyramid_taps(len(self.body.blocks)) if check_scales(maps) else ()
        x, grid, levels = run_blocks(self.body, images, taps=taps)
        if self.pooling == "mean":
            pooled = self.body.fc_norm(x[:, 1:].mean(1))
            tokens = _normed_as_mean(x[:, 1:], self.body.fc_norm)
            last = as_map(tokens, grid)
        else:
            x = self.body.norm(x)
            pooled, tokens = x[:, 0], x[:, 1:]
            last = map_with_mean(tokens, pooled, grid)
        return Features(pooled=pooled, tokens=tokens, maps=pyramid(levels, last) if levels else (last,))

    def classify(self, images: Tensor) -> Tensor:
        """Return logits `(T, num_classes)` as the fine-tuned classifiers of the chosen era do.

        Raises:
            InvalidInput: The model was built without classes.
        """
        if not isinstance(self.body.head, nn.Linear):
            raise InvalidInput("this encoder has no classifier.", hint="Build it with num_classes=...")
        pooled = self.encode(images).pooled
        if self.pooling == "mean" and self.head_era == "timm_0.9":
            pooled = self.body.fc_norm(pooled)
        return self.body.head(pooled)


def _normed_as_mean(tokens: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Return tokens normalised by the deviation of their mean, so that their mean is the norm of the mean."""
    deviation = (tokens.mean(1, keepdim=True).var(-1, keepdim=True, correction=0) + norm.eps).sqrt()
    centred = tokens - tokens.mean(-1, keepdim=True)
    return centred / deviation * norm.weight + norm.bias


def _adapted(state: dict[str, Tensor], body: nn.Module) -> dict[str, Tensor]:
    if "pos_embed" not in state:
        return state
    return {**state, "pos_embed": resize_positions(state["pos_embed"], body.patch_embed.grid_size)}


def _rules(model: RETFound, *, dinov2: bool) -> Rules:
    has_head = isinstance(model.body.head, nn.Linear)
    ignored = ["decoder_", "mask_token", "dino_head.", "ibot_head."]
    ignored += [] if has_head else ["head."]
    ignored += ["norm."] if model.pooling == "mean" else ["fc_norm."]
    return Rules(
        wrappers=("teacher", "model", "state_dict") if dinov2 else ("model", "state_dict", "teacher"),
        prefixes=("module.", "backbone."),
        # Only giant models have gated layers; the published converter renames them like this.
        renames=((r"mlp\.w12\.", "mlp.fc1."), (r"mlp\.w3\.", "mlp.fc2.")),
        optional=(("fc_norm.",) if model.pooling == "mean" else ()) + (("head.",) if has_head else ()),
        ignored=tuple(ignored),
        adapt=_adapted,
    )


def _card(title: str, repository: str, modality: str, *, patch: int = 16, data: tuple[str, ...] = ()) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        modalities=frozenset({modality}),
        input=ImageInput(size=224),
        paper="doi:10.1038/s41586-023-06555-x",
        weight_license="CC BY-NC 4.0",
        weights=f"hub:YukunZhou/{repository}/{repository}.pth" if repository else None,
        training_data=data,
        strides=(patch // 4, patch // 2, patch) if patch % 4 == 0 else (),
        obtain=f"Ask for access on the page of YukunZhou/{repository} (gated form), download {repository}.pth and give its "
        "path. Old files hold settings beside the tensors: fundusion convert-weights." if repository else "",
        notes="A fine-tuned classifier needs num_classes and head_era: timm_0.3 (until February 2025) or timm_0.9 (after). "
        "Photographs were cut to the retina and resized to 256, then 224.",
    )  # fmt: skip


_CFP = _card(
    "RETFound, MAE ViT-L/16, colour fundus photographs", "RETFound_mae_natureCFP", "cfp",
    data=("ImageNet-1k", "MEH-MIDAS", "EyePACS"),
)  # fmt: skip
_OCT = _card(
    "RETFound, MAE ViT-L/16, OCT B-scans", "RETFound_mae_natureOCT", "oct",
    data=("ImageNet-1k", "MEH-MIDAS", "OCT2017"),
)  # fmt: skip
_DINOV2 = _card(
    "RETFound, DINOv2 ViT-L/14, colour fundus photographs", "RETFound_dinov2_meh", "cfp", patch=14,
    data=("LVD-142M", "MEH-MIDAS"),
)  # fmt: skip
_TEST = _card("RETFound, smallest", "", "cfp")


def _build(
    card: Card, weights: str | None, *, dinov2: bool = False, patch_size: int = 16, pooling: Pooling, **options: object
) -> RETFound:
    model = RETFound(patch_size=patch_size, pooling=pooling, layer_scale=dinov2, **options)
    load_weights(model, weights, card=card, rules=_rules(model, dinov2=dinov2), into=model.body)
    return model


@models.register("retfound.cfp", _CFP)
def cfp(
    *,
    weights: str | None = None,
    num_classes: int = 0,
    head_era: HeadEra = "timm_0.9",
    pooling: Pooling = "mean",
    drop_path: float = 0.0,
    image_size: int = 224,
) -> RETFound:
    """Return the encoder of photographs (303.3 M parameters), with a classifier when classes are given."""
    return _build(
        _CFP, weights, num_classes=num_classes, head_era=head_era, pooling=pooling, drop_path=drop_path,
        image_size=image_size,
    )  # fmt: skip


@models.register("retfound.oct", _OCT)
def oct_scans(
    *,
    weights: str | None = None,
    num_classes: int = 0,
    head_era: HeadEra = "timm_0.9",
    pooling: Pooling = "mean",
    drop_path: float = 0.0,
    image_size: int = 224,
) -> RETFound:
    """Return the encoder of B-scans (303.3 M parameters), with a classifier when classes are given."""
    return _build(
        _OCT, weights, num_classes=num_classes, head_era=head_era, pooling=pooling, drop_path=drop_path,
        image_size=image_size,
    )  # fmt: skip


@models.register("retfound.dinov2", _DINOV2)
def dinov2(
    *, weights: str | None = None, num_classes: int = 0, drop_path: float = 0.0, image_size: int = 224
) -> RETFound:
    """Return the DINOv2 encoder of photographs (303.2 M parameters, class token); `global_pool` never had an effect on it."""
    return _build(
        _DINOV2, weights, dinov2=True, patch_size=14, pooling="cls", num_classes=num_classes, drop_path=drop_path,
        image_size=image_size,
    )  # fmt: skip


@models.register("retfound.test", _TEST)
def test(
    *,
    weights: str | None = None,
    num_classes: int = 0,
    head_era: HeadEra = "timm_0.9",
    pooling: Pooling = "mean",
    drop_path: float = 0.0,
    image_size: int = 32,
) -> RETFound:
    """Return the smallest legal configuration."""
    shape = {"embed_dim": 16, "depth": 2, "num_heads": 2}
    return _build(
        _TEST, weights, num_classes=num_classes, head_era=head_era, pooling=pooling, drop_path=drop_path,
        image_size=image_size, **shape,
    )  # fmt: skip
