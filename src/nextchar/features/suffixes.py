"""Tables of the last characters: how well a feature is known from them alone."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.features.feature import Feature

MAX_SUFFIX = 8  # characters of the longest suffixes
PRIOR = 2.0  # weight of the prediction by the next shorter suffix, in characters

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


class Suffixes:
    """The number of the suffix of 1 to 8 characters at each place of a text, computed once for all features."""

    def __init__(self, ids: npt.NDArray[Any], longest: int = MAX_SUFFIX) -> None:
        place = np.asarray(ids, np.int64)
        self.numbers: list[Ints] = []
        for length in range(1, longest + 1):
            if length > 1:
                before = np.concatenate([np.full(length - 1, -1), ids[: len(ids) - length + 1]])
                place = place * (int(ids.max()) + 2) + before.astype(np.int64) + 1
            # Renumbered for each length, because the digits of a longer suffix would overflow an integer.
            place = np.unique(place, return_inverse=True)[1].astype(np.int64)
            self.numbers.append(place)

    def predictions(self, feature: Feature, fit: Ints) -> list[Doubles]:
        """Return the predictions of tables of 1 to 8 characters, filled on the fit half, for every place: `(T,)` each.

        A table is smoothed by the next shorter one where a suffix is rare.
        """
        values = feature.values.astype(np.float64)
        there = fit[feature.known[fit]]
        expected = np.full(len(values), values[there].mean() if len(there) else 0.0)
        result = []
        for number in self.numbers:
            size = int(number.max()) + 1
            count = np.bincount(number[there], minlength=size)[number]
            total = np.bincount(number[there], values[there], minlength=size)[number]
            expected = (total + PRIOR * expected) / (count + PRIOR)
            result.append(expected)
        return result
