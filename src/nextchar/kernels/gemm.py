"""The matrix product of all kernels: a block of 64 rows of a matrix times a few vectors.

`add_block` adds `W x` to `out` for one block of `ROWS` rows and any number of vectors x. `set_blocks` sets many blocks for
one vector. A block is a packed panel: its 64 rows are stored column by column (`pack_blocks`), so that the k loop, which
runs over the columns, reads memory in order. Each micro-kernel keeps the sums of its register tile (64 rows for 1, 2 or 4
vectors, or a quarter of the rows where there are few registers) in registers from the first column to the last
(Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication"; docs/benchmarks.md).

The products of a row are always summed in the order of the columns, so the result for a vector does not depend on how
many vectors are multiplied with it. The micro-kernels are emitted as LLVM IR, because compilers do not find this
register allocation in a loop written in Python.

There are four kinds, distinguished by the types of the arrays:

    weights   vectors   product
    float32   float32   fused multiply-add
    uint16    float32   the same; the weights are bfloat16, the upper half of a float32, and are widened when loaded
    uint16    uint16    pairs of bfloat16 summed in float32, only where `cpu.HAS_BF16`
    int8      int16     pairs of integers summed exactly in int32, then multiplied by one scale for each row
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils

from nextchar.kernels import cpu
from nextchar.kernels.amx import TILE_DEPTH, TILE_ROWS, call, in_tiles, instruction, one_tile, two_tiles
from nextchar.kernels.compile_cache import keep_on_disk

ROWS = 64
"""Rows of a block: the four gates of 16 units."""
VECTOR_WIDTH = 16
"""Elements of a SIMD vector; a processor with narrower registers uses two or four of them."""
MR = 4
"""Vectors x that the largest micro-kernel multiplies for each load of the weights."""
# Sums may be reordered, or loops over them would not be vectorised; infinities and NaN keep their meaning.
FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}

_VECTORS = ROWS // VECTOR_WIDTH
# SIMD vectors of rows in a register tile of several x: all with the 32 wide registers of AVX-512, otherwise one.
_TILE_VECTORS = _VECTORS if cpu.HAS_AVX512 else 1


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called with new types of arguments, and keep the machine code on disk."""
    return keep_on_disk(njit(fastmath=FAST, nogil=True, boundscheck=False, error_model="numpy")(function))


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's type `bfloat`, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"


_F32, _I8, _I16, _I32, _I64 = ir.FloatType(), ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_FLOATS, _INTS = ir.VectorType(_F32, VECTOR_WIDTH), ir.VectorType(_I32, VECTOR_WIDTH)
_SHORT_PAIRS, _BFLOAT_PAIRS = (ir.VectorType(kind, 2 * VECTOR_WIDTH) for kind in (_I16, _BFloat()))


class _MicroKernel:
    """Emits the IR of a product for the kind that the types of the arguments say."""

    def __init__(self, builder: ir.IRBuilder, kinds: Any, arrays: Sequence[Any]) -> None:
        self.b = builder
        self.weights, self.x, self.out, self.scales = (array.data for array in arrays)
        self.initial: Any = None  # what the sums begin with, where it is not in `out`
        self.steps = builder.extract_value(arrays[0].shape, kinds[0].ndim - 2)
        self.x_stride, self.out_stride = (builder.extract_value(array.strides, 0) for array in arrays[1:3])
        self.stored = {types.float32: _F32, types.uint16: _I16, types.int8: _I8}[kinds[0].dtype]
        self.columns = 1 if self.stored == _F32 else 2  # side by side in the block: one step of the k loop
        self.int8 = self.stored == _I8
        self.floats = kinds[1].dtype == types.float32  # bfloat16 weights are then widened

    def load(self, address: Any, kind: ir.Type, align: int) -> Any:
        """Load a value of a type from an address that is aligned to so many bytes."""
        return self.b.load(self.b.bitcast(address, kind.as_pointer()), align=align)

    def broadcast(self, value: Any) -> Any:
        """Return a vector that repeats one value."""
        empty = ir.Constant(ir.VectorType(value.type, VECTOR_WIDTH), ir.Undefined)
        first = self.b.insert_element(empty, value, _I32(0))
        return self.b.shuffle_vector(first, empty, ir.Constant(_INTS, None))

    def load_weights(self, step: Any, vector: int) -> list[Any]:
        """Load one SIMD vector of rows for a step of the k loop, as operands of `multiply_add`."""
        width = self.columns * VECTOR_WIDTH
        place = self.b.add(self.b.mul(step, _I64(width * _VECTORS)), _I64(width * vector))
        kind = ir.VectorType(self.stored, width)
        value = self.load(self.b.gep(self.weights, [place]), kind, 1 if self.int8 else 2)
        if self.int8:
            return [self.b.sext(value, _SHORT_PAIRS)]
        if not self.floats:
            return [self.b.bitcast(value, _BFLOAT_PAIRS)]
        if self.columns == 1:
            return [value]
        # A bfloat16 with zeros below it is a float32: of a pair, the first is shifted up, the second is masked.
        pairs = self.b.bitcast(value, _INTS)
        shift, mask = (ir.Constant(_INTS, [_I32(number)] * VECTOR_WIDTH) for number in (16, -(1 << 16)))
        return [self.b.bitcast(half, _FLOATS) for half in (self.b.shl(pairs, shift), self.b.and_(pairs, mask))]

    def load_x(self, address: Any, step: Any) -> list[Any]:
        """Load the elements of an x for a step of the k loop, each operand repeated in a SIMD vector."""
        first = self.b.mul(step, _I64(self.columns))
        if self.floats:
            places = [self.b.add(first, _I64(column)) for column in range(self.columns)]
            return [self.broadcast(self.load(self.b.gep(address, [place]), _F32, 4)) for place in places]
        pair = self.broadcast(self.load(self.b.gep(address, [first]), _I32, 2))
        return [self.b.bitcast(pair, _SHORT_PAIRS if self.int8 else _BFLOAT_PAIRS)]

    def multiply_add(self, total: Any, weight: Any, x: Any) -> Any:
        """Return `total + weight * x`; of pairs, both products are added."""
        if self.int8:
            return self.b.add(total, self.pair_products(weight, x))
        # `fmuladd` is one instruction where the processor has it, otherwise a product and a sum.
        name = "llvm.fmuladd.v16f32" if self.floats else "llvm.x86.avx512bf16.dpbf16ps.512"
        return call(self.b, name, _FLOATS, *((weight, x, total) if self.floats else (total, weight, x)))

    def select(self, vector: Any, lanes: range) -> Any:
        """Return some lanes of a SIMD vector."""
        chosen = ir.Constant(ir.VectorType(_I32, len(lanes)), list(map(_I32, lanes)))
        return self.b.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), chosen)

    def pair_products(self, weight: Any, x: Any) -> Any:
        """Return the sum of the two products of each pair of int16."""
        if cpu.HAS_AVX512:
            return call(self.b, "llvm.x86.avx512.pmaddw.d.512", _INTS, weight, x)
        if cpu.HAS_AVX2:
            name, kind = "llvm.x86.avx2.pmadd.wd", ir.VectorType(_I32, VECTOR_WIDTH // 2)
            halves = [
                call(self.b, name, kind, self.select(weight, half), self.select(x, half))
                for half in (range(VECTOR_WIDTH), range(VECTOR_WIDTH, 2 * VECTOR_WIDTH))
            ]
            return self.b.shuffle_vector(*halves, ir.Constant(_INTS, list(map(_I32, range(VECTOR_WIDTH)))))
        products = []
        for parity in range(2):
            lanes = range(parity, 2 * VECTOR_WIDTH, 2)
            products.append(self.b.mul(*(self.b.sext(self.select(v, lanes), _INTS) for v in (weight, x))))
        return self.b.add(*products)

    def emit_blocks(self, initial: Any, first: Any, last: Any) -> None:
        """Emit the loop over blocks, which follow each other in memory, for a single x."""
        weights, out, scales = self.weights, self.out, self.scales
        size = self.b.mul(self.steps, _I64(self.columns * ROWS))
        with cgutils.for_range(self.b, last, start=first) as loop:
            row = self.b.mul(loop.index, _I64(ROWS))
            self.weights = self.b.gep(weights, [self.b.mul(loop.index, size)])
            self.initial, self.out, self.scales = (self.b.gep(base, [row]) for base in (initial, out, scales))
            self.emit_register_tile(range(_VECTORS), 1)

    def emit_register_tile(self, vectors: range, count: int) -> None:
        """Emit the k loop for some SIMD vectors of rows times `count` vectors x."""
        tile = [(index, vector) for index in range(count) for vector in vectors]
        outs = {place: self.address(self.out, self.out_stride, place) for place in tile}
        initial = outs
        if self.initial is not None:
            initial = {place: self.address(self.initial, _I64(0), place) for place in tile}
        xs = [cgutils.pointer_add(self.b, self.x, self.b.mul(self.x_stride, _I64(i))) for i in range(count)]  # type: ignore[no-untyped-call]
        # Optimisation turns these variables into registers.
        sums = {}
        for place in tile:
            value = ir.Constant(_INTS, None) if self.int8 else self.load(initial[place], _FLOATS, 4)
            sums[place] = cgutils.alloca_once_value(self.b, value)  # type: ignore[no-untyped-call]
        with cgutils.for_range(self.b, self.steps) as loop:
            weights = {vector: self.load_weights(loop.index, vector) for vector in vectors}
            elements = [self.load_x(x, loop.index) for x in xs]
            for index, vector in tile:
                total = self.b.load(sums[index, vector])
                for weight, x in zip(weights[vector], elements[index], strict=True):
                    total = self.multiply_add(total, weight, x)
                self.b.store(total, sums[index, vector])
        for place in tile:
            total = self.b.load(sums[place])
            if self.int8:
                total = self.scaled(total, initial[place], place[1])
            self.b.store(total, self.b.bitcast(outs[place], _FLOATS.as_pointer()), align=4)

    def address(self, base: Any, stride: Any, place: tuple[int, int]) -> Any:
        """Return the address of the sums of an x, whose rows are `stride` bytes apart, and a SIMD vector."""
        index, vector = place
        row = cgutils.pointer_add(self.b, base, self.b.mul(stride, _I64(index)))  # type: ignore[no-untyped-call]
        return self.b.gep(row, [_I64(VECTOR_WIDTH * vector)])

    def scaled(self, total: Any, initial: Any, vector: int) -> Any:
        """Return integer sums times the scales of their rows, added to what they begin with."""
        scale = self.load(self.b.gep(self.scales, [_I64(VECTOR_WIDTH * vector)]), _FLOATS, 4)
        product = self.b.fmul(self.b.sitofp(total, _FLOATS), scale)
        return self.b.fadd(self.load(initial, _FLOATS, 4), product)


def _micro_kernel(count: int, tile_vectors: int) -> Any:
    """Return the product of a block and exactly `count` vectors x, in register tiles of so many SIMD vectors of rows."""

    @instruction(types.void, None, None, None, None)
    def product(builder: ir.IRBuilder, kinds: Any, *arrays: Any) -> None:
        kernel = _MicroKernel(builder, kinds, arrays)
        for first in range(0, _VECTORS, tile_vectors):
            kernel.emit_register_tile(range(first, first + tile_vectors), count)

    return product


_four = _micro_kernel(MR, _TILE_VECTORS)
_two = _micro_kernel(2, _TILE_VECTORS)
_one = _micro_kernel(1, _VECTORS)


@instruction(types.void, None, None, None, None, None, types.int64, types.int64)
def set_blocks(builder: ir.IRBuilder, kinds: Any, *arguments: Any) -> None:
    """Set blocks `first` to `last` (exclusive) of out to `initial + weights x` for one x, in one loop.

    A call and array views for each block would take a tenth of the time of the product. Compiled code calls it with:

        weights: `(B, C, 64)` float32, or `(B, C / 2, 128)` of the other kinds.
        x: `(1, C)`.
        out: `(1, 64 B)` float32.
        scales: `(B, 64)` float32, one for each row; read for int8 only.
        initial: `(B, 64)` float32.
        first: The first block.
        last: The last block, exclusive.
    """
    *arrays, initial, first, last = arguments
    _MicroKernel(builder, kinds, arrays).emit_blocks(initial.data, first, last)


@compiled
def add_block(weights: Any, x: Any, out: Any, scales: Any) -> None:
    """Add a block of 64 rows times each of n vectors to out.

    Args:
        weights: `(C, 64)` float32, or `(C / 2, 128)` of the other kinds, as `pack_blocks` returns a block.
        x: `(n, C)`, rows contiguous.
        out: `(n, 64)` float32, rows contiguous.
        scales: `(64,)` float32, one for each row; read for int8 only.
    """
    if in_tiles(weights, x) and len(weights) % TILE_DEPTH == 0:
        for first in range(0, len(x), 2 * TILE_ROWS):
            last = first + 2 * TILE_ROWS
            if len(x) - first > TILE_ROWS:
                two_tiles(weights, x[first:last], out[first:last])
            else:
                one_tile(weights, x[first:last], out[first:last])
        return
    i = 0
    while i + MR <= len(x):
        _four(weights, x[i : i + MR], out[i : i + MR], scales)
        i += MR
    if i + 2 <= len(x):
        _two(weights, x[i : i + 2], out[i : i + 2], scales)
        i += 2
    if i < len(x):
        _one(weights, x[i : i + 1], out[i : i + 1], scales)


def pack_blocks(rows: np.ndarray[Any, Any], *, pairs: bool) -> np.ndarray[Any, Any]:
    """Pack rows `(B * 64, C)` as `add_block` reads them.

    Args:
        rows: The matrix.
        pairs: Whether two columns are stored side by side for each row, as all kinds but float32 are.

    Returns:
        `(B, C, 64)`, or `(B, C / 2, 128)` in pairs.
    """
    blocks, columns = len(rows) // ROWS, rows.shape[1]
    width = 2 if pairs else 1
    split = rows.reshape(blocks, ROWS, columns // width, width).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(split).reshape(blocks, columns // width, width * ROWS)
