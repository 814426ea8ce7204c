"""Pairs of 16-bit integers, many samples at a time, in compiled loops: LLVM's own vectorizer makes little of many sums.

    32-bit element of a row: channels 2i (low half) and 2i + 1 (high half) of one sample
    weights:                 the same two, for one output

A tuple of lanes is what a loop holds in registers: sums of so many outputs at ACROSS · SIZE samples beside each other.
Integers are exact in any order: the same on every CPU.  Arrays are flat, and nothing checks that a place is in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from vcodec.products import address, in_pairs, spread
from vcodec.turning import LOUD

__all__ = ["ACROSS", "SIZE", "WIDE", "add_pairs", "add_scaled", "carry", "halves", "keep", "kept", "loudness", "put",
           "put_beside", "put_positive", "turn", "zeros"]  # fmt: skip

_WIDE = bool(get_host_cpu_features().get("avx512bw"))
SIZE = 16 if _WIDE else 8  # sums in a vector
# vectors that stand side by side, samples of one row: as many as registers hold sums of, 6 rows of them
ACROSS = 4 if _WIDE else 2
_INT, _SUMS, _SHORTS = ir.IntType(32), ir.VectorType(ir.IntType(32), SIZE), ir.VectorType(ir.IntType(16), 2 * SIZE)
_TOP, _LOW = 32767, 65535
WIDE = ACROSS * SIZE + SIZE  # room for what a tile sees, in whole vectors
_BEYOND = 4  # samples, of which a tile sees two


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"Lanes({SIZE}xint32)")


_lanes = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _SUMS)  # type: ignore[no-untyped-call]


def _place(context: Any, builder: Any, array_type: Any, array: Any, at: Any, more: int = 0, kind: Any = _INT) -> Any:
    """Address of an element of a flat array."""
    return address(context, builder, array_type, array, builder.add(at, ir.Constant(at.type, more)), kind)


def _vector_place(context: Any, builder: Any, array_type: Any, array: Any, at: Any, more: int = 0) -> Any:
    return _place(context, builder, array_type, array, at, more, _SUMS)


def _all(value: int) -> Any:
    return ir.Constant(_SUMS, [value] * SIZE)


def _everywhere(builder: Any, value: Any) -> Any:
    return spread(builder, value, SIZE)


def _zeros(typing_context: Any, rows: Any) -> Any:
    """rows × ACROSS lanes of 0; rows: a literal."""
    count = rows.literal_value * ACROSS

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, signature.return_type, [_all(0)] * count)

    return types.UniTuple(_lanes, count)(rows), emit


def _add_pairs(typing_context: Any, sums: Any, x: Any, at: Any, weights: Any, first: Any) -> Any:
    """sums (rows × ACROSS lanes) + both products of weights[first + row] and x[at : at + ACROSS · SIZE], flat int32."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        held = cgutils.unpack_tuple(builder, args[0])
        x_type, weights_type = signature.args[1], signature.args[3]
        samples = []
        for i in range(ACROSS):
            place = _vector_place(context, builder, x_type, args[1], args[2], SIZE * i)
            samples.append(builder.bitcast(builder.load(place, align=4), _SHORTS))
        out = []
        for i, total in enumerate(held):
            if i % ACROSS == 0:
                place = _place(context, builder, weights_type, args[3], args[4], i // ACROSS)
                weight = builder.bitcast(_everywhere(builder, builder.load(place)), _SHORTS)
            out.append(builder.add(total, in_pairs(builder, samples[i % ACROSS], weight)))
        return context.make_tuple(builder, signature.return_type, out)

    return sums(sums, x, at, weights, first), emit


def _clipped(builder: Any, value: Any, least: int, most: int) -> Any:
    value = builder.select(builder.icmp_signed("<", value, _all(least)), _all(least), value)
    return builder.select(builder.icmp_signed(">", value, _all(most)), _all(most), value)


def _halves(builder: Any, pair: Any) -> tuple[Any, Any]:
    """Both channels of a vector of pairs."""
    return builder.ashr(builder.shl(pair, _all(16)), _all(16)), builder.ashr(pair, _all(16))


def _put(typing_context: Any, sums: Any, out: Any, to: Any, pitch: Any, biases: Any, first: Any) -> Any:
    """out[to + pitch · row + i] = sums (rows × ACROSS lanes) + biases[first + row]."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = args[3].type(0)
        for i, total in enumerate(cgutils.unpack_tuple(builder, args[0])):
            if i and i % ACROSS == 0:
                row = builder.add(row, args[3])
            bias = builder.load(_place(context, builder, signature.args[4], args[4], args[5], i // ACROSS))
            place = builder.add(builder.add(args[2], row), ir.Constant(row.type, SIZE * (i % ACROSS)))
            goal = _vector_place(context, builder, signature.args[1], args[1], place)
            builder.store(builder.add(total, _everywhere(builder, bias)), goal, align=4)
        return context.get_dummy_value()

    return types.none(sums, out, to, pitch, biases, first), emit


def _emit_pairs(settled: Callable[..., Any]) -> Callable[..., Any]:
    """Code for: out[to + pitch · (row / 2) + i] = pairs of settled((sums + biases[first + row]) >> shift, …)."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        held = cgutils.unpack_tuple(builder, args[0])
        shift = _everywhere(builder, builder.trunc(args[6], _INT))
        place = args[3].type(0)
        for row in range(0, len(held) // ACROSS, 2):
            if row:
                place = builder.add(place, args[3])
            biases = [
                builder.load(_place(context, builder, signature.args[4], args[4], args[5], row + n)) for n in range(2)
            ]
            for i in range(ACROSS):
                at = builder.add(place, ir.Constant(place.type, SIZE * i))
                levels = [
                    builder.ashr(builder.add(held[(row + n) * ACROSS + i], _everywhere(builder, biases[n])), shift)
                    for n in range(2)
                ]
                low, high = settled(context, builder, signature, args, at, levels)
                pair = builder.or_(builder.and_(low, _all(_LOW)), builder.shl(high, _all(16)))
                goal = _vector_place(context, builder, signature.args[1], args[1], builder.add(args[2], at))
                builder.store(pair, goal, align=4)
        return context.get_dummy_value()

    return emit


def _positive(context: Any, builder: Any, signature: Any, args: Any, at: Any, levels: list[Any]) -> list[Any]:
    return [_clipped(builder, level, 0, _TOP) for level in levels]


def _added(context: Any, builder: Any, signature: Any, args: Any, at: Any, levels: list[Any]) -> list[Any]:
    place = _vector_place(context, builder, signature.args[1], args[1], builder.add(args[7], at))
    held = _halves(builder, builder.load(place, align=4))
    positive = (builder.select(builder.icmp_signed(">", x, _all(0)), x, _all(0)) for x in levels)
    return [_clipped(builder, builder.add(x, y), 0, _TOP) for x, y in zip(positive, held)]


def _put_positive(
    typing_context: Any, sums: Any, out: Any, to: Any, pitch: Any, biases: Any, first: Any, shift: Any
) -> Any:
    """out[to + pitch · pair + i] = (sums + biases[first + row]) >> shift, from 0 to 32,767, two rows a pair."""
    return types.none(sums, out, to, pitch, biases, first, shift), _emit_pairs(_positive)


def _put_beside(
    typing_context: Any, sums: Any, out: Any, to: Any, pitch: Any, biases: Any, first: Any, shift: Any, given: Any
) -> Any:
    """The same, at least 0, and added to out[given + pitch · pair + i] before the end."""
    return types.none(sums, out, to, pitch, biases, first, shift, given), _emit_pairs(_added)


def _loudness(typing_context: Any, x: Any, at: Any) -> Any:
    """Of x[at : at + ACROSS · SIZE + 2], what a tile sees to its left and right too: 0 where nothing is there, 1 where
    all is under LOUD in magnitude (as −LOUD is), else 2."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        every = large = _all(0)
        for more in (*range(0, ACROSS * SIZE, SIZE), (ACROSS - 1) * SIZE + 2):
            held = builder.load(_vector_place(context, builder, signature.args[0], args[0], args[1], more), align=4)
            shorts = builder.bitcast(held, _SHORTS)
            sign = builder.ashr(shorts, ir.Constant(_SHORTS, [15] * 2 * SIZE))
            every = builder.or_(every, held)
            large = builder.or_(large, builder.bitcast(builder.xor(shorts, sign), _SUMS))
        level = None
        for seen in (every, builder.and_(large, _all(LOUD << 16 | LOUD))):
            whole = builder.bitcast(seen, ir.IntType(32 * SIZE))
            one = builder.zext(builder.icmp_unsigned("!=", whole, ir.Constant(whole.type, 0)), ir.IntType(64))
            level = one if level is None else builder.add(level, one)
        return level

    return types.int64(x, at), emit


def _turn(typing_context: Any, x: Any, above: Any, one: Any, other: Any, below: Any, out: Any, to: Any) -> Any:
    """Four rows of pairs x[above + i], … -> what two rows are made of, out[to + i] and every WIDE behind it, for all
    that a tile sees.

    one + other, other − one, above − other, below − one.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_type, out_type = signature.args[0], signature.args[5]
        for i in range(0, ACROSS * SIZE + 1, SIZE):
            count = SIZE if i < ACROSS * SIZE else _BEYOND
            words, shorts = (ir.VectorType(ir.IntType(bits), count * 32 // bits) for bits in (32, 16))
            above, one, other, below = (
                builder.load(_place(context, builder, x_type, args[0], at, i, shorts), align=4) for at in args[1:5]
            )
            added, less = builder.add(one, other), builder.sub(other, one)
            for n, made in enumerate((added, less, builder.sub(above, other), builder.sub(below, one))):
                goal = _place(context, builder, out_type, args[5], args[6], n * WIDE + i, words)
                builder.store(builder.bitcast(made, words), goal, align=4)
        return context.get_dummy_value()

    return types.none(x, above, one, other, below, out, to), emit


def _keep(typing_context: Any, sums: Any, out: Any) -> Any:
    """Sums as they are, from the beginning of out on."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for i, total in enumerate(cgutils.unpack_tuple(builder, args[0])):
            goal = _vector_place(context, builder, signature.args[1], args[1], ir.Constant(ir.IntType(64), i * SIZE))
            builder.store(total, goal, align=4)
        return context.get_dummy_value()

    return types.none(sums, out), emit


def _kept_in(context: Any, builder: Any, array_type: Any, array: Any, count: int) -> list[Any]:
    places = [
        _vector_place(context, builder, array_type, array, ir.Constant(ir.IntType(64), i * SIZE)) for i in range(count)
    ]
    return [builder.load(place, align=4) for place in places]


def _kept(typing_context: Any, rows: Any, x: Any) -> Any:
    """rows × ACROSS lanes as ``keep`` put them; rows: a literal."""
    count = rows.literal_value * ACROSS

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        held = _kept_in(context, builder, signature.args[1], args[1], count)
        return context.make_tuple(builder, signature.return_type, held)

    return types.UniTuple(_lanes, count)(rows, x), emit


def _halves_of(typing_context: Any, sums: Any, x: Any) -> Any:
    """Half of what ``keep`` put in x, and sums: added; and subtracted, which is left in x."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        added, less = cgutils.unpack_tuple(builder, args[0]), []
        for i, known in enumerate(_kept_in(context, builder, signature.args[1], args[1], len(added))):
            less.append(builder.ashr(builder.sub(known, added[i]), _all(1)))
            added[i] = builder.ashr(builder.add(known, added[i]), _all(1))
        kept = context.make_tuple(builder, signature.return_type, less)
        _keep(typing_context, sums, x)[1](context, builder, types.none(sums, x), (kept, args[1]))
        return context.make_tuple(builder, signature.return_type, added)

    return sums(sums, x), emit


def _add_scaled(typing_context: Any, out: Any, to: Any, x: Any, at: Any, weight: Any, count: Any) -> Any:
    """out[to + i] += x[at + i] · weight for i < count, a literal; x: int32 that hold 16 bits, the upper half 0."""
    vectors = count.literal_value // SIZE

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.and_(builder.trunc(args[4], _INT), ir.Constant(_INT, _LOW))
        weight = builder.bitcast(_everywhere(builder, value), _SHORTS)
        for i in range(vectors):
            goal, given = (
                _vector_place(context, builder, signature.args[a], args[a], args[a + 1], SIZE * i) for a in (0, 2)
            )
            samples = builder.bitcast(builder.load(given, align=4), _SHORTS)
            total = builder.add(builder.load(goal, align=4), in_pairs(builder, samples, weight))
            builder.store(total, goal, align=4)
        return context.get_dummy_value()

    return types.none(out, to, x, at, weight, count), emit


def _carry(typing_context: Any, x: Any, at: Any, out: Any, to: Any, count: Any) -> Any:
    """out[to : to + count] = x[at : at + count] at once, int16; count: a literal."""
    kind = ir.VectorType(ir.IntType(16), count.literal_value)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given = _place(context, builder, signature.args[0], args[0], args[1], 0, kind)
        goal = _place(context, builder, signature.args[2], args[2], args[3], 0, kind)
        builder.store(builder.load(given, align=2), goal, align=2)
        return context.get_dummy_value()

    return types.none(x, at, out, to, count), emit


# to loops they are functions of the values that a signature's types stand for
zeros: Any = intrinsic(prefer_literal=True)(_zeros)
add_pairs: Any = intrinsic(_add_pairs)
put: Any = intrinsic(_put)
put_positive: Any = intrinsic(_put_positive)
put_beside: Any = intrinsic(_put_beside)
loudness: Any = intrinsic(_loudness)
turn: Any = intrinsic(_turn)
keep: Any = intrinsic(_keep)
kept: Any = intrinsic(prefer_literal=True)(_kept)
halves: Any = intrinsic(_halves_of)
add_scaled: Any = intrinsic(prefer_literal=True)(_add_scaled)
carry: Any = intrinsic(prefer_literal=True)(_carry)
