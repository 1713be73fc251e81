import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.registry import models
from fundusion.layers.plain_vit import PlainViT
from fundusion.models.visionfm import (
    ForecastHead,
    LandmarkHead,
    LinearSegmentation,
    UnetrHead,
    VisionFM,
    classifier,
    landmark_loss,
    landmark_points,
    load_visionfm,
    modality_name,
    radial_error,
    regressor,
)

EIGHT = ("cfp", "oct", "ffa", "ultrasound", "external", "slit_lamp", "mri", "ubm")


@pytest.fixture
def official(golden):
    return golden("visionfm/tiny_encoder_heads")


@pytest.fixture
def encoder(official):
    body = PlainViT(image_size=64, embed_dim=48, depth=12, num_heads=4, position_rule="dino")
    body.load_state_dict({k[3:]: v for k, v in official.items() if k.startswith("sd.")})
    return VisionFM(body).eval()


@torch.no_grad()
def test_encoder_equals_the_official_one(encoder, official, is_close):
    tokens = encoder.body(official["image"])
    assert is_close(tokens[:, 0], official["cls"])
    assert is_close(tokens[:, 1:].mean(1), official["patch_mean"])
    assert is_close(encoder.encode(official["image"]).pooled, official["last4_cls"])
    assert is_close(encoder.body.last_attention(official["image"]), official["attn_last"])
    assert is_close(encoder.body(official["image96x80"])[:, 0], official["cls_96x80"])


@torch.no_grad()
def test_the_other_position_rule_is_a_switch(encoder, official):
    encoder.body.position_rule = "size"
    other = encoder.body(official["image96x80"])[:, 0]
    assert not torch.allclose(other, official["cls_96x80"], atol=1e-4)


@torch.no_grad()
def test_heads_equal_the_official_ones(encoder, official, detfill, is_close):
    image = official["image"]
    pooled, maps = encoder.encode(image).pooled, encoder.segmentation_maps(image)
    for head, prefix, inputs, expected in (
        (classifier(192, 5), "cls.", (pooled,), "cls_head"),
        (regressor(192), "reg.", (pooled,), "reg_head"),
        (LinearSegmentation(48, 3), "linseg.", (maps,), "linseg_out"),
        (UnetrHead(48, 3), "unetr.", (image, maps), "unetr_out"),
    ):
        assert is_close(detfill.fill(head, prefix=prefix).eval()(*inputs), official[expected])
    named = UnetrHead(48, 3)
    detfill.fill(named, prefix="unetr.").eval()
    other = named(image, encoder.segmentation_maps(image, levels="named"))
    assert not torch.allclose(other, official["unetr_out"], atol=1e-3)


@torch.no_grad()
def test_forecast(encoder, official, detfill, is_close):
    head = ForecastHead(48, max_days=50)
    assert is_close(head.pe, official["forecast_pe"])
    for name in ("weight", "bias"):
        p = getattr(head.fc_1, name)
        p.copy_(detfill.value(f"forecast.fc_1.{name}", tuple(p.shape)))
    assert is_close(head(official["cls"], torch.tensor([3, 41])), official["forecast"])
    assert not torch.allclose(head(official["cls"], torch.tensor([4, 41])), official["forecast"])
    with pytest.raises(InvalidInput, match="from 0 to 49"):
        head(official["cls"], torch.tensor([3, 50]))


def test_landmarks():
    torch.manual_seed(0)
    head = LandmarkHead(16, 2, base=4).eval()
    maps = [torch.randn(1, 16, 2, 2) for _ in range(4)]
    found = head(torch.rand(1, 3, 32, 32), maps)
    torch.testing.assert_close(found.exp().sum((2, 3)), torch.ones(1, 2))
    sure = torch.full((1, 1, 8, 8), -50.0)
    sure[0, 0, 2, 5] = 0.0
    assert landmark_points(sure)[0, 0].tolist() == pytest.approx([5.0, 2.0])
    heat = torch.zeros(1, 1, 8, 8)
    heat[0, 0, 2, 5] = 7.0
    assert float(landmark_loss(sure, heat)) == 0.0
    assert float(landmark_loss(sure, heat.roll(1, 3))) == 50.0
    assert float(radial_error(torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 1, 2))) == 5.0


def test_eight_modalities_each_with_its_own_statistics():
    cards = [models.card(f"visionfm.{m}") for m in EIGHT]
    assert len({c.input.mean for c in cards}) == 8
    assert cards[0].input.mean == (0.42374, 0.26095, 0.12840)
    assert all("NC" in c.weight_license for c in cards)
    assert [modality_name(w) for w in ("Silt Lamp", "SlitLamp", "Ultrasound", "UBM")] == [
        "slit_lamp", "slit_lamp", "ultrasound", "ubm",
    ]  # fmt: skip
    with pytest.raises(InvalidInput, match="no modality"):
        modality_name("OCTA")


@pytest.mark.parametrize("pool", ["last4_cls", "cls", "patch_mean"])
def test_pools(pool):
    encoder = models.create("visionfm.test", pool=pool).eval()
    f = encoder.encode(torch.rand(2, 3, 64, 64))
    assert f.pooled.shape == (2, 64 if pool == "last4_cls" else 16)
    torch.testing.assert_close(f.maps[-1].mean((2, 3)), f.pooled, rtol=1e-4, atol=1e-5)
    with pytest.raises(InvalidInput, match="unknown pool"):
        models.create("visionfm.test", pool="max")


@pytest.mark.parametrize("layout", ["released", "training", "plain"])
def test_checkpoints_of_the_real_size_load(manifest_state, tmp_path, layout):
    state = manifest_state("visionfm/manifest_vitb_backbone")
    inner = {f"module.backbone.{k}": v for k, v in state.items()} | {"module.head.mlp.0.weight": torch.zeros(2, 2)}
    student = {f"module.{k}": v for k, v in state.items()}
    value = {"plain": state, "released": {"teacher": inner},
             "training": {"student": student, "teacher": inner, "epoch": 3, "optimizer": {"state": {}}}}[layout]  # fmt: skip
    torch.save(value, tmp_path / "VFM_Fundus_weights.pth")
    with torch.device("meta"):
        body = models.create("visionfm.cfp").body
    body = body.to_empty(device="cpu")
    report = load_visionfm(body, str(tmp_path / "VFM_Fundus_weights.pth"))
    assert len(report.loaded) == 150
    assert report.missing == ()
    assert body.blocks[11].mlp.fc2.weight[0, 0].item() == 0.25


def test_positions_of_another_size_are_interpolated_and_foreign_files_refused(tmp_path):
    body = models.create("visionfm.test").body
    state = {f"backbone.{k}": v for k, v in body.state_dict().items()}
    torch.save(state, tmp_path / "a.pth")
    larger = models.create("visionfm.test", image_size=96).body
    load_visionfm(larger, str(tmp_path / "a.pth"))
    assert torch.equal(larger.pos_embed[:, 0], body.pos_embed[:, 0])
    torch.save({f"encoder.{k}": v for k, v in body.state_dict().items()}, tmp_path / "b.pth")
    with pytest.raises(IncompatibleWeights, match="no name of the file fits"):
        load_visionfm(larger, str(tmp_path / "b.pth"))
