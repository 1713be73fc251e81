import re
from xml.etree import ElementTree

from fundusion.report.adaptation import adaptation_page, curve_plot


def curve(protocol, shots, mean, low=None, high=None):
    return {"protocol": protocol, "shots": shots, "metrics": {"AUROC": {"mean": mean, "low": low, "high": high}}}


def test_plots_are_well_formed_and_stand_in_order():
    curves = [
        curve("linear", 1, 0.6, 0.5, 0.7),
        curve("linear", None, 0.9),
        curve("knn", 1, None),
        curve("linear", 5, 0.8),
    ]
    root = ElementTree.fromstring(curve_plot(curves, "AUROC"))
    points = root.find("polyline").get("points").split()
    x, y = zip(*(map(float, p.split(",")) for p in points), strict=True)
    assert list(x) == sorted(x)
    # Higher values stand higher, which is a smaller y.
    assert y[0] > y[1] > y[2]
    assert [t.text for t in root.findall("text")][5:8] == ["1", "5", "all"]


def test_the_page_escapes_words_and_says_what_is_undefined():
    result = {
        "model": "<b>", "weights": None, "task": "dr_grade", "modality": "cfp", "learn": 3, "measured": 2, "rejected": [],
        "seeds": 2, "weight_license": "CC BY-NC 4.0", "curves": [curve("knn", 1, None), curve("knn", 5, 0.5, 0.4, 0.6)],
    }  # fmt: skip
    page = adaptation_page(result)
    assert "<b>" not in page
    assert "undefined" in page
    assert "0.500 (0.400 to 0.600)" in page
    assert "CC BY-NC 4.0" in page
    assert not re.search(r"(src|href)=", page)
