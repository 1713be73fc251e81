"""The smallest tokenizer is the same everywhere and knows every mark as one token."""

import pytest

from fundusion.layers.letter_chat import TINY_LLAMA, letter_chat_tokenizer


def test_ids_are_fixed_and_marks_are_whole():
    words = letter_chat_tokenizer()
    assert (words.pad_token_id, words.bos_token_id, words.eos_token_id) == (0, 2, 3)
    assert words("<image>eye is ab", add_special_tokens=False)["input_ids"] == [7, 19, 21, 23, 64]
    assert words.decode([7, 18, 19, 3], skip_special_tokens=True) == "normal eye"


@pytest.mark.parametrize("mark", ["<image>", "<|im_end|>", "<im_patch>", "<|image_pad|>", "[DEC]"])
def test_marks_are_special(mark):
    words = letter_chat_tokenizer()
    assert len(words(f"a{mark}b", add_special_tokens=False)["input_ids"]) == 3
    assert mark in words.all_special_tokens


def test_fresh_weights_are_not_dead():
    assert TINY_LLAMA["initializer_range"] == 0.02
