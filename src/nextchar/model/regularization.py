"""What keeps a network from learning a text by heart."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nextchar.kernels import masks
from nextchar.kernels.microkernel import WIDE
from nextchar.kernels.threads import in_shares
from nextchar.model.compiled import array

Regularizer = Callable[[Tensor], Tensor]


def nothing(x: Tensor) -> Tensor:
    """Leave activations as they are."""
    return x


class Dropout:
    """Sets a random share of activations to zero and scales up the rest (Srivastava et al. 2014).

    The masks follow from a number and a count, so that step k drops the same whether or not the steps before it ran
    in this process.
    """

    def __init__(self, share: float, device: torch.device) -> None:
        self.share = share
        self._generator = torch.Generator(device)
        self._number = self._used = 0

    def restart(self, number: int) -> None:
        """Begin the random stream of `number`, 0 or more."""
        self._number, self._used = number, 0
        self._generator.manual_seed(number)

    def __call__(self, x: Tensor) -> Tensor:
        """Drop from activations of any shape."""
        return x * self._mask(x) if self.share else x

    def _mask(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
            return (
                torch.empty_like(x).bernoulli_(1 - self.share, generator=self._generator).div_(1 - self.share)
            )
        keys = np.random.SeedSequence((self._number, self._used)).generate_state(2)
        self._used += 1
        mask = torch.empty(x.shape, dtype=x.dtype)
        flat = array(mask).reshape(-1)
        in_shares(lambda first, last: masks.fill(flat, self.share, keys, first, last), len(flat), WIDE)
        return mask
