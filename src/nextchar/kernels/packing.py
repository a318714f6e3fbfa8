"""Lays weights out for the compiled step: units side by side with all their gates, in blocks of 64 rows.

A block is 16 units: of an lstm the gates i, f, g, o; of a gru r, z, and what input and hidden add to n, which a reset
gate keeps apart; of an rnn 64 units. H is padded to U groups of 16 units whose weights are 0, and so they stay at 0.
What depends on the character alone is a table.
"""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from nextchar.architecture import CELLS, GATES, Architecture
from nextchar.errors import ConfigError, check_choice
from nextchar.kernels.functions import UNIT
from nextchar.kernels.gemm import ROWS, VECTOR_WIDTH, add_block, pack_blocks

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[Any]

WeightKind = Literal["fp32", "bf16", "int8"]
KINDS: tuple[str, ...] = get_args(WeightKind)

# Where a cell's gates go among the groups of a block: those of the input, and those of the hidden.
_PLACES: dict[str, tuple[list[int], list[int]]] = {
    "lstm": ([0, 1, 2, 3], [0, 1, 2, 3]),
    "gru": ([0, 1, 2], [0, 1, 3]),
    "rnn": ([0], [0]),
}


class Packed(NamedTuple):
    """A network as the step reads it: B blocks a layer, V vocabulary, L layers, P = 16 U padded units.

    Blocks of matrices are as `pack_blocks` has them: `(C, 64)` in fp32, else `(C / 2, 128)`.

    Attributes:
        table: `(V + 1, B, 64)` float32, what each id, START last, adds to the first layer's gates, biases included.
        first: `(B, P, 64)`, the first layer's weights of its own hidden.
        above: `(L - 1, B, 2 P, 64)`, of the layers above: for the hidden below, then for their own.
        bias: `(L - 1, B, 64)` float32.
        scales: `(L, B, 64)` float32, of int8 rows, else unused.
        head: `(Q, P, 64)`, Q blocks for V rows.
        head_bias: `(Q, 64)` float32.
        head_scales: `(Q, 64)` float32.
        cell: The recurrence, as its place in `CELLS`. (A function as an argument could not be kept on disk.)
        sum_outputs: Whether the head reads the sum of the layers.
    """

    table: Floats
    first: Array
    above: Array
    bias: Floats
    scales: Floats
    head: Array
    head_bias: Floats
    head_scales: Floats
    cell: int
    sum_outputs: bool


class StreamState(NamedTuple):
    """What N streams have read, side by side. The arrays are written to.

    Attributes:
        hidden: `(N, L, U, 16)` float32, or int16 of `1 / UNIT` where the weights are int8.
        memory: `(N, L, U, 16)` float32: an lstm's cell, a gru's hidden unrounded.
        logits: `(N, 64 Q)` float32, what they predict next; V of them mean something.
    """

    hidden: Array
    memory: Floats
    logits: Floats


def pack(shape: Architecture, arrays: dict[str, Array], size: int, kind: WeightKind = "fp32") -> Packed:
    """Pack a network's weights.

    Args:
        shape: The architecture.
        arrays: float32 by the names of `Architecture.shapes`; not modified.
        size: V.
        kind: How matrices are kept: float32; bf16, its upper half, rounded; or int8 with a scale a row.

    Raises:
        ConfigError: No such kind, or the network is too large for int8.
    """
    check_choice("weights", kind, WeightKind)
    padded = _padded(shape)
    layers = [
        {part: arrays[f"layers.{layer}.{part}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        for layer in range(shape.layers)
    ]
    biases = [_rows(shape, p["bias_ih"], 0) + _rows(shape, p["bias_hh"], 1) for p in layers]
    hidden = [_columns(_rows(shape, p["weight_hh"], 1), padded) for p in layers]
    below = [_columns(_rows(shape, p["weight_ih"], 0), padded) for p in layers[1:]]
    matrices = [hidden[0]] + [np.concatenate(both, axis=1) for both in zip(below, hidden[1:], strict=True)]
    head = _columns(_to_blocks(arrays["head.weight"]), padded)
    first, *above = [_store(matrix, kind, shape, 1) for matrix in matrices]
    head_blocks, head_scales = _store(head, kind, shape, shape.layers if shape.sum_outputs else 1)
    blocks = len(first[0])
    return Packed(
        table=(_table(shape, arrays) + biases[0][:, 0]).reshape(size + 1, blocks, ROWS),
        first=first[0],
        above=np.stack([a for a, _ in above]) if above else np.empty((0, *first[0].shape), first[0].dtype),
        bias=np.array([bias.reshape(blocks, ROWS) for bias in biases[1:]], np.float32).reshape(
            -1, blocks, ROWS
        ),
        scales=np.stack([first[1], *(scales for _, scales in above)]),
        head=head_blocks,
        head_bias=_to_blocks(arrays["head.bias"][:, None]).reshape(-1, ROWS),
        head_scales=head_scales,
        cell=CELLS.index(shape.cell),
        sum_outputs=shape.sum_outputs,
    )


def empty_streams(packed: Packed, count: int) -> StreamState:
    """Return the state before any text of `count` streams. Nothing is predicted before START is read."""
    units = packed.first.shape[1] * packed.first.shape[2] // ROWS // VECTOR_WIDTH
    hidden = np.int16 if packed.first.dtype == np.int8 else np.float32
    layers = 1 + len(packed.above)
    return StreamState(
        np.zeros((count, layers, units, VECTOR_WIDTH), hidden),
        np.zeros((count, layers, units, VECTOR_WIDTH), np.float32),
        np.zeros((count, packed.head_bias.size), np.float32),
    )


def _padded(shape: Architecture) -> int:
    """Return how many units a layer has with those that fill its last block."""
    step = ROWS if shape.cell == "rnn" else VECTOR_WIDTH
    return shape.hidden + -shape.hidden % step


def _rows(shape: Architecture, stacked: Array, part: int) -> Floats:
    """Put the rows of a weight `(GH, C)`, or bias `(GH,)`, where the blocks want them: `(64 B, C)`.

    Args:
        shape: The architecture.
        stacked: Gate by gate.
        part: 0 where it belongs to the input, 1 to the hidden.
    """
    gates = np.asarray(stacked, np.float32).reshape(GATES[shape.cell], shape.hidden, -1)
    groups = 1 if shape.cell == "rnn" else ROWS // VECTOR_WIDTH
    placed = np.zeros((groups, _padded(shape), gates.shape[2]), np.float32)
    placed[_PLACES[shape.cell][part], : shape.hidden] = gates
    if groups == 1:
        return placed[0]
    units = placed.reshape(groups, -1, VECTOR_WIDTH, gates.shape[2]).swapaxes(0, 1)
    return np.ascontiguousarray(units).reshape(-1, gates.shape[2])


def _table(shape: Architecture, arrays: dict[str, Array]) -> Floats:
    """Return what the weights of the first layer make of each id, without bias: `(V + 1, 64 B)`."""
    weight = _rows(shape, arrays["layers.0.weight_ih"], 0)
    if shape.embedding:
        # Not by numpy: the threads of its library go on spinning for a while, on the cores that are to write.
        vectors = np.array(arrays["embedding.weight"], np.float32, order="C")
        table = np.zeros((len(weight) // ROWS, len(vectors), ROWS), np.float32)
        for block, sums in zip(pack_blocks(weight, pairs=False), table, strict=True):
            add_block(block, vectors, sums, np.empty(0, np.float32))
        return np.ascontiguousarray(table.swapaxes(0, 1)).reshape(len(vectors), -1)
    # One row after the other in memory, as everything is that compiled code reads.
    return np.concatenate([np.ascontiguousarray(weight.T), np.zeros((1, len(weight)), np.float32)])


def _columns(rows: Floats, count: int) -> Floats:
    """Fill up with columns of 0."""
    return np.pad(rows, ((0, 0), (0, count - rows.shape[1])))


def _to_blocks(rows: Array) -> Floats:
    """Fill up with rows of 0 to whole blocks."""
    return np.pad(np.asarray(rows, np.float32), ((0, -len(rows) % ROWS), (0, 0)))


def _store(rows: Floats, kind: str, shape: Architecture, reach: int) -> tuple[Array, Floats]:
    """Return rows in blocks as a kind keeps them, and their scales `(B, 64)`.

    Args:
        rows: `(64 B, C)`.
        kind: Of the weights.
        shape: The architecture, for the message.
        reach: How large the activations can become.
    """
    if kind == "int8":
        scale = np.abs(rows).max(axis=1, keepdims=True) / np.float32(127)
        whole = np.rint(rows / np.where(scale > 0, scale, 1)).astype(np.int8)
        largest = int(np.abs(whole, dtype=np.int16).sum(axis=1, dtype=np.int64).max()) * reach * UNIT
        if largest >= 2**31 or reach * UNIT >= 2**15:
            raise ConfigError(
                f"a model of {shape.layers} layers of {shape.hidden} units is too large for the whole numbers of "
                "--weights int8; take --weights bf16"
            )
        return pack_blocks(whole, pairs=True), (scale / np.float32(UNIT)).reshape(-1, ROWS)
    scales = np.ones((len(rows) // ROWS, ROWS), np.float32)
    return pack_blocks(_bfloat16(rows), pairs=True) if kind == "bf16" else pack_blocks(
        rows, pairs=False
    ), scales


def _bfloat16(values: Floats) -> npt.NDArray[np.uint16]:
    """Round to the nearest bfloat16, ties to even; return the 16 bits of each."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
