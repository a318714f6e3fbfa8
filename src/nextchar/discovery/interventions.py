"""Interventions: a recurrence in which chosen units are set from outside after every step.

There are two places. At the *cell* (c; h of gru and rnn) the memory itself is set: the change persists, and it is read out
through the output gate. At the *output* (h) only what other units and the head read is set, and an lstm's cell continues
unchanged; an output of 0 equals outgoing weights of 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nextchar.architecture import Cell
from nextchar.errors import ConfigError
from nextchar.model.cells import STEPS, Weights
from nextchar.model.compiled import Lookup
from nextchar.model.recurrence import Recurrence, dense
from nextchar.model.state import LayerState

Place = Literal["cell", "output"]
NewValues = Callable[[Tensor, int], Tensor]
"""Makes new values `(B, units)` from those after the step and the number of the step."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What is done to some units of one layer.

    Attributes:
        layer: Counted from 0.
        units: Counted from 0.
        set_to: Makes their new values.
        place: "cell" or "output".
        rows: Rows of the batch; None for all.
        paired: Whether row k is edited at unit k only, with values `(B, 1)`, instead of at all units.
        steps: Whether a step is edited, by its number in the text; None for all.
    """

    layer: int
    units: tuple[int, ...]
    set_to: NewValues
    place: Place = "cell"
    rows: tuple[int, ...] | None = None
    paired: bool = False
    steps: Callable[[int], bool] | None = None


def clamp(values: float | Tensor) -> NewValues:
    """Set the units to one value, or to `(B, units)` values; with means this is mean ablation."""
    return lambda now, _: torch.as_tensor(values, dtype=now.dtype, device=now.device).expand_as(now)


def patch(values: Tensor) -> NewValues:
    """Set the units to their values in another text, `(T, B, units)`."""
    return lambda now, step: values[step].to(now)


def intervening(edits: Sequence[Edit], *, layers: int, first_step: int = 0) -> Recurrence:
    """Return a recurrence for one call of a network: the reference, with edits after every step.

    Args:
        edits: Applied in order.
        layers: Number of layers; the network runs them in order, once each.
        first_step: Number of the first step, for a text that is read in chunks.

    Raises:
        ConfigError: A layer that does not exist.
    """
    for edit in edits:
        if not 0 <= edit.layer < layers:
            raise ConfigError(f"there is no layer {edit.layer}; the model's layers are 0 to {layers - 1}")
    at = iter(range(layers))

    def recurrence(cell: Cell, x: Tensor | Lookup, state: LayerState, weights: Weights) -> tuple[Tensor, LayerState]:
        layer = next(at)
        mine = [(edit, _index(edit, len(state[0]))) for edit in edits if edit.layer == layer]
        outputs = []
        for number, step in enumerate(dense(x), first_step):
            after, gates = STEPS[cell](step, state, weights)
            for edit, index in mine:
                if edit.steps is None or edit.steps(number):
                    after = _edited(edit, index, after, gates.get("o"), number)
            state = after
            outputs.append(state[0])
        return torch.stack(outputs), state

    return recurrence


def _index(edit: Edit, batch: int) -> tuple[Tensor, Tensor]:
    """Return row and column indices of the edited values, which broadcast to `(B, units)`."""
    rows = torch.arange(batch) if edit.rows is None else torch.tensor(edit.rows)
    units = torch.tensor(edit.units)
    return rows[:, None], units[:, None] if edit.paired else units[None]


def _edited(
    edit: Edit, index: tuple[Tensor, Tensor], after: LayerState, output_gate: Tensor | None, step: int
) -> LayerState:
    """Apply one edit to the state after a step; `output_gate` is None unless the cell is an lstm."""
    which = -1 if edit.place == "cell" else 0
    changed = after[which].clone()
    changed[index] = edit.set_to(after[which][index], step)
    if output_gate is None:
        return (changed,)
    if edit.place == "output":
        return changed, after[1]
    # The output follows the cell, at the edited units only, so that no other value changes by a bit.
    hidden = after[0].clone()
    hidden[index] = output_gate[index] * torch.tanh(changed[index])
    return hidden, changed
