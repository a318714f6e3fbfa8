"""For how many characters a unit keeps its value: by its gates, and by its autocorrelation over a text."""

import numpy as np

from nextchar.inspection.trace import Floats

KEEPING = {"lstm": "f", "gru": "z"}
"""The gate that is the share of the old value that a unit keeps; an rnn has none."""
LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
SMALLEST = 1e-30  # lower bound of the share, so that its logarithm is finite


class Timescales:
    """Two timescales of each of U units, from consecutive rows, in memory that does not grow.

    *Gate*: the share kept after k characters decays as exp(-k/τ), τ = -1 / E[ln f]. *Course*: the lag at which the
    autocorrelation of the main signal first falls below 1/e, interpolated linearly between the lags.
    """

    def __init__(self, units: int) -> None:
        self._count = 0
        self._log_kept = np.zeros(units)
        self._center: Floats | None = None
        self._sum, self._squares = np.zeros(units), np.zeros(units)
        self._products = np.zeros((len(LAGS), units))
        self._before = np.zeros((0, units), np.float32)

    def add(self, rows: Floats, kept: Floats | None) -> None:
        """Add the main signal `(T, U)` of the next characters, and the share of the old value that was kept."""
        if kept is None:
            self._log_kept[:] = np.nan
        else:
            self._log_kept += np.log(np.maximum(kept, SMALLEST)).sum(0, dtype=np.float64)
        if self._center is None:  # products around 0 would lose a small variance
            self._center = rows.mean(0, dtype=np.float64).astype(rows.dtype)
        away = rows - self._center
        self._sum += away.sum(0, dtype=np.float64)
        self._squares += np.einsum("tu,tu->u", away, away)
        both = np.concatenate([self._before, away])
        for index, lag in enumerate(LAGS):
            begin = max(len(self._before), lag)
            if begin < len(both):
                self._products[index] += np.einsum("tu,tu->u", both[begin:], both[begin - lag : len(both) - lag])
        self._before = both[-LAGS[-1] :].copy()
        self._count += len(rows)

    def gate(self) -> Floats:
        """Return τ by the gate in characters, `(U,)`; infinite if nothing was ever forgotten, nan without a gate."""
        with np.errstate(divide="ignore"):
            return self._count / np.abs(self._log_kept)

    def both(self) -> Floats:
        """Return τ by the gate, nan without one, and by the course, `(U, 2)`."""
        return np.stack([self.gate(), self.course()], 1)

    def autocorrelation(self) -> Floats:
        """Return it at every lag shorter than the text, `(lags, U)`; nan for a constant unit."""
        mean = self._sum / self._count
        pairs = self._count - np.array([lag for lag in LAGS if lag < self._count])[:, None]
        variance = self._squares / self._count - mean * mean
        variance[variance <= 1e-12] = np.nan
        return (self._products[: len(pairs)] / pairs - mean * mean) / variance

    def course(self) -> Floats:
        """Return τ by the autocorrelation, `(U,)`; infinite if it stays above 1/e, nan for a constant unit."""
        ladder = self.autocorrelation()
        lags = np.array([0, *LAGS[: len(ladder)]], float)
        ladder = np.concatenate([np.ones((1, ladder.shape[1])), ladder])
        below = ladder < np.exp(-1)
        first = np.maximum(below.argmax(0), 1) if len(ladder) > 1 else np.zeros(ladder.shape[1], int)
        units = np.arange(ladder.shape[1])
        high, low = ladder[first - 1, units], ladder[first, units]
        with np.errstate(divide="ignore", invalid="ignore"):
            crossed = lags[first - 1] + (lags[first] - lags[first - 1]) * (high - np.exp(-1)) / (high - low)
        crossed[~below.any(0)] = np.inf
        crossed[np.isnan(ladder).any(0)] = np.nan
        return crossed
