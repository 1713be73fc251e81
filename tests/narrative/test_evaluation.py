"""Texts are scored against the findings; the template scores without a fault; the benchmark finds no survivor."""

import importlib.util
from pathlib import Path

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.narrative.evaluation import evaluate_texts, known_numbers, said_statements
from fundusion.narrative.writer import write_narrative

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "reproduce" / "narrative_safety.py"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_template_contradicts_nothing_and_invents_no_number(facts, language):
    text = write_narrative(facts, language=language).text
    scored = evaluate_texts([text], [facts], language=language)
    assert (scored.contradictions, scored.invented_numbers) == (0.0, 0.0)
    assert (scored.findings.precision, scored.findings.recall, scored.laterality) == (1.0, 1.0, 1.0)


def test_faults_are_counted(facts):
    scored = evaluate_texts(["No cataract. Signs of glaucoma in the left eye. Cup-to-disc ratio 0.9."], [facts])
    assert scored.contradictions == 1.0
    assert scored.findings.precision == 0.0
    assert scored.invented_numbers == 1.0
    assert scored.to_dict()["texts"] == 1


def test_the_grade_is_no_statement_of_its_own(facts):
    assert said_statements("ICDR grade 2 (moderate NPDR).", facts) == []
    assert {"2", "61", "93", "0.62", "281"} <= known_numbers(facts)


def test_each_text_needs_its_facts(facts):
    with pytest.raises(InvalidInput):
        evaluate_texts(["a", "b"], [facts])
    with pytest.raises(InvalidInput):
        evaluate_texts([], [])


def test_of_corrupted_narratives_nothing_survives():
    spec = importlib.util.spec_from_file_location("narrative_safety", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    found = script.measure(36, seed=11)
    assert (found["reports_with_a_survivor"], found["contradiction_rate_after"]) == (0, 0.0)
    for language in ("en", "zh"):
        assert set(found[language]["caught"]) == set(script.TYPES)
        # A checker that removes everything would be safe and of no use.
        assert found[language]["true_sentences_kept"] > 0.6
        assert found[language]["before"]["contradictions"] > 0
