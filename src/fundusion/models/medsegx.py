"""MedSegX: Segment Anything at 256 px with experts in every block that are mixed by organ, task and kind of picture.

Source: Zhang et al. 2025, MedSegX, doi:10.1038/s41551-025-01497-3; written from a description of the released code (MedSegX/MedSegX-code), whose
names of parameters it keeps. Two public lines of code have different gates; this is the one whose gate over the organ tree is apart, and
checkpoints of the other do not fit. Deviations: a task without a row of its own takes the spare row (the released code fails), and nothing
is chosen with the truth: neither the box nor the best of the three masks, unless a caller does so by name.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import IncompatibleWeights, InvalidInput
from ..core.interfaces import Prompts
from ..core.registry import Card, ImageInput, models
from ..knowledge.medsegx import MODALITIES, ORGANS, PARTS, REGIONS, TASK_ROWS, modality_number, task_place
from ..layers.checkpoints import Rules, load_weights
from ..layers.prompting import checked_images, checked_prompts, scaled_mask, scaled_prompts
from ..layers.sam_image import SamImageEncoder, resized_tables
from ..layers.sam_masks import SamMaskDecoder, SamPromptEncoder
from ..layers.sam_names import to_released

Keep = Literal["all", "best"]
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class ConMoAE(nn.Module):
    """A perceptron, and beside it a mixture of narrow experts that the context weighs.

    Args:
        mlp: The perceptron of the block.
        width: Of the tokens.
        experts: Their number.
        bottleneck: Their width.
        embedding: Width of the context's vectors.
        scale: Weight of the mixture.
        dropout: Inside the experts.
    """

    def __init__(
        self,
        mlp: nn.Module,
        width: int,
        *,
        experts: int = 4,
        bottleneck: int = 16,
        embedding: int = 16,
        scale: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.mlp, self.scale, self.dropout = mlp, scale, dropout
        self.adapter_input_embed = nn.Linear(width, embedding)
        self.adapter_gate = nn.Linear(4 * embedding, experts)
        self.adapter_organ_gate = nn.Linear(4 * embedding, 4)
        self.adapter_down = nn.ModuleList(nn.Linear(width, bottleneck) for _ in range(experts))
        self.adapter_up = nn.ModuleList(nn.Linear(bottleneck, width) for _ in range(experts))
        for down, up in zip(self.adapter_down, self.adapter_up, strict=True):
            nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
            for zero in (down.bias, up.weight, up.bias):
                nn.init.zeros_(zero)

    def forward(self, x: Tensor, modality: Tensor, organ: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return `(B, H, W, E)` and the shares `(B, experts)`.

        Args:
            x: `(B, H, W, E)`.
            modality: `(B, D)`.
            organ: Root, part, region, organ and task, `(B, D)` each.
        """
        levels = torch.stack(list(organ[:4]), 1)
        weights = torch.softmax(self.adapter_organ_gate(levels.flatten(1)), -1)
        place = (levels * weights[..., None]).sum(1)
        seen = self.adapter_input_embed(x.mean((1, 2)))
        shares = torch.softmax(self.adapter_gate(torch.cat([place, organ[4], modality, seen], -1)), -1)
        mixture = torch.zeros_like(x)
        for i, (down, up) in enumerate(zip(self.adapter_down, self.adapter_up, strict=True)):
            answer = up(F.dropout(F.gelu(down(x)), self.dropout, self.training))
            mixture = mixture + shares[:, i, None, None, None] * answer
        return self.mlp(x) + self.scale * mixture, shares


@dataclass(frozen=True, slots=True, kw_only=True)
class MedSegXAnswer:
    """What the network says.

    Args:
        logits: `(B, 3, H, W)`, the three masks.
        scores: `(B, 3)`, the overlap that the head of Segment Anything expects; MedSegX did not train it.
        shares: `(B, experts)` per block.
    """

    logits: Tensor
    scores: Tensor
    shares: tuple[Tensor, ...]


class _Sam(nn.Module):
    def __init__(self, image_encoder: SamImageEncoder, prompt_encoder: nn.Module, mask_decoder: nn.Module) -> None:
        super().__init__()
        self.image_encoder, self.prompt_encoder, self.mask_decoder = image_encoder, prompt_encoder, mask_decoder


class MedSegX(nn.Module):
    """The network; image encoder and prompt encoder are frozen but for experts and context.

    Args:
        width: Of the tokens.
        depth: Number of blocks.
        num_heads: Heads of each.
        wide: Blocks that attend over the whole grid.
        size: Side of the images.
        window: Side of the windows.
        channels: Of maps and prompts.
        decoder_heads: Heads of the mask decoder.
        decoder_mlp: Its hidden width.
        experts: Per block.
        bottleneck: Width of an expert.
        embedding: Width of the context's vectors.
        task: Used by `segment`; see `knowledge.medsegx.TASKS`.
        modality: Used by `segment`.
        keep: "all" (three masks) or "best" (the one with the greatest expected overlap).
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        width: int,
        depth: int,
        num_heads: int,
        wide: Collection[int],
        *,
        size: int = 256,
        window: int = 14,
        channels: int = 256,
        decoder_heads: int = 8,
        decoder_mlp: int = 2048,
        experts: int = 4,
        bottleneck: int = 16,
        embedding: int = 16,
        task: str = "disc",
        modality: str = "cfp",
        keep: Keep = "all",
    ) -> None:
        super().__init__()
        if keep not in ("all", "best"):
            raise InvalidInput(f'keep {keep!r} is not "all" or "best".', code="config.invalid")
        task_place(task), modality_number(modality)
        self.task, self.modality, self.keep, self.size = task, modality, keep, size
        encoder = SamImageEncoder(width, depth, num_heads, wide, size=size, window=window, out=channels)
        encoder.modal_embed = nn.Embedding(len(MODALITIES), embedding)
        rows = (1, len(PARTS), len(REGIONS), len(ORGANS), TASK_ROWS)
        encoder.organ_embed = nn.ModuleList(nn.Embedding(n, embedding) for n in rows)
        for block in encoder.blocks:
            block.mlp = ConMoAE(block.mlp, width, experts=experts, bottleneck=bottleneck, embedding=embedding)
        self.sam = _Sam(
            encoder,
            SamPromptEncoder(channels, encoder.grid, size),
            SamMaskDecoder(
                channels, num_heads=decoder_heads, mlp=decoder_mlp, score_hidden=channels, keep_resolution=True
            ),
        )
        for name, parameter in self.sam.named_parameters():
            if "_embed." in name and name.startswith(("image_encoder.modal", "image_encoder.organ")):
                nn.init.zeros_(parameter)
            trained = (
                name.startswith("mask_decoder.") or "adapter_" in name or "modal_embed" in name or "organ_embed" in name
            )
            parameter.requires_grad_(trained)
        self.register_buffer("pixel_mean", torch.tensor(_MEAN).reshape(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(_STD).reshape(3, 1, 1), persistent=False)

    def context(self, tasks: Sequence[str], modalities: Sequence[str]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the vectors of modality, and of root, part, region, organ and task, `(B, D)` each.

        Raises:
            UnknownName: A task or a modality that MedSegX has not.
        """
        encoder = self.sam.image_encoder
        device = self.pixel_mean.device
        kinds = torch.tensor([modality_number(m) for m in modalities], device=device)
        places = [task_place(t) for t in tasks]
        numbers = torch.tensor([[0, p.part, p.region, p.organ, p.task] for p in places], device=device)
        return encoder.modal_embed(kinds), tuple(e(numbers[:, i]) for i, e in enumerate(encoder.organ_embed))

    def masks(
        self,
        pixels: Tensor,
        prompts: Prompts,
        *,
        tasks: Sequence[str] | None = None,
        modalities: Sequence[str] | None = None,
    ) -> MedSegXAnswer:
        """Return three masks per image.

        Args:
            pixels: `(B, 3, S, S)`, red, green, blue, 0 to 255.
            prompts: In pixels of S.
            tasks: One per image; None takes that of the model.
            modalities: One per image; None takes that of the model.
        """
        b = len(pixels)
        where = self.context(tasks or [self.task] * b, modalities or [self.modality] * b)
        maps, shares = self.sam.image_encoder((pixels - self.pixel_mean) / self.pixel_std, where)
        encoder = self.sam.prompt_encoder
        prompts = replace(prompts, masks=scaled_mask(prompts.masks, 4 * encoder.grid))
        tokens, dense = encoder(prompts, b)
        logits, scores = self.sam.mask_decoder(maps, encoder.places(), tokens, dense)
        return MedSegXAnswer(logits=logits[:, 1:], scores=scores[:, 1:], shares=shares)

    def answer(self, images: Tensor, prompts: Prompts | None = None) -> MedSegXAnswer:
        """Return three masks of the model's task in the images' own size; for training.

        Args:
            images: `(B, 3, H, W)` in [0, 1]; both sides are scaled to the model's, whatever the aspect.
            prompts: Without any, the box is the whole image.
        """
        checked_images(images)
        height, width = images.shape[2:]
        prompts = scaled_prompts(checked_prompts(prompts, images), self.size / width, self.size / height)
        found = self.masks(_resized(images, (self.size, self.size)) * 255, prompts)
        return replace(found, logits=_resized(found.logits, (height, width)))

    def segment(self, images: Tensor, prompts: Prompts | None = None) -> Tensor:
        """Return logits `(B, 3, H, W)`, or `(B, 1, H, W)` where only the best is kept; see `answer`."""
        found = self.answer(images, prompts)
        if self.keep == "all":
            return found.logits
        best = found.scores.argmax(1)[:, None, None, None].expand(-1, 1, *found.logits.shape[2:])
        return found.logits.gather(1, best)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(x.shape[2:]) == size:
        return x
    # A processor does not scale numbers of 16 bits without aliasing.
    x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)


#: Of `sam_vit_b_01ec64.pth`: its decoder has no third and fourth step, and its masks are made from other channels.
_BASE_IGNORED = ("mask_decoder.output_hypernetworks_mlps.", "pixel_")


def load_medsegx(model: MedSegX, weights: str | None, base: str | None, *, card: Card) -> None:
    """Load the base SAM, then what MedSegX trained; the released file holds only the latter.

    Raises:
        IncompatibleWeights: The file needs a base and none is given, or something does not fit.
    """
    own = dict(model.sam.named_parameters()) | dict(model.sam.named_buffers())
    trained = tuple(
        n for n in own if n.startswith("mask_decoder.") or "adapter_" in n or "modal_embed" in n or "organ_embed" in n
    )
    frozen = tuple(n for n in own if n not in trained)
    if base is not None:
        rules = Rules(
            optional=trained,
            ignored=_BASE_IGNORED,
            adapt=lambda state, _: _from_base(state, model),
        )
        load_weights(model, base, card=card, rules=rules, into=model.sam)
        record = model.weights_record
    if weights is None:
        return
    rules = Rules(prefixes=("module.", "sam."), optional=frozen if base is not None else (), ignored=("pixel_",))
    try:
        load_weights(model, weights, card=card, rules=rules, into=model.sam)
    except IncompatibleWeights as error:
        if base is None and "pos_embed" in str(error):
            raise IncompatibleWeights(
                f"the file holds only what MedSegX trained, without the Segment Anything below it: {error}",
                code="model.base_missing",
                hint="Give base= the path of sam_vit_b_01ec64.pth too, or a file with all tensors.",
            ) from error
        raise
    if base is not None:
        model.weights_record = {**model.weights_record, "base": record}


def _from_base(state: dict[str, Tensor], model: MedSegX) -> dict[str, Tensor]:
    """Return the tensors of a SAM under the names and at the sizes of this network; what has another shape is left out."""
    own = model.sam.state_dict()
    plain = {k.replace(".mlp.mlp.", ".mlp."): v for k, v in own.items()}
    named = to_released(state, plain)
    named = {
        k.replace(".mlp.", ".mlp.mlp.") if k.startswith("image_encoder.blocks.") else k: v for k, v in named.items()
    }
    named = resized_tables(named, model.sam.image_encoder, "image_encoder.")
    return {k: v for k, v in named.items() if not (k.startswith("mask_decoder.") and own[k].shape != v.shape)}


def _card(title: str, *, released: bool = False) -> Card:
    file = (
        "medsegx_vit_b.pth by the link of github.com/MedSegX/MedSegX-code, and sam_vit_b_01ec64.pth of github.com/facebookresearch/"
        "segment-anything: give both paths, weights= and base=."
    )
    return Card(
        title=title,
        roles=frozenset({"segment"}),
        modalities=frozenset({"cfp", "ultrasound"}),
        # Values of [0, 1]; the network scales them itself.
        input=ImageInput(
            size=256, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), crop="none", fit="stretch", resample="bilinear"
        ),
        paper="doi:10.1038/s41551-025-01497-3",
        weight_license="Apache-2.0" if released else None,
        training_data=("MedSegDB (129 public sets)",) if released else (),
        classes=("mask_1", "mask_2", "mask_3"),
        obtain=file if released else "",
        notes="Three masks per box; published scores choose the best of them with the truth, and draw the box from it.",
    )


_VIT_B = _card("MedSegX, ViT-B", released=True)
_VIT_L, _VIT_H, _TEST = _card("MedSegX, ViT-L"), _card("MedSegX, ViT-H"), _card("MedSegX, smallest")


@models.register("medsegx.vit_b", _VIT_B)
def vit_b(
    *,
    weights: str | None = None,
    base: str | None = None,
    task: str = "disc",
    modality: str = "cfp",
    keep: Keep = "all",
) -> MedSegX:
    """Return the network on SAM's ViT-B; `base` is SAM's own file, which the released one needs."""
    model = MedSegX(768, 12, 12, (2, 5, 8, 11), task=task, modality=modality, keep=keep)
    load_medsegx(model, weights, base, card=_VIT_B)
    return model


@models.register("medsegx.vit_l", _VIT_L)
def vit_l(
    *,
    weights: str | None = None,
    base: str | None = None,
    task: str = "disc",
    modality: str = "cfp",
    keep: Keep = "all",
) -> MedSegX:
    """Return the network on SAM's ViT-L."""
    model = MedSegX(1024, 24, 16, (5, 11, 17, 23), task=task, modality=modality, keep=keep)
    load_medsegx(model, weights, base, card=_VIT_L)
    return model


@models.register("medsegx.vit_h", _VIT_H)
def vit_h(
    *,
    weights: str | None = None,
    base: str | None = None,
    task: str = "disc",
    modality: str = "cfp",
    keep: Keep = "all",
) -> MedSegX:
    """Return the network on SAM's ViT-H."""
    model = MedSegX(1280, 32, 16, (7, 15, 23, 31), task=task, modality=modality, keep=keep)
    load_medsegx(model, weights, base, card=_VIT_H)
    return model


@models.register("medsegx.test", _TEST)
def test(
    *,
    weights: str | None = None,
    base: str | None = None,
    task: str = "disc",
    modality: str = "cfp",
    keep: Keep = "all",
) -> MedSegX:
    """Return the smallest legal configuration."""
    model = MedSegX(
        16, 2, 2, (1,), size=64, window=2, channels=32, decoder_heads=2, decoder_mlp=32, task=task, modality=modality, keep=keep
    )  # fmt: skip
    load_medsegx(model, weights, base, card=_TEST)
    return model
