"""Every style writes its published words, marks its answers only, and keeps words of a turn from being commands."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Turn
from fundusion.layers.chat import CHATML, LLAMA2, PLAIN, VICUNA, answer_tokens, as_data, check_turns, padded, read_chats
from fundusion.layers.letter_chat import letter_chat_tokenizer

TALK = [
    Turn(role="system", text="sys"), Turn(role="user", text="q1"), Turn(role="assistant", text="a1"),
    Turn(role="user", text="q2"), Turn(role="assistant", text="a2"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("style", "written"),
    [
        (VICUNA, "sys USER: <image>\nq1 ASSISTANT: a1</s>USER: q2 ASSISTANT: a2</s>"),
        (LLAMA2, "[INST] <<SYS>>\nsys\n<</SYS>>\n\n<image>\nq1 [/INST] a1 </s>[INST] q2 [/INST] a2 </s>"),
        (PLAIN, "<image>sys q1 a1</s>q2 a2</s>"),
        (
            CHATML,
            "<|im_start|>system\nsys</s>\n<|im_start|>user\n<image>q1</s>\n<|im_start|>assistant\na1</s>\n"
            "<|im_start|>user\nq2</s>\n<|im_start|>assistant\na2</s>\n",
        ),
    ],
)
def test_styles_write_what_was_published_and_mark_answers_with_their_end(style, written):
    pieces = style.render(TALK, "<image>", "</s>")
    assert "".join(words for words, _ in pieces) == written
    assert ["".join(w.split()) for w, is_answer in pieces if is_answer] == ["a1</s>", "a2</s>"]


def test_the_prompt_of_an_answer_is_the_beginning_of_the_whole_conversation():
    for style in (VICUNA, LLAMA2, PLAIN, CHATML):
        whole = "".join(w for w, _ in style.render(TALK, "<image>", "</s>"))
        asked = "".join(w for w, _ in style.render(TALK[:-1], "<image>", "</s>"))
        assert whole.startswith(asked)


@pytest.mark.parametrize(
    ("sides", "answers"),
    [
        ([], False), (["system"], False), (["assistant"], True), (["user", "user"], True), (["user"], True),
        (["user", "assistant"], False), (["user", "system"], True),
    ],
)  # fmt: skip
def test_conversations_out_of_order_are_refused(sides, answers):
    with pytest.raises(InvalidInput) as caught:
        check_turns([[Turn(role=s, text="x") for s in sides]], answers=answers)
    assert caught.value.code == "chat.order"


def test_what_is_no_turn_is_named():
    for row in ([{"role": "user", "content": "x"}], ["x"], "x", Turn(role="user", text="x")):
        with pytest.raises(InvalidInput, match="conversation 1 is no list of turns"):
            check_turns([[Turn(role="user", text="x")], row], answers=False)


def test_marks_are_broken_even_when_hidden_characters_split_them():
    assert as_data("</s>", ("</s>",)) == "< /s>"
    assert as_data("<\u200b/s>", ("</s>",)) == "< /s>"
    assert as_data("<|im_<|im_end|>end|>", ("<|im_end|>",)) == "<|im_< |im_end|>end|>"
    assert as_data("a normal eye", ("</s>", "USER:")) == "a normal eye"


SPECIAL = ("<image>", "<|im_start|>", "<|im_end|>", "[SEP]", "[CLS]", "<im_patch>")
PIECES = (
    *SPECIAL,
    "USER:",
    "ASSISTANT:",
    "[INST]",
    "[/INST]",
    "<",
    "|",
    "[",
    "im_start|>",
    ">",
    "a",
    " ",
    "\u200b",
    "\x00",
    "\n",
)


@given(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.sampled_from([PLAIN, VICUNA, CHATML, LLAMA2])
)  # fmt: skip
def test_no_words_of_a_turn_become_a_command(text, style):
    words = letter_chat_tokenizer()

    def read(said):
        return read_chats(words, [[Turn(role="user", text=said)]], [""], style=style, start=2, limit=999, left=True)

    special = torch.tensor(words.convert_tokens_to_ids(list(SPECIAL)))
    assert torch.isin(read(text).ids, special).sum() == torch.isin(read("a").ids, special).sum()
    safe = as_data(text, (*SPECIAL, *style.marks))
    assert not any(mark in safe for mark in (*SPECIAL, *style.marks))


def test_answers_are_found_token_by_token_and_pictures_come_before_the_start():
    words = letter_chat_tokenizer()
    made = read_chats(
        words, [TALK, TALK[:3]], ["<image><image>"] * 2, style=PLAIN, start=2, limit=99, left=False
    )  # fmt: skip
    assert words.convert_ids_to_tokens(made.ids[0][:3].tolist()) == ["<image>", "<image>", "[CLS]"]
    said = words.convert_ids_to_tokens(made.ids[0][made.answer[0]].tolist())
    assert said == ["a", "##1", "[SEP]", "a", "##2", "[SEP]"]
    assert made.ids[1][~made.mask[1]].unique().tolist() == [0]
    wanted, counted = answer_tokens(made)
    assert int(counted.sum()) == int(made.answer.sum())
    assert torch.equal(wanted[counted], made.ids[made.answer])


def test_padding_goes_where_it_is_asked():
    rows = [([5, 6, 7], [False, True, True]), ([8], [True])]
    left, right = padded(rows, 0, left=True), padded(rows, 0, left=False)
    assert left.ids[1].tolist() == [0, 0, 8]
    assert right.ids[1].tolist() == [8, 0, 0]
    assert left.answer[1].tolist() == [False, False, True]
    assert right.mask[1].tolist() == [True, False, False]


def test_too_many_tokens_are_counted_in_the_message():
    with pytest.raises(InvalidInput, match="has 5 tokens with its pictures; this model reads 4") as caught:
        read_chats(
            letter_chat_tokenizer(), [[Turn(role="user", text="a b c d")]], [""], style=PLAIN, start=2, limit=4, left=True
        )  # fmt: skip
    assert caught.value.code == "text.too_long"
