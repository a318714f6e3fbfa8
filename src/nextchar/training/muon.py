"""Muon: the gradient's memory made orthogonal before it is taken off, so that a matrix learns in all directions at one pace.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the size of a step as in Liu et al.
2025, arXiv 2502.16982; the polynomials of Amsel et al. 2025, "The Polar Express", arXiv 2505.16932.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from nextchar.kernels.threads import in_shares

# x -> a x + b x^3 + c x^5, one after the other, brings singular values of 0.03 and more to between 0.2 and 2. Nearer to 1
# takes more products, and is not worth them (docs/experiments.md).
POLYNOMIALS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
)
# The polynomials blow up above 1, and what is rounded may be a little larger than it should.
MARGIN = 1.01
# Root of the mean square of a step at learning rate 1: what AdamW's usually is.
SIZE = 0.2


class Muon(torch.optim.Optimizer):
    """Takes steps with matrices `(G H, H)`, one block `(H, H)` for each of a cell's gates.

    Args:
        matrices: Of a recurrence, all with as many columns.
        lr: Learning rate: the same suits AdamW beside it.
        momentum: Memory of the gradient.
        weight_decay: Decoupled.
        bf16: Multiply in bfloat16.
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], *, lr: float, momentum: float, weight_decay: float, bf16: bool
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._kind = torch.bfloat16 if bf16 else torch.float32

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make one step."""
        assert closure is None
        for group in self.param_groups:
            matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
            if not matrices:
                continue
            blocks = [self._ahead(matrix, group["momentum"]) for matrix in matrices]
            edges = [0]
            for block in blocks:
                edges.append(edges[-1] + len(block))
            directions = orthogonal(torch.cat(blocks))
            for matrix, (first, last) in zip(matrices, pairwise(edges), strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                length = group["lr"] * SIZE * matrix.shape[1] ** 0.5
                matrix.add_(directions[first:last].reshape_as(matrix), alpha=-length)

    def _ahead(self, matrix: Tensor, momentum: float) -> Tensor:
        """Remember the gradient; return what is remembered as it will be one step on (Nesterov), `(G, H, H)`."""
        gradient, columns = matrix.grad, matrix.shape[1]
        assert gradient is not None
        memory = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
        memory.lerp_(gradient, 1 - momentum)
        return gradient.lerp(memory, momentum).view(-1, columns, columns).to(self._kind)


def orthogonal(blocks: Tensor) -> Tensor:
    """Return matrices `(B, H, H)` with their singular values brought near 1, each by products alone."""
    lengths = blocks.float().norm(dim=(-2, -1), keepdim=True)
    scaled = blocks / (MARGIN * lengths + 1e-7).to(blocks.dtype)
    if scaled.device.type != "cpu" or torch.get_num_threads() > 1:
        return _polished(scaled)

    def some(first: int, last: int) -> None:
        with torch.no_grad():  # which is a setting of each thread
            for block in range(first, last):
                scaled[block : block + 1] = _polished(scaled[block : block + 1])

    in_shares(some, len(scaled), 1)
    return scaled


def _polished(x: Tensor) -> Tensor:
    for a, b, c in POLYNOMIALS:
        square = x @ x.mT
        mixed = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, mixed, x, beta=a)
    return x
