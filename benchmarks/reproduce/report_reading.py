"""Reading of reports on held-out sentences, and of the ODIR keywords against the given flags.

    python benchmarks/reproduce/report_reading.py

A finding counts as found when code, status and eye are all right; the column "without eye" leaves the eye out. Intervals are
95 % bootstrap intervals over sentences. Splits: `dev` was used while the rules were written; `test` was written before the
rules and its errors were used once; `second` was scored once before its errors were used; `blind` was written last and
never used to change a rule.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fundusion.core.durable import write_json
from fundusion.core.vocabulary import ODIR_LABELS, Laterality
from fundusion.datasets.odir import QUALITY_WORDS
from fundusion.readers.report import label_report, read_report

SENTENCES = Path(__file__).resolve().parents[2] / "tests" / "readers" / "report"
SPLITS = ("dev", "test", "second", "blind")
STATUSES = ("present", "absent", "uncertain", "history", "conditional", "family")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FUNDUSION_DATA") or "../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/report_reading.json"))
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    read_report("warm up; 白内障")
    for language in ("en", "zh"):
        rows = read_sentences(language)
        for split in SPLITS:
            chosen = [r for r in rows if r["split"] == split]
            if chosen:
                result[f"{language}.{split}"] = score(chosen)
                show(f"{language} {split}", result[f"{language}.{split}"])
        result[f"{language}.speed"] = speed([r["text"] for r in rows])
        print(f"{language}: {result[f'{language}.speed']}")
    table = arguments.data / "odir" / "labels.csv"
    if table.is_file():
        result["odir"] = odir_agreement(table)
        for letter, facts in result["odir"]["letters"].items():
            print(f"ODIR {letter} {ODIR_LABELS[letter]}: {facts}")
        print(f"ODIR dr_grade: {result['odir']['dr_grade']}")
    else:
        print(f"skipped: no {table}")
    write_json(arguments.out, result)
    print(f"Written: {arguments.out}")


def read_sentences(language: str) -> list[dict[str, Any]]:
    """Return the annotated sentences of a language."""
    text = (SENTENCES / f"held_out_{language}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def counts_of(row: Mapping[str, Any], *, with_eye: bool) -> Counter[tuple[str, str]]:
    """Return right, extra and missing findings of one sentence by status."""
    reading = read_report(row["text"])
    got = {(f.code, f.status, f.eye if with_eye else "") for f in reading.findings}
    want = {(f["code"], f["status"], (f["eye"] or "") if with_eye else "") for f in row["findings"]}
    counts: Counter[tuple[str, str]] = Counter()
    for name, found in (("right", got & want), ("extra", got - want), ("missing", want - got)):
        counts.update((name, status) for _, status, _ in found)
    return counts


def measured(row: Mapping[str, Any]) -> Counter[tuple[str, str]]:
    """Return right, extra and missing measurements of one sentence."""
    reading = read_report(row["text"])
    got = {(m.name, m.word if m.value is None else m.value, m.unit, m.eye) for m in reading.measurements}
    want = {
        (m["name"], m.get("word") if m["value"] is None else m["value"], m["unit"], m["eye"] or "")
        for m in row["measurements"]
    }
    return Counter(
        {("right", "all"): len(got & want), ("extra", "all"): len(got - want), ("missing", "all"): len(want - got)}
    )


def score(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return precision, recall and F1 with intervals, by status and together."""
    with_eye = [counts_of(r, with_eye=True) for r in rows]
    without = [counts_of(r, with_eye=False) for r in rows]
    answer: dict[str, Any] = {
        "sentences": len(rows),
        "all": figures(with_eye, None),
        "without eye": figures(without, None),
    }
    for status in STATUSES:
        answer[status] = figures(with_eye, status)
    answer["measurements"] = figures([measured(r) for r in rows], None)
    graded = [(r["text"], f) for r in rows for f in r["findings"] if "grade" in f]
    answer["grades"] = [sum(has_grade(t, f) for t, f in graded), len(graded)]
    return answer


def has_grade(text: str, wanted: Mapping[str, Any]) -> bool:
    """Return whether a graded finding was read with its grade."""
    found = read_report(text).findings
    return any(
        f.code == wanted["code"] and f.eye == (wanted["eye"] or "") and "=".join(f.grade or ()) == wanted["grade"]
        for f in found
    )


def figures(counts: Sequence[Counter[tuple[str, str]]], status: str | None) -> dict[str, Any]:
    """Return precision, recall, F1 with 95 % bootstrap intervals over sentences, and the number of findings."""
    names = ("right", "extra", "missing")
    table = np.asarray(
        [[sum(n for (k, s), n in c.items() if k == name and status in (None, s)) for name in names] for c in counts],
        float,
    )
    draws = np.random.default_rng(0).integers(0, len(counts), (2000, len(counts)))
    sums = table[draws].sum(axis=1)
    ratios: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "precision": lambda s: s[..., 0] / (s[..., 0] + s[..., 1]),
        "recall": lambda s: s[..., 0] / (s[..., 0] + s[..., 2]),
        "f1": lambda s: 2 * s[..., 0] / (2 * s[..., 0] + s[..., 1] + s[..., 2]),
    }
    total = table.sum(axis=0)
    answer: dict[str, Any] = {"findings": int(total[0] + total[2])}
    with np.errstate(invalid="ignore"):
        for name, ratio in ratios.items():
            value, spread = float(ratio(total)), ratio(sums)
            low, high = np.nanquantile(spread, [0.025, 0.975]) if np.isfinite(spread).any() else (np.nan, np.nan)
            answer[name] = [None if not np.isfinite(x) else round(float(x), 3) for x in (value, low, high)]
    return answer


def show(title: str, scores: Mapping[str, Any]) -> None:
    """Print one split."""
    print(f"{title}: {scores['sentences']} sentences, grades {scores['grades'][0]} of {scores['grades'][1]}")
    for name in ("all", "without eye", *STATUSES, "measurements"):
        facts = scores[name]
        if facts["findings"]:
            cells = "  ".join(f"{k} {facts[k][0]} ({facts[k][1]}-{facts[k][2]})" for k in ("precision", "recall", "f1"))
            print(f"  {name:13} n {facts['findings']:4}  {cells}")


def speed(texts: Sequence[str]) -> dict[str, float]:
    """Return CPU milliseconds per report of six sentences."""
    reports = [" ".join(texts[i : i + 6]) for i in range(0, len(texts) - 6, 6)]
    start = time.process_time()
    for report in reports:
        read_report(report)
    spent = time.process_time() - start
    return {"characters": round(sum(map(len, reports)) / len(reports), 1), "ms": round(1000 * spent / len(reports), 2)}


def odir_agreement(table: Path) -> dict[str, Any]:
    """Return how the letters read from the keywords agree with the given flags, eye by eye.

    Keywords are a list, one finding each; a full stop keeps them apart. Notes on the picture are left out, as in the reader
    of the set.
    """
    letters: dict[str, Counter[str]] = {k: Counter() for k in ODIR_LABELS}
    grades: Counter[str] = Counter()
    with table.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            words = [w.strip() for w in row["keywords"].replace("，", ",").split(",")]
            text = ". ".join(w for w in words if w.lower() not in QUALITY_WORDS)
            labels = label_report(read_report(text), Laterality.RIGHT if row["eye"] == "right" else Laterality.LEFT)
            for letter, counts in letters.items():
                said, given = labels.disease[letter], int(row[letter])
                counts["not said" if said is None else "right" if said == given else f"said {said}, given {given}"] += 1
                counts["given"] += given
                counts["given and said"] += given and said == 1
            if row["dr_grade_from_keywords"]:
                given_grade = str(int(float(row["dr_grade_from_keywords"])))
                grades[
                    "not said" if labels.dr_grade is None else "right" if labels.dr_grade == given_grade else "wrong"
                ] += 1
    return {"letters": {k: dict(v) for k, v in letters.items()}, "dr_grade": dict(grades)}


if __name__ == "__main__":
    main()
