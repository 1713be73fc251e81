"""`segment` and `train-segmenter` as a user calls them."""

import pytest
from typer.testing import CliRunner

from fundusion.cli import app

RUN = CliRunner()
RECIPE = """
classes = ["vessel"]
options = { width = 4, levels = 2 }
sets = [{ name = "hrf", root = "hrf" }]
field_px = 64
patch_px = 32
patches = 2

[train]
epochs = 1
batch_size = 2
warmup_steps = 1
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory, draw_vessels):
    root = tmp_path_factory.mktemp("data")
    for number in range(1, 5):
        draw_vessels(root / "hrf", number)
    (root / "r.toml").write_text(RECIPE)
    return root


def test_train_then_segment(data, tmp_path):
    run = tmp_path / "run"
    done = RUN.invoke(app, ["train-segmenter", str(data / "r.toml"), "--data", str(data), "--out", str(run)])
    assert done.exit_code == 0, done.output
    assert "ece_left_out" in done.output
    again = ["train-segmenter", str(data / "r.toml"), "--data", str(data), "--out", str(run), "--calibrate"]
    assert RUN.invoke(app, again).exit_code == 0
    pictures = str(data / "hrf/images")
    done = RUN.invoke(
        app,
        ["segment", pictures, "--model", str(run), "--tile", "64", "--overlap", "32", "--out", str(tmp_path / "masks")],
    )
    assert done.exit_code == 0, done.output
    assert "4 studies: 4 ok, 0 rejected, 0 pending" in done.output
    assert len(list((tmp_path / "masks").glob("overlay/*.png"))) == 4


def test_a_set_that_is_not_trained_on_is_shown_afterwards(data, tmp_path, draw_vessels):
    for number in range(1, 3):
        draw_vessels(tmp_path / "other", number)
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'unseen = [{{ name = "hrf", root = "{tmp_path / "other"}" }}]\n' + RECIPE)
    done = RUN.invoke(app, ["train-segmenter", str(recipe), "--data", str(data), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "set, not trained on" in done.output
    assert (tmp_path / "run" / "unseen.json").is_file()
    command = ["train-segmenter", str(data / "r.toml"), "--data", str(data), "--out", str(tmp_path / "no"), "--without"]
    for name, words in (("hrf", "no set would be left"), ("drive", "is no set of this recipe")):
        refused = RUN.invoke(app, [*command, name])
        assert refused.exit_code in (2, 4)
        assert words in refused.output


def test_errors_are_for_people(data, tmp_path):
    for arguments, words in (
        (["segment", str(data / "absent"), "--out", str(tmp_path)], "does not exist"),
        (["segment", str(data), "--model", "nothing", "--out", str(tmp_path)], "no segmenter is called"),
        (["train-segmenter", str(tmp_path / "none.toml"), "--out", str(tmp_path)], "no recipe"),
    ):
        done = RUN.invoke(app, arguments)
        assert done.exit_code in (2, 4), done.output
        assert words in done.output
        assert "Traceback" not in done.output


def test_adapters_are_trained_by_a_recipe_and_prompted_by_own_masks(data, tmp_path):
    recipe = RECIPE.replace("options = { width = 4, levels = 2 }", 'model = "sam.test"\nrank = 2\njitter_px = 4')
    recipe = recipe.replace('"vessel"', '"disc"').replace("patch_px = 32", "patch_px = 64")
    (data / "p.toml").write_text(recipe)
    run = tmp_path / "run"
    done = RUN.invoke(app, ["train-segmenter", str(data / "p.toml"), "--data", str(data), "--out", str(run)])
    # HRF annotates no discs.
    assert done.exit_code in (2, 4)
    assert "has a mask of disc" in done.output
    (data / "p.toml").write_text(recipe.replace('"disc"', '"vessel"'))
    done = RUN.invoke(app, ["train-segmenter", str(data / "p.toml"), "--data", str(data), "--out", str(run)])
    assert done.exit_code == 0, done.output
    assert "dice_box_of_truth" in done.output
    refused = RUN.invoke(
        app, ["train-segmenter", str(data / "p.toml"), "--data", str(data), "--out", str(run), "--calibrate"]
    )
    assert refused.exit_code in (2, 4)
    assert "--calibrate is not for sam.test" in refused.output
    arguments = ["segment", str(data / "hrf/images"), "--model", f"disc_cup,{run}", "--out", str(tmp_path / "masks")]
    assert "--prompts auto" in RUN.invoke(app, arguments).output
    done = RUN.invoke(app, [*arguments, "--flips", "1", "--prompts", "auto"])
    assert done.exit_code == 0, done.output
    done = RUN.invoke(
        app,
        ["segment", str(data / "hrf/images"), "--model", "disc_cup,sam.test", "--prompts", "auto", "--flips", "1",
         "--out", str(tmp_path / "sam")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "4 studies: 4 ok" in done.output


def test_a_segmenter_that_is_often_wrong_elsewhere_is_said_to_be_so(data, tmp_path):
    import csv
    import json

    run = tmp_path / "run"
    recipe = tmp_path / "r.toml"
    recipe.write_text('unproven = { vessel = "Seen in pictures without vessels." }\n' + RECIPE)
    done = RUN.invoke(app, ["train-segmenter", str(recipe), "--data", str(data), "--out", str(run)])
    assert done.exit_code == 0, done.output
    masks = tmp_path / "masks"
    command = ["segment", str(data / "hrf/images"), "--model", str(run), "--flips", "1", "--out", str(masks)]
    done = RUN.invoke(app, command)
    assert done.exit_code == 0, done.output
    warning = "masks of vessel are not proven on pictures of other cameras. Seen in pictures without vessels."
    assert done.stderr.count(warning) == 1
    assert warning not in done.stdout
    with (masks / "segments.csv").open() as stream:
        assert {r["unproven"] for r in csv.DictReader(stream)} == {"vessel"}
    rows = [json.loads(x) for x in (masks / "segments.jsonl").read_text().splitlines()]
    assert {json.dumps(r["unproven"]) for r in rows} == {'{"vessel": "Seen in pictures without vessels."}'}
    done = RUN.invoke(app, ["measure", str(masks / "vessel"), "--out", str(tmp_path / "measured")])
    assert warning.replace("vessel ", "vessels ") in done.stderr
