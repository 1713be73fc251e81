import json
import math
from dataclasses import replace

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput, ReadError
from fundusion.core.study import StudyRecord
from fundusion.core.tasks import MultiClass, MultiLabel
from fundusion.knowledge import Knowledge
from fundusion.knowledge.questions import prompts_of_labels
from fundusion.train.aligners import load_aligner
from fundusion.zeroshot import Fit, ZeroShot, fit_zeroshot
from fundusion.zeroshot.fitting import calibrate, labelled_logits

KNOWN = Knowledge.read()


class Asked:
    """A question whose logits stand in the records."""

    signature = {"model": "m"}

    def __init__(self, several=False):
        self.question = replace(
            prompts_of_labels(KNOWN, "drusen, glaucoma, cataract", several=several), label_in_tables="truth"
        )

    def preparer(self):
        def prepare(record):
            if record.report:
                raise InvalidInput("no picture.", code="study.no_image")
            return record

        return prepare

    def logits(self, pictures):
        return pictures


class Eye:
    """Stands for a record and for what it is prepared to."""

    def __init__(self, logits, truth, patient, report=None):
        self.labels = {} if truth is None else {"truth": truth}
        self.group, self.report = patient, report
        self.pixels = logits
        self.prepared, self.images = self, {"cfp": [self]}


def eyes(n, several=False, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    names = ("drusen", "glaucoma", "cataract")
    found = []
    for i in range(n):
        y = rng.integers(0, 3)
        logits = np.eye(3)[y] * 3 + rng.normal(size=3) + np.array([shift, 0, 0])
        truth = {k: float(k == names[y]) for k in names} if several else names[y]
        found.append(Eye(logits, truth, f"p{i // 2}"))
    return found


def test_labelled_eyes_set_levels_and_make_sets_of_the_promised_coverage():
    fit = fit_zeroshot(Asked(), eyes(400, shift=6.0), coverage=0.9)
    new = eyes(400, shift=6.0, seed=1)
    z = np.stack([e.pixels for e in new])
    truth = np.asarray([("drusen", "glaucoma", "cataract").index(e.labels["truth"]) for e in new])
    p = fit.probabilities(Asked().question.task, z)
    assert (z.argmax(1) == truth).mean() < 0.5
    assert (p.argmax(1) == truth).mean() > 0.8
    hit = np.mean([Asked().question.task.labels[t] in s for t, s in zip(truth, fit.conformal.sets(p), strict=True)])
    assert 0.85 <= hit <= 0.96
    assert fit.facts["eyes"] == 400
    assert fit.facts["patients"] == 200
    assert 100 < fit.facts["calibrated_on"] < 300
    # One eye of each patient of the other half.
    assert fit.conformal.n[0] == 200 - fit.facts["calibrated_on"] // 2
    assert fit.facts["macro_auroc"] > 0.9


def test_few_eyes_of_one_kind_do_not_make_certainty():
    task = MultiLabel("ab")
    y = np.array([[1.0, 0.0]] * 10)
    p = calibrate(task, np.zeros((10, 2)), y).apply(task, np.zeros((1, 2)))[0]
    assert p.tolist() == pytest.approx([11 / 12, 1 / 12], abs=0.02)
    none = calibrate(MultiClass("abc"), np.zeros((0, 3)), np.zeros(0))
    assert none.bias == (0.0, 0.0, 0.0)


def test_several_labels_get_thresholds():
    fit = fit_zeroshot(Asked(several=True), eyes(200, several=True))
    assert set(fit.thresholds) == {"drusen", "glaucoma", "cataract"}
    assert len(fit.conformal.limits) == 6


def test_without_sets_all_eyes_calibrate():
    fit = fit_zeroshot(Asked(), eyes(20), coverage=None)
    assert fit.conformal is None
    assert fit.facts["calibrated_on"] == 20


def test_one_patient_makes_sets_that_keep_everything():
    few = eyes(2)
    fit = fit_zeroshot(Asked(), few, coverage=0.9)
    assert fit.conformal.limits == (math.inf,)
    assert fit.facts["least_patients_for_sets"] == 9
    assert json.loads(json.dumps(fit.to_dict(), allow_nan=False))["conformal"]["limits"] == [None]


def test_what_cannot_be_used_is_counted():
    listed = [
        *eyes(6),
        Eye(np.zeros(3), None, "x"),
        Eye(np.zeros(3), "macular hole", "y"),
        Eye(np.zeros(3), "drusen", "z", report="only words"),
    ]
    _, targets, groups, rejected = labelled_logits(Asked(), listed)
    assert len(groups) == len(targets) == 6
    assert rejected == {"label.missing": 1, "label.unknown": 1, "study.no_image": 1}
    with pytest.raises(InvalidInput, match=r"1 x label\.unknown") as caught:
        fit_zeroshot(Asked(), listed[6:8])
    assert caught.value.code == "zeroshot.no_labels"
    assert "--task" in caught.value.hint


def test_a_fit_is_saved_and_belongs_to_its_question(tmp_path):
    loaded = load_aligner("clip.test", weights="fresh")
    question = prompts_of_labels(KNOWN, "drusen, glaucoma, cataract")
    asked = ZeroShot(loaded, question)
    fit = replace(fit_zeroshot(Asked(), eyes(40)), signature=asked.signature)
    fit.save(tmp_path / "calibration.json")
    again = Fit.load(tmp_path / "calibration.json")
    assert again == fit
    assert again.digest() == fit.digest()
    assert ZeroShot(loaded, question, fit=again).fit == fit
    others = [
        (question, {"mirror": True}, "mirror"),
        (question, {"renormalise": True}, "renormalise"),
        (prompts_of_labels(KNOWN, "drusen, glaucoma, cataract", language="zh"), {}, "question"),
    ]
    for other, how, word in others:
        with pytest.raises(InvalidInput, match=word) as caught:
            ZeroShot(loaded, other, fit=again, **how)
        assert caught.value.code == "zeroshot.other_fit"
    with pytest.raises(InvalidInput, match="weights sha256"):
        ZeroShot(replace(loaded, sha256="0" * 64), question, fit=again)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"signature": {}, "calibration": 3}'])
def test_another_file_is_no_fit(tmp_path, content):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(ReadError, match="no calibration"):
        Fit.load(tmp_path / "c.json")
    with pytest.raises(ReadError):
        Fit.load(tmp_path / "none.json")
    assert StudyRecord(study_id="a").labels == {}
