"""Packs weights for the compiled step: all gates of a unit together, in blocks of 64 rows.

A block of an lstm is 16 units with their gates i, f, g, o; of a gru, 16 units with r, z and the two parts of
n (of the input and of the hidden), which the reset gate keeps apart; of an rnn, 64 units. H is padded to U
groups of 16 units with weights of 0, which stay at 0. The first layer's products with its input depend only
on the id, and are kept as a table.
"""

from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from nextchar.architecture import CELLS, GATES, Architecture, WeightKind
from nextchar.errors import ConfigError, check_choice
from nextchar.kernels.functions import UNIT
from nextchar.kernels.gemm import ROWS, VECTOR_WIDTH, add_block, pack_blocks
from nextchar.kernels.quantization import bfloat16, int8_rows, largest

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[Any]

KINDS: tuple[str, ...] = get_args(WeightKind)

# Groups of a block to which the gates of a cell belong: in the weights of the input, and in those of the
# hidden.
_GROUPS: dict[str, tuple[list[int], list[int]]] = {
    "lstm": ([0, 1, 2, 3], [0, 1, 2, 3]),
    "gru": ([0, 1, 2], [0, 1, 3]),
    "rnn": ([0], [0]),
}


class Packed(NamedTuple):
    """A network's packed weights: L layers of B blocks, vocabulary size V, P = 16 U padded units.

    Blocks of matrices are laid out by `pack_blocks`: `(C, 64)` in fp32, else `(C / 2, 128)`.

    Attributes:
        table: `(V + 1, B, 64)` float32: the first layer's input product plus its biases for each id, START
            last.
        first: `(B, P, 64)`, the first layer's recurrent weights.
        above: `(L - 1, B, 2 P, 64)`, of the other layers: the weights of the layer below, then the recurrent
            ones.
        bias: `(L - 1, B, 64)` float32, of the other layers.
        scales: `(L, B, 64)` float32, of int8 rows, else unused.
        head: `(Q, P, 64)`, Q blocks for V rows.
        head_bias: `(Q, 64)` float32.
        head_scales: `(Q, 64)` float32.
        cell: The index of the cell in `CELLS`. (Compiled code with a function as an argument cannot be
            cached.)
        sum_outputs: Whether the head reads the sum of the layers' outputs, or the last alone.
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
    """The states of N streams side by side, and the logits of their next ids; updated in place.

    Attributes:
        hidden: `(N, L, U, 16)` float32, or int16 in steps of `1 / UNIT` with int8 weights.
        memory: `(N, L, U, 16)` float32: the cell of an lstm, the unrounded hidden of a gru.
        logits: `(N, 64 Q)` float32, of which the first V are used.
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
        kind: The type of the matrices: fp32; bf16, rounded; or int8 with one scale per row.

    Raises:
        ConfigError: There is no such kind, or the network is too large for int8.
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
    first, *above = [_quantize(matrix, kind, shape, 1) for matrix in matrices]
    head_blocks, head_scales = _quantize(head, kind, shape, shape.layers if shape.sum_outputs else 1)
    blocks = len(first[0])
    return Packed(
        table=(_table(shape, arrays) + biases[0][:, 0]).reshape(size + 1, blocks, ROWS),
        first=first[0],
        above=np.stack([a for a, _ in above]) if above else np.empty((0, *first[0].shape), first[0].dtype),
        bias=np.array([bias.reshape(blocks, ROWS) for bias in biases[1:]], np.float32).reshape(-1, blocks, ROWS),
        scales=np.stack([first[1], *(scales for _, scales in above)]),
        head=head_blocks,
        head_bias=_to_blocks(arrays["head.bias"][:, None]).reshape(-1, ROWS),
        head_scales=head_scales,
        cell=CELLS.index(shape.cell),
        sum_outputs=shape.sum_outputs,
    )


def empty_streams(packed: Packed, count: int) -> StreamState:
    """Return `count` empty streams. Their logits have no meaning before START is read."""
    units = packed.first.shape[1] * packed.first.shape[2] // ROWS // VECTOR_WIDTH
    hidden = np.int16 if packed.first.dtype == np.int8 else np.float32
    layers = 1 + len(packed.above)
    return StreamState(
        np.zeros((count, layers, units, VECTOR_WIDTH), hidden),
        np.zeros((count, layers, units, VECTOR_WIDTH), np.float32),
        np.zeros((count, packed.head_bias.size), np.float32),
    )


def _padded(shape: Architecture) -> int:
    """Return the number of units of a layer with the padding of its last block."""
    step = ROWS if shape.cell == "rnn" else VECTOR_WIDTH
    return shape.hidden + -shape.hidden % step


def _rows(shape: Architecture, stacked: Array, part: int) -> Floats:
    """Reorder the rows of a weight `(GH, C)`, or bias `(GH,)`, into blocks: `(64 B, C)`.

    Args:
        shape: The architecture.
        stacked: The gates one after the other, as torch stacks them.
        part: 0 for weights of the input, 1 for recurrent ones.
    """
    gates = np.asarray(stacked, np.float32).reshape(GATES[shape.cell], shape.hidden, -1)
    groups = 1 if shape.cell == "rnn" else ROWS // VECTOR_WIDTH
    placed = np.zeros((groups, _padded(shape), gates.shape[2]), np.float32)
    placed[_GROUPS[shape.cell][part], : shape.hidden] = gates
    if groups == 1:
        return placed[0]
    units = placed.reshape(groups, -1, VECTOR_WIDTH, gates.shape[2]).swapaxes(0, 1)
    return np.ascontiguousarray(units).reshape(-1, gates.shape[2])


def _table(shape: Architecture, arrays: dict[str, Array]) -> Floats:
    """Return the product of the first layer's input weights with each id's vector: `(V + 1, 64 B)`."""
    weight = _rows(shape, arrays["layers.0.weight_ih"], 0)
    if shape.embedding:
        # Not with numpy: the threads of its BLAS spin for a while on the cores that are about to generate.
        vectors = np.array(arrays["embedding.weight"], np.float32, order="C")
        table = np.zeros((len(weight) // ROWS, len(vectors), ROWS), np.float32)
        for block, sums in zip(pack_blocks(weight, pairs=False), table, strict=True):
            add_block(block, vectors, sums, np.empty(0, np.float32))
        return np.ascontiguousarray(table.swapaxes(0, 1)).reshape(len(vectors), -1)
    # Contiguous, like all arrays that compiled code reads.
    return np.concatenate([np.ascontiguousarray(weight.T), np.zeros((1, len(weight)), np.float32)])


def _columns(rows: Floats, count: int) -> Floats:
    """Pad with columns of 0."""
    return np.pad(rows, ((0, 0), (0, count - rows.shape[1])))


def _to_blocks(rows: Array) -> Floats:
    """Pad with rows of 0 to whole blocks."""
    return np.pad(np.asarray(rows, np.float32), ((0, -len(rows) % ROWS), (0, 0)))


def _quantize(rows: Floats, kind: str, shape: Architecture, largest_input: int) -> tuple[Array, Floats]:
    """Return rows as blocks of a kind of weights, and their scales `(B, 64)`.

    Args:
        rows: `(64 B, C)`.
        kind: Of the weights.
        shape: The architecture, for the message.
        largest_input: The largest absolute value that an input of this matrix can have.
    """
    if kind == "int8":
        whole, scale = int8_rows(rows, largest(rows)[:, None])
        most = int(np.abs(whole, dtype=np.int16).sum(axis=1, dtype=np.int64).max()) * largest_input * UNIT
        if most >= 2**31 or largest_input * UNIT >= 2**15:
            raise ConfigError(
                f"a model of {shape.layers} layers of {shape.hidden} units is too large for the integers of "
                "--weights int8; use --weights bf16"
            )
        return pack_blocks(whole, pairs=True), (scale / np.float32(UNIT)).reshape(-1, ROWS)
    scales = np.ones((len(rows) // ROWS, ROWS), np.float32)
    if kind == "bf16":
        return pack_blocks(bfloat16(rows), pairs=True), scales
    return pack_blocks(rows, pairs=False), scales
