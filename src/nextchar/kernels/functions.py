"""Functions of one number that become vector instructions: exp, sigmoid, tanh, and roundings for stored kinds."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from nextchar.kernels.microkernel import compiled

UNIT = 4096
"""What 1 is in an int16 activation."""


@intrinsic
def bits_to_float(_context: Any, _bits: Any) -> Any:
    """Read the bits of an int32 as a float32."""
    return types.float32(types.int32), lambda _, b, __, arguments: b.bitcast(arguments[0], ir.FloatType())


@intrinsic
def float_to_bits(_context: Any, _value: Any) -> Any:
    """Read the bits of a float32 as an int32."""
    return types.int32(types.float32), lambda _, b, __, arguments: b.bitcast(arguments[0], ir.IntType(32))


@compiled
def exp(x: np.float32) -> np.float32:
    """Return e^x to 1e-7 of itself, and the largest and smallest there are beyond +-87.

    2^k times a polynomial for the rest: the constants are Cephes' expf (Moshier 1992).
    """
    f = np.float32
    x = min(max(x, f(-87.0)), f(88.0))
    k = np.floor(x * f(1.44269504) + f(0.5))
    r = x - k * f(0.693359375) + k * f(2.12194440e-4)
    p = f(1.9875691500e-4) * r + f(1.3981999507e-3)
    p = p * r + f(8.3334519073e-3)
    p = p * r + f(4.1665795894e-2)
    p = p * r + f(1.6666665459e-1)
    p = p * r + f(5.0000001201e-1)
    return (p * r * r + r + f(1)) * bits_to_float((np.int32(k) + np.int32(127)) << np.int32(23))


@compiled
def sigmoid(x: np.float32) -> np.float32:
    """1 / (1 + e^-x)."""
    return np.float32(1) / (np.float32(1) + exp(-x))


@compiled
def tanh(x: np.float32) -> np.float32:
    """1 - 2 / (1 + e^2x)."""
    return np.float32(1) - np.float32(2) / (np.float32(1) + exp(x + x))


def store(value: Any, like: Any) -> Any:
    """Return a float32 as an element of `like` holds it: itself, a bfloat16 (uint16), or an int16 of `1 / UNIT`."""
    raise NotImplementedError


@overload(store, inline="always")
def _store(_value: Any, like: Any) -> Any:
    if like.dtype == types.float32:
        return lambda value, like: value
    if like.dtype == types.int16:
        return lambda value, like: np.int16(np.floor(value * np.float32(UNIT) + np.float32(0.5)))
    return lambda value, like: bfloat16(value)


@compiled
def bfloat16(value: np.float32) -> np.uint16:
    """Round to the nearest bfloat16, ties to even; return its 16 bits."""
    bits = float_to_bits(value)
    return np.uint16((bits + np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1))) >> np.int32(16))


@compiled
def from_bfloat16(bits: np.uint16) -> np.float32:
    """Return the number that 16 bits stand for."""
    return bits_to_float(np.int32(bits) << np.int32(16))
