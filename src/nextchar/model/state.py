"""The recurrent state as a value: for each layer the hidden vector, and for an lstm also the cell.

A state is a tuple over layers of tuples of vectors, each `(B, H)`. No function modifies its arguments.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nextchar.architecture import STATES, Architecture

LayerState = tuple[Tensor, ...]
State = tuple[LayerState, ...]


def empty_state(architecture: Architecture, batch_size: int, like: Tensor) -> State:
    """Return the state before any text: zeros, in the dtype and on the device of `like`."""
    zeros = like.new_zeros(batch_size, architecture.hidden)
    return tuple(tuple(zeros for _ in range(STATES[architecture.cell])) for _ in range(architecture.layers))


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """Apply a function to every vector of a state."""
    return tuple(tuple(function(vector) for vector in layer) for layer in state)


def detach(state: State) -> State:
    """Detach a state from its graph, for truncated backpropagation."""
    return map_state(Tensor.detach, state)


def reset_rows(state: State, reset: Tensor) -> State:
    """Set the rows where `reset`, `(B,)`, is true to zeros."""
    return map_state(lambda vector: torch.where(reset[:, None], vector.new_zeros(()), vector), state)


def select_rows(state: State, rows: Tensor | slice) -> State:
    """Return the state of some rows of the batch."""
    return map_state(lambda vector: vector[rows], state)


def concatenate_rows(states: list[State]) -> State:
    """Concatenate states along the batch."""
    layers = zip(*states, strict=True)
    return tuple(tuple(torch.cat(vectors) for vectors in zip(*layer, strict=True)) for layer in layers)


def vectors_of(one: State, other: State) -> list[tuple[Tensor, Tensor]]:
    """Return the vectors of two states in pairs."""
    return [pair for layers in zip(one, other, strict=True) for pair in zip(*layers, strict=True)]


def largest_difference(one: State, other: State) -> Tensor:
    """Return the largest absolute difference of two states in each row, `(B,)`."""
    return torch.stack([(a - b).abs().amax(dim=1) for a, b in vectors_of(one, other)]).amax(dim=0)
