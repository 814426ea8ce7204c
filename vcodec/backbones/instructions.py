"""Operations on vectors of integers that AVX2 has an instruction for and LLVM does not find; and the same plainly.

Vectors are two rows of eight 16-bit integers, or what they are made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils

__all__ = ["BYTES", "HERE", "INT", "LANES", "PLAIN", "ROWS", "SUMS", "Operations", "constant", "order"]

LANES = 8
INT = ir.IntType(32)
ROWS, SUMS = ir.VectorType(ir.IntType(16), 2 * LANES), ir.VectorType(INT, LANES)
BYTES = ir.VectorType(ir.IntType(8), 4 * LANES)

Operation = Callable[[Any, Any, Any], Any]  # code for one, of a builder and two vectors


class Operations(NamedTuple):
    """What a CPU may have an instruction for that LLVM does not find."""

    byte_pairs: Operation  # x[2i] · w[2i] + x[2i + 1] · w[2i + 1] in 16 bits, of bytes and signed bytes
    share: Operation  # (a · b + 2¹⁴) >> 15
    packed: Operation  # halves of two rows each, left and right ones, 32 bits -> the rows, 16 bits: they fit


def order(places: list[int]) -> Any:
    return ir.Constant(ir.VectorType(INT, len(places)), places)


def constant(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _native(name: str, out: Any, given: Any) -> Operation:
    kind = ir.FunctionType(out, [given, given])
    return lambda builder, a, b: builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b])


def _byte_pairs(builder: Any, x: Any, weights: Any) -> Any:
    out = constant(ROWS, 0)
    for first in range(2):
        every = order(list(range(first, x.type.count, 2)))
        a, b = (builder.shuffle_vector(v, v, every) for v in (x, weights))
        out = builder.add(out, builder.mul(builder.zext(a, ROWS), builder.sext(b, ROWS)))
    return out


def _share(builder: Any, a: Any, b: Any) -> Any:
    wide = ir.VectorType(INT, 2 * LANES)
    product = builder.add(builder.mul(builder.sext(a, wide), builder.sext(b, wide)), constant(wide, 1 << 14))
    return builder.trunc(builder.ashr(product, constant(wide, 15)), ROWS)


def _packed(builder: Any, left: Any, right: Any) -> Any:
    places = [4 * row + i + half for row in range(2) for half in (0, LANES) for i in range(4)]
    return builder.trunc(builder.shuffle_vector(left, right, order(places)), ROWS)


PLAIN = Operations(_byte_pairs, _share, _packed)
_NATIVE = Operations(
    _native("llvm.x86.avx2.pmadd.ub.sw", ROWS, BYTES),
    _native("llvm.x86.avx2.pmul.hr.sw", ROWS, ROWS),
    _native("llvm.x86.avx2.packssdw", ROWS, SUMS),
)
HERE = _NATIVE if get_host_cpu_features().get("avx2") else PLAIN
