"""Dropout masks from a counter: element k of mask number n is the same however the work is shared out."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from nextchar.kernels.functions import store
from nextchar.kernels.microkernel import compiled
from nextchar.kernels.tiles import instruction

_I32 = ir.IntType(32)


@instruction
def scramble(_context: Any, _counter: Any, _key: Any) -> Any:
    """Return 32 random bits for a counter and a key, both uint32: lowbias32 (Wellons 2018) of their sum."""

    def write(_: Any, b: ir.IRBuilder, __: Any, arguments: Any) -> Any:
        x = b.add(*arguments)
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            x = b.mul(b.xor(x, b.lshr(x, _I32(shift))), _I32(factor))
        return b.xor(x, b.lshr(x, _I32(16)))

    return types.uint32(types.uint32, types.uint32), write


@compiled
def fill(mask: Any, share: float, keys: Any, first: int, last: int) -> None:
    """Set elements `first` to `last` of a mask: 0 for a random share of them, 1 / (1 - share) for the rest.

    Args:
        mask: `(K,)` float32, or uint16 for bfloat16; K below 2^32.
        share: Of elements that are dropped.
        keys: `(2,)` uint32: a different mask for each.
        first: Element.
        last: The one after the last.
    """
    kept, dropped = np.float32(1 / (1 - share)), np.float32(0)
    limit = np.uint32(share * 4294967296.0)
    for index in range(first, last):
        bits = scramble(scramble(np.uint32(index), keys[0]), keys[1])
        mask[index] = store(kept if bits >= limit else dropped, mask)
