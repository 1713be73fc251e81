"""Words of place beside a finding."""

from fundusion.readers.report.places import places_of


def test_places_of_the_same_clause_only():
    text = "flame haemorrhage inferior to the disc, drusen at the macula"
    assert places_of(text, 0, 17) == ("inferior", "disc")
    assert places_of(text, 40, 46) == ("macula",)
    assert places_of("颞上方片状出血,黄斑区渗出", 3, 7) == ("颞上方",)
    assert places_of("drusen", 0, 6) == ()
