"""The one product everything compiled stands on: 64 rows of a matrix times a few vectors, kept in registers.

`add_block` adds `W x` to `out` for one block of `ROWS` rows and any number of vectors; `set_blocks` sets many blocks for
one vector. Every sum is taken in the order of the columns, one after the other, whatever stands beside it, so a vector's
result does not depend on its company.
The loop is written in LLVM's own terms, because no compiler finds it by itself: vectors of 16 that stay in registers
from the first column to the last, which is what reaches the speed of the machine's memory with one vector and of its
multipliers with many (Goto & van de Geijn 2008; docs/benchmarks.md).

Four kinds, told apart by the types of the arrays, with their blocks of weights laid out as `pack_blocks` says:

    weights   vectors   products
    float32   float32   fused multiply and add
    uint16    float32   the same, with weights stored as the upper half of a float32 (bfloat16), two to be read at once
    uint16    uint16    pairs of bfloat16, added in float32: only where `cpu.HAS_BF16`
    int8      int16     pairs of whole numbers, exact, then times one scale a row
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils

from nextchar.kernels import cpu
from nextchar.kernels.amx import TILE_DEPTH, TILE_ROWS, in_tiles, instruction, one_tile, two_tiles
from nextchar.kernels.compile_cache import keep_on_disk

ROWS = 64
"""Rows of a block: four gates of 16 units."""
VECTOR_WIDTH = 16
"""Numbers of a vector; a machine with narrower registers takes two or four of them."""
MR = 4
"""Vectors that are multiplied with one reading of the weights."""
# Reordering sums is what lets them be vectorised; infinities and NaN keep their meaning.
FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}

# Accumulators of one vector at a time: with fewer and narrower registers, a quarter of the block after the other.
_STRIPE = ROWS // VECTOR_WIDTH if cpu.HAS_AVX512 else 1


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function, and keep the result on disk."""
    return keep_on_disk(njit(fastmath=FAST, nogil=True, boundscheck=False, error_model="numpy")(function))


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite does not name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def _vector(element: ir.Type, count: int = VECTOR_WIDTH) -> ir.VectorType:
    return ir.VectorType(element, count)


_F32, _I8, _I16, _I32, _I64 = ir.FloatType(), ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_FLOATS, _INTS, _SHORTS = _vector(_F32), _vector(_I32), _vector(_I16, 2 * VECTOR_WIDTH)
_BFLOATS = _vector(_BFloat(), 2 * VECTOR_WIDTH)


class _Emitter:
    """Writes the loop of one kind for a fixed number of vectors."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> None:
        self.b = builder
        made = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[:4], arguments[:4], strict=True)
        ]
        self.weights, self.x, self.out, self.scales = (array.data for array in made)
        self.begin: Any = None
        self.depth = builder.extract_value(made[0].shape, signature.args[0].ndim - 2)
        self.x_stride = builder.extract_value(made[1].strides, 0)
        self.out_stride = builder.extract_value(made[2].strides, 0)
        stored, activation = signature.args[0].dtype, signature.args[1].dtype
        self.pairs = stored != types.float32
        self.whole = stored == types.int8
        self.halves = stored == types.uint16 and activation == types.float32
        self.stored = {types.float32: _F32, types.uint16: _I16, types.int8: _I8}[stored]

    def row(self, base: Any, stride: Any, index: int) -> Any:
        """Return the address of a vector, which lie `stride` bytes apart."""
        address = self.b.add(self.b.ptrtoint(base, _I64), self.b.mul(stride, _I64(index)))
        return self.b.inttoptr(address, base.type)

    def load(self, address: Any, kind: ir.Type, align: int) -> Any:
        """Load a value that may lie anywhere."""
        loaded = self.b.load(self.b.bitcast(address, kind.as_pointer()))
        loaded.align = align
        return loaded

    def call(self, name: str, result: ir.Type, arguments: list[Any]) -> Any:
        """Call one of LLVM's own functions."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), arguments)  # type: ignore[no-untyped-call]

    def spread(self, value: Any) -> Any:
        """Return a vector of one value repeated."""
        empty = ir.Constant(_vector(value.type), ir.Undefined)
        return self.b.shuffle_vector(
            self.b.insert_element(empty, value, _I32(0)), empty, ir.Constant(_INTS, None)
        )

    def weight(self, address: Any) -> Any:
        """Load one vector of weights, ready to be multiplied; of halves the two that it holds."""
        count = 2 * VECTOR_WIDTH if self.pairs else VECTOR_WIDTH
        value = self.load(address, _vector(self.stored, count), self.stored.width // 8 if self.whole else 2)
        if self.whole:
            return self.b.sext(value, _SHORTS)
        if self.halves:
            # The upper half of 32 bits is a float32 with the lower half taken away: no shuffle is needed.
            both = self.b.bitcast(value, _INTS)
            sixteen, upper = (
                ir.Constant(_INTS, [_I32(number)] * VECTOR_WIDTH) for number in (16, -(1 << 16))
            )
            halves = (self.b.shl(both, sixteen), self.b.and_(both, upper))
            return [self.b.bitcast(half, _FLOATS) for half in halves]
        return self.b.bitcast(value, _BFLOATS) if self.pairs else value

    def activation(self, address: Any, column: Any) -> Any:
        """Load one number, or a pair of them, and repeat it."""
        if not self.pairs:
            return self.spread(self.load(self.b.gep(address, [column]), _F32, 4))
        first = self.b.mul(column, _I64(2))
        if self.halves:
            places = (first, self.b.add(first, _I64(1)))
            return [self.spread(self.load(self.b.gep(address, [place]), _F32, 4)) for place in places]
        pair = self.load(self.b.gep(address, [first]), _I32, 2)
        return self.b.bitcast(self.spread(pair), _SHORTS if self.whole else _BFLOATS)

    def multiply_add(self, total: Any, weight: Any, x: Any) -> Any:
        """Return total + weight * x."""
        if self.whole:
            return self.b.add(total, self.pair_products(weight, x))
        if self.halves:
            for one, number in zip(weight, x, strict=True):
                total = self.call("llvm.fma.v16f32", _FLOATS, [one, number, total])
            return total
        if self.pairs:
            return self.call("llvm.x86.avx512bf16.dpbf16ps.512", _FLOATS, [total, weight, x])
        return self.call("llvm.fma.v16f32", _FLOATS, [weight, x, total])

    def pair_products(self, weight: Any, x: Any) -> Any:
        """Return for each pair of whole numbers the sum of its two products."""
        if cpu.HAS_AVX512:
            return self.call("llvm.x86.avx512.pmaddw.d.512", _INTS, [weight, x])

        def some(places: range, value: Any) -> Any:
            chosen = ir.Constant(_vector(_I32, len(places)), [_I32(place) for place in places])
            return self.b.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), chosen)

        if cpu.HAS_AVX2:
            halves = [
                self.call("llvm.x86.avx2.pmadd.wd", _vector(_I32, 8), [some(half, weight), some(half, x)])
                for half in (range(16), range(16, 32))
            ]
            every = ir.Constant(_INTS, [_I32(place) for place in range(16)])
            return self.b.shuffle_vector(*halves, every)
        products = [
            self.b.mul(self.b.sext(some(places, weight), _INTS), self.b.sext(some(places, x), _INTS))
            for places in (range(0, 32, 2), range(1, 32, 2))
        ]
        return self.b.add(*products)

    def blocks(self, begin: Any, first: Any, last: Any) -> None:
        """Write the loop over blocks, one after the other in memory, times the first vector of x."""
        b = self.b
        weights, out, scales = self.weights, self.out, self.scales
        size = b.mul(self.depth, _I64((2 if self.pairs else 1) * ROWS))
        before, loop, done = b.block, b.append_basic_block("blocks"), b.append_basic_block("all")
        b.cbranch(b.icmp_signed("<", first, last), loop, done)
        b.position_at_end(loop)
        block = b.phi(_I64)
        block.add_incoming(first, before)
        rows = b.mul(block, _I64(ROWS))
        self.weights = b.gep(weights, [b.mul(block, size)])
        self.begin, self.out, self.scales = (b.gep(base, [rows]) for base in (begin, out, scales))
        self.stripe(0, ROWS // VECTOR_WIDTH, 1)
        following = b.add(block, _I64(1))
        block.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, last), loop, done)
        b.position_at_end(done)

    def stripe(self, first: int, count: int, together: int) -> None:
        """Write the loop over all columns for `count` vectors of rows from `first` on, and `together` of x."""
        b = self.b
        outs = [
            [
                b.gep(self.row(self.out, self.out_stride, lane), [_I64(VECTOR_WIDTH * (first + v))])
                for v in range(count)
            ]
            for lane in range(together)
        ]
        xs = [self.row(self.x, self.x_stride, lane) for lane in range(together)]
        nothing = ir.Constant(_INTS, None)
        starts = outs
        if self.begin is not None:
            starts = [[b.gep(self.begin, [_I64(VECTOR_WIDTH * (first + v))]) for v in range(count)]]
        begin = [[nothing if self.whole else self.load(at, _FLOATS, 4) for at in row] for row in starts]
        before, loop, done = b.block, b.append_basic_block("columns"), b.append_basic_block("done")
        b.branch(loop)
        b.position_at_end(loop)
        column = b.phi(_I64)
        column.add_incoming(_I64(0), before)
        totals = [[b.phi(value.type) for value in values] for values in begin]
        span = (2 if self.pairs else 1) * VECTOR_WIDTH
        at = b.mul(column, _I64(span * (ROWS // VECTOR_WIDTH)))
        weights = [
            self.weight(b.gep(self.weights, [b.add(at, _I64(span * (first + v)))])) for v in range(count)
        ]
        sums = []
        for x, row in zip(xs, totals, strict=True):
            activation = self.activation(x, column)
            sums.append([self.multiply_add(total, weights[v], activation) for v, total in enumerate(row)])
        following = b.add(column, _I64(1))
        column.add_incoming(following, loop)
        for lane in range(together):
            for v in range(count):
                totals[lane][v].add_incoming(begin[lane][v], before)
                totals[lane][v].add_incoming(sums[lane][v], loop)
        b.cbranch(b.icmp_signed("<", following, self.depth), loop, done)
        b.position_at_end(done)
        for lane in range(together):
            for v in range(count):
                self.finish(sums[lane][v], starts[lane][v], outs[lane][v], first + v)

    def finish(self, total: Any, start: Any, out: Any, v: int) -> None:
        """Put a sum where it belongs; whole numbers are scaled first."""
        if self.whole:
            scale = self.load(self.b.gep(self.scales, [_I64(VECTOR_WIDTH * v)]), _FLOATS, 4)
            scaled = self.b.fmul(self.b.sitofp(total, _FLOATS), scale)
            total = self.b.fadd(self.load(start, _FLOATS, 4), scaled)
        stored = self.b.store(total, self.b.bitcast(out, _FLOATS.as_pointer()))
        stored.align = 4


def _kernel(together: int, stripe: int) -> Any:
    """Return the product of a block and exactly `together` vectors."""

    @instruction
    def product(_context: Any, weights: Any, x: Any, out: Any, scales: Any) -> Any:
        def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            emitter = _Emitter(context, builder, signature, arguments)
            for first in range(0, ROWS // VECTOR_WIDTH, stripe):
                emitter.stripe(first, stripe, together)
            return context.get_dummy_value()

        return types.void(weights, x, out, scales), write

    return product


_four = _kernel(MR, _STRIPE)
_two = _kernel(2, _STRIPE)
_one = _kernel(1, ROWS // VECTOR_WIDTH)


@instruction
def set_blocks(
    _context: Any, weights: Any, x: Any, out: Any, scales: Any, begin: Any, _first: Any, _last: Any
) -> Any:
    """Set blocks `first` to `last` of out to begin + weights times one vector, in one loop.

    A call and a view for every block would take a tenth of the time that the blocks take.

    Args:
        weights: `(B, C, 64)` float32, or `(B, C / 2, 128)` of the other kinds.
        x: `(1, C)`.
        out: `(1, 64 B)` float32.
        scales: `(B, 64)` float32, of the rows; read for int8 alone.
        begin: `(B, 64)` float32.
    """

    def write(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        begin = context.make_array(signature.args[4])(context, builder, arguments[4]).data
        _Emitter(context, builder, signature, arguments).blocks(begin, *arguments[5:])
        return context.get_dummy_value()

    return types.void(weights, x, out, scales, begin, types.int64, types.int64), write


@compiled
def add_block(weights: Any, x: Any, out: Any, scales: Any) -> None:
    """Add a block of 64 rows times each of n vectors to out.

    Args:
        weights: `(C, 64)` float32, or `(C / 2, 128)` of the other kinds, in pairs, as `pack_blocks` lays them out.
        x: `(n, C)`, rows contiguous.
        out: `(n, 64)` float32, rows contiguous.
        scales: `(64,)` float32, of the rows; read for int8 alone.
    """
    lane = 0
    if in_tiles(weights, x) and len(weights) % TILE_DEPTH == 0:
        while lane < len(x):
            after = min(lane + 2 * TILE_ROWS, len(x))
            if after - lane > TILE_ROWS:
                two_tiles(weights, x[lane:after], out[lane:after])
            else:
                one_tile(weights, x[lane:after], out[lane:after])
            lane = after
    while lane + MR <= len(x):
        _four(weights, x[lane : lane + MR], out[lane : lane + MR], scales)
        lane += MR
    if lane + 2 <= len(x):
        _two(weights, x[lane : lane + 2], out[lane : lane + 2], scales)
        lane += 2
    if lane < len(x):
        _one(weights, x[lane : lane + 1], out[lane : lane + 1], scales)


def pack_blocks(rows: np.ndarray[Any, Any], *, pairs: bool) -> np.ndarray[Any, Any]:
    """Lay rows `(B * 64, C)` out as `add_block` reads them: `(B, C, 64)`, or `(B, C / 2, 128)` in pairs.

    A pair is two columns of one row side by side.
    """
    blocks, columns = len(rows) // ROWS, rows.shape[1]
    if pairs:
        split = rows.reshape(blocks, ROWS, columns // 2, 2).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(split).reshape(blocks, columns // 2, 2 * ROWS)
    return np.ascontiguousarray(rows.reshape(blocks, ROWS, columns).transpose(0, 2, 1))
