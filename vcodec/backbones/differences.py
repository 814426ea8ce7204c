"""Differences of blocks of 8-bit samples, 8 or 16 of them at a time: plain ones, and their Hadamard transform.

A row of a block is a vector of 16-bit integers, which hold every sum on the way: 8 × 8 × 255 is less than 2^15.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["add_share_8", "plain_8", "plain_16", "transformed_16", "transformed_share_8"]

_BYTE, _SHORT, _INT, _LONG = (ir.IntType(n) for n in (8, 16, 32, 64))


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


def _transform_sum(builder: Any, rows: list[Any]) -> Any:
    """Sum of magnitudes of the transforms of the 8×8 blocks that rows are made of."""
    size = rows[0].type.count
    for step in (4, 2, 1):
        swap = ir.Constant(ir.VectorType(_INT, size), [i ^ step for i in range(size)])
        pick = ir.Constant(ir.VectorType(_INT, size), [i + size if i & step else i for i in range(size)])
        turned = [builder.shuffle_vector(v, v, swap) for v in rows]
        rows = [
            builder.shuffle_vector(builder.add(v, u), builder.sub(u, v), pick)
            for v, u in zip(rows, turned, strict=True)
        ]
    for step in (4, 2):
        pairs = [(i, i + step) for i in range(len(rows)) if not i & step]
        done = list(rows)
        for i, j in pairs:
            done[i], done[j] = builder.add(rows[i], rows[j]), builder.sub(rows[i], rows[j])
        rows = done
    # |u + v| + |u − v| is twice the larger of |u| and |v|
    total = None
    for i in range(0, len(rows), 2):
        u, v = _sizes(builder, rows[i]), _sizes(builder, rows[i + 1])
        larger = _widened(builder, builder.select(builder.icmp_signed(">", u, v), u, v))
        total = larger if total is None else builder.add(total, larger)
    return builder.shl(_total(builder, total), ir.Constant(_LONG, 1))


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


def _transformed_16(typing_context: Any, here: Any, at: Any, there: Any, moved: Any, pitch: Any, wide: Any) -> Any:
    """Sum of magnitudes of the Hadamard transforms of the four 8×8 blocks of a difference; as plain_16."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _transform_sum(builder, _off(context, builder, signature, args, 16, 1))

    return types.int64(here, at, there, moved, pitch, wide), emit


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


def _transformed_share_8(
    typing_context: Any,
    here: Any,
    at: Any,
    pitch: Any,
    there: Any,
    moved: Any,
    wide: Any,
    around: Any,
    share: Any,
) -> Any:
    """Sum of magnitudes of the Hadamard transform of what (around + share · there + 32) / 64 leaves of an 8×8 block.

    around, share: flat int16 arrays [64].
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
        return _transform_sum(builder, left)

    return types.int64(here, at, pitch, there, moved, wide, around, share), emit


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
transformed_16: Any = intrinsic(_transformed_16)
plain_8: Any = intrinsic(_plain_8)
transformed_share_8: Any = intrinsic(_transformed_share_8)
add_share_8: Any = intrinsic(_add_share_8)
