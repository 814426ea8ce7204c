"""Patches of bytes through filters over 64, in compiled loops: 16-bit integers, eight samples at a time.

    bytes ─► taps across or down ─► (Σ + 1) >> 1          bytes ─► taps across ─► sums ─► taps down ─► (Σ + 64) >> 7

A row of a patch is eight lanes: eight samples of luma, or four each of two planes of colour that lie ``apart``.  What
comes out is in parts of a level, 32 of them, rows one behind the other.  What filters make of bytes fits 16 bits.
Blocks are as large as filters are long: tuples say by their length how large, where loops are compiled.  Arrays are
flat, and nothing checks that a place is in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vcodec.products import everywhere, in_pairs

__all__ = ["LANES", "add_shares", "add_shares_plainly", "filtered", "filtered_down", "put", "summed", "widened"]

LANES = 8
_BYTE, _SHORT, _INT = (ir.IntType(n) for n in (8, 16, 32))
_ROW, _SUMS, _BOTH = ir.VectorType(_SHORT, LANES), ir.VectorType(_INT, LANES), ir.VectorType(_SHORT, 2 * LANES)
_HERE = bool(get_host_cpu_features().get("avx2"))
_NATIVE = "llvm.x86.avx2.pmul.hr.sw"  # what AVX2 has for a rounded product


def _every(order: list[int]) -> Any:
    return ir.Constant(ir.VectorType(_INT, len(order)), order)


def _constant(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


class _Code:
    """Code of one intrinsic: arrays are its arguments, by number."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.builder, self.args, self._context, self._kinds = builder, args, context, signature.args

    def place(self, array: int, at: Any, kind: Any) -> Any:
        data = self._context.make_array(self._kinds[array])(self._context, self.builder, self.args[array]).data
        return self.builder.bitcast(self.builder.gep(data, [at]), kind.as_pointer())

    def loaded(self, array: int, at: Any, kind: Any) -> Any:
        return self.builder.load(self.place(array, at, kind), align=1)

    def stored(self, value: Any, array: int, at: Any) -> None:
        self.builder.store(value, self.place(array, at, value.type), align=1)

    def moved(self, at: Any, step: Any, times: Any = 1) -> Any:
        """A place so many steps on."""
        step, times = (n if isinstance(n, ir.Value) else ir.Constant(at.type, n) for n in (step, times))
        return self.builder.add(at, self.builder.mul(step, times))

    def row(self, array: int, at: Any, apart: Any, size: int) -> Any:
        """A row of bytes, in 16 bits."""
        part = ir.VectorType(_BYTE, size)
        found = self.loaded(array, at, part)
        if size < LANES:
            other = self.loaded(array, self.builder.add(at, apart), part)
            found = self.builder.shuffle_vector(found, other, _every(list(range(LANES))))
        return self.builder.zext(found, _ROW)

    def weight(self, array: int, at: Any) -> Any:
        """A 16-bit weight in every lane of a row."""
        one = self.builder.insert_element(
            ir.Constant(_ROW, ir.Undefined), self.loaded(array, at, _SHORT), ir.Constant(_INT, 0)
        )
        return self.builder.shuffle_vector(one, one, _every([0] * LANES))


def _widened(typing_context: Any, out: Any, x: Any, at: Any, pitch: Any, apart: Any, rows: Any, size: Any) -> Any:
    """out[8 · row + i] = 32 · x[at + pitch · row + i]."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = _Code(context, builder, signature, args)
        with cgutils.for_range(builder, args[5]) as loop:
            row = code.row(1, code.moved(args[2], args[3], loop.index), args[4], size.count)
            code.stored(
                builder.shl(row, _constant(_ROW, 5)), 0, code.moved(ir.Constant(args[2].type, 0), LANES, loop.index)
            )
        return context.get_dummy_value()

    return types.none(out, x, at, pitch, apart, rows, size), emit


def _one_way(rounded: bool) -> Any:
    def typed(
        typing_context: Any,
        out: Any,
        x: Any,
        at: Any,
        pitch: Any,
        apart: Any,
        step: Any,
        rows: Any,
        weights: Any,
        first: Any,
        size: Any,
    ) -> Any:
        """out[8 · row + i] = Σ weights[first + t] · x[at + pitch · row + step · t + i], (Σ + 1) >> 1 if rounded."""

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code = _Code(context, builder, signature, args)
            taps = [code.weight(7, code.moved(args[8], t)) for t in range(size.count)]
            with cgutils.for_range(builder, args[6]) as loop:
                at, total = code.moved(args[2], args[3], loop.index), _constant(_ROW, int(rounded))
                for weight in taps:
                    product = builder.mul(code.row(1, at, args[4], size.count), weight)
                    total, at = builder.add(total, product), builder.add(at, args[5])
                if rounded:
                    total = builder.ashr(total, _constant(_ROW, 1))
                code.stored(total, 0, code.moved(ir.Constant(at.type, 0), LANES, loop.index))
            return context.get_dummy_value()

        return types.none(out, x, at, pitch, apart, step, rows, weights, first, size), emit

    return typed


def _filtered_down(typing_context: Any, out: Any, x: Any, weights: Any, first: Any, size: Any, rows: Any) -> Any:
    """out[8 · row + i] = (Σ weights[first + t] · x[8 · (row + t) + i] + 64) >> 7 of 16-bit sums x."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code, zero = _Code(context, builder, signature, args), ir.Constant(args[3].type, 0)
        taps = [
            everywhere(builder, code.loaded(2, code.moved(args[3], t), _INT)) for t in range(0, size.count, 2)
        ]
        lines = [code.loaded(1, code.moved(zero, LANES, r), _ROW) for r in range(rows.count + size.count - 1)]
        in_turn = _every([i + n for i in range(LANES) for n in (0, LANES)])
        pairs = [builder.shuffle_vector(one, other, in_turn) for one, other in zip(lines[:-1], lines[1:], strict=True)]
        for r in range(rows.count):
            total = _constant(_SUMS, 64)
            for weight, pair in zip(taps, pairs[r::2], strict=False):
                total = builder.add(total, in_pairs(builder, pair, weight))
            total = builder.trunc(builder.ashr(total, _constant(_SUMS, 7)), _ROW)
            code.stored(total, 0, code.moved(zero, LANES, r))
        return context.get_dummy_value()

    return types.none(out, x, weights, first, size, rows), emit


def _put(typing_context: Any, out: Any, to: Any, pitch: Any, apart: Any, x: Any, size: Any) -> Any:
    """out[to + pitch · row + i] = x[8 · row + i], a whole block."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code, to = _Code(context, builder, signature, args), args[1]
        for r in range(size.count):
            row = code.loaded(4, ir.Constant(to.type, LANES * r), _ROW)
            for i in range(0, LANES, size.count):
                part = builder.shuffle_vector(row, row, _every(list(range(i, i + size.count))))
                code.stored(part, 0, code.moved(to, args[3]) if i else to)
            to = builder.add(to, args[2])
        return context.get_dummy_value()

    return types.none(out, to, pitch, apart, x, size), emit


def _native(builder: Any, a: Any, b: Any) -> Any:
    """(a · b + 2¹⁴) >> 15."""
    kind = ir.FunctionType(_BOTH, [_BOTH, _BOTH])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, _NATIVE), [a, b])


def _plain(builder: Any, a: Any, b: Any) -> Any:
    """The same in terms that every CPU has."""
    wide = ir.VectorType(_INT, 2 * LANES)
    product = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    return builder.trunc(builder.ashr(builder.add(product, _constant(wide, 1 << 14)), _constant(wide, 15)), _BOTH)


def _add_shares(products: Callable[[Any, Any, Any], Any]) -> Any:
    def typed(
        typing_context: Any, out: Any, own: Any, to: Any, other: Any, share: Any, first: Any, rows: Any
    ) -> Any:
        """out[to + i] += (share[first + i] · (other[i] − own[to + i]) + 2¹⁴) >> 15, so many rows of eight."""

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code = _Code(context, builder, signature, args)
            for i in range(0, LANES * rows.count, 2 * LANES):
                at = code.moved(args[2], i)
                mine, theirs = code.loaded(1, at, _BOTH), code.loaded(3, ir.Constant(at.type, i), _BOTH)
                weight = code.loaded(4, code.moved(args[5], i), _BOTH)
                more = products(builder, builder.sub(theirs, mine), weight)
                code.stored(builder.add(code.loaded(0, at, _BOTH), more), 0, at)
            return context.get_dummy_value()

        return types.none(out, own, to, other, share, first, rows), emit

    return typed


widened: Any = intrinsic(_widened)
filtered: Any = intrinsic(_one_way(True))
summed: Any = intrinsic(_one_way(False))
filtered_down: Any = intrinsic(_filtered_down)
put: Any = intrinsic(_put)
add_shares_plainly: Any = intrinsic(_add_shares(_plain))
add_shares: Any = intrinsic(_add_shares(_native)) if _HERE else add_shares_plainly
