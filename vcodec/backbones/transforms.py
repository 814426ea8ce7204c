"""What coding the differences of a 16×16 block costs, as differences.py has it of 8×8: by vectors of 512 bits.

All of a block is in eight of them, from its bytes on: two halves of 8×16 samples at once, none of them waiting.  The
bits are the same, to the last digit of the sum: the same coefficients are multiplied in the same order.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vcodec.backbones.differences import DOUBLED, OCTAVE, SENT, coding_cost, loaded, nearest, rows_of, sizes_of
from vcodec.backbones.instructions import constant, order
from vcodec.scale import LAMBDA

__all__ = ["coded_16", "coded_16_plainly"]

_BYTE, _SHORT, _INT, _LONG = (ir.IntType(n) for n in (8, 16, 32, 64))
_DOUBLE = ir.DoubleType()
_BYTES, _SHORTS, _INTS, _LONGS = (ir.VectorType(kind, 512 // kind.width) for kind in (_BYTE, _SHORT, _INT, _LONG))
_FLOATS, _PAIR = ir.VectorType(ir.FloatType(), 16), ir.VectorType(_DOUBLE, 2)
_PARTS = range(4)  # of 128 bits; instructions that mix two vectors stay in them


def _called(builder: Any, name: str, out: Any, a: Any, b: Any) -> Any:
    kind = ir.FunctionType(out, [a.type, b.type])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b])


def _products(builder: Any, a: Any, b: Any) -> Any:
    """a[2i] · b[2i] + a[2i + 1] · b[2i + 1], 32 bits."""
    return _called(builder, "llvm.x86.avx512.pmaddw.d.512", _INTS, a, b)


def _everywhere(builder: Any, value: Any, kind: Any) -> Any:
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, first, order([0] * kind.count))


def _mixed(first: int, size: int) -> Any:
    """Order that takes half of each part of two vectors, from ``first`` on, by turns so many shorts of each."""
    turns = range(first, first + 4, size)
    return order([8 * part + i + j + other for part in _PARTS for i in turns for other in (0, 32) for j in range(size)])


def _pairs(context: Any, builder: Any, array_type: Any, array: Any, at: Any, pitch: Any) -> list[Any]:
    """Sums of two samples beside each other in a 16×16 block of bytes, and their differences: four vectors of each.

    Vector 2a + b has rows 4a + 2b and the next, of each half of 8 rows: [half, left or right, row, 4 pairs].
    """
    rows, quarters = [], []
    for _ in range(16):
        rows.append(loaded(context, builder, array_type, array, at, ir.VectorType(_BYTE, 16)))
        at = builder.add(at, pitch)
    for row in range(0, 8, 2):
        halves = [
            builder.shuffle_vector(rows[first], rows[first + 1], order(list(range(32)))) for first in (row, row + 8)
        ]
        whole = builder.bitcast(builder.shuffle_vector(*halves, order(list(range(64)))), _LONGS)
        turned = builder.shuffle_vector(whole, whole, order([0, 2, 1, 3, 4, 6, 5, 7]))
        quarters.append(builder.bitcast(turned, _BYTES))
    signs = [ir.Constant(_BYTES, [1, sign] * 32) for sign in (1, -1)]
    return [_called(builder, "llvm.x86.avx512.pmaddubs.w.512", _SHORTS, v, sign) for sign in signs for v in quarters]


def _transformed(builder: Any, off: list[Any]) -> list[Any]:
    """Hadamard transform of differences as _pairs has them: eight vectors [half, left or right, 8].

    Down: vectors 4a + 2b + c have frequencies 4b + 2c and the next, in 32 bits both of such across that differ in the
    order of neighbours.  That is what coding_cost multiplies first.
    """
    for step in (2, 1):
        done = list(off)
        for i in range(8):
            if not i & step:
                done[i], done[i + step] = builder.add(off[i], off[i + step]), builder.sub(off[i], off[i + step])
        off = done
    for size in (1, 2, 2):  # rows in pairs; then across: what a part has in its left half meets its right half
        done = list(off)
        for i in range(4):
            u, v = (builder.shuffle_vector(off[i], off[i + 4], _mixed(first, size)) for first in (0, 4))
            done[i], done[i + 4] = builder.add(u, v), builder.sub(u, v)
        off = done
    return off


def _halves(builder: Any, squares: Any, above: Any) -> list[Any]:
    """Sums of the left and right 256 bits of two vectors, in doubles [2] each."""
    shorts = [builder.bitcast(v, _SHORTS) for v in (squares, above)]
    total = builder.add(*(builder.bitcast(builder.shuffle_vector(*shorts, _mixed(i, 2)), _INTS) for i in (0, 4)))
    for places in ([4 * part + i for part in _PARTS for i in (2, 3, 0, 1)], [i ^ 4 for i in range(16)]):
        total = builder.add(total, builder.shuffle_vector(total, total, order(places)))
    return [builder.sitofp(builder.shuffle_vector(total, total, order([i, i + 8])), _PAIR) for i in (0, 1)]


def _cost(builder: Any, off: list[Any], unit: Any, worth: Any) -> Any:
    """What coding_cost says of both halves, each times ``worth``, added."""
    most, least = nearest(builder, unit, math.sqrt(SENT * LAMBDA)), nearest(builder, unit, 1.0)
    cap, one = (_everywhere(builder, v, _SHORTS) for v in (most, least))
    squares, products = constant(_INTS, 0), []
    for row in _transformed(builder, off):
        m = sizes_of(builder, row)
        little = builder.select(builder.icmp_signed("<", m, cap), m, cap)
        squares = builder.add(squares, _products(builder, little, little))
        large = builder.select(builder.icmp_signed(">", m, one), m, one)
        other = builder.bitcast(builder.lshr(builder.bitcast(large, _INTS), constant(_INTS, 16)), _SHORTS)
        products.append(builder.sitofp(_products(builder, large, other), _FLOATS))  # rounded as that of floats is
    none = builder.sitofp(least, ir.FloatType())
    for _ in range(3):
        none = builder.fmul(none, none)
    base, above = _everywhere(builder, builder.bitcast(none, _INT), _INTS), constant(_INTS, 0)
    for a, b, c, d in (products[:4], products[4:]):
        product = builder.bitcast(builder.fmul(builder.fmul(a, b), builder.fmul(c, d)), _INTS)
        above = builder.add(above, builder.ashr(builder.sub(product, base), constant(_INTS, 5)))
    missed, octaves = _halves(builder, squares, above)
    share = builder.sitofp(builder.mul(*(builder.sext(most, _INT) for _ in range(2))), _DOUBLE)
    share = _everywhere(builder, builder.fdiv(ir.Constant(_DOUBLE, SENT), share), _PAIR)
    bits = builder.fmul(octaves, ir.Constant(_PAIR, [OCTAVE * 32 * DOUBLED] * 2))
    both = builder.fmul(_everywhere(builder, worth, _PAIR), builder.fadd(builder.fmul(missed, share), bits))
    return builder.fadd(*(builder.extract_element(both, ir.Constant(_INT, i)) for i in range(2)))


def _coded_16(
    typing_context: Any, here: Any, at: Any, there: Any, moved: Any, pitch: Any, wide: Any, unit: Any, worth: Any
) -> Any:
    """What coding the difference of two 16×16 blocks costs, each bit worth so much; as coded_share_8."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        blocks = ((0, args[1], args[4]), (2, args[3], args[5]))
        now, other = (_pairs(context, builder, signature.args[i], args[i], at, pitch) for i, at, pitch in blocks)
        return _cost(builder, [builder.sub(a, b) for a, b in zip(now, other, strict=True)], args[6], args[7])

    return types.float64(here, at, there, moved, pitch, wide, unit, worth), emit


def _coded_16_plainly(
    typing_context: Any, here: Any, at: Any, there: Any, moved: Any, pitch: Any, wide: Any, unit: Any, worth: Any
) -> Any:
    """The same in terms that every CPU has."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, costs = ir.VectorType(_SHORT, 16), []
        pairs = rows_of(context, builder, signature, args, 16, 1)
        for half in (pairs[:8], pairs[8:]):
            off = [builder.sub(*(builder.zext(row, kind) for row in pair)) for pair in half]
            costs.append(builder.fmul(args[7], coding_cost(builder, off, args[6])))
        return builder.fadd(*costs)

    return types.float64(here, at, there, moved, pitch, wide, unit, worth), emit


# to loops they are functions of the values that a signature's types stand for
coded_16_plainly: Any = intrinsic(_coded_16_plainly)
coded_16: Any = intrinsic(_coded_16) if get_host_cpu_features().get("avx512bw") else coded_16_plainly
