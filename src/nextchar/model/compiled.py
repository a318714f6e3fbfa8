"""An LSTM layer over a sequence by our own compiled code: the same as `fused`, faster on a CPU.

The first layer's input is a lookup: what each character adds to the gates is a row of a table that is computed once a step,
so no product over the sequence is needed for it. Source: Appleyard et al. 2016, arXiv 1604.01946.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.architecture import Cell
from nextchar.kernels import lstm_training
from nextchar.kernels.cpu import HAS_BF16, HAS_FMA
from nextchar.kernels.gemm import MR, ROWS, VECTOR_WIDTH
from nextchar.kernels.threads import available_cores, parallel_for, split_range
from nextchar.model.cells import Weights
from nextchar.model.state import LayerState

GATES = lstm_training.GATES


class Lookup(NamedTuple):
    """Inputs that are rows of a matrix: `vectors` `(V + 1, X)` at `ids` `(T, B)`."""

    ids: Tensor
    vectors: Tensor

    def dense(self) -> Tensor:
        """Return the inputs, `(T, B, X)`."""
        return self.vectors[self.ids]


# A forked process has none of torch's threads, and would wait for them for ever. Torch's DataLoader does the same.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


@contextmanager
def own_threads() -> Iterator[None]:
    """Leave the cores to the threads of compiled code: torch's threads wait for work in a loop that occupies a core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def suits(cell: Cell, units: int, device: torch.device) -> bool:
    """Return whether `lstm` is for a network's layers: an LSTM of whole vectors of units, on a CPU with FMA.

    Without fused multiply-add torch's kernels are faster.
    """
    return HAS_FMA and cell == "lstm" and device.type == "cpu" and units % VECTOR_WIDTH == 0


def possible(x: "Tensor | Lookup", state: LayerState) -> bool:
    """Return whether `lstm` can run on these values: float32, or bfloat16 where the CPU multiplies it."""
    width = 0 if isinstance(x, Lookup) else x.shape[-1]
    return (
        state[0].dtype == torch.float32
        and width % VECTOR_WIDTH == 0
        and (HAS_BF16 or not torch.is_autocast_enabled("cpu"))
    )


def lstm(x: "Tensor | Lookup", state: LayerState, weights: Weights) -> tuple[Tensor, LayerState]:
    """Run an LSTM layer over a sequence.

    Args:
        x: Inputs `(T, B, X)`, or a lookup of them.
        state: Hidden and cell before the sequence, each `(B, H)`.
        weights: The layer's.

    Returns:
        Outputs `(T, B, H)`, bfloat16 under autocast, and the state after the sequence.
    """
    bf16 = torch.is_autocast_enabled("cpu")
    bias = weights.bias_ih + weights.bias_hh
    run: Any = _Sequence.apply
    with torch.autocast("cpu", enabled=False):
        if isinstance(x, Lookup):
            # Contiguous, because a slice of rows would be another type of array, compiled separately.
            ids, vectors = x.ids.contiguous(), x.vectors
            if len(vectors) > ids.numel():
                used, ids = torch.unique(ids, return_inverse=True)
                vectors = vectors[used]
            table = torch.nn.functional.linear(vectors, weights.weight_ih, bias)
            inputs, weight_ih = None, None
        else:
            ids, table = torch.zeros(x.shape[:2], dtype=torch.int64), bias[None]
            inputs, weight_ih = x.to(_kind(bf16)).contiguous(), weights.weight_ih
        outputs, hidden, cell = run(inputs, ids, table, *state, weight_ih, weights.weight_hh, bf16)
    return outputs, (hidden, cell)


class _Sequence(torch.autograd.Function):
    """The sequence as one node of torch's graph."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - torch passes what is differentiated as single arguments
        ctx: Any,
        x: Tensor | None,
        ids: Tensor,
        table: Tensor,
        hidden: Tensor,
        cell: Tensor,
        weight_ih: Tensor | None,
        weight_hh: Tensor,
        bf16: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run: the gates start as rows `ids` `(T, B)` of the table `(U, 4H)`, and x `(T, B, X)` is multiplied and added."""
        (steps, batch), units = ids.shape, weight_hh.shape[1]
        blocks = units // VECTOR_WIDTH
        gates = np.empty((steps, batch, blocks, ROWS), np.float32)
        outputs = np.empty((steps + 1, batch, blocks, VECTOR_WIDTH), np.uint16 if bf16 else np.float32)
        outputs[0] = array(hidden.detach().to(_kind(bf16))).reshape(batch, blocks, VECTOR_WIDTH)
        cells = np.empty((steps + 1, batch, blocks, VECTOR_WIDTH), np.float32)
        cells[0] = cell.detach().numpy().reshape(batch, blocks, VECTOR_WIDTH)
        blocked = _by_block(table.detach(), units).contiguous().numpy()
        packed = _packed(weight_hh, bf16)
        packed_ih = None if weight_ih is None else _packed(weight_ih, bf16)

        def run(first: int, last: int) -> None:
            lstm_training.look_up(blocked, ids.numpy(), gates, first, last)
            if x is not None and packed_ih is not None:
                lstm_training.add_inputs(packed_ih, array(x.detach()), gates, first, last)
            lstm_training.forward(packed, gates, outputs, cells, first, last)

        parallel_for(run, batch, MR)
        ctx.save_for_backward(x, weight_ih, weight_hh)
        ctx.made, ctx.ids, ctx.bf16, ctx.table_rows = (gates, cells, outputs), ids, bf16, len(table)
        ctx.set_materialize_grads(False)
        every = _tensor(outputs.reshape(steps + 1, batch, units))
        return every[1:], every[-1].float(), torch.from_numpy(cells[-1].reshape(batch, units).copy())

    @staticmethod
    def backward(
        ctx: Any, d_outputs: Tensor | None, d_last: Tensor | None, d_last_cell: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Backpropagate; the gradient of each weight matrix is one product over the whole sequence."""
        if ctx.made is None:
            raise RuntimeError("backward was called twice, and the first call has overwritten the gates")
        x, weight_ih, weight_hh = ctx.saved_tensors
        (gates, cells, outputs), ctx.made = ctx.made, None
        steps, batch, units = gates.shape[0], gates.shape[1], weight_hh.shape[1]
        d_hidden = torch.zeros(steps, batch, -(-units // ROWS) * ROWS)
        if d_outputs is not None:
            d_hidden[:, :, :units] = d_outputs
        if d_last is not None:
            d_hidden[-1, :, :units] += d_last
        d_cells = torch.zeros(batch, units) if d_last_cell is None else d_last_cell.clone()
        blocks = units // VECTOR_WIDTH
        d_gates = np.empty((steps, batch, GATES, blocks, VECTOR_WIDTH), outputs.dtype)
        parts = {first: np.zeros((ctx.table_rows, blocks, ROWS), np.float32) for first, _ in split_range(batch, MR)}
        transposed = _packed(weight_hh, ctx.bf16, transposed=True)

        def back(first: int, last: int) -> None:
            gradients = (d_hidden.numpy(), d_cells.numpy().reshape(batch, blocks, VECTOR_WIDTH), d_gates, parts[first])
            lstm_training.backward(transposed, (gates, cells), gradients, ctx.ids.numpy(), first, last)

        parallel_for(back, batch, MR)
        rows = _tensor(d_gates.reshape(steps * batch, -1))
        before = _tensor(outputs.reshape(steps + 1, batch, units))[:-1].reshape(steps * batch, -1)
        d_weight_hh = torch.empty(weight_hh.shape, dtype=rows.dtype)
        products = [(rows.T, before, d_weight_hh)]
        d_x = d_weight_ih = d_before = None
        if x is not None:
            d_weight_ih = torch.empty(weight_ih.shape, dtype=rows.dtype)
            products.append((rows.T, x.reshape(steps * batch, -1), d_weight_ih))
            if ctx.needs_input_grad[0]:
                d_x = torch.empty_like(x)
                products.append((rows, weight_ih.detach().to(rows.dtype), d_x.view(steps * batch, -1)))
        if ctx.needs_input_grad[3]:
            d_before = (rows[:batch] @ weight_hh.detach().to(rows.dtype)).float()
        _multiply(products)
        d_table = _by_gate(torch.from_numpy(sum(parts.values())), units)
        d_weight_ih = None if d_weight_ih is None else d_weight_ih.float()
        return d_x, None, d_table, d_before, d_cells, d_weight_ih, d_weight_hh.float(), None


def _multiply(products: list[tuple[Tensor, Tensor, Tensor]]) -> None:
    """Set the third of each triple to the product of the first two, with the rows split among the cores."""

    def some(share: int, end: int) -> None:
        with torch.no_grad():  # a setting of each thread
            for a, b, result in products:
                first, last = share * len(a) // available_cores(), end * len(a) // available_cores()
                torch.mm(a[first:last], b, out=result[first:last])

    parallel_for(some, available_cores(), 1)


def _kind(bf16: bool) -> torch.dtype:
    return torch.bfloat16 if bf16 else torch.float32


def array(tensor: Tensor) -> npt.NDArray[Any]:
    """Return a tensor's memory as an array; bfloat16 as uint16."""
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    """Return an array's memory as a tensor; uint16 as bfloat16."""
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if array.dtype == np.uint16 else tensor


def _packed(weight: Tensor, bf16: bool, *, transposed: bool = False) -> npt.NDArray[Any]:
    """Return weights `(4H, C)` packed for the forward product, or their transpose for the backward product."""
    rows, columns = weight.shape
    pair, kind = (2, np.uint16) if bf16 else (1, np.float32)
    pack, outer, inner = lstm_training.pack_units, rows, columns
    if transposed:
        pack, outer, inner = lstm_training.pack_transposed, columns, rows
    packed = np.zeros((-(-outer // ROWS), inner // pair, ROWS * pair), kind)
    whole = weight.detach().contiguous().numpy()
    parallel_for(lambda first, last: pack(whole, packed, first, last), len(packed), 1)
    return packed


def _by_block(table: Tensor, units: int) -> Tensor:
    """Return rows `(U, 4H)`, gate after gate, as blocks of 16 units with their gates, `(U, H / 16, 64)`."""
    return table.reshape(-1, GATES, units // VECTOR_WIDTH, VECTOR_WIDTH).transpose(1, 2).reshape(len(table), -1, ROWS)


def _by_gate(table: Tensor, units: int) -> Tensor:
    """Undo `_by_block`."""
    return table.reshape(-1, units // VECTOR_WIDTH, GATES, VECTOR_WIDTH).transpose(1, 2).reshape(len(table), -1)
