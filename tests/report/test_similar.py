import re

from fundusion.report.similar import Answer, Card, similar_page


def test_the_page_shows_query_and_hits_escaped_and_asks_nothing_outside():
    hits = (
        Card(
            title="<script>alert(1)</script>",
            facts="age 61",
            picture="data:image/jpeg;base64,AA==",
            similarity=0.98765,
            rank=1,
        ),
        Card(title="s2", text="x" * 5000, similarity=-0.5, rank=2),
    )
    page = similar_page(
        [Answer(query=Card(title="eye & more"), hits=hits), Answer(query=Card(title="none"), hits=())], notes=["Note."]
    )
    assert "<script" not in page
    assert "eye &amp; more" in page
    assert "0.988" in page
    assert "-0.500" in page
    assert "x" * 600 + "..." in page
    assert "x" * 601 not in page
    assert "Nothing was found." in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "default-src 'none'" in page
