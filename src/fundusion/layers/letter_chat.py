"""The tokenizer of the smallest generators: letters and the marks of every style, the same in every process, from no file."""

from __future__ import annotations

from typing import Any

from ..core.errors import require

_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", "<image>", "<|im_start|>", "<|im_end|>",
          "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<im_start>", "<im_patch>", "<im_end>")  # fmt: skip
_SIGNS = "abcdefghijklmnopqrstuvwxyz0123456789.,:?"
_WORDS = ("drusen", "normal", "eye", "what", "is", "seen")
#: Sizes of the smallest language model; the feature width suits every family.
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
#: Settings of the smallest LLaMA. Fresh weights of published defaults would be dead in some families, so the range is told.
TINY_LLAMA = {
    "model_type": "llama", "num_key_value_heads": 1, "max_position_embeddings": 2048, "pad_token_id": 0,
    "bos_token_id": 2, "eos_token_id": 3, "initializer_range": 0.02, **TINY,
}  # fmt: skip
#: Settings of the smallest T5.
TINY_T5 = {
    "model_type": "t5", "d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0,
    "feed_forward_proj": "gated-gelu", "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0,
}  # fmt: skip


def letter_chat_tokenizer() -> Any:
    """Return a tokenizer with a fixed vocabulary; `[CLS]` begins, `[SEP]` ends."""
    transformers = require("transformers", extra="text")
    words = [*_MARKS, *_WORDS, *_SIGNS, *(f"##{c}" for c in _SIGNS)]
    return transformers.BertTokenizer(
        vocab={w: i for i, w in enumerate(words)}, bos_token="[CLS]", eos_token="[SEP]",
        additional_special_tokens=list(_MARKS[5:]),
    )  # fmt: skip
