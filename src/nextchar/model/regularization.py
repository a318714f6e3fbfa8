"""What keeps a network from learning a text by heart."""

from collections.abc import Callable

import torch
from torch import Tensor

Regularizer = Callable[[Tensor], Tensor]


def nothing(x: Tensor) -> Tensor:
    """Leave activations as they are."""
    return x


class Dropout:
    """Sets a random share of activations to zero and scales up the rest (Srivastava et al. 2014).

    The random stream is restarted from a number, so that step k drops the same whether or not the steps before it
    ran in this process.
    """

    def __init__(self, share: float, device: torch.device) -> None:
        self.share = share
        self._generator = torch.Generator(device)

    def restart(self, number: int) -> None:
        """Begin the random stream of `number`."""
        self._generator.manual_seed(number)

    def __call__(self, x: Tensor) -> Tensor:
        """Drop from activations of any shape."""
        if not self.share:
            return x
        keep = 1 - self.share
        mask = torch.empty_like(x).bernoulli_(keep, generator=self._generator)
        return x * mask.div_(keep)
