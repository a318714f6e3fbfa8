"""What keeps a network from learning a text by heart."""

import copy

import numpy as np
import torch
from torch import Tensor

from nextchar.kernels import masks
from nextchar.model.compiled import array


class Regularizer:
    """Leaves a network as it is."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return what becomes of activations of any shape."""
        return x

    def recurrent(self, weight: Tensor) -> Tensor:
        """Return what becomes of recurrent weights `(G H, H)` for a window."""
        return weight


class Dropout(Regularizer):
    """Sets a random share of activations to zero and scales up the rest (Srivastava et al. 2014).

    What a layer sees of its own hidden state is dropped by units, the same ones in all lanes for a whole window (Gal &
    Ghahramani 2016, arXiv 1512.05287): that is a product with the weights' columns, so any kernel can run the window.

    The masks follow from a number and a count, so that step k drops the same whether or not the steps before it ran
    in this process.

    Args:
        share: Of the activations between the layers and before the head.
        device: Of the activations.
        recurrent: Share of the hidden units.
    """

    def __init__(self, share: float, device: torch.device, *, recurrent: float = 0.0) -> None:
        self._share, self._recurrent = share, recurrent
        self._generator = torch.Generator(device)
        self._number = self._used = 0
        self._lanes = (0, 1, 1)

    def restart(self, number: int) -> None:
        """Begin the random stream of `number`, 0 or more."""
        self._number, self._used = number, 0
        self._generator.manual_seed(number)

    def of_lanes(self, first: int, last: int, count: int) -> "Dropout":
        """Return what drops from the lanes `first` to `last` of `count` what this one drops from them among all.

        It is given activations of these lanes alone, `(T, last - first, ...)`. On a GPU these must be all lanes.
        """
        some = copy.copy(self)
        some._lanes = (first, last, count)  # noqa: SLF001 - one of its own kind
        return some

    def __call__(self, x: Tensor) -> Tensor:
        """Drop from activations of any shape."""
        return x * self._mask(x, self._share, *self._lanes) if self._share else x

    def recurrent(self, weight: Tensor) -> Tensor:
        """Drop columns of recurrent weights."""
        return weight * self._mask(weight[:1], self._recurrent, 0, 1, 1) if self._recurrent else weight

    def _mask(self, x: Tensor, share: float, first: int, last: int, count: int) -> Tensor:
        if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
            return torch.empty_like(x).bernoulli_(1 - share, generator=self._generator).div_(1 - share)
        keys = np.random.SeedSequence((self._number, self._used)).generate_state(2)
        self._used += 1
        mask = torch.empty(x.shape, dtype=x.dtype)
        rows = array(mask).reshape(len(mask) if mask.ndim > 1 else 1, -1)
        lane = rows.shape[1] // (last - first)
        masks.fill(rows, share, keys, first * lane, count * lane)
        return mask
