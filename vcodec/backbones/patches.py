"""Patches of bytes through filters over 64, in compiled loops: two rows of eight samples at a time, in 16 bits.

    bytes ─► taps across or down ─► (Σ + 1) >> 1          bytes ─► taps across ─► sums ─► taps down ─► (Σ + 64) >> 7

A row of a patch is eight lanes: eight samples of luma, or four each of two planes of colour that lie ``apart``.  What
comes out is in parts of a level, 32 of them, rows one behind the other.  What filters make of bytes fits 16 bits.
Blocks are as large as filters are long: tuples say by their length how large (``size``), and how many rows are wanted,
where loops are compiled.  Arrays are flat, and nothing checks that a place is in them; a filter across reads one sample
more than it has taps for.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vcodec.backbones.instructions import BYTES, HERE, INT, LANES, PLAIN, ROWS, SUMS, Operations, constant, order
from vcodec.products import in_pairs, spread
from vcodec.sources import BLURRED, SOFT

__all__ = ["TAPS", "add_shares", "add_shares_plainly", "moved", "moved_plainly", "put", "put_blurred", "put_soft"]

TAPS = {SOFT: (16, 32, 16), BLURRED: (1, 6, 15, 20, 15, 6, 1)}
"""Over 64, each way: what a source is the last frame smoothed by."""
_TWO = 2 * LANES
_BYTE, _SHORT = ir.IntType(8), ir.IntType(16)
_ROW = ir.VectorType(_SHORT, LANES)


def _beside(builder: Any, one: Any, other: Any) -> Any:
    """Two vectors as one."""
    return builder.shuffle_vector(one, other, order(list(range(2 * one.type.count))))


class _Code:
    """Code of one intrinsic: arrays are its arguments, by number."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.builder, self.args = builder, args
        self._data = {
            i: context.make_array(kind)(context, builder, args[i]).data
            for i, kind in enumerate(signature.args)
            if isinstance(kind, types.Array)
        }

    def on(self, at: Any, count: int) -> Any:
        return self.builder.add(at, ir.Constant(at.type, count))

    def loaded(self, array: int, at: Any, kind: Any) -> Any:
        place = self.builder.gep(self._data[array], [at])
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()), align=1)

    def stored(self, value: Any, array: int, at: Any) -> None:
        place = self.builder.gep(self._data[array], [at])
        self.builder.store(value, self.builder.bitcast(place, value.type.as_pointer()), align=1)


class _Bytes:
    """Rows of bytes, of an array from a place on, and of the other plane, where there are two, so far apart."""

    def __init__(self, code: _Code, array: int, at: Any, pitch: Any, apart: Any, size: int) -> None:
        self._code, self._array, self._at, self._pitch, self._apart, self._size = code, array, at, pitch, apart, size
        self._known: dict[int, Any] = {}

    def row(self, number: int, samples: int) -> Any:
        """So many bytes of a row: of each plane, where there are two, half as many."""
        code, b = self._code, self._code.builder
        at = b.add(self._at, b.mul(self._pitch, ir.Constant(self._pitch.type, number)))
        part = ir.VectorType(_BYTE, samples * self._size // LANES)
        found = code.loaded(self._array, at, part)
        if self._size == LANES:
            return found
        return _beside(b, found, code.loaded(self._array, b.add(at, self._apart), part))

    def across(self, number: int, weights: list[Any], operations: Operations) -> Any:
        """Sums of a row and the next."""
        b, size, total = self._code.builder, self._size, constant(ROWS, 0)
        both = _beside(b, self.row(number, _TWO), self.row(number + 1, _TWO))
        starts = range(0, 2 * _TWO, 2 * size)  # of what there is of each row and plane
        for t, weight in enumerate(weights):
            places = [start + i + 2 * t + n for start in starts for i in range(size) for n in range(2)]
            pairs = b.shuffle_vector(both, both, order(places))
            total = b.add(total, operations.byte_pairs(b, pairs, weight))
        return total

    def pairs(self, number: int) -> Any:
        """Bytes of a row and the next in turn, and of the next and the one after it."""
        return _beside(self._code.builder, self._in_turn(number), self._in_turn(number + 1))

    def _in_turn(self, number: int) -> Any:
        one, other = self._read(number), self._read(number + 1)
        return self._code.builder.shuffle_vector(one, other, order([i + n for i in range(LANES) for n in (0, LANES)]))

    def _read(self, number: int) -> Any:
        if number not in self._known:
            self._known[number] = self.row(number, LANES)
        return self._known[number]


class _Move:
    """Code for a patch displaced by phases that are not 0, of so many rows, stored where the intrinsic's ``to`` says.

    Arguments of the intrinsic: out, to, x, at, pitch, apart, taps (signed bytes), shorts (the same in 16 bits), down,
    across; filters read size / 2 − 1 samples before a place.
    """

    def __init__(self, code: _Code, size: int, rows: int, operations: Operations) -> None:
        self._code, self._builder, self._operations = code, code.builder, operations
        self._size, self._rows, self._before = size, rows, size // 2 - 1

    def _given(self, down: int, across: int) -> _Bytes:
        """Samples from so many rows and columns before the place on."""
        code, b = self._code, self._builder
        at = b.sub(code.args[3], b.mul(code.args[4], ir.Constant(code.args[4].type, down)))
        return _Bytes(code, 2, code.on(at, -across), code.args[4], code.args[5], self._size)

    def _taps(self, phase: Any) -> list[Any]:
        """Pairs of signed bytes, each everywhere."""
        b, out = self._builder, []
        for t in range(0, self._size, 2):
            two = self._code.loaded(6, self._code.on(self._first(phase), t), _SHORT)
            one = b.insert_element(ir.Constant(ROWS, ir.Undefined), two, ir.Constant(INT, 0))
            out.append(b.bitcast(b.shuffle_vector(one, one, order([0] * _TWO)), BYTES))
        return out

    def _shorts(self, phase: Any) -> list[Any]:
        first, code = self._first(phase), self._code
        pairs = (code.loaded(7, code.on(first, t), INT) for t in range(0, self._size, 2))
        return [self._builder.bitcast(spread(self._builder, pair, LANES), ROWS) for pair in pairs]

    def _first(self, phase: Any) -> Any:
        return self._builder.mul(phase, ir.Constant(phase.type, self._size))

    def _store(self, rows: Any, number: int) -> None:
        self._code.stored(rows, 0, self._code.on(self._code.args[1], LANES * number))

    def _store_halved(self, sums: Any, number: int) -> None:
        one = constant(ROWS, 1)
        self._store(self._builder.ashr(self._builder.add(sums, one), one), number)

    def nowhere(self) -> None:
        given, b = self._given(0, 0), self._builder
        for r in range(self._rows):
            self._store(b.shl(b.zext(given.row(r, LANES), _ROW), constant(_ROW, 5)), r)

    def across(self) -> None:
        given, weights = self._given(0, self._before), self._taps(self._code.args[9])
        for r in range(0, self._rows, 2):
            self._store_halved(given.across(r, weights, self._operations), r)

    def down(self) -> None:
        given, weights, b = self._given(self._before, 0), self._taps(self._code.args[8]), self._builder
        pairs = [given.pairs(r) for r in range(0, self._rows + self._size - 2, 2)]
        for r in range(0, self._rows, 2):
            total = constant(ROWS, 0)
            for weight, pair in zip(weights, pairs[r // 2 :], strict=False):
                total = b.add(total, self._operations.byte_pairs(b, pair, weight))
            self._store_halved(total, r)

    def both(self) -> None:
        given, b = self._given(self._before, self._before), self._builder
        weights, below = self._taps(self._code.args[9]), self._shorts(self._code.args[8])
        last = self._rows + self._size - 3  # but one row: the next is the last
        lines = [given.across(r, weights, self._operations) for r in (*range(0, last, 2), last)]
        halves = [_in_halves(b, *pair, i == len(lines) - 2) for i, pair in enumerate(pairwise(lines))]
        for r in range(0, self._rows, 2):
            sums = [constant(SUMS, 64)] * 2
            for weight, pairs in zip(below, halves[r // 2 :], strict=False):
                sums = [b.add(s, in_pairs(b, p, weight)) for s, p in zip(sums, pairs, strict=True)]
            left, right = (b.ashr(s, constant(SUMS, 7)) for s in sums)
            self._store(self._operations.packed(b, left, right), r)


def _moved(operations: Operations) -> Any:
    def typed(
        typing_context: Any,
        out: Any,
        to: Any,
        x: Any,
        at: Any,
        pitch: Any,
        apart: Any,
        taps: Any,
        shorts: Any,
        down: Any,
        across: Any,
        size: Any,
        rows: Any,
    ) -> Any:
        """out[to + 8 · row + i]: x[at + pitch · row + i] displaced by phases down and across, in parts of a level."""

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code = _Code(context, builder, signature, args)
            move = _Move(code, size.count, rows.count, operations)
            up, aside = (builder.icmp_signed("!=", phase, ir.Constant(phase.type, 0)) for phase in args[8:10])
            with builder.if_else(aside) as (filtered, plain):
                with filtered, builder.if_else(up) as (twice, once):
                    with twice:
                        move.both()
                    with once:
                        move.across()
                with plain, builder.if_else(up) as (once, never):
                    with once:
                        move.down()
                    with never:
                        move.nowhere()
            return context.get_dummy_value()

        return types.none(out, to, x, at, pitch, apart, taps, shorts, down, across, size, rows), emit

    return typed


def _in_halves(builder: Any, one: Any, other: Any, overlapping: bool) -> list[Any]:
    """Left and right halves of rows r and r + 1 in turn, and of r + 1 and r + 2, of two vectors of two rows each.

    The second begins with row r + 2, or r + 1 if overlapping.
    """
    if not overlapping:
        other = builder.shuffle_vector(one, other, order(list(range(LANES, LANES + _TWO))))
    starts = [[row + half for row in (0, LANES)] for half in (0, 4)]
    orders = [[start + i + n for start in half for i in range(4) for n in (0, _TWO)] for half in starts]
    return [builder.shuffle_vector(one, other, order(places)) for places in orders]


def _put(typing_context: Any, out: Any, to: Any, pitch: Any, apart: Any, x: Any, at: Any, size: Any) -> Any:
    """out[to + pitch · row + i] = x[at + 8 · row + i], a whole block."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code, to = _Code(context, builder, signature, args), args[1]
        for r in range(size.count):
            row, goal = code.loaded(4, code.on(args[5], LANES * r), _ROW), to
            for i in range(0, LANES, size.count):
                code.stored(builder.shuffle_vector(row, row, order(list(range(i, i + size.count)))), 0, goal)
                goal = builder.add(goal, args[3])
            to = builder.add(to, args[2])
        return context.get_dummy_value()

    return types.none(out, to, pitch, apart, x, at, size), emit


def _add_shares(operations: Operations) -> Any:
    def typed(typing_context: Any, out: Any, to: Any, own: Any, other: Any, shares: Any, first: Any, rows: Any) -> Any:
        """out[to + i] += (shares[first + i] · (out[other + i] − out[own + i]) + 2¹⁴) >> 15, so many rows of eight."""

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code = _Code(context, builder, signature, args)
            for i in range(0, LANES * rows.count, _TWO):
                to, own, other = (code.on(at, i) for at in args[1:4])
                held, mine, theirs = (code.loaded(0, at, ROWS) for at in (to, own, other))
                share = code.loaded(4, code.on(args[5], i), ROWS)
                code.stored(builder.add(held, operations.share(builder, builder.sub(theirs, mine), share)), 0, to)
            return context.get_dummy_value()

        return types.none(out, to, own, other, shares, first, rows), emit

    return typed


def _binomial(taps: tuple[int, ...]) -> Any:
    reach = len(taps) // 2

    def weighed(builder: Any, lines: list[Any], kind: Any) -> Any:
        """Lines times taps; both of a pair, added, fit the lanes that lines have."""
        total = builder.mul(builder.zext(lines[reach], kind), constant(kind, taps[reach]))
        for i in range(reach):
            pair = builder.zext(builder.add(lines[i], lines[-1 - i]), kind)
            total = builder.add(total, builder.mul(pair, constant(kind, taps[i])))
        return total

    def typed(
        typing_context: Any, out: Any, to: Any, along: Any, x: Any, at: Any, pitch: Any, rows: Any, cols: Any
    ) -> Any:
        """out[to + along · row + i]: x[at + pitch · row + i] smoothed by taps over 64 each way, rounded once."""
        byte, short, word = (ir.VectorType(ir.IntType(bits), cols.count) for bits in (8, 16, 32))

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code, across = _Code(context, builder, signature, args), []
            for r in range(-reach, rows.count + reach):
                first = builder.add(args[4], builder.mul(args[5], ir.Constant(args[5].type, r)))
                near = [builder.zext(code.loaded(3, code.on(first, i), byte), short) for i in range(-reach, reach + 1)]
                across.append(weighed(builder, near, short))
                if len(across) > 2 * reach:
                    total = builder.add(weighed(builder, across[-2 * reach - 1 :], word), constant(word, 2048))
                    level = builder.trunc(builder.lshr(total, constant(word, 12)), byte)
                    goal = builder.mul(args[2], ir.Constant(args[2].type, r - reach))
                    code.stored(level, 0, builder.add(args[1], goal))
            return context.get_dummy_value()

        return types.none(out, to, along, x, at, pitch, rows, cols), emit

    return typed


# to loops they are functions of the values that a signature's types stand for
put: Any = intrinsic(_put)
moved: Any = intrinsic(_moved(HERE))
add_shares: Any = intrinsic(_add_shares(HERE))
put_soft: Any = intrinsic(_binomial(TAPS[SOFT]))
put_blurred: Any = intrinsic(_binomial(TAPS[BLURRED]))
moved_plainly: Any = intrinsic(_moved(PLAIN))
add_shares_plainly: Any = intrinsic(_add_shares(PLAIN))
