"""Feedback of readers: edits are pairs, accepted drafts are answers, every line is counted once."""

import json

import pytest

from fundusion.core.errors import InvalidInput, ReadError
from fundusion.narrative.feedback import feedback_items, read_feedback

LINES = [
    {"question": "Report?", "draft": "Drusen.", "final": "No drusen.", "status": "edited", "images": {"cfp": "a.png"}, "patient_id": "7", "split": "train"},
    {"draft": "Normal.", "status": "accepted"},
    {"draft": "Normal.", "final": "Normal.", "status": "edited"},
    {"draft": "Glaucoma.", "status": "rejected"},
    {"draft": "Glaucoma.", "final": "Cataract.", "status": "rejected"},
    {"draft": "x", "status": "liked"},
    {"draft": " ", "status": "accepted"},
    {"draft": "x", "status": "edited"},
    "no object",
]  # fmt: skip


def test_every_line_is_counted_once(tmp_path):
    file = tmp_path / "f.jsonl"
    file.write_text("\n".join(json.dumps(x) for x in LINES) + "\n\n{broken\n", "utf-8")
    found = read_feedback(file)
    assert [(p["chosen"], p["rejected"]) for p in found.pairs] == [
        ("No drusen.", "Drusen."),
        ("Cataract.", "Glaucoma."),
    ]
    assert [a["messages"][-1]["content"] for a in found.answers] == ["No drusen.", "Normal.", "Normal.", "Cataract."]
    assert found.unused == 1
    assert [(n, c) for n, c, _ in found.rejected] == [
        (6, "feedback.status"), (7, "feedback.draft"), (8, "feedback.final"), (9, "feedback.status"), (11, "conversation.syntax"),
    ]  # fmt: skip
    first = found.pairs[0]
    assert (first["images"], first["patient_id"], first["split"]) == ({"cfp": "a.png"}, "7", "train")
    assert first["messages"] == [{"role": "user", "content": "Report?"}]
    with pytest.raises(ReadError):
        read_feedback(tmp_path / "none")


def test_texts_without_end_are_refused():
    with pytest.raises(InvalidInput, match="too long"):
        feedback_items({"draft": "x" * 200_000, "status": "accepted"}, "a")
