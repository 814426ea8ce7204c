"""Differences of blocks of 8-bit samples, 8 or 16 of them at a time: plain ones, and what coding them may cost.

A row of a block is a vector of 16-bit integers, which hold every sum on the way: 8 × 8 × 255 is less than 2^15.

What coding costs, in bits, is guessed from the Hadamard transform of each 8×8 block: a coefficient is left out or sent,
whichever is cheaper.  Left out, it costs its square; sent, some bits and more the larger it is.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vcodec.scale import LAMBDA

__all__ = ["add_share_8", "coded_16", "coded_share_8", "plain_8", "plain_16", "square_worth"]

_BYTE, _SHORT, _INT, _LONG = (ir.IntType(n) for n in (8, 16, 32, 64))
_FLOAT, _DOUBLE = ir.FloatType(), ir.DoubleType()
_SENT = 6.6  # bits of a coefficient of one step, and what is left of it
_DOUBLED = 1.5  # bits more for one twice as large
_ONE, _OCTAVE = 0x3F800000, 2.0**-23  # a float's bits, read as an integer, are nearly its logarithm


def square_worth(step: float) -> float:
    """What coded_16 and coded_share_8 want to know of a quantization step in 8-bit levels."""
    return 1.0 / (64.0 * LAMBDA * step * step)  # a transform is 8 times as large as an orthonormal one


def _loaded(context: Any, builder: Any, array_type: Any, array: Any, at: Any, kind: Any) -> Any:
    """A vector from a place of a flat array; nothing checks that it is there."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.load(builder.bitcast(builder.gep(data, [at]), kind.as_pointer()), align=1)


def _sizes(builder: Any, v: Any) -> Any:
    return builder.select(builder.icmp_signed("<", v, ir.Constant(v.type, [0] * v.type.count)), builder.neg(v), v)


def _total(builder: Any, v: Any) -> Any:
    """Sum of a vector's elements, 64 bits."""
    reduction = ir.FunctionType(_INT, [v.type])
    name = f"llvm.vector.reduce.add.v{v.type.count}i32"
    return builder.zext(builder.call(cgutils.get_or_insert_function(builder.module, reduction, name), [v]), _LONG)


def _widened(builder: Any, v: Any) -> Any:
    return builder.zext(v, ir.VectorType(_INT, v.type.count))


def _coding_cost(builder: Any, rows: list[Any], worth: Any) -> Any:
    """Bits (a double) that the 8×8 blocks cost that rows are made of; worth: what square_worth says."""
    size = rows[0].type.count
    for step in (4, 2, 1):
        swap = ir.Constant(ir.VectorType(_INT, size), [i ^ step for i in range(size)])
        pick = ir.Constant(ir.VectorType(_INT, size), [i + size if i & step else i for i in range(size)])
        turned = [builder.shuffle_vector(v, v, swap) for v in rows]
        rows = [
            builder.shuffle_vector(builder.add(v, u), builder.sub(u, v), pick)
            for v, u in zip(rows, turned, strict=True)
        ]
    for step in (4, 2, 1):
        pairs = [(i, i + step) for i in range(len(rows)) if not i & step]
        done = list(rows)
        for i, j in pairs:
            done[i], done[j] = builder.add(rows[i], rows[j]), builder.sub(rows[i], rows[j])
        rows = done
    floats, longs = ir.VectorType(_FLOAT, size), ir.VectorType(_INT, size)

    def filled(kind: Any, value: float) -> Any:
        return ir.Constant(kind, [value] * size)

    narrow = builder.fptrunc(worth, _FLOAT)
    first = builder.insert_element(ir.Constant(floats, ir.Undefined), narrow, ir.Constant(_INT, 0))
    scale = builder.shuffle_vector(first, first, filled(longs, 0))
    total = None
    for row in rows:
        h = builder.sitofp(row, floats)
        left_out = builder.fmul(builder.fmul(h, h), scale)
        # relative to a coefficient of one step, whose square is worth 1 / LAMBDA bits
        above = builder.sub(builder.bitcast(builder.fmul(left_out, filled(floats, LAMBDA)), longs), filled(longs, _ONE))
        above = builder.select(builder.icmp_signed("<", above, filled(longs, 0)), filled(longs, 0), above)
        more = builder.fmul(builder.sitofp(above, floats), filled(floats, _OCTAVE * _DOUBLED / 2))
        sent = builder.fadd(more, filled(floats, _SENT))
        cost = builder.select(builder.fcmp_ordered("<", left_out, sent), left_out, sent)
        total = cost if total is None else builder.fadd(total, cost)
    reduction = ir.FunctionType(_FLOAT, [_FLOAT, floats])
    sum_up = cgutils.get_or_insert_function(builder.module, reduction, f"llvm.vector.reduce.fadd.v{size}f32")
    return builder.fpext(builder.call(sum_up, [ir.Constant(_FLOAT, 0.0), total]), _DOUBLE)


def _off(context: Any, builder: Any, signature: Any, args: Any, count: int, step: int) -> list[Any]:
    """Differences of every so many-th row of two 16×16 blocks, count of them; arguments as plain_16 has them."""
    a, b, rows = args[1], args[3], []
    kind, wide = ir.VectorType(_BYTE, 16), ir.VectorType(_SHORT, 16)
    for _ in range(count):
        here = _loaded(context, builder, signature.args[0], args[0], a, kind)
        there = _loaded(context, builder, signature.args[2], args[2], b, kind)
        rows.append(builder.sub(builder.zext(here, wide), builder.zext(there, wide)))
        a = builder.add(a, builder.mul(args[4], ir.Constant(_LONG, step)))
        b = builder.add(b, builder.mul(args[5], ir.Constant(_LONG, step)))
    return rows


def _plain_16(typing_context: Any, here: Any, at: Any, there: Any, moved: Any, pitch: Any, wide: Any, step: Any) -> Any:
    """Sum of absolute differences of every step-th row (a literal) of 16×16 blocks of flat uint8 arrays.

    The blocks begin at ``at`` and ``moved``; pitch, wide: samples in a row of each array.
    """
    every = step.literal_value

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = _off(context, builder, signature, args, 16 // every, every)
        total = _sizes(builder, rows[0])
        for row in rows[1:]:
            total = builder.add(total, _sizes(builder, row))
        return _total(builder, _widened(builder, total))

    return types.int64(here, at, there, moved, pitch, wide, step), emit


def _coded_16(
    typing_context: Any, here: Any, at: Any, there: Any, moved: Any, pitch: Any, wide: Any, worth: Any
) -> Any:
    """What coding the difference of two 16×16 blocks costs, bits; as plain_16; worth: what square_worth says."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = _off(context, builder, signature, args, 16, 1)
        halves = [_coding_cost(builder, rows[i : i + 8], args[6]) for i in (0, 8)]
        return builder.fadd(*halves)

    return types.float64(here, at, there, moved, pitch, wide, worth), emit


def _patch_rows(context: Any, builder: Any, signature: Any, args: Any, array: int) -> list[Any]:
    """An 8×8 block of a flat uint8 array, as 16-bit rows: arguments array.. are it, its beginning, samples in a row."""
    at, rows = args[array + 1], []
    for _ in range(8):
        found = _loaded(context, builder, signature.args[array], args[array], at, ir.VectorType(_BYTE, 8))
        rows.append(builder.zext(found, ir.VectorType(_SHORT, 8)))
        at = builder.add(at, args[array + 2])
    return rows


def _work_rows(context: Any, builder: Any, signature: Any, args: Any, array: int) -> list[Any]:
    """Rows of an 8×8 block, a flat int16 array."""
    kind, places = ir.VectorType(_SHORT, 8), [ir.Constant(_LONG, 8 * r) for r in range(8)]
    return [_loaded(context, builder, signature.args[array], args[array], place, kind) for place in places]


def _plain_8(typing_context: Any, here: Any, at: Any, pitch: Any, there: Any, moved: Any, wide: Any) -> Any:
    """Sum of absolute differences of two 8×8 blocks."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b = (_patch_rows(context, builder, signature, args, i) for i in (0, 3))
        total = None
        for u, v in zip(a, b, strict=True):
            size = _sizes(builder, builder.sub(u, v))
            total = size if total is None else builder.add(total, size)
        return _total(builder, _widened(builder, total))

    return types.int64(here, at, pitch, there, moved, wide), emit


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
    worth: Any,
) -> Any:
    """What coding costs, bits, of what (around + share · there + 32) / 64 leaves of an 8×8 block.

    around, share: flat int16 arrays [64]; worth: what square_worth says.
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
        return _coding_cost(builder, left, args[8])

    return types.float64(here, at, pitch, there, moved, wide, around, share, worth), emit


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
            w = _loaded(context, builder, signature.args[5], args[5], builder.add(args[6], row), kind)
            for goal, value in (
                (goals[0], builder.add(others[r], builder.mul(w, patch[r]))),
                (goals[1], builder.sub(shares[r], w)),
            ):
                builder.store(value, builder.bitcast(builder.gep(goal, [row]), kind.as_pointer()), align=2)
        return context.get_dummy_value()

    return types.none(around, share, there, moved, wide, weight, first), emit


# to loops they are functions of the values that a signature's types stand for
plain_16: Any = intrinsic(prefer_literal=True)(_plain_16)
coded_16: Any = intrinsic(_coded_16)
plain_8: Any = intrinsic(_plain_8)
coded_share_8: Any = intrinsic(_coded_share_8)
add_share_8: Any = intrinsic(_add_share_8)
