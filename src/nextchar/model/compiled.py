"""An LSTM layer over a window through our own compiled code: what `fused` does, faster on a CPU.

The input of the first layer is a lookup: what each character adds to the gates is a row of a table, computed once a
step, so that no product over the window is needed for it. Source: Appleyard et al. 2016, arXiv 1604.01946.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.kernels import windows
from nextchar.kernels.microkernel import HAS_BF16, ROWS, TOGETHER, WIDE
from nextchar.kernels.threads import in_shares, shares
from nextchar.model.cells import Weights
from nextchar.model.state import LayerState

GATES = windows.GATES


class Lookup(NamedTuple):
    """Inputs that are rows of a matrix: `vectors` `(V + 1, X)` at `ids` `(T, N)`."""

    ids: Tensor
    vectors: Tensor

    def dense(self) -> Tensor:
        """Return the inputs themselves, `(T, N, X)`."""
        return self.vectors[self.ids]


def possible(x: "Tensor | Lookup", state: LayerState) -> bool:
    """Tell whether `lstm` can run here: float32 on a CPU, whole vectors of units, and a kind that the CPU has."""
    hidden = state[0]
    width = 0 if isinstance(x, Lookup) else x.shape[-1]
    return (
        hidden.device.type == "cpu"
        and hidden.dtype == torch.float32
        and hidden.shape[1] % WIDE == 0
        and width % WIDE == 0
        and (HAS_BF16 or not torch.is_autocast_enabled("cpu"))
    )


def lstm(x: "Tensor | Lookup", state: LayerState, weights: Weights) -> tuple[Tensor, LayerState]:
    """Run an LSTM layer over a window.

    Args:
        x: Inputs `(T, N, X)`, or what they are looked up in.
        state: Hidden and cell before the window, each `(N, H)`.
        weights: The layer's.

    Returns:
        Outputs `(T, N, H)`, bfloat16 under autocast, and the state after the window.
    """
    bf16 = torch.is_autocast_enabled("cpu")
    bias = weights.bias_ih + weights.bias_hh
    with torch.autocast("cpu", enabled=False):
        if isinstance(x, Lookup):
            ids, vectors = x
            if len(vectors) > ids.numel():
                used, ids = torch.unique(ids, return_inverse=True)
                vectors = vectors[used]
            table = torch.nn.functional.linear(vectors, weights.weight_ih, bias)
            outputs, hidden, cell = _Window.apply(None, ids, table, *state, None, weights.weight_hh, bf16)
        else:
            ids = torch.zeros(x.shape[:2], dtype=torch.int64)
            kind = torch.bfloat16 if bf16 else torch.float32
            outputs, hidden, cell = _Window.apply(
                x.to(kind), ids, bias[None], *state, weights.weight_ih, weights.weight_hh, bf16
            )
    return outputs, (hidden, cell)


class _Window(torch.autograd.Function):
    """The window as one step of torch's graph."""

    @staticmethod
    def forward(
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
        """Run; the gates begin as rows `ids` `(T, N)` of the table `(U, 4H)`, and x `(T, N, X)` adds to them."""
        kind = np.uint16 if bf16 else np.float32
        (steps, lanes), units = ids.shape, weight_hh.shape[1]
        rows = steps * lanes
        blocked = _by_block(table.detach(), units).numpy()
        blocks = units // WIDE
        gates = np.empty((steps, lanes, blocks, ROWS), np.float32)
        flat, places = gates.reshape(rows, -1), ids.numpy().reshape(rows)
        packed_x = None if weight_ih is None else _packed(weight_ih, bf16)
        inputs = None if x is None else _array(x.detach().contiguous()).reshape(rows, -1)

        def begin(first: int, last: int) -> None:
            windows.look_up(blocked, places[first:last], flat[first:last])
            if packed_x is not None and inputs is not None:
                windows.add_inputs(packed_x, inputs[first:last], flat[first:last])

        in_shares(begin, rows, windows.AT_ONCE)
        outputs = np.empty((steps + 1, lanes, blocks, WIDE), kind)
        first_hidden = hidden.detach().to(torch.bfloat16 if bf16 else torch.float32)
        outputs[0] = _array(first_hidden).reshape(lanes, blocks, WIDE)
        cells = np.empty((steps + 1, lanes, blocks, WIDE), np.float32)
        cells[0] = cell.detach().numpy().reshape(lanes, blocks, WIDE)
        packed = _packed(weight_hh, bf16)
        in_shares(
            lambda first, last: windows.forward(packed, gates, outputs, cells, first, last), lanes, TOGETHER
        )
        ctx.save_for_backward(x, weight_ih, weight_hh)
        ctx.made, ctx.ids, ctx.bf16, ctx.table_rows = (gates, cells, outputs), ids, bf16, len(table)
        ctx.set_materialize_grads(False)
        every = _tensor(outputs.reshape(steps + 1, lanes, units))
        return every[1:], every[-1].float(), torch.from_numpy(cells[-1].reshape(lanes, units).copy())

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, d_outputs: Tensor | None, d_last: Tensor | None, d_last_cell: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Go back; the weights' gradients are one product each over the whole window."""
        x, weight_ih, weight_hh = ctx.saved_tensors
        gates, cells, outputs = ctx.made
        steps, lanes, units = gates.shape[0], gates.shape[1], weight_hh.shape[1]
        d_hidden = torch.zeros(steps, lanes, -(-units // ROWS) * ROWS)
        if d_outputs is not None:
            d_hidden[:, :, :units] = d_outputs
        if d_last is not None:
            d_hidden[-1, :, :units] += d_last
        d_cells = torch.zeros(lanes, units) if d_last_cell is None else d_last_cell.clone()
        blocks = units // WIDE
        d_gates = np.empty((steps, lanes, GATES, blocks, WIDE), outputs.dtype)
        parts = {first: np.zeros((ctx.table_rows, blocks, ROWS), np.float32) for first, _ in shares(lanes, TOGETHER)}
        transposed = _packed_transpose(weight_hh, ctx.bf16)

        def back(first: int, last: int) -> None:
            gradients = (d_hidden.numpy(), d_cells.numpy().reshape(lanes, blocks, WIDE), d_gates, parts[first])
            windows.backward(transposed, (gates, cells), gradients, ctx.ids.numpy(), first, last)

        in_shares(back, lanes, TOGETHER)
        d_table = _by_gate(torch.from_numpy(sum(parts.values())), units)
        rows = _tensor(d_gates.reshape(steps * lanes, -1))
        kind = rows.dtype
        d_x = d_weight_ih = d_before = None
        if x is not None:
            d_weight_ih = (rows.T @ x.reshape(steps * lanes, -1)).float()
            if ctx.needs_input_grad[0]:
                d_x = (rows @ weight_ih.detach().to(kind)).reshape(x.shape)
        d_weight_hh = (rows.T @ _tensor(outputs.reshape(steps + 1, lanes, units))[:-1].reshape(steps * lanes, -1)).float()
        if ctx.needs_input_grad[3]:
            d_before = (rows[:lanes] @ weight_hh.detach().to(kind)).float()
        return d_x, None, d_table, d_before, d_cells, d_weight_ih, d_weight_hh, None


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    """Return a tensor's memory; bfloat16 as its bits."""
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    """Return an array's memory as a tensor; uint16 is bfloat16."""
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if array.dtype == np.uint16 else tensor


def _packed(weight: Tensor, bf16: bool) -> npt.NDArray[Any]:
    """Return `(4H, C)` weights as the forward product reads them."""
    rows, columns = weight.shape
    pair, kind = (2, np.uint16) if bf16 else (1, np.float32)
    packed = np.empty((rows // ROWS, columns // pair, ROWS * pair), kind)
    whole = weight.detach().contiguous().numpy()
    in_shares(
        lambda first, last: windows.pack_units(whole, packed, first, last), len(packed), 1
    )
    return packed


def _packed_transpose(weight: Tensor, bf16: bool) -> npt.NDArray[Any]:
    """Return the transpose of `(4H, H)` weights as the backward product reads it."""
    rows, columns = weight.shape
    pair, kind = (2, np.uint16) if bf16 else (1, np.float32)
    packed = np.zeros((-(-columns // ROWS), rows // pair, ROWS * pair), kind)
    whole = weight.detach().contiguous().numpy()
    in_shares(lambda first, last: windows.pack_transposed(whole, packed, first, last), len(packed), 1)
    return packed


def _by_block(table: Tensor, units: int) -> Tensor:
    """Return rows `(U, 4H)`, gate after gate, as blocks of 16 units with their gates."""
    return table.reshape(-1, GATES, units // WIDE, WIDE).transpose(1, 2).reshape(len(table), -1)


def _by_gate(table: Tensor, units: int) -> Tensor:
    """Undo `_by_block`."""
    return table.reshape(-1, units // WIDE, GATES, WIDE).transpose(1, 2).reshape(len(table), -1)
