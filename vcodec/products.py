"""Sums of products of 16-bit integers in compiled loops, two products a lane; of bytes four, where a CPU has those.

    pairs of a [rows, 2·k]  ·  pairs of weights [k, OUTPUTS, 2]  ─►  32-bit sums [rows, OUTPUTS]
    fours of a [rows, 4·k]  ·  fours of weights [k, OUTPUTS, 4]  ─►  the same: a in 0..255, weights in -128..127

A tuple of lanes is what a loop holds in registers: twelve sums, two vectors of weights and a pair fit sixteen of them;
twenty-four sums, of twice the size, fit the thirty-two of AVX-512.  Integers are exact in any order.  Arrays are flat,
and nothing checks that a place is in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

__all__ = [
    "BYTES",
    "OUTPUTS",
    "ROWS",
    "add_products",
    "add_products_plainly",
    "add_row",
    "address",
    "everywhere",
    "in_pairs",
    "put_sums",
    "spread",
    "zero_sums",
]

_FEATURES = get_host_cpu_features()
_HERE, _WIDE = bool(_FEATURES.get("avx2")), bool(_FEATURES.get("avx512bw"))
_SIZE = 16 if _WIDE else 8  # sums in a vector
_BESIDE = 2  # vectors
OUTPUTS, ROWS = _BESIDE * _SIZE, 12 if _WIDE else 6  # of a block of sums
_SUMS, _SHORTS = ir.VectorType(ir.IntType(32), _SIZE), ir.VectorType(ir.IntType(16), 2 * _SIZE)
BYTES = bool(_FEATURES.get("avx512vnni") and _FEATURES.get("avx512vl"))
"""Whether this CPU has products of bytes: without them those of 16-bit integers are quicker."""
# what AVX2 and AVX-512 have for it, by the sums in a vector; LLVM does not find it by itself
_NATIVE = {8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}
_FOURS = {8: "llvm.x86.avx512.vpdpbusd.256", 16: "llvm.x86.avx512.vpdpbusd.512"}


class _Sums(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"Sums({_SIZE}xint32)")


_sums = _Sums()


@register_model(_Sums)
class _SumsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _SUMS)  # type: ignore[no-untyped-call]


def address(context: Any, builder: Any, array_type: Any, array: Any, at: Any, kind: Any) -> Any:
    """Code for where an element of a flat array lies, read as another kind; nothing checks that it is there."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())


def spread(builder: Any, value: Any, size: int) -> Any:
    """Code for a 32-bit integer, so many times."""
    kind = ir.VectorType(ir.IntType(32), size)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(kind, [0] * size))


def everywhere(builder: Any, pair: Any) -> Any:
    """Code for a pair of 16-bit integers (one of 32 bits), eight times."""
    return builder.bitcast(spread(builder, pair, 8), ir.VectorType(ir.IntType(16), 16))


def _native(builder: Any, a: Any, b: Any) -> Any:
    """Sums of two products each."""
    size = a.type.count // 2
    sums = ir.VectorType(ir.IntType(32), size)
    kind = ir.FunctionType(sums, [a.type, b.type])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, _NATIVE[size]), [a, b])


def _plain(builder: Any, a: Any, b: Any) -> Any:
    """The same in terms that every CPU has."""
    out, size = None, a.type.count // 2
    for first in range(2):
        every = ir.Constant(ir.VectorType(ir.IntType(32), size), list(range(first, 2 * size, 2)))
        one, other = (
            builder.sext(builder.shuffle_vector(x, x, every), ir.VectorType(ir.IntType(32), size)) for x in (a, b)
        )
        product = builder.mul(one, other)
        out = product if out is None else builder.add(out, product)
    return out


in_pairs = _native if _HERE else _plain
"""Code for sums of two products each, a[2i]·b[2i] + a[2i + 1]·b[2i + 1], of vectors of 16, or of 32 where
there is AVX-512: (builder, a, b)."""


def _add_fours(builder: Any, total: Any, a: Any, b: Any) -> Any:
    """total + four products of bytes each, of vectors of 32 bits."""
    kind = ir.FunctionType(_SUMS, [_SUMS] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, _FOURS[_SIZE])
    return builder.call(function, [total, a, b])


def _add_fours_plainly(builder: Any, total: Any, a: Any, b: Any) -> Any:
    """The same in terms that every CPU has."""
    for i in range(4):
        left, right = (builder.shl(x, ir.Constant(_SUMS, [24 - 8 * i] * _SIZE)) for x in (a, b))
        ends = ir.Constant(_SUMS, [24] * _SIZE)
        total = builder.add(total, builder.mul(builder.lshr(left, ends), builder.ashr(right, ends)))
    return total


def _add_products(pairs: Callable[[Any, Any, Any], Any], fours: Callable[[Any, Any, Any, Any], Any]) -> Any:
    def typed(typing_context: Any, sums: Any, a: Any, at: Any, pitch: Any, weights: Any, first: Any) -> Any:
        """sums + a[at + pitch · row : … + n] · weights[first + n · output : … + n], of flat arrays of 16-bit integers
        (n = 2) or of bytes (n = 4)."""
        size = a.dtype.bitwidth // 8
        count = 4 // size

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            held, out, row = cgutils.unpack_tuple(builder, args[0]), [], args[2]
            places = [builder.add(args[5], ir.Constant(args[5].type, count * _SIZE * i)) for i in range(_BESIDE)]
            found = [
                builder.load(address(context, builder, signature.args[4], args[4], place, _SUMS), align=size)
                for place in places
            ]
            for i, total in enumerate(held):
                if i % _BESIDE == 0:
                    place = address(context, builder, signature.args[1], args[1], row, ir.IntType(32))
                    some = spread(builder, builder.load(place, align=size), _SIZE)
                    row = builder.add(row, args[3])
                if count == 2:
                    both = (builder.bitcast(x, _SHORTS) for x in (some, found[i % _BESIDE]))
                    out.append(builder.add(total, pairs(builder, *both)))
                else:
                    out.append(fours(builder, total, some, found[i % _BESIDE]))
            return context.make_tuple(builder, signature.return_type, out)

        return sums(sums, a, at, pitch, weights, first), emit

    return typed


def _add_row(typing_context: Any, sums: Any, count: Any, weights: Any, at: Any) -> Any:
    """sums + count · weights[at : …], of a flat array of 16- or 32-bit integers; the count has 32 bits, of which beside
    weights of 16 bits the lower 15 are of use."""
    bits = weights.dtype.bitwidth
    kind = ir.VectorType(ir.IntType(bits), _SIZE)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, times = [], spread(builder, args[1], _SIZE)
        for i, total in enumerate(cgutils.unpack_tuple(builder, args[0])):
            place = builder.add(args[3], ir.Constant(args[3].type, _SIZE * i))
            found = builder.load(address(context, builder, signature.args[2], args[2], place, kind), align=bits // 8)
            if bits < 32:  # a pair of each weight and its sign, times the count and 0: sooner than products of 32 bits
                both = (builder.bitcast(x, _SHORTS) for x in (times, builder.sext(found, _SUMS)))
                out.append(builder.add(total, in_pairs(builder, *both)))
            else:
                out.append(builder.add(total, builder.mul(times, found)))
        return context.make_tuple(builder, signature.return_type, out)

    return sums(sums, count, weights, at), emit


def _zero_sums(typing_context: Any, rows: Any) -> Any:
    """rows × OUTPUTS sums of 0; rows: a literal."""
    count = rows.literal_value * _BESIDE

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, signature.return_type, [ir.Constant(_SUMS, [0] * _SIZE)] * count)

    return types.UniTuple(_sums, count)(rows), emit


def _put_sums(typing_context: Any, sums: Any, out: Any, to: Any, pitch: Any) -> Any:
    """out[to + pitch · row + output] = sums."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = args[2]
        for i, total in enumerate(cgutils.unpack_tuple(builder, args[0])):
            if i and i % _BESIDE == 0:
                row = builder.add(row, args[3])
            place = builder.add(row, ir.Constant(row.type, _SIZE * (i % _BESIDE)))
            builder.store(total, address(context, builder, signature.args[1], args[1], place, _SUMS), align=4)
        return context.get_dummy_value()

    return types.none(sums, out, to, pitch), emit


zero_sums: Any = intrinsic(prefer_literal=True)(_zero_sums)
put_sums: Any = intrinsic(_put_sums)
add_row: Any = intrinsic(_add_row)
add_products_plainly: Any = intrinsic(_add_products(_plain, _add_fours_plainly))
add_products: Any = intrinsic(_add_products(in_pairs, _add_fours if BYTES else _add_fours_plainly))
