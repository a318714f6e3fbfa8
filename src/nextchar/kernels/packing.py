"""Lays a model file's weights out for the compiled step: everything that depends on the character alone is a table."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nextchar.architecture import GATES, STATES
from nextchar.storage import ModelFile

Floats = npt.NDArray[np.float32]


class Packed(NamedTuple):
    """A network as the step reads it: G gates, V vocabulary, H hidden, L layers.

    Attributes:
        table: `(V + 1, GH)`, what each id, START last, adds to the first layer's gates, input bias included.
        weight_ih: `(L - 1, GH, H)`, of the layers above the first.
        bias_ih: `(L - 1, GH)`.
        weight_hh: `(L, GH, H)`.
        bias_hh: `(L, GH)`.
        head: `(V, H)`.
        head_bias: `(V,)`.
        sum_outputs: Whether the head reads the sum of the layers.
    """

    table: Floats
    weight_ih: Floats
    bias_ih: Floats
    weight_hh: Floats
    bias_hh: Floats
    head: Floats
    head_bias: Floats
    sum_outputs: bool


def pack(model: ModelFile) -> Packed:
    """Pack a model's weights, float32."""
    shape, arrays = model.architecture, model.arrays
    layers = range(shape.layers)
    rows = GATES[shape.cell] * shape.hidden
    first = arrays["layers.0.weight_ih"]
    if shape.embedding:
        table = arrays["embedding.weight"] @ first.T
    else:
        table = np.concatenate([first.T, np.zeros((1, rows), np.float32)])

    def stack(name: str, indices: range, width: tuple[int, ...]) -> Floats:
        found = [arrays[f"layers.{index}.{name}"] for index in indices]
        return np.ascontiguousarray(found, np.float32) if found else np.zeros((0, *width), np.float32)

    return Packed(
        table=np.ascontiguousarray(table + arrays["layers.0.bias_ih"], np.float32),
        weight_ih=stack("weight_ih", layers[1:], (rows, shape.hidden)),
        bias_ih=stack("bias_ih", layers[1:], (rows,)),
        weight_hh=stack("weight_hh", layers, (rows, shape.hidden)),
        bias_hh=stack("bias_hh", layers, (rows,)),
        head=np.ascontiguousarray(arrays["head.weight"], np.float32),
        head_bias=np.ascontiguousarray(arrays["head.bias"], np.float32),
        sum_outputs=shape.sum_outputs,
    )


def empty_vectors(model: ModelFile) -> Floats:
    """Return the state before any text: `(S, L, H)` with S vectors a layer (lstm 2, else 1)."""
    shape = model.architecture
    return np.zeros((STATES[shape.cell], shape.layers, shape.hidden), np.float32)
