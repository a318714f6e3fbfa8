"""The state of the recurrence as a value: for each layer its hidden vector, and for the lstm also its cell.

A state is a tuple over layers of tuples over vectors, each `(N, H)`. Nothing here modifies one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nextchar.architecture import STATES, Architecture

LayerState = tuple[Tensor, ...]
State = tuple[LayerState, ...]


def empty_state(architecture: Architecture, lanes: int, like: Tensor) -> State:
    """Return the state before any text: zeros, of the type and on the device of `like`."""
    zeros = like.new_zeros(lanes, architecture.hidden)
    return tuple(tuple(zeros for _ in range(STATES[architecture.cell])) for _ in range(architecture.layers))


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """Apply a function to every vector."""
    return tuple(tuple(function(vector) for vector in layer) for layer in state)


def detach(state: State) -> State:
    """Cut the graph behind a state: the edge of truncated backpropagation."""
    return map_state(Tensor.detach, state)


def reset_rows(state: State, cold: Tensor) -> State:
    """Empty the lanes where `cold`, `(N,)`, is true."""
    return map_state(lambda vector: torch.where(cold[:, None], vector.new_zeros(()), vector), state)


def select_rows(state: State, lanes: Tensor | slice) -> State:
    """Return the state of some lanes."""
    return map_state(lambda vector: vector[lanes], state)


def concatenate_rows(states: list[State]) -> State:
    """Return the states of some lanes after those of others as one."""
    layers = zip(*states, strict=True)
    return tuple(tuple(torch.cat(vectors) for vectors in zip(*layer, strict=True)) for layer in layers)


def vectors_of(one: State, other: State) -> list[tuple[Tensor, Tensor]]:
    """Return every vector of a state with that of another."""
    return [pair for layers in zip(one, other, strict=True) for pair in zip(*layers, strict=True)]


def largest_difference(one: State, other: State) -> Tensor:
    """Return the largest absolute difference of two states in each lane, `(N,)`."""
    return torch.stack([(a - b).abs().amax(dim=1) for a, b in vectors_of(one, other)]).amax(dim=0)
