"""Whole phrases are one token, unknown words are marked, texts come back as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.layers.eye_words import WORDS
from fundusion.layers.word_tokenizer import MARKS, WordTokenizer

WORDS_OF_EYES = WordTokenizer(WORDS)


def test_the_longest_entry_wins_and_ends_where_a_word_ends():
    words = WordTokenizer(("macular hole", "macular", "hole", "eye"))
    assert words.words_of("Macular hole, eyes") == ["macular hole", "[UNK]", "[UNK]"]
    assert words.words_of("macular  hole") == ["macular", "hole"]


def test_places_of_tokens_cover_what_was_read():
    text = "which eye? 右眼。"
    made = WORDS_OF_EYES(text)
    assert [text[a:b] for a, b in made["offset_mapping"]] == ["which eye", "?", "右眼", "。"]


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
def test_what_was_said_is_read_again(entries):
    ids = [WORDS_OF_EYES.convert_tokens_to_ids(e) for e in entries]
    text = WORDS_OF_EYES.decode(ids)
    again = WORDS_OF_EYES(text)["input_ids"]
    # Two short phrases may make a longer one; the words are the same.
    assert WORDS_OF_EYES.decode(again) == text


@given(st.text(max_size=60))
def test_any_text_is_read_and_no_text_is_a_mark_unless_written_so(text):
    ids = WORDS_OF_EYES(text)["input_ids"]
    assert all(0 <= i < len(WORDS_OF_EYES) for i in ids)
    if not any(m in text for m in MARKS):
        assert not {0, 1, 2} & set(ids)


@pytest.mark.parametrize("entries", [("a", "a"), (" a",), ("",)])
def test_bad_lists_are_refused(entries):
    with pytest.raises(InvalidInput, match="word list"):
        WordTokenizer(entries)
