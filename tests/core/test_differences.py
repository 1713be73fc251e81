"""Differences are complete, named by their place, and short."""

from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.differences import differences

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_a_value_is_like_itself(value):
    assert differences(value, value) == []


@given(VALUES, VALUES)
def test_unlike_values_differ_somewhere(one, two):
    # An absent key and one that holds nothing are told apart by nobody.
    def full(v):
        if isinstance(v, dict):
            return {k: full(x) for k, x in v.items() if x is not None}
        return [full(x) for x in v] if isinstance(v, list) else v

    assert bool(differences(full(one), full(two))) == (full(one) != full(two))


def test_places_and_lengths():
    found = {"inputs": {"cfp": {"mean": [0.5, 0.5], "size": 224}}, "tasks": ["a"], "x": "y" * 200}
    wanted = {"inputs": {"cfp": {"mean": [0.5, 0.4], "size": 224}}, "tasks": ["a", "b"], "z": 1}
    lines = differences(found, wanted)
    assert lines[0] == "inputs.cfp.mean[1]: found 0.5, expected 0.4"
    assert lines[1] == "tasks: found ['a'], expected ['a', 'b']"
    assert lines[2] == "z: found nothing, expected 1"
    assert lines[3].startswith("x: found 'yyy")
    assert len(lines[3]) < 100
    assert differences((1, 2), [1, 2]) == []
