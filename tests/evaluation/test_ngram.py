import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from nextchar.errors import ConfigError, TextError
from nextchar.evaluation.ngram import NGram
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary

Gram = tuple[int, ...]
Ids = np.ndarray
ORDERS = pytest.mark.parametrize("order", [1, 2, 3, 4])


class _ChenGoodman:
    """Interpolated modified Kneser-Ney by dictionaries, from Chen & Goodman 1999, equations 23 to 30."""

    def __init__(self, text: list[int], V: int, order: int) -> None:
        self.V, self.order = V, order
        grams = {n: Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1)) for n in range(1, order + 1)}
        self.counts: dict[int, Counter[Gram]] = {order: grams[order]}
        for n in range(1, order):
            # N1+(. gram): how many different characters precede it.
            self.counts[n] = Counter(longer[1:] for longer in grams[n + 1])
        self.discounts = {n: self._discounts(self.counts[n]) for n in self.counts}
        self.after: dict[Gram, list[tuple[int, int]]] = defaultdict(list)
        for n, counts in self.counts.items():
            for gram, count in counts.items():
                self.after[gram[:-1]].append((n, count))

    @staticmethod
    def _discounts(counts: Counter[Gram]) -> list[float]:
        n1, n2, n3, n4 = (sum(1 for count in counts.values() if count == k) for k in (1, 2, 3, 4))
        if not (n1 and n2 and n3):  # the estimates do not exist: fixed ones, as documented
            return [0.0, 0.5, 0.75, 0.9]
        Y = n1 / (n1 + 2 * n2)
        raw = [1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3]
        # A discount of 0 or less would leave no probability to unseen characters: fixed ones are used.
        return [0.0, *(D if D > 1e-9 else fixed for D, fixed in zip(raw, (0.5, 0.75, 0.9), strict=True))]

    def p(self, gram: Gram) -> float:
        """Return the probability of the last character after those before it."""
        if not gram:
            return 1 / self.V
        n, lower = len(gram), self.p(gram[1:])
        counts = [count for length, count in self.after[gram[:-1]] if length == n]
        if not counts:
            return lower
        D = self.discounts[n]
        N1, N2 = counts.count(1), counts.count(2)
        gamma = (D[1] * N1 + D[2] * N2 + D[3] * (len(counts) - N1 - N2)) / sum(counts)
        count = self.counts[n][gram]
        return max(count - D[min(count, 3)], 0) / sum(counts) + gamma * lower

    def nats(self, text: list[int]) -> list[float]:
        """Return the surprisal of each character."""
        last = range(len(text))
        return [-math.log(self.p(tuple(text[max(0, t + 1 - self.order) : t + 1]))) for t in last]


def _ids(corpus: Corpus, text: str) -> Ids:
    return corpus.vocabulary.encode(text)


@ORDERS
@pytest.mark.parametrize("begin", [0, 5000, 9000])
def test_it_is_the_equations_of_the_paper(corpus: Corpus, text: str, order: int, begin: int) -> None:
    """Surprisals of held-out characters are those of a dictionary implemented from the paper, to 1e-9."""
    train, held = _ids(corpus, text[begin : begin + 600]), _ids(corpus, text[begin + 600 : begin + 1200])
    V = len(corpus.vocabulary)
    expected = _ChenGoodman(train.tolist(), V, order).nats(held.tolist())
    np.testing.assert_allclose(NGram(train, V, order=order).nats(held), expected, rtol=0, atol=1e-9)


@ORDERS
@pytest.mark.parametrize("size", [4, 5, 9, 30])
def test_it_is_the_paper_for_the_shortest_texts(order: int, size: int) -> None:
    """If counts are too few to estimate discounts, the fixed ones are used, and the rest is unchanged."""
    random = np.random.default_rng(size)
    train, held = random.integers(0, 3, size), random.integers(0, 4, 40)
    expected = _ChenGoodman(train.tolist(), 4, order).nats(held.tolist())
    np.testing.assert_allclose(NGram(train, 4, order=order).nats(held), expected, rtol=0, atol=1e-9)


def test_a_text_of_repeated_passages_leaves_something_to_others(text: str) -> None:
    """Where a passage comes four times, a discount cannot be estimated; no character becomes impossible by that."""
    block = text[:400]
    corpus = Corpus.from_text(block * 4 + text[400:2000])
    V = len(corpus.vocabulary)
    ngram = NGram(corpus.take(0, len(corpus)), V, order=3)
    reference = _ChenGoodman(corpus.take(0, len(corpus)).tolist(), V, 3)
    assert any(
        discounts[k] == fixed for discounts in reference.discounts.values() for k, fixed in ((2, 0.75), (3, 0.9))
    )
    held = np.random.default_rng(0).integers(0, V, 500)
    costs = ngram.nats(held)
    assert np.isfinite(costs).all()
    np.testing.assert_allclose(costs, reference.nats(held.tolist()), rtol=0, atol=1e-9)
    for place in range(0, 100, 10):
        after = [ngram.nats(np.append(corpus.take(place, place + 2), w))[-1] for w in range(V)]
        assert math.fsum(np.exp(-np.array(after))) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("order", [1, 3, 8])
def test_the_continuations_of_any_context_sum_to_one(corpus: Corpus, text: str, order: int) -> None:
    """After seen, half-seen and unseen contexts, the probabilities of all V characters sum to one."""
    V = len(corpus.vocabulary)
    ngram = NGram(_ids(corpus, text[:2000]), V, order=order)
    held = _ids(corpus, text[3000:3400]).astype(np.int64)
    random = np.random.default_rng(0)
    contexts = [held[t : t + 9] for t in range(0, 390, 40)] + [random.integers(0, V, n) for n in range(10)]
    for context in contexts:
        p = [math.exp(-ngram.nats(np.append(context, w).astype(np.int64))[-1]) for w in range(V)]
        assert math.fsum(p) == pytest.approx(1, abs=1e-12)
        assert min(p) > 0


@ORDERS
def test_characters_never_seen_share_the_uniform_fallback(order: int) -> None:
    """All characters that are not in the training text have the same finite surprisal."""
    ngram = NGram(np.random.default_rng(0).integers(0, 5, 300), 9, order=order)
    costs = [ngram.nats(np.array([0, 1, 2, unseen]))[-1] for unseen in range(5, 9)]
    assert max(costs) == min(costs)
    assert math.log(9) < costs[0] < math.inf
    after_unseen = ngram.nats(np.array([0, 7, 2]))[-1]
    assert after_unseen == ngram.nats(np.array([2]))[-1]


def test_a_fully_uniform_text_of_one_character_falls_back_by_hand() -> None:
    """Of the text 0 0 0 0 with V = 2, order 1 gives (4 - 0.9) / 4 + 0.9 / 4 / 2 to 0 and the rest to 1."""
    costs = NGram(np.zeros(4, np.int64), 2, order=1).nats(np.array([0, 1]))
    np.testing.assert_allclose(np.exp(-costs), [0.775 + 0.1125, 0.1125], rtol=1e-12)


def test_the_example_by_hand() -> None:
    """Of the text 0 1 0 1 0 1, 1 after 0 has (3 - 0.9) / 3 + 0.3 / 2 = 0.85, as the documentation shows."""
    cost = float(NGram(np.array([0, 1, 0, 1, 0, 1]), 2, order=2).nats(np.array([0, 1]))[1])
    assert cost == pytest.approx(-math.log(0.85), abs=1e-12)
    assert NGram.__doc__ is not None
    assert str(round(cost, 3)) in NGram.__doc__.split()


def test_longer_contexts_know_more(corpus: Corpus, text: str) -> None:
    """On real text order 8 beats order 4 beats order 1 beats a uniform distribution."""
    V = len(corpus.vocabulary)
    train, held = _ids(corpus, text[:16_000]), _ids(corpus, text[16_000:])
    scores = [NGram(train, V, order=order).score(held, corpus.vocabulary).bits_per_char for order in (8, 4, 1)]
    assert scores == sorted(scores)
    assert scores[-1] < math.log2(V)
    assert scores[0] < 0.7 * scores[-1]


@pytest.mark.parametrize("order", [1, 3, 8])
@pytest.mark.parametrize("cut", [1, 50, 299])
def test_no_cost_sees_the_future(corpus: Corpus, text: str, order: int, cut: int) -> None:
    """The surprisals of a beginning do not depend on the rest of the text."""
    ngram = NGram(_ids(corpus, text[:3000]), len(corpus.vocabulary), order=order)
    one, other = _ids(corpus, text[4000:4300]), _ids(corpus, text[4000 : 4000 + cut] + text[9000:9300])
    np.testing.assert_array_equal(ngram.nats(one)[:cut], ngram.nats(other)[:cut])
    np.testing.assert_array_equal(ngram.nats(one)[:cut], ngram.nats(one[:cut]))


@pytest.mark.parametrize("order", [1, 3, 8])
def test_no_cost_sees_beyond_its_context(corpus: Corpus, text: str, order: int) -> None:
    """A surprisal does not depend on what is more than order - 1 characters before."""
    ngram = NGram(_ids(corpus, text[:3000]), len(corpus.vocabulary), order=order)
    tail = text[4000:4100]
    one, other = _ids(corpus, text[5000:5050] + tail), _ids(corpus, text[6000:6050] + tail)
    same = slice(50 + order - 1, None)
    np.testing.assert_allclose(ngram.nats(one)[same], ngram.nats(other)[same], rtol=1e-14)


def test_a_score_is_in_the_units_of_the_networks() -> None:
    """Its score names the order, counts characters and UTF-8 bytes, and is the mean of the nats."""
    vocabulary = Vocabulary("characters", tuple(map(ord, "aé☃")))
    ids = vocabulary.encode("aé☃aé☃☃aé")
    ngram = NGram(ids, 3, order=2)
    result = ngram.score(ids, vocabulary)
    assert (result.protocol, result.chars, result.bytes) == ("ngram-2", 9, 18)
    assert result.nats_per_char == pytest.approx(ngram.nats(ids).mean(), abs=1e-12)
    assert result.bits_per_byte == pytest.approx(result.bits_per_char / 2)
    with pytest.raises(TextError, match="no character to score"):
        ngram.score(ids[:0], vocabulary)


@pytest.mark.parametrize("order", [0, -1, 21])
def test_an_order_that_cannot_be_is_refused(order: int) -> None:
    """An order outside 1 to 20 is an error that names it."""
    with pytest.raises(ConfigError, match=f"order of the n-grams is {order},"):
        NGram(np.zeros(50, np.int64), 2, order=order)


@pytest.mark.parametrize(("size", "order"), [(0, 1), (2, 3), (7, 8)])
def test_a_text_too_short_for_the_order_is_refused(size: int, order: int) -> None:
    """A text shorter than its longest n-gram is an error that counts both."""
    with pytest.raises(TextError, match=f"{size} characters are too few .* order {order}"):
        NGram(np.zeros(size, np.int64), 2, order=order)


def test_what_it_writes_is_what_it_predicts() -> None:
    """Characters are sampled after a context as often as their probability says."""
    generator = np.random.default_rng(0)
    ids = generator.choice(3, size=400, p=[0.5, 0.3, 0.2])
    table = NGram(ids, 3, order=3)
    written = table.sample(4000, 3, seed=1)
    for first in range(3):
        for second in range(3):
            after = written[(written[:, 0] == first) & (written[:, 1] == second), 2]
            shares = np.bincount(after, minlength=3) / len(after)
            expected = [np.exp(-table.nats(np.array([first, second, third]))[2]) for third in range(3)]
            assert np.abs(shares - expected).max() < 5 * 0.5 / np.sqrt(len(after))


def test_colder_writing_is_surer() -> None:
    """A low temperature selects the likeliest; equal seeds give equal samples; 0 is refused."""
    table = NGram(np.array([0, 1, 2] * 30 + [0, 0, 2, 1]), 3, order=3)
    greedy = table.sample(2, 12, temperature=0.01)
    assert "".join(map(str, greedy[0])).count("012") >= 3
    assert (table.sample(3, 5, seed=4) == table.sample(3, 5, seed=4)).all()
    assert (table.sample(30, 5, seed=4) != table.sample(30, 5, seed=5)).any()
    with pytest.raises(ConfigError, match="the temperature is 0"):
        table.sample(1, 1, temperature=0)
