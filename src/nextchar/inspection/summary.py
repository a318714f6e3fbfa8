"""Statistics of every unit over a text of any length, from the pieces of a trace, in memory that does not grow.

A window is 64 consecutive characters, counted from the beginning of the text. Windows are ordered by their peak, the
largest (or smallest) value in them; of equal ones the earlier comes first.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from nextchar.inspection.timescale import KEEPING, Timescales
from nextchar.inspection.trace import GATES, MAIN, SIGNALS, Floats, Trace

BINS = 64
WINDOW = 64
WINDOWS = 5  # strongest ones of each unit, and as many weakest ones
# A gate is left-saturated below the first and right-saturated above the second: arXiv 1506.02078.
LEFT, RIGHT = 0.1, 0.9

Ints = npt.NDArray[np.int64]


class LayerSummary:
    """The statistics of U units of one layer, over V characters; of the main signal unless a signal is named.

    Attributes:
        count: Characters read.
        least: Smallest value by signal, `(U,)`.
        most: Largest value by signal, `(U,)`.
        left: How often each gate was below 0.1, `(U,)`.
        right: How often above 0.9, `(U,)`.
        histogram: Counts of the values in 64 equal bins from -1 to 1, `(U, 64)`.
        strongest: Where the windows with the largest peaks begin, the largest first, `(5, U)`; -1 if there are fewer.
        weakest: The same for the smallest.
        timescales: For how long units keep their values.
    """

    def __init__(
        self, cell: str, units: tuple[int, ...], vocabulary_size: int, signals: Iterable[str] | None = None
    ) -> None:
        size, signals = len(units), tuple(SIGNALS[cell] if signals is None else signals)
        self.units, self.main, self.gates = units, MAIN[cell], GATES[cell]
        self.count = 0
        self.least = {signal: np.full(size, np.inf) for signal in signals}
        self.most = {signal: np.full(size, -np.inf) for signal in signals}
        self.left = {gate: np.zeros(size, np.int64) for gate in self.gates}
        self.right = {gate: np.zeros(size, np.int64) for gate in self.gates}
        self.histogram = np.zeros((size, BINS), np.int64)
        self.strongest, self.weakest = (np.full((WINDOWS, size), -1) for _ in range(2))
        self._peaks = [np.full((WINDOWS, size), -np.inf) for _ in range(2)]
        self._center: dict[str, Floats] = {}
        self._sums = {signal: np.zeros((2, size)) for signal in signals}
        self._by_character = {signal: np.zeros((vocabulary_size, size)) for signal in (self.main, *self.gates)}
        self._characters = np.zeros(vocabulary_size, np.int64)
        self._rest: Floats = np.zeros((0, size), np.float32)  # of an incomplete window
        self.timescales, self._keeping = Timescales(size), KEEPING.get(cell)

    def add(self, ids: npt.NDArray[np.int64], values: dict[str, Floats]) -> None:
        """Add the next characters `(T,)` and the values of the signals, `(T, U)` each."""
        for signal, rows in values.items():
            self.least[signal] = np.minimum(self.least[signal], rows.min(0))
            self.most[signal] = np.maximum(self.most[signal], rows.max(0))
            # Centred at the first mean: sums around 0 would lose the variance of a cell that is far from 0.
            center = self._center.setdefault(signal, rows.mean(0, dtype=np.float64))
            away = rows - center
            self._sums[signal] += [away.sum(0), (away * away).sum(0)]
        for gate in self.gates:
            self.left[gate] += (values[gate] < LEFT).sum(0)
            self.right[gate] += (values[gate] > RIGHT).sum(0)
        rows = values[self.main]
        bins = np.clip(((rows + 1) * (BINS / 2)).astype(np.int64), 0, BINS - 1)
        bins += BINS * np.arange(len(self.units))
        self.histogram += np.bincount(bins.ravel(), minlength=self.histogram.size).reshape(-1, BINS)
        present, places = np.unique(ids, return_inverse=True)
        chosen = (np.arange(len(present))[:, None] == places).astype(rows.dtype)
        for signal, sums in self._by_character.items():
            sums[present] += chosen @ values[signal]
        self._characters[present] += chosen.sum(1).astype(np.int64)
        self.timescales.add(rows, values[self._keeping] if self._keeping else None)
        begin = self.count - len(self._rest)
        self.count += len(ids)
        rows = np.concatenate([self._rest, rows])
        whole = len(rows) - len(rows) % WINDOW
        self._rest = rows[whole:].copy()
        self._windows(rows[:whole].reshape(-1, WINDOW, len(self.units)), begin)

    def finish(self) -> None:
        """Add the incomplete window at the end of the text."""
        self._windows(self._rest[None][: len(self._rest)], self.count - len(self._rest))
        self._rest = self._rest[:0]

    def mean(self, signal: str) -> Floats:
        """Return the mean, `(U,)`."""
        return self._center[signal] + self._sums[signal][0] / self.count

    def variance(self, signal: str) -> Floats:
        """Return the variance, `(U,)`."""
        first, second = self._sums[signal] / self.count
        return np.maximum(second - first * first, 0)

    def saturation(self, gate: str) -> tuple[Floats, Floats]:
        """Return the shares of characters at which each unit's gate was left- and right-saturated, `(U,)` each."""
        return self.left[gate] / self.count, self.right[gate] / self.count

    @property
    def occurrences(self) -> Ints:
        """How often each character occurs, `(V,)`."""
        return self._characters

    def by_character(self, signal: str | None = None) -> Floats:
        """Return the mean of the main signal, or of a gate, at each character, `(V, U)`; nan for one that does not occur."""
        with np.errstate(invalid="ignore"):
            return self._by_character[signal or self.main] / self._characters[:, None]

    def _windows(self, rows: Floats, begin: int) -> None:
        """Add windows `(W, 64, U)`, the first of which begins at a position of the text."""
        if not rows.size:
            return
        places = np.broadcast_to((begin + WINDOW * np.arange(len(rows)))[:, None], (len(rows), rows.shape[2]))
        for which, (held, peaks) in enumerate([(self.strongest, rows.max(1)), (self.weakest, -rows.min(1))]):
            values = np.concatenate([self._peaks[which], peaks])
            order = np.argsort(-values, axis=0, kind="stable")[:WINDOWS]
            self._peaks[which] = np.take_along_axis(values, order, 0)
            held[:] = np.take_along_axis(np.concatenate([held, places]), order, 0)


def summarize(pieces: Iterable[Trace]) -> dict[int, LayerSummary]:
    """Return the summary of each layer of pieces, which are iterated once, with at least the main signal and the gates."""
    layers: dict[int, LayerSummary] = {}
    for piece in pieces:
        for layer, values in piece.values.items():
            if layer not in layers:
                layers[layer] = LayerSummary(piece.cell, piece.units[layer], len(piece.vocabulary), values)
            layers[layer].add(piece.ids, values)
    for summary in layers.values():
        summary.finish()
    return layers


def most_varied(layers: dict[int, LayerSummary], count: int) -> list[tuple[int, int]]:
    """Return the units, as layer and unit, with the largest variance of the main signal, in descending order."""
    ranked = [
        (-variance, layer, unit)
        for layer, summary in layers.items()
        for variance, unit in zip(summary.variance(summary.main), summary.units, strict=True)
    ]
    return [(layer, unit) for _, layer, unit in sorted(ranked)[:count]]
