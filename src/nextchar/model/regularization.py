"""Dropout, whose masks follow from a counter."""

import copy

import numpy as np
import torch
from torch import Tensor

from nextchar.kernels import masks
from nextchar.model.compiled import array


class Dropout:
    """Dropout between layers (Srivastava et al. 2014) and within the recurrence.

    Recurrent dropout drops hidden units, the same ones for all rows and steps of a batch (after Gal & Ghahramani 2016, arXiv
    1512.05287): that multiplies columns of the recurrent weights, so every kernel can run it.

    Masks follow from the seed of `restart` and a counter, so a step has the same masks in a resumed run.

    Args:
        probability: Of dropping an activation between layers and before the head.
        device: Of the activations.
        recurrent: Probability of dropping a hidden unit in the recurrence.
    """

    def __init__(self, probability: float, device: torch.device, *, recurrent: float = 0.0) -> None:
        self._probability, self._recurrent = probability, recurrent
        self._generator = torch.Generator(device)
        self._seed = self._used = 0
        self._rows = (0, 1, 1)

    def restart(self, seed: int) -> None:
        """Start the random numbers of a step; `seed` is 0 or more."""
        self._seed, self._used = seed, 0
        self._generator.manual_seed(seed)

    def of_rows(self, first: int, last: int, count: int) -> "Dropout":
        """Return the dropout of the rows `first` to `last` of a batch of `count`, with the same masks as in the whole.

        It takes activations of these rows only, `(T, last - first, ...)`.
        """
        part = copy.copy(self)
        part._rows = (first, last, count)  # noqa: SLF001 - an object of the same class
        return part

    def __call__(self, x: Tensor) -> Tensor:
        """Drop activations of any shape."""
        return x * self._mask(x, self._probability, *self._rows) if self._probability else x

    def recurrent(self, weight: Tensor) -> Tensor:
        """Drop columns of recurrent weights."""
        return weight * self._mask(weight[:1], self._recurrent, 0, 1, 1) if self._recurrent else weight

    def _mask(self, x: Tensor, probability: float, first: int, last: int, count: int) -> Tensor:
        if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
            keep = 1 - probability
            if count == last - first:
                return torch.empty_like(x).bernoulli_(keep, generator=self._generator).div_(keep)
            # A generator cannot start at a row, so the mask of the whole batch is made.
            whole = x.new_empty(len(x), count, *x.shape[2:]).bernoulli_(keep, generator=self._generator)
            return whole[:, first:last].div_(keep)
        keys = np.random.SeedSequence((self._seed, self._used)).generate_state(2)
        self._used += 1
        mask = torch.empty(x.shape, dtype=x.dtype)
        rows = array(mask).reshape(len(mask) if mask.ndim > 1 else 1, -1)
        width = rows.shape[1] // (last - first)
        masks.fill(rows, probability, keys, first * width, count * width)
        return mask


NO_DROPOUT = Dropout(0.0, torch.device("cpu"))
