"""U-Net family: outputs of the official W-Net, the published weights, and the scores they are known for."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.interfaces import Prompts
from fundusion.core.registry import datasets, models
from fundusion.readers.mask import read_mask
from fundusion.transforms.field_of_view import find_field_of_view


@pytest.fixture(scope="session")
def weights_root(golden_root):
    """Folder of published weights."""
    root = golden_root.parent / "weights"
    if not root.is_dir():
        pytest.skip(f"no published weights: {root.parent.name}/{root.name} does not exist")
    return root


def test_logits_of_the_official_network_with_filled_weights(golden, detfill, is_close):
    stored = golden("idp/lwnet_big_wnet")
    model = models.create("unet.lwnet_av").eval()
    detfill.fill(model)
    with torch.no_grad():
        assert is_close(model.segment(stored["x"]), stored["logits_detfill"])


def test_logits_of_the_official_network_with_published_weights(golden, weights_root, is_close):
    stored = golden("idp/lwnet_big_wnet")
    path = weights_root / "lwnet/big_wnet_drive_av/model_checkpoint.pth"
    model = models.create("unet.lwnet_av", weights=str(path)).eval()
    with torch.no_grad():
        assert is_close(model.segment(stored["x"]), stored["logits_published"])
    assert model.weights_record["license"] == "MIT"
    assert model.weights_record["loaded"] == 338
    assert not model.weights_record["missing"]


def test_the_official_names_are_all_there(manifest_state):
    state = manifest_state("idp/manifest_lwnet_big_wnet")
    own = models.create("unet.lwnet_av").state_dict()
    assert {k: tuple(v.shape) for k, v in own.items()} == {k: tuple(v.shape) for k, v in state.items()}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("unet.lwnet", "lwnet/wnet_drive/model_checkpoint.pth"),
        ("unet.disc_cup", "automorph_disc_cup/wnet_All_three_1024_disc_cup/42/model_checkpoint.pth"),
    ],
)
def test_other_published_files_load_and_a_wrong_one_is_refused(weights_root, name, file):
    assert models.create(name, weights=str(weights_root / file)).weights_record["loaded"] == 240
    with pytest.raises(IncompatibleWeights, match="do not fit"):
        models.create("unet.lwnet_av", weights=str(weights_root / file))


def test_the_published_vessels_reach_their_known_overlap(data_root, weights_root):
    """Dice on held-back DRIVE pictures is 0.825; every third picture here must be near it, and far above chance."""
    model = models.create("unet.lwnet", weights=str(weights_root / "lwnet/wnet_drive/model_checkpoint.pth")).eval()
    scores = []
    for record in list(datasets.create("drive", root=data_root / "drive"))[::7]:
        pixels = cv2.imread(record.images["cfp"][0])[..., ::-1]
        truth, visible = (read_mask(record.masks[n][0]) > 0 for n in ("vessels", "fov"))
        top, left, bottom, right = (round(v + 0.5) for v in find_field_of_view(pixels).box)
        cut = cv2.resize(pixels[top:bottom, left:right], (512, 512), interpolation=cv2.INTER_AREA)
        image = torch.from_numpy(cut).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            found = torch.sigmoid(model.segment(image))[0, 0].numpy()
        whole = np.zeros(truth.shape, np.float32)
        whole[top:bottom, left:right] = cv2.resize(found, (right - left, bottom - top))
        mask = (whole > 0.42) & visible
        scores.append(2 * (mask & truth).sum() / (mask.sum() + (truth & visible).sum()))
    assert 0.80 <= np.mean(scores) <= 0.86


def test_any_size_and_no_prompts():
    model = models.create("unet.test").eval()
    with torch.no_grad():
        assert model.segment(torch.rand(1, 3, 33, 47)).shape == (1, 1, 33, 47)
        assert len(model.stages(torch.rand(1, 3, 32, 32))) == 2
    with pytest.raises(InvalidInput, match="no prompts"):
        model.segment(torch.rand(1, 3, 32, 32), Prompts(boxes=torch.zeros(1, 4)))


def test_classes_decide_the_outputs():
    model = models.create("unet.small", classes=("disc", "cup"), width=4).eval()
    assert model.segment(torch.rand(1, 3, 32, 32)).shape[1] == 2
    assert model.unet2 is None
    assert models.create("unet.small", width=4, cascade=True).unet2 is not None
    assert Path(models.card("unet.lwnet").obtain.split()[0]).name == "model_checkpoint.pth"


def test_some_of_the_outputs_are_those_of_the_whole():
    torch.manual_seed(0)
    whole = models.create("unet.small", width=4, levels=3, classes=("MA", "HE", "EX")).eval()
    cut = whole.only(("EX", "MA"))
    images = torch.rand(1, 3, 40, 48)
    with torch.no_grad():
        torch.testing.assert_close(cut.segment(images), whole.segment(images)[:, [2, 0]])
    assert (cut.classes, whole.classes) == (("EX", "MA"), ("MA", "HE", "EX"))
    with pytest.raises(InvalidInput, match="W-Net"):
        models.create("unet.small", width=4, levels=3, classes=("MA", "HE"), cascade=True).only(("MA",))
    for names in (("vein",), ()):
        with pytest.raises(InvalidInput, match="cannot be cut"):
            whole.only(names)
