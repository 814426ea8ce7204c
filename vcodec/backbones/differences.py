"""Differences of blocks of 8-bit samples, 8 or 16 of them at a time: plain ones, and what coding them may cost.

A row of a block is a vector of 16-bit integers, which hold every sum on the way: 8 × 8 × 255 is less than 2^15.

What coding costs, in bits, is guessed from the Hadamard transform of each 8×8 block: a coefficient is left out or sent,
whichever is cheaper.  Left out, it costs its square; sent, some bits and more the larger it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vcodec.scale import LAMBDA

__all__ = ["add_share_8", "coded_share_8", "fetch", "plain_8", "plain_16", "plain_16_plainly", "unit_of"]

_BYTE, _SHORT, _INT, _LONG = (ir.IntType(n) for n in (8, 16, 32, 64))
_FLOAT, _DOUBLE = ir.FloatType(), ir.DoubleType()
_ON_X86 = bool(get_host_cpu_features().get("sse2"))
SENT = 6.6  # bits of a coefficient of one step; a little less than leaving that out costs
DOUBLED = 1.5  # bits more for one twice as large
OCTAVE = 2.0**-23  # of the bits of a float, read as an integer


def unit_of(step: float) -> float:
    """What coded_16 and coded_share_8 want to know of a quantization step in 8-bit levels: it, in their transform."""
    return 8.0 * step  # as much larger than an orthonormal one


def loaded(context: Any, builder: Any, array_type: Any, array: Any, at: Any, kind: Any) -> Any:
    """A vector from a place of a flat array; nothing checks that it is there."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.load(builder.bitcast(builder.gep(data, [at]), kind.as_pointer()), align=1)


def sizes_of(builder: Any, v: Any) -> Any:
    return builder.select(builder.icmp_signed("<", v, ir.Constant(v.type, [0] * v.type.count)), builder.neg(v), v)


def _total(builder: Any, v: Any) -> Any:
    """Sum of a vector's elements, 64 bits."""
    reduction = ir.FunctionType(_INT, [v.type])
    name = f"llvm.vector.reduce.add.v{v.type.count}i32"
    return builder.sext(builder.call(cgutils.get_or_insert_function(builder.module, reduction, name), [v]), _LONG)


def _widened(builder: Any, v: Any) -> Any:
    return builder.zext(v, ir.VectorType(_INT, v.type.count))


def _transformed(builder: Any, rows: list[Any]) -> list[Any]:
    """Hadamard transform of the 8×8 blocks side by side in rows, its coefficients in no particular order.

    Down the rows as whole vectors, then across: what two vectors have in their left halves meets their right halves,
    interleaved, and after three times each has met each.
    """
    for step in (4, 2, 1):
        done = list(rows)
        for i in range(8):
            if not i & step:
                done[i], done[i + step] = builder.add(rows[i], rows[i + step]), builder.sub(rows[i], rows[i + step])
        rows = done
    size = rows[0].type.count
    left = [first + i for first in range(0, size, 8) for j in range(4) for i in (j, j + size)]
    halves = [ir.Constant(ir.VectorType(_INT, size), [i + more for i in left]) for more in (0, 4)]
    for _ in range(3):
        done = []
        for one, other in zip(rows[::2], rows[1::2], strict=True):
            u, v = (builder.shuffle_vector(one, other, half) for half in halves)
            done += [builder.add(u, v), builder.sub(u, v)]
        rows = done
    return rows


def nearest(builder: Any, unit: Any, times: float) -> Any:
    """The integer nearest to so many times a unit, 16 bits."""
    scaled = builder.fadd(builder.fmul(unit, ir.Constant(_DOUBLE, times)), ir.Constant(_DOUBLE, 0.5))
    return builder.fptosi(scaled, _SHORT)


def coding_cost(builder: Any, rows: list[Any], unit: Any) -> Any:
    """Bits (a double) that the 8×8 blocks cost that rows are made of; unit: what unit_of says.

    Squares up to that from which a coefficient is sent; and the product of those above one step, for its logarithm.
    """
    kind = rows[0].type
    size = kind.count
    longs, floats = ir.VectorType(_INT, size), ir.VectorType(_FLOAT, size)

    def everywhere(value: Any) -> Any:
        first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_INT, 0))
        return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_INT, size), [0] * size))

    most = nearest(builder, unit, math.sqrt(SENT * LAMBDA))  # less than one step
    least = nearest(builder, unit, 1.0)
    cap, one = everywhere(most), everywhere(least)
    squares, products = None, []
    for row in _transformed(builder, rows):
        m = sizes_of(builder, row)
        little = builder.select(builder.icmp_signed("<", m, cap), m, cap)
        little = builder.sext(little, longs)
        square = builder.mul(little, little)
        squares = square if squares is None else builder.add(squares, square)
        large = builder.sitofp(builder.select(builder.icmp_signed(">", m, one), m, one), floats)
        products.append(large)
    while len(products) > 1:  # by pairs: none waits for another; at last less than 2^(8 · 14)
        products = [builder.fmul(a, b) for a, b in zip(products[::2], products[1::2], strict=True)]
    # the bits of a float, read as an integer, are nearly its logarithm; 32 of them add up in an integer
    none = builder.sitofp(least, _FLOAT)
    for _ in range(3):
        none = builder.fmul(none, none)  # each of eight is one step
    base = builder.insert_element(ir.Constant(longs, ir.Undefined), builder.bitcast(none, _INT), ir.Constant(_INT, 0))
    base = builder.shuffle_vector(base, base, ir.Constant(longs, [0] * size))
    above = builder.ashr(builder.sub(builder.bitcast(products[0], longs), base), ir.Constant(longs, [5] * size))
    octaves = builder.fmul(builder.sitofp(_total(builder, above), _DOUBLE), ir.Constant(_DOUBLE, OCTAVE * 32))
    share = builder.sitofp(builder.mul(*(builder.sext(most, _INT) for _ in range(2))), _DOUBLE)
    share = builder.fdiv(ir.Constant(_DOUBLE, SENT), share)  # the same for all blocks
    return builder.fadd(
        builder.fmul(builder.sitofp(_total(builder, squares), _DOUBLE), share),
        builder.fmul(octaves, ir.Constant(_DOUBLE, DOUBLED)),
    )


def rows_of(context: Any, builder: Any, signature: Any, args: Any, count: int, step: int) -> list[tuple[Any, Any]]:
    """Every so many-th row of two 16×16 blocks, count of them, in bytes; arguments as plain_16 has them."""
    a, b, rows, kind = args[1], args[3], [], ir.VectorType(_BYTE, 16)
    for _ in range(count):
        places = ((0, a), (2, b))
        rows.append(tuple(loaded(context, builder, signature.args[i], args[i], at, kind) for i, at in places))
        a = builder.add(a, builder.mul(args[4], ir.Constant(_LONG, step)))
        b = builder.add(b, builder.mul(args[5], ir.Constant(_LONG, step)))
    return rows


def _missed_on_x86(builder: Any, pairs: list[tuple[Any, Any]]) -> Any:
    """Sum of absolute differences of rows of 16 bytes, by what x86 has for it."""
    longs = ir.VectorType(_LONG, 2)
    total, kind = ir.Constant(longs, [0, 0]), ir.FunctionType(longs, [ir.VectorType(_BYTE, 16)] * 2)
    for pair in pairs:
        sums = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.psad.bw")
        total = builder.add(total, builder.call(sums, pair))
    return builder.add(*(builder.extract_element(total, ir.Constant(_INT, i)) for i in range(2)))


def _missed_plainly(builder: Any, pairs: list[tuple[Any, Any]]) -> Any:
    """The same in terms that every CPU has."""
    wide, total = ir.VectorType(_SHORT, 16), None
    for pair in pairs:
        size = sizes_of(builder, builder.sub(*(builder.zext(row, wide) for row in pair)))
        total = size if total is None else builder.add(total, size)
    return _total(builder, _widened(builder, total))


def _plain_16(missed: Callable[[Any, list[tuple[Any, Any]]], Any]) -> Any:
    def typed(typing_context: Any, here: Any, at: Any, there: Any, moved: Any, pitch: Any, wide: Any, step: Any) -> Any:
        """Sum of absolute differences of every step-th row (a literal) of 16×16 blocks of flat uint8 arrays.

        The blocks begin at ``at`` and ``moved``; pitch, wide: samples in a row of each array.
        """
        every = step.literal_value

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return missed(builder, rows_of(context, builder, signature, args, 16 // every, every))

        return types.int64(here, at, there, moved, pitch, wide, step), emit

    return typed


def _patch_bytes(context: Any, builder: Any, signature: Any, args: Any, array: int) -> list[Any]:
    """Rows of an 8×8 block of a flat uint8 array: arguments array.. are it, its beginning, samples in a row."""
    at, rows = args[array + 1], []
    for _ in range(8):
        rows.append(loaded(context, builder, signature.args[array], args[array], at, ir.VectorType(_BYTE, 8)))
        at = builder.add(at, args[array + 2])
    return rows


def _patch_rows(context: Any, builder: Any, signature: Any, args: Any, array: int) -> list[Any]:
    """As _patch_bytes, of 16 bits."""
    rows = _patch_bytes(context, builder, signature, args, array)
    return [builder.zext(row, ir.VectorType(_SHORT, 8)) for row in rows]


def _work_rows(context: Any, builder: Any, signature: Any, args: Any, array: int) -> list[Any]:
    """Rows of an 8×8 block, a flat int16 array."""
    kind, places = ir.VectorType(_SHORT, 8), [ir.Constant(_LONG, 8 * r) for r in range(8)]
    return [loaded(context, builder, signature.args[array], args[array], place, kind) for place in places]


def _plain_8(missed: Callable[[Any, list[tuple[Any, Any]]], Any]) -> Any:
    def typed(typing_context: Any, here: Any, at: Any, pitch: Any, there: Any, moved: Any, wide: Any) -> Any:
        """Sum of absolute differences of two 8×8 blocks."""

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            order = ir.Constant(ir.VectorType(_INT, 16), list(range(16)))
            both = []  # two rows of 8 bytes in one vector
            for array in (0, 3):
                rows = _patch_bytes(context, builder, signature, args, array)
                pairs = zip(rows[::2], rows[1::2], strict=True)
                both.append([builder.shuffle_vector(one, other, order) for one, other in pairs])
            return missed(builder, list(zip(*both, strict=True)))

        return types.int64(here, at, pitch, there, moved, wide), emit

    return typed


def _coded_share_8(
    typing_context: Any,
    here: Any,
    at: Any,
    pitch: Any,
    there: Any,
    moved: Any,
    wide: Any,
    around: Any,
    share: Any,
    unit: Any,
) -> Any:
    """What coding costs, bits, of what (around + share · there + 32) / 64 leaves of an 8×8 block.

    around, share: flat int16 arrays [64]; unit: what unit_of says.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        now, patch = (_patch_rows(context, builder, signature, args, i) for i in (0, 3))
        others, shares = (_work_rows(context, builder, signature, args, i) for i in (6, 7))
        kind = ir.VectorType(_SHORT, 8)
        half, six = ir.Constant(kind, [32] * 8), ir.Constant(kind, [6] * 8)
        left = []
        for a, p, o, s in zip(now, patch, others, shares, strict=True):
            shown = builder.ashr(builder.add(builder.add(o, builder.mul(s, p)), half), six)
            left.append(builder.sub(a, shown))
        return coding_cost(builder, left, args[8])

    return types.float64(here, at, pitch, there, moved, wide, around, share, unit), emit


def _add_share_8(
    typing_context: Any, around: Any, share: Any, there: Any, moved: Any, wide: Any, weight: Any, first: Any
) -> Any:
    """around += weight[first:] · there; share −= weight[first:]: flat int16 arrays [64], weight a longer one."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(_SHORT, 8)
        patch = _patch_rows(context, builder, signature, args, 2)
        others, shares = (_work_rows(context, builder, signature, args, i) for i in (0, 1))
        goals = [context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 1)]
        for r in range(8):
            row = ir.Constant(_LONG, 8 * r)
            w = loaded(context, builder, signature.args[5], args[5], builder.add(args[6], row), kind)
            for goal, value in (
                (goals[0], builder.add(others[r], builder.mul(w, patch[r]))),
                (goals[1], builder.sub(shares[r], w)),
            ):
                builder.store(value, builder.bitcast(builder.gep(goal, [row]), kind.as_pointer()), align=2)
        return context.get_dummy_value()

    return types.none(around, share, there, moved, wide, weight, first), emit


def _fetch(typing_context: Any, there: Any, at: Any) -> Any:
    """Have a place of a flat array brought near, that what reads it later need not wait."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        byte = _BYTE.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _INT, _INT, _INT])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        place = builder.bitcast(builder.gep(data, [args[1]]), byte)
        builder.call(fetch, [place, *(ir.Constant(_INT, n) for n in (0, 3, 1))])  # to read, to the nearest cache, data
        return context.get_dummy_value()

    return types.none(there, at), emit


# to loops they are functions of the values that a signature's types stand for
plain_16_plainly: Any = intrinsic(prefer_literal=True)(_plain_16(_missed_plainly))
plain_16: Any = intrinsic(prefer_literal=True)(_plain_16(_missed_on_x86)) if _ON_X86 else plain_16_plainly
plain_8: Any = intrinsic(_plain_8(_missed_on_x86 if _ON_X86 else _missed_plainly))
coded_share_8: Any = intrinsic(_coded_share_8)
add_share_8: Any = intrinsic(_add_share_8)
fetch: Any = intrinsic(_fetch)
