"""Names of Segment Anything's tensors: those of the released files, and those of transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

#: Released name -> name in transformers, applied in this order.
_RULES = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"(mlps\.\d|iou_prediction_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(mlps\.\d|iou_prediction_head)\.layers\.2\.", r"\1.proj_out."),
    (r"(mlps\.\d|iou_prediction_head)\.layers\.1\.", r"\1.layers.0."),
)
_PLACES = ("prompt_encoder.shared_embedding.positional_embedding", "shared_image_embedding.positional_embedding")


def transformers_name(released: str) -> str:
    """Return the name in transformers of a tensor of a released file.

    Example:
        >>> transformers_name("image_encoder.blocks.3.norm1.weight")
        'vision_encoder.layers.3.layer_norm1.weight'
        >>> transformers_name("mask_decoder.iou_prediction_head.layers.1.bias")
        'mask_decoder.iou_prediction_head.layers.0.bias'
    """
    for pattern, replacement in _RULES:
        released = re.sub(pattern, replacement, released)
    return released


def is_released(state: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of a released file."""
    return any(k.startswith("image_encoder.") for k in state)


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of either kind of file under the names of transformers; the table of places stands there twice."""
    out = {transformers_name(k): v for k, v in state.items()} if is_released(state) else dict(state)
    for one, other in (_PLACES, _PLACES[::-1]):
        if one in out:
            out.setdefault(other, out[one])
    return out


def to_released(state: Mapping[str, Tensor], names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of either kind of file under released names.

    Args:
        state: Of a file.
        names: A state dict with the released names that are wanted; what transformers calls otherwise is looked for.
    """
    if is_released(state):
        return dict(state)
    full = to_transformers(state)
    known = {transformers_name(n): n for n in names}
    return {known.get(k, k): v for k, v in full.items() if k != _PLACES[1]}
