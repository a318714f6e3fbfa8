"""The shape of a network: five values that, with the vocabulary size, determine the shapes of all weights.

This module imports neither torch nor pydantic: reading and sampling from a model file need only this.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from nextchar.errors import ConfigError, check_choice

Cell = Literal["lstm", "gru", "rnn"]
CELLS: tuple[str, ...] = get_args(Cell)
WeightKind = Literal["fp32", "bf16", "int8"]
"""The kinds of weights that compiled code generates with."""
GATES: dict[str, int] = {"lstm": 4, "gru": 3, "rnn": 1}
"""How many gates a cell stacks in its weights, in PyTorch's order: lstm i f g o, gru r z n."""
STATES: dict[str, int] = {"lstm": 2, "gru": 1, "rnn": 1}
"""How many vectors the state of a layer has: the hidden state, and for the lstm also the cell state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Embedding, L recurrent layers, and a linear head on the sum of their outputs or on the last one.

    Attributes:
        cell: The kind of recurrent cell.
        layers: L, the number of recurrent layers.
        hidden: H, the number of units of each layer.
        embedding: E, the width of the embedding; 0 feeds one-hot vectors instead.
        sum_outputs: Whether the head reads the sum of all layers' outputs instead of the last layer's output.
    """

    cell: Cell = "lstm"
    layers: int = 2
    hidden: int = 256
    embedding: int = 64
    sum_outputs: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        check_choice("cell", self.cell, Cell)
        if type(self.sum_outputs) is not bool:
            raise ConfigError(f"sum_outputs is {self.sum_outputs!r:.80}, but must be true or false")
        for name, least in (("layers", 1), ("hidden", 1), ("embedding", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"{name} is {value!r}, but must be a whole number of at least {least}")

    def __str__(self) -> str:
        return f"{self.cell} {self.layers}x{self.hidden}"

    def shapes(self, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight by name, in the order of the model file.

        Args:
            vocabulary_size: V. The embedding has V + 1 rows; the last is START, the input of an empty state.
        """
        rows, hidden = GATES[self.cell] * self.hidden, self.hidden
        shapes: dict[str, tuple[int, ...]] = {}
        if self.embedding:
            shapes["embedding.weight"] = (vocabulary_size + 1, self.embedding)
        for layer in range(self.layers):
            width = hidden if layer else self.embedding or vocabulary_size
            shapes[f"layers.{layer}.weight_ih"] = (rows, width)
            shapes[f"layers.{layer}.weight_hh"] = (rows, hidden)
            shapes[f"layers.{layer}.bias_ih"] = (rows,)
            shapes[f"layers.{layer}.bias_hh"] = (rows,)
        shapes["head.weight"] = (vocabulary_size, hidden)
        shapes["head.bias"] = (vocabulary_size,)
        return shapes

    def parameters(self, vocabulary_size: int) -> int:
        """Return the number of weights of a network of this shape."""
        return sum(map(math.prod, self.shapes(vocabulary_size).values()))

    def as_dict(self) -> dict[str, Any]:
        """Return the five values by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Architecture":
        """Build from the values of `as_dict`; other keys are ignored."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})
