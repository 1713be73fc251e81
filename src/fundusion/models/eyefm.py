"""EyeFM's vision stage: one transformer over the patches of up to five kinds of pictures, pre-trained by rebuilding hidden patches.

Source: Wu et al. 2025, doi:10.1038/s41591-025-03900-7; MultiMAE, Bachmann et al. 2022, arXiv:2204.01678; written from a description
of the released code (eyefm/EyeFM). No weights were released. Deviation with a switch: given masks, the released code adds up the visible
tokens of the whole batch, which is right for one study only; `sum_visible_over_batch=True` repeats it, the default counts per study.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InvalidInput
from ..core.interfaces import Features
from ..core.registry import Card, ImageInput, models
from ..layers.checkpoints import Rules, find_weights
from ..layers.masking import patchify, standardised, unpatchify
from ..layers.origins import origin_record
from ..layers.plain_vit import as_map, make_blocks
from ..layers.weights import LoadReport, fit_state, load_state

_PAPER = "doi:10.1038/s41591-025-03900-7"
#: House names of the modalities and the names in checkpoints, in the order of the tokens.
DOMAINS = {"cfp": "cfp", "uwf": "uwf", "external": "eyephoto", "oct": "oct", "ffa": "ffa"}


def sincos_table(embed_dim: int, side: int) -> Tensor:
    """Return fixed positions `(1, E, side, side)`: a quarter each of sine and cosine of row and column."""
    rate = 1.0 / 10000 ** (torch.arange(embed_dim // 4, dtype=torch.float64) / (embed_dim // 4))
    place = torch.arange(side, dtype=torch.float64)[:, None] * rate
    column, row = place[None].expand(side, -1, -1), place[:, None].expand(-1, side, -1)
    table = torch.cat([row.sin(), row.cos(), column.sin(), column.cos()], -1)
    return table.permute(2, 0, 1)[None].float()


class InputAdapter(nn.Module):
    """Patches of one kind of pictures as tokens with their positions."""

    def __init__(self, embed_dim: int, *, patch_size: int = 16, image_size: int = 224, learned: bool = False) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.pos_emb = nn.Parameter(sincos_table(embed_dim, image_size // patch_size), requires_grad=learned)
        self.proj = nn.Conv2d(3, embed_dim, patch_size, patch_size)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return tokens `(T, N, E)` and their grid; positions are interpolated (bicubic) to other sizes."""
        if images.ndim != 4 or any(s % self.patch_size for s in images.shape[-2:]):
            raise InvalidInput(
                f"expected pictures with sides that are multiples of {self.patch_size}, got {tuple(images.shape)}."
            )
        x = self.proj(images)
        table = self.pos_emb
        if table.shape[-2:] != x.shape[-2:]:
            table = F.interpolate(table, size=x.shape[-2:], mode="bicubic", align_corners=False)
        return (x + table).flatten(2).transpose(1, 2), (x.shape[2], x.shape[3])


class _CrossAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, asked: Tensor, context: Tensor, seen: Tensor) -> Tensor:
        b, n, width = asked.shape
        q = self.q(asked).reshape(b, n, self.num_heads, -1).transpose(1, 2)
        k, v = self.kv(context).reshape(b, context.shape[1], 2, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None])
        return self.proj(x.transpose(1, 2).reshape(b, n, width))


class _Perceptron(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class OutputAdapter(nn.Module):
    """Decoder of one modality: its positions ask the visible tokens of all, then attend to each other."""

    def __init__(
        self,
        own: str,
        names: Sequence[str],
        *,
        embed_dim: int,
        width: int = 256,
        depth: int = 2,
        num_heads: int = 8,
        patch_size: int = 16,
        image_size: int = 224,
    ) -> None:
        super().__init__()
        self.own, self.patch_size = own, patch_size
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_emb = nn.Parameter(sincos_table(width, image_size // patch_size), requires_grad=False)
        self.task_embeddings = nn.ParameterDict({n: nn.Parameter(torch.zeros(1, 1, width)) for n in names})
        for p in (self.mask_token, *self.task_embeddings.values()):
            nn.init.trunc_normal_(p, std=0.02)
        self.decoder = _CrossAttention(width, num_heads)
        self.context_norm, self.query_norm, self.out_norm = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.mlp = _Perceptron(width)
        self.decoder_transformer = nn.Sequential(*make_blocks(depth, width, num_heads))
        self.out_proj = nn.Linear(width, 3 * patch_size**2)
        self.proj_context = nn.Linear(embed_dim, width)

    def forward(
        self,
        encoded: Tensor,
        grids: Mapping[str, tuple[int, int]],
        *,
        keep: Tensor,
        restore: Tensor,
        seen: Tensor,
    ) -> Tensor:
        """Return pictures `(B, 3, H, W)`.

        Args:
            encoded: `(B, V + 1, E)`, visible tokens and the global one.
            grids: Of every modality in the order of the tokens.
            keep: `(B, V)`, where the visible tokens stood.
            restore: `(B, N)`, place of each token in the list of visible, then hidden ones.
            seen: bool `(B, V + 1)`, False at padding.
        """
        context = self.proj_context(encoded)
        visible, rest = context[:, : keep.shape[1]], context[:, keep.shape[1] :]
        total = restore.shape[1]
        hidden = self.mask_token.to(visible.dtype).expand(len(visible), total - keep.shape[1], -1)
        # What fills up a study with fewer visible tokens is hidden like the rest.
        visible = torch.where(seen[:, : keep.shape[1], None], visible, self.mask_token.to(visible.dtype))
        every = torch.cat([visible, hidden], 1).gather(1, restore[..., None].expand(-1, -1, visible.shape[2]))
        every = every + torch.cat([self._places(n, g) for n, g in grids.items()], 1)
        start = 0
        for name, (h, w) in grids.items():
            if name == self.own:
                break
            start += h * w
        rows, columns = grids[self.own]
        asked = every[:, start : start + rows * columns]
        context = torch.cat([every.gather(1, keep[..., None].expand(-1, -1, every.shape[2])), rest], 1)
        x = self.decoder(self.query_norm(asked), self.context_norm(context), seen)
        # There is no residual to the queries.
        x = x + self.mlp(self.out_norm(x))
        x = self.out_proj(self.decoder_transformer(x))
        channel_last = x.reshape(*x.shape[:2], 3, -1).transpose(2, 3).flatten(2)
        return unpatchify(channel_last, self.patch_size, (rows, columns))

    def _places(self, name: str, grid: tuple[int, int]) -> Tensor:
        table = self.pos_emb
        if table.shape[-2:] != grid:
            table = F.interpolate(table, size=grid, mode="bilinear", align_corners=False)
        return table.flatten(2).transpose(1, 2) + self.task_embeddings[name]


class MultiMAE(nn.Module):
    """Joint encoder, and a decoder per modality when it is pre-trained.

    Names of tensors are those of the released code. Modalities are called by their house names (cfp, uwf, external, oct, ffa).

    Args:
        modalities: Kinds of pictures, in the order of the tokens.
        decoder_width: 0 leaves the decoders out.
        learned_positions: Positions are trained (fine-tuning); fixed in pre-training.
    """

    def __init__(
        self,
        modalities: Iterable[str] = tuple(DOMAINS),
        *,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        decoder_width: int = 256,
        decoder_depth: int = 2,
        decoder_heads: int = 8,
        patch_size: int = 16,
        image_size: int = 224,
        drop_path: float = 0.0,
        learned_positions: bool = False,
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        unknown = [m for m in self.modalities if m not in DOMAINS]
        if unknown or not self.modalities:
            raise InvalidInput(
                f"unknown modalities {unknown}; EyeFM reads {', '.join(DOMAINS)}.", code="modality.unknown"
            )
        self.embed_dim, self.patch_size, self.image_size = embed_dim, patch_size, image_size
        names = [DOMAINS[m] for m in self.modalities]
        self.input_adapters = nn.ModuleDict(
            {n: InputAdapter(embed_dim, patch_size=patch_size, image_size=image_size, learned=learned_positions)
             for n in names}
        )  # fmt: skip
        self.global_tokens = nn.Parameter(torch.zeros(1, 1, embed_dim))
        nn.init.trunc_normal_(self.global_tokens, std=0.02)
        self.encoder = nn.ModuleList(make_blocks(depth, embed_dim, num_heads, drop_path=drop_path))
        self.output_adapters = nn.ModuleDict()
        if decoder_width:
            for n in names:
                self.output_adapters[n] = OutputAdapter(
                    n, names, embed_dim=embed_dim, width=decoder_width, depth=decoder_depth, num_heads=decoder_heads,
                    patch_size=patch_size, image_size=image_size,
                )  # fmt: skip

    def tokens(self, images: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, tuple[int, int]]]:
        """Return the patches of all given modalities in their fixed order, `(B, N, E)`, and the grids by checkpoint name."""
        given = [m for m in self.modalities if m in images]
        if not given or set(images) - set(self.modalities):
            raise InvalidInput(f"got pictures of {sorted(images)}; this model reads {', '.join(self.modalities)}.")
        parts, grids = [], {}
        for m in given:
            x, grids[DOMAINS[m]] = self.input_adapters[DOMAINS[m]](images[m])
            parts.append(x)
        return torch.cat(parts, 1), grids

    def encode_tokens(self, tokens: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return tokens through the blocks, the global one appended at the end: `(B, N + 1, E)`.

        Args:
            tokens: `(B, N, E)`.
            seen: bool `(B, N)`; others are nobody's context. None: all.
        """
        x = torch.cat([tokens, self.global_tokens.expand(len(tokens), -1, -1)], 1)
        mask = None
        if seen is not None and not bool(seen.all()):
            mask = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)[:, None, None]
        for block in self.encoder:
            x = block(x, attn_mask=mask)
        return x

    def forward(
        self, images: Mapping[str, Tensor], masks: Mapping[str, Tensor], *, sum_visible_over_batch: bool = False
    ) -> dict[str, Tensor]:
        """Return rebuilt pictures by modality for masks `(B, N)` that are 0 where a patch is visible."""
        tokens, grids = self.tokens(images)
        hidden = torch.cat([masks[m] for m in self.modalities if m in images], 1).to(tokens.device)
        order = torch.argsort(hidden, dim=1, stable=True)
        restore = torch.argsort(order, 1)
        counts = (hidden == 0).sum(1)
        if sum_visible_over_batch:
            counts = counts.sum().clamp(max=hidden.shape[1]).expand(len(counts))
        longest = int(counts.max())
        keep = order[:, :longest]
        seen = torch.arange(longest, device=keep.device)[None] < counts[:, None]
        chosen = tokens.gather(1, keep[..., None].expand(-1, -1, tokens.shape[2]))
        encoded = self.encode_tokens(chosen, seen)
        all_seen = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)
        return {
            m: self.output_adapters[DOMAINS[m]](encoded, grids, keep=keep, restore=restore, seen=all_seen)
            for m in self.modalities
            if m in images
        }

    def reconstruction_losses(
        self,
        rebuilt: Mapping[str, Tensor],
        images: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        *,
        normalised: bool = True,
        present: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return per modality the mean over studies of the mean squared error on hidden patches.

        Studies that lack the modality, and those with no hidden patch of it, weigh nothing; a modality that nobody has is left out.
        """
        losses = {}
        for m, picture in rebuilt.items():
            target = patchify(images[m], self.patch_size)
            target = standardised(target) if normalised else target
            error = (patchify(picture, self.patch_size) - target).square().mean(-1)
            hidden = masks[m].to(error.device).float()
            if present is not None:
                hidden = hidden * present[m].to(error.device).float()[:, None]
            rows = hidden.sum(1) > 0
            if bool(rows.any()):
                losses[m] = ((error * hidden).sum(1)[rows] / hidden.sum(1)[rows]).mean()
        return losses

    def repainted(self, rebuilt: Tensor, images: Tensor) -> Tensor:
        """Return rebuilt pictures of normalised pixels with the brightness and contrast of each true patch."""
        truth = patchify(images, self.patch_size)
        made = patchify(rebuilt, self.patch_size) * (truth.var(-1, keepdim=True) + 1e-6).sqrt()
        grid = (images.shape[2] // self.patch_size, images.shape[3] // self.patch_size)
        return unpatchify(made + truth.mean(-1, keepdim=True), self.patch_size, grid)

    def encode(self, images: Tensor) -> Features:
        """Return features of the pictures of the first modality: the mean over its patches, as the classifier's."""
        tokens, grids = self.tokens({self.modalities[0]: images})
        patches = self.encode_tokens(tokens)[:, :-1]
        return Features(pooled=patches.mean(1), tokens=patches, maps=(as_map(patches, next(iter(grids.values()))),))


class MultiViT(nn.Module):
    """Classifier on any of the modalities: joint encoder, mean over the patches that are there (or the global token), norm, linear.

    Args:
        body: A `MultiMAE` without decoders; its positions are learned in the published fine-tuning.
        num_classes: Logits.
        pool: "mean" or "global".
    """

    def __init__(self, body: MultiMAE, num_classes: int, *, pool: str = "mean") -> None:
        super().__init__()
        if pool not in ("mean", "global"):
            raise InvalidInput(f"unknown pool {pool!r}; known are mean and global.")
        self.body, self.pool = body, pool
        self.norm = nn.LayerNorm(body.embed_dim, eps=1e-6)
        self.head = nn.Linear(body.embed_dim, num_classes)
        with torch.no_grad():
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            self.head.weight.mul_(0.001)
            self.head.bias.zero_()

    def forward(self, images: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return logits `(B, C)`.

        Args:
            images: Modality to `(B, 3, H, W)`; what stands in an absent row does not matter.
            present: Modality to bool `(B,)`; None: every study has every given modality.
        """
        clean = {}
        for m, picture in images.items():
            row = None if present is None else present[m]
            clean[m] = picture if row is None else torch.where(row[:, None, None, None], picture, 0.0)
        tokens, grids = self.body.tokens(clean)
        seen = None
        if present is not None:
            given = [m for m in self.body.modalities if m in images]
            sizes = [h * w for h, w in grids.values()]
            seen = torch.cat([present[m][:, None].expand(-1, n) for m, n in zip(given, sizes, strict=True)], 1)
            if not bool(seen.any(1).all()):
                raise InvalidInput("a study has none of the modalities.", code="study.empty")
        x = self.body.encode_tokens(tokens, seen)
        if self.pool == "global":
            pooled = x[:, -1]
        elif seen is None:
            pooled = x[:, :-1].mean(1)
        else:
            weight = seen[..., None].to(x.dtype)
            pooled = (x[:, :-1] * weight).sum(1) / weight.sum(1)
        return self.head(self.norm(pooled))


def load_multimae(body: MultiMAE, path: str) -> LoadReport:
    """Load a pre-training checkpoint (`model` at its top); decoders may be absent on either side.

    Positions of another size are interpolated (bicubic). Adapters of modalities this model has not are left out.

    Raises:
        IncompatibleWeights: An adapter or block is missing or has another shape.
    """
    own = body.state_dict()
    state = dict(load_state(path))
    for key, value in list(state.items()):
        wanted = own.get(key)
        if key.endswith("pos_emb") and wanted is not None and value.ndim == 4 and value.shape != wanted.shape:
            state[key] = F.interpolate(value, size=wanted.shape[-2:], mode="bicubic", align_corners=False)
    absent = [f"input_adapters.{d}." for m, d in DOMAINS.items() if m not in body.modalities]
    return fit_state(body, state, allow_missing=("output_adapters.",), allow_unexpected=("output_adapters.", *absent))


def _card(title: str, modality: str = "cfp") -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode"}),
        modalities=frozenset(DOMAINS),
        input=ImageInput(size=224),
        paper=_PAPER,
        obtain="No weights were released; train them with fundusion pretrain --objective multimae, or give a path.",
        training_data=("14.5 million pictures of five kinds (weights were not released)",),
        notes="The option modality chooses the input adapter. For one transformer over all modalities use the fusion joint_tokens.",
    )


def _build(
    modality: str, modalities: Iterable[str] | None, weights: str | None, decoder: bool, **sizes: Any
) -> MultiMAE:
    body = MultiMAE(tuple(modalities or (modality,)), learned_positions=not decoder, **sizes)
    if weights:
        path, source = find_weights(weights, card=_card(""), rules=Rules())
        body.weights_record = origin_record(path, load_multimae(body, str(path)), None, source=source)
    return body


@models.register("eyefm.large", _card("EyeFM vision stage, MultiMAE-L"))
def large(
    *,
    modality: str = "cfp",
    modalities: Iterable[str] | None = None,
    weights: str | None = None,
    decoder: bool = False,
    drop_path: float = 0.0,
    image_size: int = 224,
) -> MultiMAE:
    """Return the encoder for the pictures of one modality (303 M parameters), or the joint one of several.

    Args:
        modality: Whose pictures `encode` reads.
        modalities: All that the joint encoder reads; `encode` reads the first.
        weights: A pre-training checkpoint.
        decoder: With decoders and fixed positions, for pre-training; without, positions are learned.
        drop_path: Greatest share of skipped blocks.
        image_size: Side of the pictures, px.
    """
    width = {"decoder_width": 256 if decoder else 0}
    return _build(modality, modalities, weights, decoder, drop_path=drop_path, image_size=image_size, **width)


@models.register("eyefm.small", _card("EyeFM's vision stage at the size of ViT-S"))
def small(
    *,
    modality: str = "cfp",
    modalities: Iterable[str] | None = None,
    weights: str | None = None,
    decoder: bool = False,
    drop_path: float = 0.0,
    image_size: int = 224,
) -> MultiMAE:
    """Return a joint encoder of 21 M parameters to train oneself; options as of `large`."""
    sizes = {"embed_dim": 384, "depth": 12, "num_heads": 6, "decoder_width": 128 if decoder else 0, "decoder_heads": 4}
    return _build(modality, modalities, weights, decoder, drop_path=drop_path, image_size=image_size, **sizes)


@models.register("eyefm.test", _card("EyeFM vision stage, smallest"))
def test(
    *,
    modality: str = "cfp",
    modalities: Iterable[str] | None = None,
    weights: str | None = None,
    decoder: bool = False,
    image_size: int = 64,
) -> MultiMAE:
    """Return the smallest legal configuration."""
    sizes = {"embed_dim": 16, "depth": 2, "num_heads": 2, "decoder_width": 16 if decoder else 0, "decoder_depth": 1,
             "decoder_heads": 2}  # fmt: skip
    return _build(modality, modalities, weights, decoder, image_size=image_size, **sizes)


class PatchTokens(nn.Module):
    """Patches of one modality with their positions and nothing else: the joint transformer is the fusion `joint_tokens`.

    Args:
        modality: Whose adapter it is.
        embed_dim: Of the joint transformer.
        image_size: Side of the pictures, px.
    """

    #: The network hands patches, not one vector per picture, to the fusion.
    gives_patches = True

    def __init__(self, modality: str, embed_dim: int, image_size: int) -> None:
        super().__init__()
        if modality not in DOMAINS:
            raise InvalidInput(
                f"EyeFM has no modality {modality!r}; it reads {', '.join(DOMAINS)}.", code="modality.unknown"
            )
        self.embed_dim = embed_dim
        self.adapter = InputAdapter(embed_dim, image_size=image_size, learned=True)

    def encode(self, images: Tensor) -> Features:
        """Return patch tokens, their mean and their map."""
        tokens, grid = self.adapter(images)
        return Features(pooled=tokens.mean(1), tokens=tokens, maps=(as_map(tokens, grid),))


_WIDTHS = {"large": 1024, "small": 384, "test": 16}


@models.register("eyefm.patches", _card("EyeFM's input adapter of one modality"))
def patches(
    *, modality: str = "cfp", size: str = "large", weights: str | None = None, image_size: int | None = None
) -> PatchTokens:
    """Return the adapter of one modality; use it with the fusion `joint_tokens` and its `weights`.

    Args:
        modality: cfp, uwf, external, oct or ffa.
        size: large (1024), small (384) or test (16): width of the joint transformer.
        weights: Checkpoint of a MultiMAE.
        image_size: Side of the pictures, px.
    """
    if size not in _WIDTHS:
        raise InvalidInput(f"unknown size {size!r}; known are {', '.join(_WIDTHS)}.")
    model = PatchTokens(modality, _WIDTHS[size], image_size or (64 if size == "test" else 224))
    if weights:
        prefix = f"input_adapters.{DOMAINS[modality]}."
        path, source = find_weights(weights, card=_card(""), rules=Rules())
        state = {k.removeprefix(prefix): v for k, v in load_state(path).items() if k.startswith(prefix)}
        table, wanted = state.get("pos_emb"), model.adapter.pos_emb
        if table is not None and table.shape != wanted.shape:
            state["pos_emb"] = F.interpolate(table, size=wanted.shape[-2:], mode="bicubic", align_corners=False)
        model.weights_record = origin_record(path, fit_state(model.adapter, state), None, source=source)
    return model
