"""What every encoder promises, on the smallest variant of each family."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Aligner, Encoder, TextEncoder
from fundusion.core.registry import models
from fundusion.core.table import TableSchema
from fundusion.layers.lora import add_lora, merge_lora
from fundusion.layers.weights import save_state

SMALLEST = [n for n in models.names() if n.endswith(".test")]
IMAGE = [n for n in SMALLEST if "encode" in models.card(n).roles]
TEXT = [n for n in SMALLEST if "encode_text" in models.card(n).roles]
SEGMENT = [n for n in SMALLEST if "segment" in models.card(n).roles]
TABLE = [n for n in SMALLEST if "encode_table" in models.card(n).roles]
ALIGN = [n for n in SMALLEST if "align" in models.card(n).roles]
SCHEMA = TableSchema.fit([{"age": 50, "sex": "male", "hba1c": 7.5}, {"age": 71, "sex": "female", "hba1c": 5.5}])


def test_every_family_has_a_smallest_variant_and_a_card_with_a_source():
    families = {n.partition(".")[0] for n in models.names()}
    assert {n.partition(".")[0] for n in SMALLEST} == families
    assert {*IMAGE, *TEXT, *TABLE, *SEGMENT} == set(SMALLEST)
    assert all(models.card(n).paper and models.card(n).title for n in models.names())


@pytest.fixture(params=IMAGE)
def image_name(request):
    return request.param


@pytest.fixture
def image_encoder(image_name):
    torch.manual_seed(0)
    return models.create(image_name).eval()


def test_images(image_encoder):
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        f = image_encoder.encode(images)
        again = image_encoder.encode(images)
        alone = image_encoder.encode(images[1:2])
    assert f.pooled.shape == (3, image_encoder.embed_dim)
    assert f.maps
    assert f.maps[-1].shape[:2] == (3, image_encoder.embed_dim)
    assert torch.equal(f.pooled, again.pooled)
    torch.testing.assert_close(f.pooled[1:2], alone.pooled, rtol=1e-4, atol=1e-5)
    # The map explains the pooled vector: their means are the same.
    torch.testing.assert_close(f.maps[-1].mean((2, 3)), f.pooled, rtol=1e-4, atol=1e-5)


def test_images_of_another_size(image_encoder):
    with torch.no_grad():
        assert image_encoder.encode(torch.rand(1, 3, 96, 96)).pooled.shape == (1, image_encoder.embed_dim)


def test_scales_are_those_the_card_declares(image_name, image_encoder):
    strides = models.card(image_name).strides
    if not strides:
        with pytest.raises(TypeError):
            image_encoder.encode(torch.rand(1, 3, 64, 64), maps="all")
        return
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        plain, dense = image_encoder.encode(images), image_encoder.encode(images, maps="all")
    assert len(plain.maps) == 1
    assert [tuple(m.shape[2:]) for m in dense.maps] == [(64 // s, 96 // s) for s in strides]
    torch.testing.assert_close(dense.pooled, plain.pooled)
    torch.testing.assert_close(dense.maps[-1], plain.maps[-1])
    with pytest.raises(InvalidInput, match="fine to coarse"):
        image_encoder.encode(images, maps="some")


def test_a_state_makes_an_equal_twin_and_gradients_reach_every_weight(image_name, image_encoder):
    copy = models.create(image_name)
    copy.load_state_dict(image_encoder.state_dict())
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(copy.eval().encode(images).pooled, image_encoder.encode(images).pooled)
    if "align" in models.card(image_name).roles:
        # What the other tower and the projections learn from is in the contract of aligners below.
        image_encoder = image_encoder.image_tower()
    # Zero-initialised last scales block the first gradient of residual branches; they are opened for the test.
    with torch.no_grad():
        for p in image_encoder.parameters():
            if float(p.abs().max()) == 0 and p.ndim == 1:
                p.fill_(0.5)
    f = image_encoder.train().encode(images)
    (f.pooled.square().sum() + sum(m.square().sum() for m in f.maps)).backward()
    lost = [n for n, p in image_encoder.named_parameters() if p.requires_grad and p.grad is None]
    assert lost == []


def test_adapters_change_nothing_before_training_and_can_be_merged(image_encoder):
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before = image_encoder.encode(images).pooled
        adapted = add_lora(image_encoder, rank=2).eval()
        torch.testing.assert_close(adapted.encode(images).pooled, before)
        torch.testing.assert_close(merge_lora(adapted).encode(images).pooled, before, rtol=1e-4, atol=1e-5)


def test_low_precision_is_close(image_encoder):
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        exact = image_encoder.encode(images).pooled
        with torch.autocast("cpu", torch.bfloat16):
            close = image_encoder.encode(images).pooled.float()
    assert float((close - exact).abs().max() / exact.abs().max().clamp_min(1e-3)) < 0.05


@pytest.fixture(params=TEXT)
def text_encoder(request):
    torch.manual_seed(0)
    made = models.create(request.param).eval()
    return made.text_tower() if "align" in models.card(request.param).roles else made


def test_texts(text_encoder):
    texts = ["no haemorrhage.", "", "drusen at the macula, no fluid in either eye."]
    ids, mask = text_encoder.tokenize(texts)
    assert mask.any(1).tolist() == [True, False, True]
    with torch.no_grad():
        f = text_encoder.encode_text(ids, mask)
        one_ids, one_mask = text_encoder.tokenize(texts[:1])
        alone = text_encoder.encode_text(one_ids, one_mask)
    assert f.pooled.shape == (3, text_encoder.embed_dim)
    assert bool(torch.isfinite(f.pooled).all())
    # Padding to the longest text of the batch changes nothing.
    torch.testing.assert_close(f.pooled[:1], alone.pooled, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(f.pooled[0], f.pooled[2])


@pytest.fixture(params=TABLE)
def table_encoder(request):
    torch.manual_seed(0)
    return models.create(request.param, schema=SCHEMA).eval()


def test_tables(table_encoder):
    rows = [SCHEMA.encode({"age": 60, "sex": "male"}), SCHEMA.encode({"hba1c": 9.0}), SCHEMA.encode({})]
    table = torch.stack([torch.from_numpy(r) for r, _ in rows])
    mask = torch.stack([torch.from_numpy(m) for _, m in rows])
    with torch.no_grad():
        f = table_encoder.encode_table(table, mask)
        spoilt = table_encoder.encode_table(torch.where(mask, table, torch.nan), mask)
        alone = table_encoder.encode_table(table[1:2], mask[1:2])
    assert f.pooled.shape == (3, table_encoder.embed_dim)
    assert bool(torch.isfinite(f.pooled).all())
    torch.testing.assert_close(f.pooled, spoilt.pooled)
    torch.testing.assert_close(f.pooled[1:2], alone.pooled, rtol=1e-4, atol=1e-5)
    known = table_encoder.encode_table(
        *(torch.from_numpy(x)[None] for x in SCHEMA.encode({"age": 60, "sex": "female"}))
    )
    assert not torch.allclose(known.pooled[0], f.pooled[0])


@pytest.fixture(params=SEGMENT)
def segmenter(request):
    torch.manual_seed(0)
    return models.create(request.param).eval()


def test_masks(segmenter):
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits, again = segmenter.segment(images), segmenter.segment(images)
        alone = segmenter.segment(images[1:2])
    assert logits.shape[0] == 2
    assert logits.shape[2:] == images.shape[2:]
    assert bool(torch.isfinite(logits).all())
    assert torch.equal(logits, again)
    torch.testing.assert_close(logits[1:2], alone, rtol=1e-4, atol=1e-4)


def test_masks_follow_the_image_and_gradients_reach_it(segmenter):
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    segmenter.segment(images).square().sum().backward()
    assert float(images.grad.abs().max()) > 0
    with torch.no_grad():
        assert not torch.allclose(segmenter.segment(images.flip(3)), segmenter.segment(images))


TEXTS = ["no haemorrhage.", "drusen at the macula, no fluid in either eye.", "a small bleed"]


@pytest.fixture(params=ALIGN)
def aligner_name(request):
    return request.param


@pytest.fixture
def aligner(aligner_name):
    torch.manual_seed(0)
    return models.create(aligner_name).eval()


def _unit(vectors, dim):
    assert vectors.shape == (3, dim)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))


@torch.no_grad()
def test_aligners_put_images_and_texts_in_one_space(aligner_name, aligner):
    assert {"encode", "encode_text", "align"} <= models.card(aligner_name).roles
    assert all(isinstance(aligner, role) for role in (Aligner, Encoder, TextEncoder))
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    seen, said = aligner.align_images(images), aligner.align_texts(*aligner.tokenize(TEXTS))
    _unit(seen, aligner.align_dim)
    _unit(said, aligner.align_dim)
    assert torch.equal(seen, aligner.align_images(images))
    # Features of a frozen tower can be kept and aligned later.
    torch.testing.assert_close(aligner.align_images(aligner.encode(images).pooled), seen)
    assert torch.equal(said, aligner.align_texts(*aligner.tokenize(TEXTS)))
    assert aligner.scale().ndim == aligner.shift().ndim == 0
    assert 0 < float(aligner.scale()) <= 100.01
    # Neither the order of a batch nor its other members count.
    torch.testing.assert_close(aligner.align_images(images.flip(0)), seen.flip(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(aligner.align_texts(*aligner.tokenize(TEXTS[::-1])), said.flip(0), rtol=1e-4, atol=1e-5)
    for i, text in enumerate(TEXTS):
        alone = aligner.align_texts(*aligner.tokenize([text]))
        torch.testing.assert_close(alone, said[i : i + 1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(said[0], said[1], atol=1e-4)
    assert bool(torch.isfinite(aligner.align_texts(*aligner.tokenize(["", "word"]))).all())


def test_gradients_of_an_alignment_reach_both_towers(aligner):
    # The loss of Radford et al. 2021, arXiv:2103.00020.
    aligner.train()
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    seen, said = aligner.align_images(images), aligner.align_texts(*aligner.tokenize(TEXTS))
    logits = aligner.scale() * seen @ said.T + aligner.shift()
    same = torch.arange(3)
    (torch.nn.functional.cross_entropy(logits, same) + torch.nn.functional.cross_entropy(logits.T, same)).backward()
    for tower in (aligner.image_tower(), aligner.text_tower()):
        wanted = {n: p for n, p in tower.named_parameters() if p.requires_grad}
        assert wanted
        assert [n for n, p in wanted.items() if p.grad is None] == []
        assert any(float(p.grad.abs().max()) > 0 for p in wanted.values())
    scales = [p for n, p in aligner.named_parameters() if n.endswith("logit_scale")]
    assert len(scales) == 1
    assert scales[0].grad is not None
    others = [n for n, p in aligner.named_parameters() if p.requires_grad and p.grad is None]
    assert not any("projection" in n for n in others)


@torch.no_grad()
def test_towers_share_weights_and_can_be_used_alone(aligner):
    images = torch.rand(2, 3, 64, 64)
    ids, mask = aligner.tokenize(TEXTS)
    see, read = aligner.image_tower(), aligner.text_tower()
    assert see.embed_dim == aligner.embed_dim
    assert read.embed_dim == aligner.text_embed_dim
    assert torch.equal(see.encode(images).pooled, aligner.encode(images).pooled)
    assert torch.equal(read.encode_text(ids, mask).pooled, aligner.encode_text(ids, mask).pooled)
    own = {p.data_ptr() for p in aligner.parameters()}
    assert {p.data_ptr() for t in (see, read) for p in t.parameters()} <= own


@torch.no_grad()
def test_aligners_are_saved_and_loaded_whole(aligner_name, aligner, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_state(path, aligner.state_dict())
    torch.manual_seed(1)
    twin = models.create(aligner_name, weights=str(path)).eval()
    assert twin.weights_record["missing"] == []
    images, words = torch.rand(3, 3, 64, 64), aligner.tokenize(TEXTS)
    assert torch.equal(twin.align_images(images), aligner.align_images(images))
    assert torch.equal(twin.align_texts(*words), aligner.align_texts(*words))
    assert torch.equal(twin.scale(), aligner.scale())
    assert twin.image_tower().weights_record is twin.weights_record


def test_either_tower_of_an_aligner_plugs_into_fusion(aligner_name):
    from fundusion.core.interfaces import Batch
    from fundusion.core.tasks import Ordinal
    from fundusion.network import build_network

    network = build_network(
        {"cfp": aligner_name, "text": aligner_name}, "gated", {"dr_grade": Ordinal(5)}, embed_dim=8, seed=0
    )
    ids, mask = network.encoders["text"].tokenize(["mild npdr", ""])
    batch = Batch(
        study_ids=("a", "b"), modalities=("cfp", "text"), present=torch.tensor([[True, True], [True, False]]),
        images={"cfp": torch.rand(2, 3, 64, 64)}, owner={"cfp": torch.arange(2)}, text_ids=ids, text_mask=mask,
    )  # fmt: skip
    answer = network.eval()(batch)
    assert answer.logits["dr_grade"].shape == (2, 4)
    # One tower each: nothing is kept that neither image nor report can move.
    answer.logits["dr_grade"].sum().backward()
    idle = [n for n, p in network.encoders.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []
