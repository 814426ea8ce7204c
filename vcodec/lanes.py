"""Several floats at a time in compiled loops: LLVM's own vectorizer makes little of many sums, or of few samples.

A tuple of lanes is what a loop holds in registers; on CPUs with shorter registers LLVM splits them.  Sums are in the
order written, and only `add_products` and `add_scaled` fuse products with them: the same values on every CPU.  Arrays
are flat, and nothing checks that a place is in them.
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
    "ACROSS",
    "WIDE",
    "add_products",
    "add_scaled",
    "blend",
    "copy",
    "put",
    "put_beside",
    "put_positive",
    "some",
    "sum_taps",
    "zeros",
]

WIDE = 16  # floats in a vector
# vectors that stand side by side, samples of one row: as many as registers hold sums of, 6 rows of them
ACROSS = 4 if get_host_cpu_features().get("avx512f") else 1
_VECTOR = ir.VectorType(ir.FloatType(), WIDE)
_FMA = ir.FunctionType(_VECTOR, [_VECTOR] * 3)


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"Lanes({WIDE}xfloat32)")


_lanes = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _VECTOR)  # type: ignore[no-untyped-call]


def _place(context: Any, builder: Any, array_type: Any, array: Any, at: Any, more: int = 0) -> Any:
    """Address of an element of a flat array; nothing checks that it is there."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [builder.add(at, ir.Constant(at.type, more))])


def _vector_place(*where: Any) -> Any:
    return where[1].bitcast(_place(*where), _VECTOR.as_pointer())


def _everywhere(builder: Any, place: Any) -> Any:
    """One float as a vector."""
    none, zero = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), WIDE), [0] * WIDE)
    return builder.shuffle_vector(builder.insert_element(none, builder.load(place), zero), none, everywhere)


def _zeros(typing_context: Any, rows: Any) -> Any:
    """rows × ACROSS lanes of 0; rows: a literal."""
    count = rows.literal_value * ACROSS

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, signature.return_type, [ir.Constant(_VECTOR, [0.0] * WIDE)] * count)

    return types.UniTuple(_lanes, count)(rows), emit


def _add_products(typing_context: Any, sums: Any, x: Any, at: Any, weights: Any, first: Any) -> Any:
    """sums (rows × ACROSS lanes) + weights[first + row] · x[at : at + ACROSS · WIDE], of flat float32 arrays."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        held = cgutils.unpack_tuple(builder, args[0])
        x_type, weights_type = signature.args[1], signature.args[3]
        samples = [
            builder.load(_vector_place(context, builder, x_type, args[1], args[2], WIDE * i), align=4)
            for i in range(ACROSS)
        ]
        fma = cgutils.get_or_insert_function(builder.module, _FMA, f"llvm.fma.v{WIDE}f32")
        out = []
        for i, total in enumerate(held):
            if i % ACROSS == 0:
                weight = _everywhere(builder, _place(context, builder, weights_type, args[3], args[4], i // ACROSS))
            out.append(builder.call(fma, [weight, samples[i % ACROSS], total]))
        return context.make_tuple(builder, signature.return_type, out)

    return sums(sums, x, at, weights, first), emit


def _positive(builder: Any, total: Any) -> Any:
    zero = ir.Constant(_VECTOR, [0.0] * WIDE)
    return builder.select(builder.fcmp_ordered(">", total, zero), total, zero)


def _each_row(context: Any, builder: Any, signature: Any, args: Any, settled: Callable[[int, Any, Any], Any]) -> Any:
    """out[to + pitch · row + i] = settled(row, place beside ``to``, sums); args: sums, out, to, pitch."""
    row, place = args[3].type(0), args[3].type(0)
    for i, total in enumerate(cgutils.unpack_tuple(builder, args[0])):
        if i and i % ACROSS == 0:
            row = builder.add(row, args[3])
        place = builder.add(row, ir.Constant(row.type, WIDE * (i % ACROSS)))
        goal = _vector_place(context, builder, signature.args[1], args[1], builder.add(args[2], place))
        builder.store(settled(i // ACROSS, place, total), goal, align=4)
    return context.get_dummy_value()


def _put(typing_context: Any, sums: Any, out: Any, to: Any, pitch: Any, biases: Any, first: Any) -> Any:
    """out[to + pitch · row + i] = sums (rows × ACROSS lanes) + biases[first + row]."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def settled(row: int, place: Any, total: Any) -> Any:
            bias = _everywhere(builder, _place(context, builder, signature.args[4], args[4], args[5], row))
            return builder.fadd(total, bias)

        return _each_row(context, builder, signature, args, settled)

    return types.none(sums, out, to, pitch, biases, first), emit


def _put_positive(
    typing_context: Any, sums: Any, out: Any, to: Any, pitch: Any, biases: Any, first: Any, more: Any
) -> Any:
    """out[to + pitch · row + i] = max(sums + biases[first + row] + more[first + row], 0)."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def settled(row: int, place: Any, total: Any) -> Any:
            for array in (4, 6):
                bias = _everywhere(builder, _place(context, builder, signature.args[array], args[array], args[5], row))
                total = builder.fadd(total, bias)
            return _positive(builder, total)

        return _each_row(context, builder, signature, args, settled)

    return types.none(sums, out, to, pitch, biases, first, more), emit


def _put_beside(
    typing_context: Any, sums: Any, out: Any, to: Any, pitch: Any, biases: Any, first: Any, given: Any
) -> Any:
    """out[to + pitch · row + i] = out[given + pitch · row + i] + max(sums + biases[first + row], 0)."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def settled(row: int, place: Any, total: Any) -> Any:
            bias = _everywhere(builder, _place(context, builder, signature.args[4], args[4], args[5], row))
            held = _vector_place(context, builder, signature.args[1], args[1], builder.add(args[6], place))
            return builder.fadd(builder.load(held, align=4), _positive(builder, builder.fadd(total, bias)))

        return _each_row(context, builder, signature, args, settled)

    return types.none(sums, out, to, pitch, biases, first, given), emit


def _run(width: int, context: Any, builder: Any, signature: Any, args: Any, array: int) -> Any:
    """Address of so many floats: of the array that is an argument, from the place that the next one is."""
    place = _place(context, builder, signature.args[array], args[array], args[array + 1])
    return builder.bitcast(place, ir.VectorType(ir.FloatType(), width).as_pointer())


def _sum_taps(
    typing_context: Any, out: Any, to: Any, x: Any, at: Any, weights: Any, first: Any, step: Any, taps: Any, width: Any
) -> Any:
    """out[to + i] = Σ x[at + step · t + i] · weights[first + t]; i < width, t < taps: lengths of these two tuples."""
    count, size = taps.count, width.count

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), size)
        none, zero = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        total, at = ir.Constant(vector, [0.0] * size), args[3]
        for t in range(count):
            one = builder.load(_place(context, builder, signature.args[4], args[4], args[5], t))
            everywhere = ir.Constant(ir.VectorType(ir.IntType(32), size), [0] * size)
            weight = builder.shuffle_vector(builder.insert_element(none, one, zero), none, everywhere)
            here = [*args[:3], at]
            samples = builder.load(_run(size, context, builder, signature, here, 2), align=4)
            total = builder.fadd(total, builder.fmul(samples, weight))
            at = builder.add(at, args[6])
        builder.store(total, _run(size, context, builder, signature, args, 0), align=4)
        return context.get_dummy_value()

    return types.none(out, to, x, at, weights, first, step, taps, width), emit


def _some(typing_context: Any, x: Any, at: Any) -> Any:
    """Whether any of x[at : at + ACROSS · WIDE + 2] is not 0: what a tile of samples sees to its left and right too."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits, every = ir.VectorType(ir.IntType(32), WIDE), None
        for more in (*range(0, ACROSS * WIDE, WIDE), (ACROSS - 1) * WIDE + 2):
            place = _vector_place(context, builder, signature.args[0], args[0], args[1], more)
            held = builder.bitcast(builder.load(place, align=4), bits)
            every = held if every is None else builder.or_(every, held)
        whole = builder.bitcast(every, ir.IntType(32 * WIDE))
        return builder.icmp_unsigned("!=", whole, ir.Constant(whole.type, 0))

    return types.boolean(x, at), emit


def _add_scaled(typing_context: Any, out: Any, to: Any, x: Any, at: Any, weights: Any, first: Any, count: Any) -> Any:
    """out[to + i] += x[at + i] · weights[first] for i < count · WIDE; count: a literal."""
    vectors = count.literal_value

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        weight = _everywhere(builder, _place(context, builder, signature.args[4], args[4], args[5]))
        fma = cgutils.get_or_insert_function(builder.module, _FMA, f"llvm.fma.v{WIDE}f32")
        for i in range(vectors):
            goal, given = (
                _vector_place(context, builder, signature.args[a], args[a], args[a + 1], WIDE * i) for a in (0, 2)
            )
            held, samples = builder.load(goal, align=4), builder.load(given, align=4)
            builder.store(builder.call(fma, [samples, weight, held]), goal, align=4)
        return context.get_dummy_value()

    return types.none(out, to, x, at, weights, first, count), emit


def _copy(typing_context: Any, out: Any, to: Any, x: Any, at: Any, width: Any) -> Any:
    """out[to + i] = x[at + i] for i < width, the length of a tuple."""
    size = width.count

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        goal, given = (_run(size, context, builder, signature, args, i) for i in (0, 2))
        builder.store(builder.load(given, align=4), goal, align=4)
        return context.get_dummy_value()

    return types.none(out, to, x, at, width), emit


def _blend(
    typing_context: Any,
    out: Any,
    to: Any,
    own: Any,
    at: Any,
    other: Any,
    beside: Any,
    share: Any,
    first: Any,
    width: Any,
) -> Any:
    """out[to + i] += (other[beside + i] − own[at + i]) · share[first + i] for i < width, the length of a tuple."""
    size = width.count

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        goal, mine, theirs, weight = (_run(size, context, builder, signature, args, i) for i in (0, 2, 4, 6))
        held, a, b, s = (builder.load(place, align=4) for place in (goal, mine, theirs, weight))
        builder.store(builder.fadd(held, builder.fmul(builder.fsub(b, a), s)), goal, align=4)
        return context.get_dummy_value()

    return types.none(out, to, own, at, other, beside, share, first, width), emit


# to loops they are functions of the values that a signature's types stand for
zeros: Any = intrinsic(prefer_literal=True)(_zeros)
add_products: Any = intrinsic(_add_products)
put: Any = intrinsic(_put)
put_positive: Any = intrinsic(_put_positive)
put_beside: Any = intrinsic(_put_beside)
some: Any = intrinsic(_some)
add_scaled: Any = intrinsic(prefer_literal=True)(_add_scaled)
sum_taps: Any = intrinsic(_sum_taps)
blend: Any = intrinsic(_blend)
copy: Any = intrinsic(_copy)
