"""English and Chinese without a vocabulary; the same numbers on every machine."""

import torch

from fundusion.core.registry import models
from fundusion.models.hashing import pieces_of


def test_pieces_of_words_and_characters():
    assert pieces_of("No DR") == ["no", "dr", "no dr"]
    assert pieces_of("无出血") == ["无", "出", "血", "无 出", "出 血"]
    # Full-width forms are the same letters.
    assert pieces_of("ＤＲ") == pieces_of("dr")


def test_identities_are_fixed_and_long_texts_are_cut():
    encoder = models.create("hashing.test")
    ids, mask = encoder.tokenize(["a b", "c"])
    import zlib

    assert ids[0].tolist() == [zlib.crc32(p.encode()) + 1 for p in ("a", "b", "a b")]
    assert mask.tolist() == [[True, True, True], [True, False, False]]
    ids, _ = encoder.tokenize(["word " * 5000])
    assert ids.shape[1] == encoder.max_tokens


def test_negation_is_visible():
    torch.manual_seed(0)
    encoder = models.create("hashing.test").eval()
    with torch.no_grad():
        ids, mask = encoder.tokenize(["haemorrhage is seen", "no haemorrhage is seen", "未见出血", "可见出血"])
        pooled = encoder.encode_text(ids, mask).pooled
    distance = torch.cdist(pooled, pooled) + torch.eye(4)
    assert float(distance.min()) > 1e-3
