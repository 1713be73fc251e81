"""Building, running, saving and loading a network; a missing modality is normal."""

import json

import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.interfaces import Batch
from fundusion.core.registry import models
from fundusion.core.table import TableSchema
from fundusion.core.tasks import MultiLabel, Ordinal, Task
from fundusion.layers.weights import digest, load_state, save_state
from fundusion.network import NetworkSpec, build_network, drop_modalities, load_network

TABLE = TableSchema.fit([{"age": 40, "sex": "F"}, {"age": 60, "sex": "M"}])
HEADS = {"dr_grade": Ordinal(5), "disease": MultiLabel("NDG")}


def toy_network(fusion="gated", **options):
    encoders = {"cfp": "contrast_resnet.test", "table": "tabular.mlp"}
    return build_network(encoders, fusion, HEADS, table=TABLE, embed_dim=16, seed=0, **options)


def toy_batch(rows=4, seed=0):
    """Rows 0..: image and table, image only, table only, two images."""
    generator = torch.Generator().manual_seed(seed)
    owner = torch.tensor([0, 1, 3, 3])
    return Batch(
        study_ids=tuple("abcd"[:rows]),
        modalities=("cfp", "table"),
        present=torch.tensor([[True, True], [True, False], [False, True], [True, True]]),
        images={"cfp": torch.randn(4, 3, 64, 64, generator=generator)},
        owner={"cfp": owner},
        table=torch.randn(4, 2, generator=generator).clamp(0, 1).round(),
        table_mask=torch.tensor([[True, True], [False, False], [True, False], [True, True]]),
    )


@pytest.mark.parametrize("fusion", ["concat", "gated", "cross_attention", "bottleneck", "late", "evidential"])
def test_any_subset_of_modalities_gives_finite_logits(fusion):
    output = toy_network(fusion).eval()(toy_batch())
    assert output.logits["dr_grade"].shape == (4, 4)
    assert output.logits["disease"].shape == (4, 3)
    assert all(torch.isfinite(v).all() for v in output.logits.values())


def test_content_of_an_absent_table_does_not_matter():
    network = toy_network().eval()
    batch = toy_batch()
    reference = network(batch).logits["disease"]
    spoiled = batch.table.clone()
    spoiled[1] = float("nan")
    changed = Batch(**{**{f: getattr(batch, f) for f in batch.__dataclass_fields__}, "table": spoiled})
    assert torch.equal(network(changed).logits["disease"][1], reference[1])


def test_a_study_with_nothing_is_refused():
    batch = toy_batch()
    empty = Batch(
        **{
            **{f: getattr(batch, f) for f in batch.__dataclass_fields__},
            "present": torch.tensor([[True, True], [False, False], [False, True], [True, True]]),
        }
    )
    with pytest.raises(InvalidInput) as error:
        toy_network().eval()(empty)
    assert error.value.code == "study.empty"


def test_cached_vectors_give_the_same_answer_as_pixels():
    network = toy_network().eval()
    batch = toy_batch()
    with torch.no_grad():
        vectors = network.image_vectors("cfp", batch.images["cfp"]).pooled
        cached = Batch(**{**{f: getattr(batch, f) for f in batch.__dataclass_fields__}, "images": {"cfp": vectors}})
        assert torch.allclose(network(cached).logits["disease"], network(batch).logits["disease"], atol=1e-6)


def test_modality_dropout_hides_but_never_everything():
    present = {"cfp": torch.tensor([True] * 500 + [False] * 500), "table": torch.ones(1000, dtype=torch.bool)}
    kept = drop_modalities(present, 0.5, generator=torch.Generator().manual_seed(0))
    both = torch.stack(list(kept.values()), 1)
    assert both.any(1).all()
    assert not (kept["cfp"] & ~present["cfp"]).any()
    share_of_both = both[:500].all(1).float().mean()
    assert 0.18 < share_of_both < 0.32
    alone = kept["cfp"][:500] & ~kept["table"][:500]
    assert 0.3 < alone.float().mean() < 0.45
    assert kept["table"][500:].all()


def test_varying_dropout_makes_both_complete_and_lonely_studies_common():
    present = {m: torch.ones(4000, dtype=torch.bool) for m in ("cfp", "oct", "text", "table")}
    left = torch.stack(
        list(drop_modalities(present, 0.8, vary=True, generator=torch.Generator().manual_seed(0)).values())
    ).sum(0)
    assert left.min() >= 1
    # All four survive with the mean of (1 - r)^4 for r from 0 to 0.8: 0.25. One rate of 0.4 would give 0.13.
    assert abs((left == 4).float().mean() - 0.25) < 0.03
    assert (left == 1).float().mean() > 0.2


def test_seed_makes_the_same_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = toy_network().state_dict(), toy_network().state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_save_and_load_round_trip(tmp_path):
    network = toy_network("late").eval()
    network.save(tmp_path / "model", extra={"required": ["cfp"]})
    again, facts = load_network(tmp_path / "model")
    assert facts["required"] == ["cfp"]
    assert again.spec == network.spec
    assert torch.equal(again(toy_batch()).logits["disease"], network(toy_batch()).logits["disease"])


def test_half_precision_storage_is_close(tmp_path):
    network = toy_network().eval()
    network.save(tmp_path / "model", dtype=torch.float16)
    again, _ = load_network(tmp_path / "model")
    assert torch.allclose(again(toy_batch()).logits["disease"], network(toy_batch()).logits["disease"], atol=1e-2)


def test_damaged_or_exchanged_weights_are_refused(tmp_path):
    toy_network().save(tmp_path / "model")
    weights = tmp_path / "model" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(IncompatibleWeights) as error:
        load_network(tmp_path / "model")
    assert error.value.code == "model.digest"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n: n["tasks"]["disease"]["labels"].reverse(), r"tasks\.disease\.labels\[0\]"),
        (lambda n: n["inputs"]["cfp"].update(mean=[0.0, 0.0, 0.0]), r"inputs\.cfp\.mean\[0\]: found 0\.0"),
        (lambda n: n["inputs"]["cfp"].update(size=512), r"inputs\.cfp\.size: found 512"),
        (lambda n: n["inputs"]["cfp"].update(crop="none"), r"inputs\.cfp\.crop: found 'none'"),
    ],
)
def test_another_class_order_normalisation_or_size_is_refused_with_the_first_differences(tmp_path, change, words):
    """The digest of the weights is right and every shape fits: only what the weights file says of itself tells."""
    toy_network().save(tmp_path / "model")
    path = tmp_path / "model" / "network.json"
    description = json.loads(path.read_text())
    change(description["network"])
    path.write_text(json.dumps(description))
    with pytest.raises(IncompatibleWeights, match=words) as error:
        load_network(tmp_path / "model")
    assert error.value.code == "model.meaning"


def test_weights_swapped_with_their_digest_between_networks_of_one_shape_are_refused(tmp_path):
    labels = ["normal", "mild", "severe"]
    for name, order in (("a", labels), ("b", labels[::-1])):
        task = Task(kind="multiclass", labels=tuple(order))
        build_network({"cfp": "contrast_resnet.test"}, "concat", {"stage": task}, embed_dim=8, seed=0).save(
            tmp_path / name
        )
    description = json.loads((tmp_path / "a" / "network.json").read_text())
    other = json.loads((tmp_path / "b" / "network.json").read_text())
    (tmp_path / "a" / "weights.safetensors").write_bytes((tmp_path / "b" / "weights.safetensors").read_bytes())
    with pytest.raises(IncompatibleWeights) as error:
        load_network(tmp_path / "a")
    assert error.value.code == "model.digest"
    (tmp_path / "a" / "network.json").write_text(json.dumps({**description, "weights_sha256": other["weights_sha256"]}))
    with pytest.raises(IncompatibleWeights, match="found 'normal', expected 'severe'") as error:
        load_network(tmp_path / "a")
    assert error.value.code == "model.meaning"


def test_weights_without_words_of_their_own_still_load(tmp_path):
    toy_network().save(tmp_path / "model")
    weights = tmp_path / "model" / "weights.safetensors"
    save_state(weights, load_state(weights))
    path = tmp_path / "model" / "network.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights_sha256": digest(weights)}))
    load_network(tmp_path / "model")


def test_a_pretrained_encoder_keeps_the_pixels_it_saw(tmp_path):
    save_state(tmp_path / "encoder.safetensors", models.create("vit.test").body.state_dict())
    facts = {"model": "vit.test", "sha256": digest(tmp_path / "encoder.safetensors")}
    (tmp_path / "encoder.json").write_text(json.dumps(facts))
    options = {"weights": str(tmp_path)}
    build_network({"cfp": ("vit.test", options)}, "concat", HEADS, embed_dim=8)
    with pytest.raises(IncompatibleWeights, match=r"mean\[0\]: found 0\.1") as error:
        build_network({"cfp": ("vit.test", {**options, "mean": (0.1, 0.2, 0.3)})}, "concat", HEADS, embed_dim=8)
    assert error.value.code == "model.preprocessing"


def test_missing_format_and_broken_description_are_refused(tmp_path):
    with pytest.raises(IncompatibleWeights) as error:
        load_network(tmp_path)
    assert error.value.code == "model.not_found"
    toy_network().save(tmp_path / "model")
    path = tmp_path / "model" / "network.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "format": 99}))
    with pytest.raises(IncompatibleWeights) as error:
        load_network(tmp_path / "model")
    assert error.value.code == "model.format"
    path.write_text("{")
    with pytest.raises(IncompatibleWeights) as error:
        load_network(tmp_path / "model")
    assert error.value.code == "model.corrupt"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"encoders": {}, "heads": HEADS}, "at least one encoder"),
        ({"encoders": {"cfp": "contrast_resnet.test"}, "heads": {}}, "at least one head"),
        ({"encoders": {"fundus": "contrast_resnet.test"}, "heads": HEADS}, "unknown modalities"),
        ({"encoders": {"table": "tabular.mlp"}, "heads": HEADS}, "schema"),
        ({"encoders": {"cfp": "tabular.mlp"}, "heads": HEADS}, "cannot read"),
    ],
)
def test_impossible_networks_are_refused(arguments, words):
    with pytest.raises(InvalidInput, match=words):
        build_network(**arguments)


def test_spec_round_trip():
    spec = toy_network().spec
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_the_origin_of_an_encoder_travels_with_the_network_and_its_file_may_be_gone(tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "published.safetensors"
    save_state(file, models.create("retfound.test").body.state_dict())
    network = build_network(
        {"cfp": ("retfound.test", {"weights": str(file)})}, "concat", {"dr_grade": Ordinal(5)}, embed_dim=8
    )
    assert network.origins["cfp"]["license"] == "CC BY-NC 4.0"
    network.save(tmp_path / "model")
    file.unlink()
    loaded, facts = load_network(tmp_path / "model")
    torch.testing.assert_close(dict(loaded.state_dict()), dict(network.state_dict()))
    assert facts["encoder_weights"] == network.origins == loaded.origins
    assert facts["encoder_weights"]["cfp"]["model"] == "retfound.test"
    loaded.save(tmp_path / "again")
    assert load_network(tmp_path / "again")[1]["encoder_weights"] == network.origins


def test_a_saved_network_reads_words_without_the_folder_they_came_from(tmp_path):
    torch.manual_seed(0)
    bert = models.create("bert.test")
    bert.body.save_pretrained(tmp_path / "bert")
    bert._tokenizer.save_pretrained(tmp_path / "bert")
    for name, options in (
        ("bert.base", {"source": str(tmp_path / "bert"), "pooling": "last2"}),
        ("flair.resnet_50", {"tokenizer": str(tmp_path / "bert"), "text": {"num_attention_heads": 2}}),
    ):
        network = build_network({"text": (name, options)}, "concat", {"dr_grade": Ordinal(5)}, embed_dim=8, seed=0)
        folder = tmp_path / name
        network.eval().save(folder)
        (tmp_path / "bert").rename(tmp_path / "away")
        again, _ = load_network(folder)
        (tmp_path / "away").rename(tmp_path / "bert")
        texts = ["drusen", "a small bleed"]
        ids, mask = again.encoders["text"].tokenize(texts)
        assert torch.equal(ids, network.encoders["text"].tokenize(texts)[0])
        with torch.no_grad():
            found, expected = (n.encoders["text"].encode_text(ids, mask).pooled for n in (again, network))
        assert torch.equal(found, expected)
        assert again.spec.encoders["text"][1] == options


def test_a_fit_is_an_option_of_an_encoder():
    network = build_network({"cfp": ("resnet.test", {"fit": "corner", "resample": "bilinear", "crop": "none"})},
                            "concat", {"dr_grade": Ordinal(5)}, embed_dim=8)  # fmt: skip
    assert network.spec.inputs["cfp"].fit == "corner"
    same = type(network.spec).from_dict(network.spec.to_dict())
    assert same.inputs["cfp"] == network.spec.inputs["cfp"]
    flair = build_network({"cfp": "flair.test"}, "concat", {"dr_grade": Ordinal(5)}, embed_dim=8)
    assert (flair.spec.inputs["cfp"].size, flair.spec.inputs["cfp"].fit) == (512, "corner")


def test_the_contrast_an_encoder_wants_is_an_option_and_is_kept(tmp_path):
    heads = {"dr_grade": Ordinal(5)}
    network = build_network({"cfp": ("resnet.test", {"enhance": "clahe"})}, "concat", heads, embed_dim=16)
    assert network.spec.inputs["cfp"].enhance == "clahe"
    network.save(tmp_path / "net")
    assert load_network(tmp_path / "net")[0].spec.inputs["cfp"].enhance == "clahe"
    with pytest.raises(InvalidInput, match="enhancement"):
        build_network({"cfp": ("resnet.test", {"enhance": "more"})}, "concat", heads, embed_dim=16)
