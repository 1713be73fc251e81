"""`pretrain` and `adapt` train generators from files a command wrote, and what they leave answers in `describe`."""

import shutil

import pytest
from typer.testing import CliRunner

from fundusion.cli import app


@pytest.fixture(scope="module")
def eyes(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("eyes") / "eyes"
    shutil.copytree(cohort.parent, folder)
    made = CliRunner().invoke(
        app,
        [
            "instruct-data",
            str(folder / cohort.name),
            "--out",
            str(folder / "talk.jsonl"),
            "--per-study",
            "3",
            "--language",
            "en",
        ],
    )
    assert made.exit_code == 0, made.output
    return folder / cohort.name


def run(*words, code=0):
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == code, done.output
    return done.output


def test_answers_are_learned_and_the_run_folder_is_a_model(eyes, tiny_model, tmp_path):
    # Letters of the smallest tokenizer make long conversations; some do not fit, and are told.
    said = run("pretrain", "--objective", "instruct", "--model", "llava.test", "--data", eyes.parent / "talk.jsonl", "--out", tmp_path / "run",
               "--packing", "--epochs", "1", "--batch-size", "4")  # fmt: skip
    assert "Use it:   fundusion describe" in said
    picture = next((eyes.parent / "images").glob("*_cfp.png"))
    told = CliRunner().invoke(
        app,
        ["describe", str(picture), "--model", str(tmp_path / "run"), "--screen", str(tiny_model), "--max-words", "4"],
    )
    assert told.exit_code in (0, 3), told.output
    # Adapters on top of what was learned.
    said = run("adapt", tmp_path / "run", eyes.parent / "talk.jsonl", "--objective", "instruct", "--lora-rank", "2", "--epochs", "1",
               "--batch-size", "4", "--out", tmp_path / "adapted")  # fmt: skip
    assert "adapter.safetensors" in said
    told = CliRunner().invoke(
        app,
        [
            "describe",
            str(picture),
            "--model",
            str(tmp_path / "adapted"),
            "--screen",
            str(tiny_model),
            "--max-words",
            "4",
        ],
    )
    assert told.exit_code in (0, 3), told.output


def test_captions_come_from_reports(eyes, tmp_path):
    said = run("pretrain", "--objective", "blip2", "--model", "blip2.test", "--data", eyes, "--out", tmp_path / "run", "--epochs", "1",
               "--batch-size", "2", "--lora-rank", "0", code=0)  # fmt: skip
    assert "Model:" in said


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (("pretrain", "--objective", "instruct", "--model", "llava.test", "--data", "{table}"), "config.data", 2),
        (("pretrain", "--objective", "instruct", "--model", "llava.test"), "config.invalid", 2),
        (("pretrain", "--objective", "instruct", "--data", "{talk}"), "config.invalid", 2),
        (("pretrain", "--objective", "instruct", "--model", "parrot", "--data", "{talk}"), "name.unknown", 4),
        (("pretrain", "--objective", "mae", "--data", "{table}", "--packing"), "config.invalid", 2),
        (
            ("pretrain", "--objective", "caption", "--model", "blip.test", "--data", "{table}", "--lora-rank", "4"),
            "config.invalid",
            2,
        ),
        (("pretrain", "--objective", "dpo", "--model", "llava.test", "--data", "{talk}"), "train.too_few", 4),
        (("adapt", "llava.test", "{talk}", "--objective", "caption"), "config.objective", 2),
        (
            ("pretrain", "--objective", "instruct", "--model", "eyefm_copilot.llama", "--data", "{talk}"),
            "model.not_found",
            4,
        ),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(eyes, tmp_path, words, code, exit_code):
    said = run(
        *[w.format(table=eyes, talk=eyes.parent / "talk.jsonl") for w in words],
        "--out",
        tmp_path / "run",
        code=exit_code,
    )
    assert f"error [{code}]" in said
    assert "Traceback" not in said
