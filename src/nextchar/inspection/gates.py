"""A table of gates: the saturation of each gate of each layer, and for how long its units keep their values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nextchar.errors import ConfigError
from nextchar.inspection.summary import LayerSummary, summarize
from nextchar.inspection.timescale import KEEPING
from nextchar.inspection.trace import Floats, Given, open_both, pieces
from nextchar.storage import ModelSource

MOSTLY = 0.9  # a gate that is saturated at a larger share of the characters is called always saturated
HEAD = ("layer", "gate", "left", "right", "always left", "always right", "τ gate", "τ course", "agreement")


@dataclass(frozen=True, slots=True)
class GateRow:
    """One gate of one layer over a text.

    Attributes:
        layer: Counted from 0.
        gate: i, f or o of an lstm, r or z of a gru.
        left: Share of characters at which a unit's gate was below 0.1, the mean over the units.
        right: The same for above 0.9.
        always_left: Share of the units whose gate was below 0.1 at more than 90 % of the characters.
        always_right: The same for above 0.9.
        timescale: Median over the units of τ by this gate, in characters; None for gates other than f and z.
        course: Median of τ by the autocorrelation of the units.
        agreement: Spearman's rank correlation of the two over the units; None if fewer than three have both.
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
        UnknownCharacterError: The text has characters that are not in the vocabulary.
        TextError: There is no text.

    Source: Karpathy, Johnson & Fei-Fei 2015, arXiv 1506.02078, figure 3, for the two thresholds.
    """
    lm, ids = open_both(model, text)
    return gate_rows(summarize(pieces(lm, ids)))


def gate_rows(layers: Mapping[int, LayerSummary]) -> list[GateRow]:
    """Return the rows of summarized layers."""
    keeping = set(KEEPING.values())
    return [_row(layer, gate, summary, gate in keeping) for layer, summary in layers.items() for gate in summary.gates]


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
    """Return the median without nan; None if it is not finite, because JSON has no infinity."""
    known = values[~np.isnan(values)]
    middle = float(np.median(known)) if len(known) else np.inf
    return middle if np.isfinite(middle) else None


def _agreement(one: Floats, other: Floats) -> float | None:
    both = np.isfinite(one) & np.isfinite(other)
    ranks = [values[both].argsort().argsort() for values in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if both.sum() > 2 else None


def gate_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows, as in JSON, as lines of text.

    Raises:
        ConfigError: There are no rows.
    """
    if not rows:
        raise ConfigError("a model of rnn cells has no gates")
    lines = [("{:<7}{:<6}" + "{:>13}" * 7).format(*HEAD)]
    for row in rows:
        shares = [f"{100 * row[name]:.1f} %" for name in ("left", "right", "always_left", "always_right")]
        times = ["-" if row[name] is None else f"{row[name]:.1f}" for name in ("timescale", "course")]
        agreement = "-" if row["agreement"] is None else f"{row['agreement']:.2f}"
        values = "".join(f"{value:>13}" for value in (*shares, *times, agreement))
        lines.append(f"{row['layer']:<7}{row['gate']:<6}{values}")
    return "\n".join(lines)
