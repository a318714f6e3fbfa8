"""Holding a unit still: a network that reads or writes while some of its cells, outputs or gates are set from outside.

Three places differ. A *cell* (c; of gru and rnn their h) is what the unit remembers, so what is set there stays for later
characters, and is read out through the output gate. An *output* (h) is what everybody else reads of it, while the cell goes on
as it was. *Outgoing weights* of zero are the same as an output of zero. Gates (i, f, o; r, z) decide what the cell becomes.
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
Set = Callable[[Tensor, Tensor, int], Tensor]
"""Makes the new values `(N, units)` from those of now, those of the character before, and the number of the step."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What is done to some units of a layer.

    Attributes:
        layer: Counted from 0.
        units: Counted from 0.
        set_to: What they become.
        place: "cell" or "output".
        lanes: In which lanes; None for all.
        paired: Whether lane k goes with unit k alone, `(N, 1)` to be set, instead of every lane with every unit.
        steps: Whether it is done at a step, counted from the beginning of the reading; None for always.
    """

    layer: int
    units: tuple[int, ...]
    set_to: Set
    place: Place = "cell"
    lanes: tuple[int, ...] | None = None
    paired: bool = False
    steps: Callable[[int], bool] | None = None


def nothing() -> Set:
    """Leave them as they are."""
    return lambda now, _before, _step: now


def zero() -> Set:
    """Set them to 0."""
    return lambda now, _before, _step: torch.zeros_like(now)


def clamp(values: float | Tensor) -> Set:
    """Hold them at a value, or at one for each lane and unit `(N, units)`; with means, a mean ablation."""
    return lambda now, _before, _step: torch.as_tensor(values, dtype=now.dtype, device=now.device).expand_as(
        now
    )


def flip() -> Set:
    """Turn their sign."""
    return lambda now, _before, _step: -now


def freeze() -> Set:
    """Keep what they were one character ago."""
    return lambda _now, before, _step: before


def patch(values: Tensor) -> Set:
    """Put in what they were in another reading, `(T, N, units)`."""
    return lambda now, _before, step: values[step].to(now)


def resample(values: Tensor, seed: int) -> Set:
    """Put in what they were at random other characters, drawn from `(places, units)`, a place for each step and lane."""

    def draw(now: Tensor, _before: Tensor, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        chosen = torch.randint(len(values), (len(now),), generator=generator)
        return values[chosen].to(now)

    return draw


def intervening(edits: Sequence[Edit], *, layers: int, first_step: int = 0) -> Recurrence:
    """Return a recurrence for one call of the network: the reference, with edits after every step.

    Args:
        edits: Done in order.
        layers: L; the network runs them in order, once each.
        first_step: The number of the first character, for a text that is read in pieces.

    Raises:
        ConfigError: A layer that is not there.
    """
    for edit in edits:
        if not 0 <= edit.layer < layers:
            raise ConfigError(f"there is no layer {edit.layer}; the model's layers are 0 to {layers - 1}")
    at = iter(range(layers))

    def recurrence(
        cell: Cell, x: Tensor | Lookup, state: LayerState, weights: Weights
    ) -> tuple[Tensor, LayerState]:
        layer = next(at)
        mine = [(edit, _index(edit, len(state[0]))) for edit in edits if edit.layer == layer]
        outputs = []
        for number, step in enumerate(dense(x), first_step):
            after, gates = STEPS[cell](step, state, weights)
            for edit, index in mine:
                if edit.steps is None or edit.steps(number):
                    after = _edited(edit, index, (state, after), gates.get("o"), number)
            state = after
            outputs.append(state[0])
        return torch.stack(outputs), state

    return recurrence


def _index(edit: Edit, lanes: int) -> tuple[Tensor, Tensor]:
    """Return rows and columns of what is set, which broadcast to `(N, units)`."""
    rows = torch.arange(lanes) if edit.lanes is None else torch.tensor(edit.lanes)
    units = torch.tensor(edit.units)
    return rows[:, None], units[:, None] if edit.paired else units[None]


def _edited(
    edit: Edit,
    index: tuple[Tensor, Tensor],
    states: tuple[LayerState, LayerState],
    opened: Tensor | None,
    step: int,
) -> LayerState:
    """Return the state after a step with one edit done; `opened` is the output gate of an lstm."""
    before, after = states
    which = -1 if edit.place == "cell" else 0
    changed = after[which].clone()
    changed[index] = edit.set_to(after[which][index], before[which][index], step)
    if opened is None:
        return (changed,)
    if edit.place == "output":
        return changed, after[1]
    # What the cell is read out as must follow it; only where it was set, so that nothing else moves by a bit.
    hidden = after[0].clone()
    hidden[index] = opened[index] * torch.tanh(changed[index])
    return hidden, changed
