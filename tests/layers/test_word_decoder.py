"""The search obeys its rules: greedy, beams, draws, penalties, ends."""

import torch

from fundusion.core.interfaces import Decoding
from fundusion.layers.word_decoder import WordDecoder, answer_rows

END, SIZE = 2, 6


def table_step(table):
    """Logits that depend on the last token only."""
    return lambda ids: torch.tensor([table[int(row[-1])] for row in ids]).log()


def run(table, rule, **options):
    told = {"max_tokens": 5, "end": END, "banned": (0, 1), "generator": torch.Generator().manual_seed(0)} | options
    return answer_rows(table_step(table), [1], rule=rule, **told)


#: From the start the likeliest is 3, whose ends are unlikely; 4 is certain to be followed by the end.
TABLE = {1: [0.01, 0.01, 0.01, 0.5, 0.4, 0.07], 3: [0.01, 0.01, 0.2, 0.2, 0.29, 0.29], 4: [0.01, 0.01, 0.94, 0.01, 0.01, 0.02],
         5: [0.01, 0.01, 0.4, 0.2, 0.19, 0.19]}  # fmt: skip


def test_greedy_takes_the_likeliest_word_and_beams_the_likeliest_answer():
    assert run(TABLE, Decoding())[0] == 3
    assert run(TABLE, Decoding(beams=3)) == [4]


def test_marks_are_never_said_and_lengths_are_kept():
    loud = {k: [0.4, 0.4, 0.001, 0.1, 0.05, 0.05] for k in range(SIZE)}
    assert run(loud, Decoding(), max_tokens=3) == [3, 3, 3]
    once = run(loud, Decoding(repetition_penalty=1e6), max_tokens=3)
    assert len(set(once)) == len(once)


def test_draws_follow_seed_top_k_and_top_p():
    def draws(**rule):
        return {
            tuple(
                run(TABLE, Decoding(temperature=1.0, **rule), max_tokens=1, generator=torch.Generator().manual_seed(s))
            )
            for s in range(40)
        }

    assert {(3,), (4,)} <= draws()
    assert draws(top_k=1) == {(3,)}
    assert draws(top_p=0.4) == {(3,)}


def test_an_answer_that_is_over_grows_no_more():
    seen = []

    def stopped(rows):
        seen.append([list(r) for r in rows])
        return [len(r) >= 2 for r in rows]

    made = run(TABLE, Decoding(), stopped=stopped)
    assert len(made) == 2
    assert [len(r[0]) for r in seen] == [1, 2]


def test_later_tokens_change_no_logits_before_them():
    torch.manual_seed(0)
    decoder = WordDecoder(SIZE, 8, depth=1, num_heads=2, limit=8).eval()
    cells = torch.randn(1, 3, 8)
    with torch.no_grad():
        one = decoder(torch.tensor([[1, 3, 4]]), cells)
        other = decoder(torch.tensor([[1, 3, 5]]), cells)
        seen = decoder(torch.tensor([[1, 3, 4]]), cells * 2)
    assert torch.equal(one[:, :2], other[:, :2])
    assert not torch.allclose(one, seen)
