"""Dropout masks from a counter: element k of mask n does not depend on how the work is split."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from nextchar.kernels.amx import instruction
from nextchar.kernels.functions import store
from nextchar.kernels.gemm import compiled

_I32 = ir.IntType(32)


@instruction(types.uint32, types.uint32, types.uint32)
def scramble(b: ir.IRBuilder, _: Any, counter: Any, key: Any) -> Any:
    """Return 32 random bits for a counter and a key, both uint32: lowbias32 (Wellons 2018) of their sum."""
    x = b.add(counter, key)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = b.mul(b.xor(x, b.lshr(x, _I32(shift))), _I32(factor))
    return b.xor(x, b.lshr(x, _I32(16)))


@compiled
def fill(mask: Any, probability: float, keys: Any, first: int, whole: int) -> None:
    """Set some columns of a mask: 0 for randomly dropped elements, 1 / (1 - probability) for the rest.

    Args:
        mask: `(R, C)` float32, or uint16 for bfloat16: columns `first` to `first + C` of the whole.
        probability: Of dropping an element.
        keys: `(2,)` uint32, which determine the mask.
        first: Column.
        whole: Columns of the whole mask, which has fewer than 2^32 elements.
    """
    kept, dropped = np.float32(1 / (1 - probability)), np.float32(0)
    limit = np.uint32(probability * 4294967296.0)
    for row in range(len(mask)):
        before = row * whole + first
        for column in range(mask.shape[1]):
            bits = scramble(scramble(np.uint32(before + column), keys[0]), keys[1])
            mask[row, column] = store(kept if bits >= limit else dropped, mask)
