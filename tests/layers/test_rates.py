import pytest
import torch

from fundusion.core.registry import models
from fundusion.layers.rates import decayed_groups, depth_of, layer_of


@pytest.mark.parametrize("name", ["vit.test", "visionfm.test", "eyefm.test", "resnet.test"])
def test_rates_fall_towards_the_input_and_every_parameter_has_one(name):
    model = torch.nn.ModuleDict({"encoder": models.create(name), "head": torch.nn.Linear(4, 2)})
    groups = decayed_groups(model, rate=1.0, decay=0.5, weight_decay=0.1)
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    named = dict(model.named_parameters())
    assert len(rate) == len(named)
    depth = depth_of(named)
    assert depth >= 2
    assert rate[id(named["head.weight"])] == 1.0
    assert min(rate.values()) == 0.5 ** (depth + 1)
    assert (decay[id(named["head.weight"])], decay[id(named["head.bias"])]) == (0.1, 0.0)


def test_the_numbering_of_vision_transformers():
    names = [
        "cls_token",
        "patch_embed.proj.weight",
        "blocks.0.attn.qkv.weight",
        "blocks.23.mlp.fc2.bias",
        "fc_norm.weight",
    ]
    assert [layer_of(n, 24) for n in names] == [0, 0, 1, 24, 25]
    frozen = torch.nn.Linear(2, 2).requires_grad_(False)
    assert decayed_groups(frozen, rate=1.0, decay=1.0, weight_decay=0.0) == []
