"""Functions of one number that compile to vector instructions: exp, sigmoid, tanh, and rounding to stored types."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import overload

from nextchar.kernels.amx import instruction
from nextchar.kernels.gemm import compiled

_I32 = ir.IntType(32)
UNIT = 4096
"""The int16 that stands for an activation of 1."""


# Emitted as LLVM IR because numba widens integers to 64 bits, and a SIMD register holds half as many of them.
@instruction(types.float32, types.float32)
def power_of_two(b: ir.IRBuilder, _: Any, exponent: Any) -> Any:
    """Return 2^k for an integral float32 k from -126 to 127."""
    biased = b.add(b.fptosi(exponent, _I32), _I32(127))
    return b.bitcast(b.shl(biased, _I32(23)), ir.FloatType())


@instruction(types.uint16, types.float32)
def bfloat16(b: ir.IRBuilder, _: Any, value: Any) -> Any:
    """Round a float32 to the nearest bfloat16, ties to even; return its bits as uint16."""
    bits = b.bitcast(value, _I32)
    odd = b.and_(b.lshr(bits, _I32(16)), _I32(1))
    rounded = b.add(b.add(bits, _I32(0x7FFF)), odd)
    return b.trunc(b.lshr(rounded, _I32(16)), ir.IntType(16))


@compiled
def exp(x: np.float32) -> np.float32:
    """Return e^x with a relative error of 1e-7; x is clamped to [-87, 88], so the result is finite and above 0.

    2^k times a polynomial of the rest. Source: the constants of Cephes' expf (Moshier 1992).
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
    return (p * r * r + r + f(1)) * power_of_two(k)


@compiled
def sigmoid(x: np.float32) -> np.float32:
    """Return 1 / (1 + e^-x)."""
    return np.float32(1) / (np.float32(1) + exp(-x))


@compiled
def tanh(x: np.float32) -> np.float32:
    """Return tanh x as 1 - 2 / (1 + e^2x)."""
    return np.float32(1) - np.float32(2) / (np.float32(1) + exp(x + x))


def store(value: Any, like: Any) -> Any:
    """Return a float32 as an element of the array `like`: float32, bfloat16 (uint16), or an int16 of `1 / UNIT`."""
    raise NotImplementedError


@overload(store, inline="always", strict=False)  # lambdas have no annotations
def _store(value: Any, like: Any) -> Any:  # noqa: ARG001 - numba needs the names of the lambdas' arguments
    if like.dtype == types.float32:
        return lambda value, like: value  # noqa: ARG005
    if like.dtype == types.int16:
        return lambda value, like: np.int16(np.floor(value * np.float32(UNIT) + np.float32(0.5)))  # noqa: ARG005
    return lambda value, like: bfloat16(value)  # noqa: ARG005
