import pytest
import torch

from fundusion.core.registry import models
from fundusion.layers.origins import origin_record
from fundusion.layers.weights import LoadReport, digest


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("CC BY-NC 4.0; research and education only", True),
        ("Apache-2.0", False),
        # What nobody has stated may not be sold.
        (None, True),
        ("non-commercial", True),
    ],
)
def test_the_licence_is_read(tmp_path, words, expected):
    (tmp_path / "a.pth").write_bytes(b"x")
    record = origin_record(tmp_path / "a.pth", LoadReport(loaded=("a", "b"), missing=("c",)), words)
    assert record["non_commercial"] is expected
    assert record["license"] == (words or "not stated")
    assert (record["loaded"], record["missing"]) == (2, ["c"])


def test_an_encoder_with_given_weights_keeps_their_origin(tmp_path):
    body = models.create("visionfm.test").body
    torch.save({"teacher": {f"backbone.{k}": v for k, v in body.state_dict().items()}}, tmp_path / "VFM_x.pth")
    encoder = models.create("visionfm.test", weights=str(tmp_path / "VFM_x.pth"))
    assert encoder.weights_record["sha256"] == digest(tmp_path / "VFM_x.pth")
    assert encoder.weights_record["non_commercial"]
    assert str(tmp_path) not in str(encoder.weights_record)
    assert not hasattr(models.create("visionfm.test"), "weights_record")
