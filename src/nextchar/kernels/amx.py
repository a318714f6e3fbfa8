"""The product of pairs of bfloat16 in the matrix tiles (AMX) of newer Xeons, several times faster than in their vectors.

A tile register holds 16 rows of 64 bytes. One instruction multiplies 16 vectors of 32 elements with 32 columns of 16 rows
of weights, as `gemm.pack_blocks` stores them, and adds the products to 16 sums for each vector. The sums of a vector do
not depend on the others in its tile. Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1,
chapter 18, "Programming with Intel AMX".
"""

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nextchar.kernels import cpu

TILE_ROWS = 16
"""Vectors x that a tile holds at most."""
TILE_DEPTH = 16
"""Pairs of columns that one instruction multiplies."""
_ROW_BYTES = 64
_BLOCK_TILES = 4  # tiles of 16 rows of weights in a block of 64
_SUMS, _X, _WEIGHTS = 0, 4, 6  # the first tile register for each

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_POINTER = _I8.as_pointer()


def instruction(result: Any, *parameters: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make a function that emits LLVM IR callable from compiled code.

    The function is called with the builder, numba's types of the arguments, and the arguments: arrays with their `data`,
    `shape` and `strides`, other values as they are.

    Args:
        result: Numba's type of the result; of `types.void` the function returns nothing.
        *parameters: Numba's types of the parameters; None for arrays of any type.
    """

    def decorate(emit: Callable[..., Any]) -> Any:
        def lower(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            values = [
                context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
                for kind, value in zip(signature.args, arguments, strict=True)
            ]
            emitted = emit(builder, signature.args, *values)
            return context.get_dummy_value() if result is types.void else emitted

        def typed(_context: Any, *given: Any) -> Any:
            return result(*(kind or found for kind, found in zip(parameters, given, strict=True))), lower

        names = ["context", *(f"argument{index}" for index in range(len(parameters)))]
        positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
        typed.__signature__ = inspect.Signature([inspect.Parameter(name, positional) for name in names])  # type: ignore[attr-defined]
        return intrinsic(typed)

    return decorate


def call(builder: ir.IRBuilder, name: str, result: ir.Type, *arguments: Any) -> Any:
    """Emit the call of an LLVM intrinsic or of a C function, by its full name."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(builder.module.declare_intrinsic(name, (), kind), arguments)


class _Product:
    """Emits the product of a block of 64 rows and one or two tiles of vectors x."""

    def __init__(self, builder: ir.IRBuilder, *arrays: Any) -> None:
        self.b = builder
        self.weights, self.x, self.out = ((array.data, builder.extract_value(array.strides, 0)) for array in arrays)
        self.steps, self.vectors = (builder.extract_value(array.shape, 0) for array in arrays[:2])

    def call(self, name: str, *arguments: Any) -> None:
        """Emit one x86 instruction."""
        call(self.b, f"llvm.x86.{name}", ir.VoidType(), *arguments)

    def move(self, name: str, register: int, array: tuple[Any, Any], row: Any, byte: Any) -> None:
        """Load or store a tile register at a row, and a byte in it, of an array: its address and its stride in bytes."""
        base, stride = array
        offset = self.b.add(self.b.mul(row, stride), byte)
        address = cgutils.pointer_add(self.b, base, offset, _POINTER)  # type: ignore[no-untyped-call]
        self.call(name, _I8(register), address, stride)

    def configure(self, tiles: int) -> None:
        """Set how many rows each tile register has: those of x and of sums as many as there are vectors."""
        count = self.b.trunc(self.vectors, _I8)
        full = _I8(TILE_ROWS)
        rows = {_WEIGHTS: full, _WEIGHTS + 1: full}
        for tile in range(tiles):
            height = count if tiles == 1 else full if tile == 0 else self.b.sub(count, full)
            rows |= {_X + tile: height, _SUMS + 2 * tile: height, _SUMS + 2 * tile + 1: height}
        settings = cgutils.alloca_once_value(self.b, ir.Constant(ir.ArrayType(_I8, 64), bytearray(64)))  # type: ignore[no-untyped-call]
        entries = {0: _I8(1)}  # the only palette there is
        for register, height in rows.items():
            entries |= {16 + 2 * register: _I8(_ROW_BYTES), 48 + register: height}
        for place, value in entries.items():
            self.b.store(value, self.b.gep(settings, [_I32(0), _I32(place)]))
        self.call("ldtilecfg", self.b.bitcast(settings, _POINTER))

    def emit(self, tiles: int) -> None:
        """Emit the whole product, two tiles of rows of weights at a time."""
        self.configure(tiles)
        for first in range(0, _BLOCK_TILES, 2):
            self.emit_half(tiles, first)
        self.call("tilerelease")

    def emit_half(self, tiles: int, first: int) -> None:
        """Emit the k loop for two tiles of rows of weights, beginning with `first`."""
        places = [(tile, half) for tile in range(tiles) for half in range(2)]
        sums = {
            _SUMS + 2 * tile + half: (self.out, _I64(TILE_ROWS * tile), _I64(_ROW_BYTES * (first + half)))
            for tile, half in places
        }
        for register, place in sums.items():
            self.move("tileloadd64", register, *place)
        loop = cgutils.for_range_slice(self.b, _I64(0), self.steps, _I64(TILE_DEPTH))
        with loop as (step, _):
            for tile in range(tiles):
                self.move("tileloadd64", _X + tile, self.x, _I64(TILE_ROWS * tile), self.b.mul(step, _I64(4)))
            for half in range(2):
                self.move("tileloadd64", _WEIGHTS + half, self.weights, step, _I64(_ROW_BYTES * (first + half)))
            for tile, half in places:
                self.call("tdpbf16ps", *map(_I8, (_SUMS + 2 * tile + half, _X + tile, _WEIGHTS + half)))
        for register, place in sums.items():
            self.move("tilestored64", register, *place)


def _product(tiles: int) -> Any:
    @instruction(types.void, None, None, None)
    def product(builder: ir.IRBuilder, kinds: Any, *arrays: Any) -> None:
        if _fits(kinds):
            _Product(builder, *arrays).emit(tiles)

    return product


def _fits(kinds: Any) -> bool:
    return cpu.HAS_AMX and all(kind.dtype == types.uint16 for kind in kinds[:2])


@instruction(types.boolean, None, None)
def in_tiles(_builder: ir.IRBuilder, kinds: Any, *_arrays: Any) -> Any:
    """Return whether arrays of these types are multiplied in tiles, if their columns fill them."""
    return ir.IntType(1)(_fits(kinds))


one_tile = _product(1)
"""Add the product of weights `(C / 2, 128)` and at most 16 vectors `(n, C)` to `(n, 64)`."""
two_tiles = _product(2)
"""The same for 17 to 32 vectors."""
