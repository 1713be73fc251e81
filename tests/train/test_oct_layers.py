"""Training on drawn B-scans: it learns, it writes what the finder of layers reads, and a recipe says which kind it is."""

import csv
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.core.errors import InvalidInput
from fundusion.layering import find_layers
from fundusion.segmenting import load_segmenter
from fundusion.train.config import FitConfig
from fundusion.train.oct_layers import CLASSES, LayersConfig, draw_training_scan, drawn_scans, masks_of, train_layers

RUN = CliRunner()


def quiet(title):
    return nullcontext(lambda *a, **k: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layers")
    config = LayersConfig(
        drawn_scans=24, field_px=64, options={"width": 6, "levels": 4}, colour=0.3,
        train=FitConfig(epochs=25, batch_size=4, learning_rate=1e-2, warmup_steps=5, ema=0.9, evaluate_every=25),
    )  # fmt: skip
    assert train_layers(folder, config=config, reporter=quiet).exit_code == 0
    return folder


def test_a_few_drawn_scans_are_enough_to_find_the_retina(run):
    segmenter = load_segmenter(run)
    assert segmenter.facts["training_data"] == ["drawn B-scans"]
    assert segmenter.classes == CLASSES
    errors, guess = [], []
    for number in range(6):
        pixels, truth = draw_training_scan(number, size=96, seed=5)
        found = find_layers(segmenter, pixels)
        errors.append(np.nanmean(np.abs(found.surfaces["bruch"][0] - truth.surfaces["bruch"])))
        guess.append(np.abs(truth.surfaces["bruch"] - 52).mean())
    assert np.mean(errors) < 0.5 * np.mean(guess)
    assert np.mean(errors) < 3


def test_masks_hold_the_surfaces_exactly():
    for number in range(3):
        _, truth = draw_training_scan(number, size=80)
        masks = masks_of(truth, 80)
        for k, name in enumerate(CLASSES[:-1]):
            rows = 80 - masks[k].sum(0) / 254 - 0.5
            np.testing.assert_allclose(rows, truth.surfaces[name], atol=0.01)
    assert set(np.unique(masks[-1])) <= {0, 254}


def test_the_same_eyes_are_drawn_again_and_sets_are_refused():
    config = LayersConfig(drawn_scans=4, field_px=64)
    assert drawn_scans(config, quiet).digest == drawn_scans(config, quiet).digest
    assert drawn_scans(config.model_copy(update={"drawn_seed": 1}), quiet).digest != drawn_scans(config, quiet).digest
    with pytest.raises(ValueError, match="no sets"):
        LayersConfig(classes=("vessel",))
    with pytest.raises(InvalidInput, match=r"classes|not trained on masks"):
        train_layers("unused", config=config.model_copy(update={"model": "sam.test", "options": {}}), reporter=quiet)


def test_scans_are_measured_from_the_command_line(run, tmp_path):
    pixels, _ = draw_training_scan(1, size=128, seed=9)
    Pillow.fromarray(pixels[..., 0]).save(tmp_path / "scan.png")
    (tmp_path / "volume").mkdir()
    for number in range(5):
        Pillow.fromarray(draw_training_scan(1, size=96, offset=0.4 * number - 0.8)[0][..., 0]).save(
            tmp_path / f"volume/{number}.png"
        )
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Pillow.fromarray(np.zeros((90, 90), np.uint8)).save(tmp_path / "black.png")
    out = tmp_path / "out"
    done = RUN.invoke(
        app,
        ["oct-layers", str(tmp_path / "scan.png"), str(tmp_path / "broken.png"), str(tmp_path / "black.png"),
         "--spacing-um", "15.7,47", "--model", str(run), "--out", str(out)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "3 scans: 1 ok, 2 rejected, 0 pending" in done.output
    with (out / "measurements.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {r["name"] for r in rows} == {"scan"}
    whole = next(r for r in rows if (r["measurement"], r["region"]) == ("retina_thickness", "scan"))
    assert whole["unit"] == "um"
    assert 200 < float(whole["value"]) < 550
    assert (out / "overlay/scan.png").is_file()
    assert (out / "surfaces/scan.csv").read_text().startswith("bscan,column,ilm_px")
    done = RUN.invoke(app, ["oct-layers", str(tmp_path / "volume"), "--model", str(run), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "oct.no_axial_spacing" in (out / "measurements.csv").read_text()
    for bad in ("3", "a,b"):
        done = RUN.invoke(
            app, ["oct-layers", str(tmp_path / "scan.png"), "--spacing-um", bad, "--model", str(run), "--out", str(out)]
        )
        assert done.exit_code in (2, 4)
        assert "Traceback" not in done.output
