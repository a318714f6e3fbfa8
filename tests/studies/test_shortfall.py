"""Where samples fall short: validity by length, and the probability of environment names."""

from itertools import pairwise

import numpy as np
import pytest

import shortfall
from nextchar.parsing.sweep import svg
from shortfall import LENGTHS, by_length, environment_ends, names_known, pieces_by_length
from tables import markdown, span


def test_shares_are_means_between_two_lengths() -> None:
    """Every piece is in one interval, the last one is open, and an empty one has no share."""
    shares = by_length([1, 0, 1, 1], [1, 199, 200, 10**6])
    assert [each.of for each in shares] == [2, 1, 0, 0, 1]
    assert [each.correct for each in shares[:2]] == [0.5, 1.0]
    assert [str(each) for each in shares] == ["50 of 2", "100 of 1", "-", "-", "100 of 1"]
    assert shares[0].least == LENGTHS[0]
    assert all(one.most + 1 == other.least for one, other in pairwise(shares))


def test_pieces_are_checked_one_by_one() -> None:
    """A long valid fragment and a short invalid one are in two intervals."""
    valid = "\\begin{proof}\n" + "x " * 200 + "\n\\end{proof}\n"
    shares = pieces_by_length("latex", [valid + "\\begin{lemma}\n\\end{proof}\n"])
    assert [(each.correct, each.of) for each in shares if each.of] == [(0.0, 1), (1.0, 1)]


def test_names_of_environments_and_their_probability() -> None:
    """Only an end of its own environment counts; the probability is that of the whole name with its bracket."""
    text = "\\begin{proof} \\begin{align*}x\\end{align*} y\\end{proof} \\begin{lemma}\\end{proof} \\end{lemma}"
    ends = list(environment_ends(text))
    assert [text[place] for place, _ in ends] == ["align*}", "proof}"]
    assert [distance for _, distance in ends] == [len("\\begin{align*}x"), text.index("\\end{proof}")]
    nats = np.zeros(len(text))
    nats[text.index("align*}x\\end") + len("align*}x\\end{")] = np.log(4)
    known, share = names_known(text, nats)
    assert known[0].correct == pytest.approx((0.25 + 1) / 2)
    assert share == pytest.approx(1.0)


def test_the_page_and_its_figure_show_every_span() -> None:
    """A table and a figure of one corpus, with a column without pieces."""
    shares = by_length([1, 0], [10, 900])
    assert shortfall.table({"model": shares}) == markdown(
        ["characters", "1-199", "200-399", "400-799", "800-1599", "1600 or more"],
        [["model", "100 of 1", "-", "-", "0 of 1", "-"]],
    )
    assert "LaTeX fragments" in svg(shortfall.figure({"latex": (shares, shares)}))
    assert span(3, 3) == "3"
