"""The product of pairs of bfloat16 on the matrix tiles (AMX) that newer Xeons have: several times what their vectors do.

A tile holds 16 rows of 64 bytes. One instruction multiplies 16 vectors of 32 numbers with 32 columns of 16 rows of
weights, as `gemm.pack_blocks` has them, and adds that to 16 sums for each vector. Which vectors share a tile has no say
in a sum. Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18, "Programming with
Intel AMX".
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nextchar.kernels import cpu

TILE_ROWS = 16
"""Vectors that a tile holds at most."""
TILE_DEPTH = 16
"""Columns, in pairs, that one instruction multiplies."""
_BYTES = 64  # of a row of a tile
_BLOCK = 4  # tiles of sums that a block of rows fills
_SUMS, _VECTORS, _WEIGHTS = 0, 4, 6  # the first register for each

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_ADDRESS = ir.PointerType()


def instruction(function: Callable[..., Any]) -> Any:
    """Make what is written in LLVM's terms callable from compiled code."""
    return intrinsic(function)


class _Tiles:
    """Writes the product of a block of rows and one or two tiles of vectors."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> None:
        self.b = builder
        made = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        self.weights, self.x, self.out = (array.data for array in made)
        self.depth = builder.extract_value(made[0].shape, 0)
        self.vectors = builder.extract_value(made[1].shape, 0)
        self.weights_stride, self.x_stride, self.out_stride = (
            builder.extract_value(array.strides, 0) for array in made
        )

    def at(self, base: Any, *parts: Any) -> Any:
        """Return the address so many bytes after another."""
        address = self.b.ptrtoint(base, _I64)
        for part in parts:
            address = self.b.add(address, part)
        return self.b.inttoptr(address, _ADDRESS)

    def call(self, name: str, *arguments: Any) -> None:
        """Write one instruction."""
        kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        name = f"llvm.x86.{name}"
        self.b.call(self.b.module.globals.get(name) or ir.Function(self.b.module, kind, name), arguments)

    def configure(self, heights: list[Any]) -> None:
        """Say how many rows each register has: of vectors and sums as given, of weights all."""
        with self.b.goto_entry_block():
            settings = self.b.alloca(ir.ArrayType(_I8, 64))
        self.b.store(ir.Constant(ir.ArrayType(_I8, 64), bytearray(64)), settings)
        full = _I8(TILE_ROWS)
        rows = {_WEIGHTS: full, _WEIGHTS + 1: full}
        for tile, height in enumerate(heights):
            rows |= {_VECTORS + tile: height, _SUMS + 2 * tile: height, _SUMS + 2 * tile + 1: height}
        entries = {0: _I8(1)}  # the only palette there is
        for register, height in rows.items():
            entries |= {16 + 2 * register: _I8(_BYTES), 48 + register: height}
        for place, value in entries.items():
            self.b.store(value, self.b.gep(settings, [_I32(0), _I32(place)]))
        self.call("ldtilecfg", self.b.bitcast(settings, _ADDRESS))

    def product(self, tiles: int) -> None:
        """Write all of it."""
        height = self.b.trunc(self.vectors, _I8)
        self.configure([height] if tiles == 1 else [_I8(TILE_ROWS), self.b.sub(height, _I8(TILE_ROWS))])
        for first in range(0, _BLOCK, 2):
            self.half(tiles, first)
        self.call("tilerelease")

    def half(self, tiles: int, first: int) -> None:
        """Write the loop over the columns for two tiles of rows."""
        b = self.b
        places = [(tile, v) for tile in range(tiles) for v in range(2)]
        down = [b.mul(_I64(TILE_ROWS * tile), self.out_stride) for tile in range(tiles)]
        sums = {
            (tile, v): (_I8(_SUMS + 2 * tile + v), self.at(self.out, down[tile], _I64(_BYTES * (first + v))))
            for tile, v in places
        }
        for register, address in sums.values():
            self.call("tileloadd64", register, address, self.out_stride)
        before, loop, done = b.block, b.append_basic_block("columns"), b.append_basic_block("done")
        b.branch(loop)
        b.position_at_end(loop)
        pair = b.phi(_I64)
        pair.add_incoming(_I64(0), before)
        along = b.mul(pair, _I64(4))
        for tile in range(tiles):
            rows = b.mul(_I64(TILE_ROWS * tile), self.x_stride)
            self.call("tileloadd64", _I8(_VECTORS + tile), self.at(self.x, along, rows), self.x_stride)
        below = b.mul(pair, self.weights_stride)
        for v in range(2):
            address = self.at(self.weights, below, _I64(_BYTES * (first + v)))
            self.call("tileloadd64", _I8(_WEIGHTS + v), address, self.weights_stride)
        for tile, v in places:
            self.call("tdpbf16ps", sums[tile, v][0], _I8(_VECTORS + tile), _I8(_WEIGHTS + v))
        following = b.add(pair, _I64(TILE_DEPTH))
        pair.add_incoming(following, loop)
        b.cbranch(b.icmp_signed("<", following, self.depth), loop, done)
        b.position_at_end(done)
        for register, address in sums.values():
            self.call("tilestored64", register, address, self.out_stride)


def _product(tiles: int) -> Any:
    @instruction
    def product(_context: Any, weights: Any, x: Any, out: Any) -> Any:
        def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            if _fits(signature.args):
                _Tiles(context, builder, signature, arguments).product(tiles)
            return context.get_dummy_value()

        return types.void(weights, x, out), write

    return product


def _fits(kinds: Any) -> bool:
    return cpu.HAS_AMX and all(kind.dtype == types.uint16 for kind in kinds[:2])


@instruction
def in_tiles(_context: Any, weights: Any, x: Any) -> Any:
    """Tell whether the product of these kinds is made in tiles, where the columns fill them."""

    def write(context: Any, _builder: ir.IRBuilder, signature: Any, _arguments: Any) -> Any:
        return context.get_constant(types.boolean, _fits(signature.args))

    return types.boolean(weights, x), write


one_tile = _product(1)
"""Add the product of weights `(C / 2, 128)` and at most 16 vectors `(n, C)` to `(n, 64)`."""
two_tiles = _product(2)
"""The same for 17 to 32 vectors."""
