"""Rules of pooling are what their names say; sizes are read from tensors; tokenizers come from folders."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.layers.text_tower import (
    CLINICAL,
    TextTower,
    bert_body,
    bert_sizes,
    letter_tokenizer,
    letter_tower,
    pooling_rule,
    read_tokenizer,
)


@pytest.mark.parametrize(
    ("pooling", "layers", "expected"),
    [
        ("mean", None, ("mean", (-1,))),
        ("cls", None, ("cls", (-1,))),
        ("last3", None, ("mean", (-3, -2, -1))),
        ("mean_with_padding", (1, 2, -1), ("mean_with_padding", (1, 2, -1))),
    ],
)
def test_rules(pooling, layers, expected):
    assert pooling_rule(pooling, layers) == expected


@pytest.mark.parametrize(("pooling", "layers"), [("max", None), ("last0", None), ("last4", (1,)), ("mean", ())])
def test_other_rules_are_refused(pooling, layers):
    with pytest.raises(InvalidInput, match="last<k>"):
        pooling_rule(pooling, layers)


@pytest.mark.parametrize("pooling", ["mean", "mean_with_padding"])
@torch.no_grad()
def test_hidden_states_are_averaged_over_layers_and_tokens(pooling):
    torch.manual_seed(0)
    tower = letter_tower(pooling=pooling, layers=(1, 2, -1)).eval()
    ids, mask = tower.tokenize(["abc", "abc def ghi"])
    states = tower.body(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
    assert len(states) == 5
    joined = torch.stack([states[i] for i in (1, 2, 4)]).mean(0)
    real = [len(row) if pooling == "mean_with_padding" else int(m.sum()) for row, m in zip(ids, mask, strict=True)]
    assert real[0] < ids.shape[1] or pooling == "mean_with_padding"
    expected = torch.stack([joined[i, :n].mean(0) for i, n in enumerate(real)])
    torch.testing.assert_close(tower.encode_text(ids, mask).pooled, expected)


def test_layers_that_do_not_exist_are_refused():
    with pytest.raises(InvalidInput, match="with 4"):
        letter_tower(layers=(9,))


def test_sizes_are_read_from_tensors_and_unknown_ones_refused():
    body = bert_body({
        "vocab_size": 30, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40,
        "max_position_embeddings": 20,
    })  # fmt: skip
    state = {f"text.{k}": v for k, v in body.state_dict().items()}
    found = bert_sizes(state, "text.")
    again = bert_body(found)
    again.load_state_dict(body.state_dict())
    assert again.config.num_attention_heads == 2
    assert bert_sizes(state, "other.") == {}
    with pytest.raises(InvalidInput, match="no size 'depth'"):
        bert_body({"depth": 3})


def test_a_pooler_is_there_for_the_file_and_never_trained():
    body = bert_body({**CLINICAL, "vocab_size": 9, "num_hidden_layers": 1, "hidden_size": 24}, pooler=True)
    assert "pooler.dense.weight" in body.state_dict()
    assert not body.pooler.dense.weight.requires_grad
    assert (
        "pooler.dense.weight"
        not in bert_body({"vocab_size": 9, "num_hidden_layers": 1, "hidden_size": 24}).state_dict()
    )


def test_tokenizers_come_from_folders(tmp_path):
    with pytest.raises(InvalidInput, match="no tokenizer in"):
        read_tokenizer(tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "drusen", "Drusen"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), "utf-8")
    assert read_tokenizer(tmp_path)(["Drusen"])["input_ids"] == [[2, 5, 3]]
    # Settings of a language model, and of an image-text model, which say nothing of words.
    for other in ('{"model_type": "bert"}', '{"bert_type": "emilyalsentzer/Bio_ClinicalBERT"}'):
        (tmp_path / "config.json").write_text(other, "utf-8")
        assert read_tokenizer(tmp_path)(["Drusen"])["input_ids"] == [[2, 5, 3]]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}', "utf-8")
    assert read_tokenizer(tmp_path)(["Drusen"])["input_ids"] == [[2, 6, 3]]
    settings = '{"do_lower_case": false, "tokenizer_class": "BertTokenizer"}'
    (tmp_path / "tokenizer_config.json").write_text(settings, "utf-8")
    assert read_tokenizer(tmp_path)(["Drusen"])["input_ids"] == [[2, 6, 3]]
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "vocab.txt").write_bytes("\n".join([*words[:5], "a\u2028b", "last"]).encode() + b"\n")
    assert len(read_tokenizer(odd)) == 7
    assert read_tokenizer(odd)(["last"])["input_ids"] == [[2, 6, 3]]
    letter_tokenizer().save_pretrained(tmp_path / "letters")
    assert read_tokenizer(tmp_path / "letters")(["ab"])["input_ids"] == letter_tokenizer()(["ab"])["input_ids"]


def test_what_cannot_be_seen_is_not_read():
    tower = letter_tower()
    plain = tower.tokenize(["drusen, mild"])[0]
    for odd in ("dru\u200bsen, mild", "\u202edrusen,\u2066 mild\u2069", "drusen,\ufeff \x00mild"):
        assert torch.equal(tower.tokenize([odd])[0], plain)
    _, mask = tower.tokenize(["\u200b\u200e", " ", "drusen"])
    assert mask.any(1).tolist() == [False, False, True]
    ids, _ = tower.tokenize(["bleeding in the macula. " * 50_000])
    assert ids.shape == (1, 64)


@torch.no_grad()
def test_a_tower_without_words_still_reads_ids():
    tower = letter_tower()
    bare = TextTower(tower.body, None).eval()
    ids, mask = tower.tokenize(["a b c"])
    assert torch.equal(bare.encode_text(ids, mask).pooled, tower.eval().encode_text(ids, mask).pooled)
    with pytest.raises(InvalidInput, match="no tokenizer"):
        bare.tokenize(["a"])
