import pytest

from fundusion.train.estimate import Estimate


@pytest.mark.parametrize(("steps", "words"), [(1, "a second"), (30, "15 s"), (600, "5 min"), (36000, "5.0 h")])
def test_an_estimate_in_words(steps, words):
    said = str(Estimate(steps=steps, seconds=(0.4, 0.5, 0.6)))
    assert said.startswith(f"about {words} for {steps} steps")
    assert "0.50 s a step" in said
