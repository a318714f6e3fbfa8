"""The n-gram baseline: interpolated modified Kneser-Ney smoothing in numpy, scored in the units of the network's score.

Source: Chen & Goodman 1999, equations 26 to 30: three discounts for each order, continuation counts below the highest.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nextchar.errors import ConfigError, TextError, as_integer
from nextchar.evaluation.score import Score, sum_up
from nextchar.model.sampler import draw
from nextchar.text.vocabulary import Vocabulary

Keys = npt.NDArray[np.int64]
LARGEST_ORDER = 20
# Discounts by count, for texts that are too short or too repetitive to estimate them.
FIXED = np.array([0.0, 0.5, 0.75, 0.9])


@dataclass(frozen=True, slots=True)
class _Order:
    """The counts of the n-grams of one length.

    Attributes:
        keys: Sorted; one for each distinct n-gram: the number of its context * V + its last character.
        counts: How often each occurs, or after how many different characters, `(n-grams,)`.
        total: Sum of the counts after each context, `(contexts,)`.
        backoff: The probability mass that the discounts take from each context, `(contexts,)`.
        discounts: By count 0, 1, 2, and 3 or more, `(4,)`.
    """

    keys: Keys
    counts: npt.NDArray[np.int64]
    total: npt.NDArray[np.float64]
    backoff: npt.NDArray[np.float64]
    discounts: npt.NDArray[np.float64]

    def left(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return counts after discounting."""
        return np.maximum(counts - self.discounts[np.minimum(counts, 3)], 0.0)


class NGram:
    """A table of all n-grams of a training text up to an order.

    Memory and time are proportional to the text: about 100 bytes and a microsecond per character and order.

    Example:
        >>> ngram = NGram(np.array([0, 1, 0, 1, 0, 1]), 2, order=2)
        >>> round(float(ngram.nats(np.array([0, 1]))[1]), 3)
        0.163
    """

    def __init__(self, ids: npt.NDArray[Any], vocabulary_size: int, *, order: int = 8) -> None:
        """Count the n-grams of a text.

        Args:
            ids: The training text, `(T,)`.
            vocabulary_size: V.
            order: The longest n-gram, 1 to 20.
        """
        if not 1 <= as_integer("the order of the n-grams", order, f"from 1 to {LARGEST_ORDER}") <= LARGEST_ORDER:
            raise ConfigError(f"the order of the n-grams is {order}, but must be from 1 to {LARGEST_ORDER}")
        if len(ids) < order:
            raise TextError(f"{len(ids)} characters are too few to count n-grams of order {order}")
        self.size, self.order = vocabulary_size, order
        text = np.asarray(ids, np.int64)
        self._orders: list[_Order] = []
        # `ends`: the number of the context before each character, of the order at hand; the others: of the order below.
        shorter = whole = ends = np.zeros(len(text), np.int64)
        for length in range(1, order + 1):
            keys, first, numbers, counts = np.unique(
                ends[length - 1 :] * vocabulary_size + text[length - 1 :],
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            if length > 1:
                # Each distinct n-gram is one continuation of the (n-1)-gram that is its suffix.
                continued = np.bincount(whole[first + length - 1], minlength=len(shorter))
                self._orders.append(_order(shorter, continued, vocabulary_size))
            shorter, whole = keys, np.zeros(len(text), np.int64)
            whole[length - 1 :] = numbers
            ends = np.concatenate([[0], whole[:-1]])
        self._orders.append(_order(keys, counts, vocabulary_size))

    def nats(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the surprisal of each character of a text in nats, `(T,)`; the first ones have shorter contexts."""
        text = np.asarray(ids, np.int64)
        p = np.full(len(text), 1.0 / self.size)
        context = np.zeros(len(text), np.int64)
        usable = np.ones(len(text), bool)
        for length, order in enumerate(self._orders, 1):
            usable[: length - 1] = False
            known = usable & (context < len(order.total))
            place = np.flatnonzero(known)
            place = place[order.total[context[place]] > 0]
            where, hit = _look_up(order.keys, context[place] * self.size + text[place])
            count = np.where(hit, order.counts[where], 0)
            p[place] = order.left(count) / order.total[context[place]] + order.backoff[context[place]] * p[place]
            # The n-gram ending here is the context of the next character, one order up.
            where, hit = _look_up(order.keys, context * self.size + text)
            hit &= usable
            usable = np.concatenate([[False], hit[:-1]])
            context = np.concatenate([[0], where[:-1]])
        return -np.log(p)

    def score(self, ids: npt.NDArray[Any], vocabulary: Vocabulary) -> Score:
        """Score a text in order; the protocol is named after the order."""
        if not len(ids):
            raise TextError("there is no character to score")
        return sum_up(f"ngram-{self.order}", [self.nats(ids)], ids, vocabulary)

    def sample(self, count: int, length: int, *, temperature: float = 1.0, seed: int = 0) -> npt.NDArray[np.int64]:
        """Generate texts, each from an empty context; `temperature` as in `nextchar.sample`.

        Returns:
            Ids, `(count, length)`.
        """
        if temperature <= 0:
            raise ConfigError(f"the temperature is {temperature:g}, but an n-gram table needs more than 0")
        generator = np.random.default_rng(seed)
        firsts = [np.searchsorted(order.keys, np.arange(len(order.total) + 1) * self.size) for order in self._orders]
        context = np.zeros((self.order + 1, count), np.int64)
        usable = np.zeros((self.order + 1, count), bool)
        usable[0] = True
        texts = np.empty((count, length), np.int64)
        for place in range(length):
            p = self._predict(context, usable, firsts)
            p = (p / p.max(1, keepdims=True)) ** (1 / temperature)
            numbers = torch.from_numpy(generator.random(count))
            texts[:, place] = chosen = draw(torch.from_numpy(p), numbers).numpy()
            for number in reversed(range(self.order)):
                keys = self._orders[number].keys
                where, hit = _look_up(keys, context[number] * self.size + chosen)
                context[number + 1], usable[number + 1] = where, hit & usable[number]
        return texts

    def _predict(
        self, context: Keys, usable: npt.NDArray[np.bool_], firsts: list[npt.NDArray[np.intp]]
    ) -> npt.NDArray[np.float64]:
        """Return the probability of every next character, `(texts, V)`, from the contexts of every order."""
        p = np.full((context.shape[1], self.size), 1.0 / self.size)
        for number, (order, first) in enumerate(zip(self._orders, firsts, strict=True)):
            rows = np.flatnonzero(usable[number] & (context[number] < len(order.total)))
            at = context[number, rows]
            rows, at = rows[order.total[at] > 0], at[order.total[at] > 0]
            p[rows] *= order.backoff[at][:, None]
            # The n-grams of all these contexts, concatenated.
            sizes = first[at + 1] - first[at]
            index = np.arange(sizes.sum()) + np.repeat(first[at] - (sizes.cumsum() - sizes), sizes)
            shares = order.left(order.counts[index]) / np.repeat(order.total[at], sizes)
            p[np.repeat(rows, sizes), order.keys[index] % self.size] += shares
        return p


def _order(keys: Keys, counts: npt.NDArray[np.int64], vocabulary_size: int) -> _Order:
    contexts = keys // vocabulary_size
    number = int(contexts[-1]) + 1
    of_counts = np.bincount(np.minimum(counts, 5), minlength=6)
    discounts = _discounts(*(int(value) for value in of_counts[1:5]))
    taken = np.minimum(discounts[np.minimum(counts, 3)], counts)
    total = np.bincount(contexts, weights=counts, minlength=number).astype(np.float64)
    mass = np.bincount(contexts, weights=taken, minlength=number)
    backoff = np.divide(mass, total, out=np.ones(number), where=total > 0)
    return _Order(keys, counts.astype(np.int64), total, backoff, discounts)


def _discounts(n1: int, n2: int, n3: int, n4: int) -> npt.NDArray[np.float64]:
    """Estimate the discounts from how many n-grams occur once, twice, three and four times (equation 26)."""
    if not (n1 and n2 and n3):
        return FIXED
    y = n1 / (n1 + 2 * n2)
    raw = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    # In repetitive texts an estimate may be 0 or less, which would leave no probability to characters that do not follow
    # a context. Each is estimated from two neighbouring counts, so the others stay valid.
    return np.where(raw > 1e-9, raw, FIXED)


def _look_up(keys: Keys, wanted: Keys) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return the place of each wanted key among sorted keys, and whether it is there."""
    where = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return where, keys[where] == wanted
