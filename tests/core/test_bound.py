"""Bounds stay bounds: printed as written, stored as text, a number only by a rule."""

import copy
import json

import pytest

from fundusion.core.bound import Bound, as_bound
from fundusion.core.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "relation", "value"),
    [
        ("<0.5", "<", 0.5),
        ("> 200", ">", 200.0),
        ("≤3", "<=", 3.0),
        ("＞5", ">", 5.0),
        (">=1.5", ">=", 1.5),
        ("< -2", "<", -2.0),
    ],
)
def test_relation_and_value(text, relation, value):
    bound = Bound(text)
    assert (bound.relation, bound.value, str(bound)) == (relation, value, text)


def test_it_survives_json_and_copies_as_written():
    assert json.loads(json.dumps({"crp": Bound("<0.5")})) == {"crp": "<0.5"}
    again = copy.deepcopy(Bound("<0.5"))
    assert isinstance(again, Bound)
    assert again.value == 0.5


@pytest.mark.parametrize("text", ["0.5", "<", "<0,5", "<x", "", "a<5"])
def test_other_text_is_no_bound(text):
    assert as_bound(text) is None
    with pytest.raises(InvalidInput):
        Bound(text)


def test_rules():
    assert Bound("<0.5").resolve("half") == 0.25
    assert Bound("<0.5").resolve("bound") == 0.5
    assert Bound("<0.5").resolve("missing") is None
    for bound, rule in ((Bound("<0.5"), "keep"), (Bound(">200"), "half")):
        with pytest.raises(InvalidInput) as error:
            bound.resolve(rule)
        assert error.value.code == "table.censored"
