"""The gates in a table: how saturated those of each layer are, and how long its units hold what they hold."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nextchar.inspection.summary import LayerSummary, summarize
from nextchar.inspection.timescale import KEEPING
from nextchar.inspection.trace import Floats, Given, open_both, pieces
from nextchar.storage import ModelSource

MOSTLY = 0.9  # of the characters: a gate saturated at more of them is called always saturated


@dataclass(frozen=True, slots=True)
class GateRow:
    """One gate of one layer over a text.

    Attributes:
        layer: Counted from 0.
        gate: i, f or o of an lstm, r or z of a gru.
        left: Share of characters at which a unit's gate was below 0.1, the mean over the units.
        right: The same for above 0.9.
        always_left: Share of the units whose gate was below 0.1 at more than nine tenths of the characters.
        always_right: The same for above 0.9.
        timescale: Median over the units of τ by this gate, in characters; None for a gate that keeps nothing.
        course: Median of τ by the units' own course.
        agreement: Spearman's rank correlation of the two over the units; None where there are not two.
    """

    layer: int
    gate: str
    left: float
    right: float
    always_left: float
    always_right: float
    timescale: float | None
    course: float | None
    agreement: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON."""
        return asdict(self)


def gates(model: ModelSource, text: Given) -> list[GateRow]:
    """Return a row for each gate of each layer; none for an rnn, which has no gates.

    Args:
        model: A model, its file or its path.
        text: At least one character that the model knows, or ids `(T,)`.

    Raises:
        UnknownCharacterError: Counts and names what the model has never seen.
        TextError: There is no text.

    Source: Karpathy, Johnson & Fei-Fei 2015, arXiv 1506.02078, figure 3, for the two thresholds.
    """
    lm, ids = open_both(model, text)
    return gate_rows(summarize(pieces(lm, ids)))


def gate_rows(layers: Mapping[int, LayerSummary]) -> list[GateRow]:
    """Return the rows of layers that were summarized already."""
    keeping = set(KEEPING.values())
    return [
        _row(layer, gate, summary, gate in keeping)
        for layer, summary in layers.items()
        for gate in summary.gates
    ]


def _row(layer: int, gate: str, summary: LayerSummary, keeps: bool) -> GateRow:
    left, right = summary.saturation(gate)
    by_gate, course = summary.timescales.gate(), summary.timescales.course()
    return GateRow(
        layer,
        gate,
        float(left.mean()),
        float(right.mean()),
        float((left > MOSTLY).mean()),
        float((right > MOSTLY).mean()),
        _median(by_gate) if keeps else None,
        _median(course) if keeps else None,
        _agreement(by_gate, course) if keeps else None,
    )


def _median(values: Floats) -> float | None:
    """Return the median of those that are numbers; None if it is not finite, for JSON knows no infinity."""
    known = values[~np.isnan(values)]
    middle = float(np.median(known)) if len(known) else np.inf
    return middle if np.isfinite(middle) else None


def _agreement(one: Floats, other: Floats) -> float | None:
    both = np.isfinite(one) & np.isfinite(other)
    ranks = [values[both].argsort().argsort() for values in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if both.sum() > 2 else None
