"""Files of conversations as downloaded: both formats, pairs, and every way an item can be wrong."""

import json

import pytest

from fundusion.core.errors import InvalidInput, ReadError
from fundusion.readers.conversations import MAX_CHARACTERS, read_conversations

LLAVA = {
    "id": "0001", "image": "train/eye.png",
    "conversations": [{"from": "human", "value": "<image>\nWhat is seen?"}, {"from": "gpt", "value": "Drusen."}],
}  # fmt: skip
QWEN = {
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<image>左眼？"}, {"role": "assistant", "content": "是。"}],
    "images": ["train/eye.png"],
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "eye.png").write_bytes(b"x")

    def put(*items, lines=True):
        file = tmp_path / ("a.jsonl" if lines else "a.json")
        text = (
            "\n".join(i if isinstance(i, str) else json.dumps(i, ensure_ascii=False) for i in items)
            if lines
            else json.dumps(items)
        )
        file.write_text(text, "utf-8")
        return file

    return put


def test_llava_as_downloaded(write):
    (item,) = read_conversations(write(LLAVA, lines=False)).items
    assert item.item_id == "0001"
    assert [(t.role, t.text) for t in item.turns] == [("user", "What is seen?"), ("assistant", "Drusen.")]
    assert item.images["cfp"].endswith("train/eye.png")
    assert item.group == item.images["cfp"]


def test_qwen_in_its_three_ways(write):
    parts = {"messages": [{"role": "user", "content": [{"type": "image", "image": "train/eye.png"}, {"type": "text", "text": "Eye?"}]},
                          {"role": "assistant", "content": [{"type": "text", "text": "Left."}]}]}  # fmt: skip
    old = {
        "conversations": [
            {"from": "user", "value": "Picture 1: <img>train/eye.png</img>\nEye?"},
            {"from": "assistant", "value": "Left."},
        ]
    }
    found = read_conversations(write(QWEN, parts, old))
    assert found.rejected == ()
    assert [t.text for t in found.items[0].turns] == ["Be brief.", "左眼？", "是。"]
    for item in found.items[1:]:
        assert [t.text for t in item.turns] == ["Eye?", "Left."]
    assert len({i.images["cfp"] for i in found.items}) == 1


def test_own_files_say_patient_part_kinds_and_pairs(write):
    pair = {"id": "p", "messages": [{"role": "user", "content": "Describe."}], "chosen": "Drusen.", "rejected": [{"role": "assistant", "content": "Normal."}],
            "patient_id": "007", "split": "val", "images": {"oct": "train/eye.png"}}  # fmt: skip
    (item,) = read_conversations(write(pair)).items
    assert (item.chosen, item.refused, item.group, item.split) == ("Drusen.", "Normal.", "patient:007", "val")
    assert set(item.images) == {"oct"}
    words = {"messages": [{"role": "user", "content": "What is ICDR?"}, {"role": "assistant", "content": "A scale."}]}
    (alone,) = read_conversations(write(words)).items
    assert (alone.images, alone.group) == ({}, "item:1")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("{no json", "conversation.syntax"),
        ("[1, 2", "conversation.syntax"),
        ({"id": "x"}, "conversation.format"),
        ({**LLAVA, "conversations": [{"from": "robot", "value": "a"}]}, "conversation.side"),
        ({**LLAVA, "conversations": LLAVA["conversations"][:1]}, "chat.order"),
        ({**LLAVA, "conversations": LLAVA["conversations"][::-1]}, "chat.order"),
        ({**LLAVA, "conversations": [LLAVA["conversations"][0], {"from": "gpt", "value": " "}]}, "chat.no_answer"),
        ({**LLAVA, "conversations": [LLAVA["conversations"][0], {"from": "gpt", "value": 5}]}, "conversation.format"),
        ({**LLAVA, "conversations": [{"from": "human", "value": "x" * (MAX_CHARACTERS + 1)}, LLAVA["conversations"][1]]}, "text.too_long"),
        ({**LLAVA, "image": ["train/eye.png", "train/eye.png"]}, "conversation.images"),
        ({**LLAVA, "image": "../../etc/passwd"}, "conversation.path"),
        ({**LLAVA, "image": "/etc/passwd"}, "conversation.path"),
        ({**LLAVA, "image": "https://example.org/eye.png"}, "conversation.address"),
        ({**LLAVA, "image": "train/none.png"}, "file.missing"),
        ({**LLAVA, "image": 5}, "conversation.format"),
        ({**LLAVA, "modality": "xray"}, "modality.unknown"),
        ({**LLAVA, "split": "all"}, "conversation.split"),
        ({**QWEN, "messages": QWEN["messages"][:2], "chosen": "a", "rejected": "a"}, "chat.no_choice"),
        ({**QWEN, "messages": QWEN["messages"][:2], "chosen": "a"}, "chat.no_choice"),
    ],
)  # fmt: skip
def test_an_item_that_is_wrong_is_rejected_and_the_others_stay(write, change, code):
    found = read_conversations(write(QWEN, change, QWEN))
    assert len(found.items) == 2
    (wrong,) = found.rejected
    assert wrong.code == code
    assert wrong.origin == "a.jsonl:2"
    assert wrong.message


def test_files_that_are_none(write, tmp_path):
    with pytest.raises(ReadError, match="no file"):
        read_conversations(tmp_path / "none.json")
    with pytest.raises(InvalidInput, match="holds no conversation"):
        read_conversations(write("", lines=True))
    broken = tmp_path / "b.json"
    broken.write_text('[{"id": 1}, ')
    with pytest.raises(ReadError, match="is no JSON"):
        read_conversations(broken)


def test_names_that_come_twice_stay_apart_and_words_are_left_as_they_are(write):
    told = {
        **LLAVA,
        "conversations": [
            {"from": "human", "value": "a <b> </s> [INST] <image>"},
            {"from": "gpt", "value": " ok <im_end> "},
        ],
    }
    found = read_conversations(write(LLAVA, told))
    assert [i.item_id for i in found.items] == ["0001", "0001~2"]
    assert [t.text for t in found.items[1].turns] == ["a <b> </s> [INST]", "ok <im_end>"]


def test_a_root_of_its_own(write, tmp_path):
    file = write({**LLAVA, "image": "eye.png"})
    assert read_conversations(file, root=tmp_path / "train").items
    assert read_conversations(file).rejected[0].code == "file.missing"
