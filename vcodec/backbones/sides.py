"""What the vectors of a square of blocks cost, and those at its sides, whatever vector it takes: compiled for this CPU.

A vector is predicted from its four neighbours (costs.py).  All of them but those in the square stand, so most is known
before any vector is tried; the rest is the same for each block, and done for many at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from vcodec.backbones.costs import BITS
from vcodec.backbones.differences import loaded
from vcodec.backbones.instructions import constant
from vcodec.loops import KEPT

__all__ = ["EVERY", "bits_around", "known_of"]

Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]
Facts = npt.NDArray[np.int32]

EVERY = 16  # blocks are looked up at once
_FACTS = 8
_LOW, _HIGH, _SUM, _TIMES, _EQUAL, _BEFORE, _OWN, _INSIDE = range(_FACTS)  # as _note has them
_WIDE = BITS.shape[1]
_BITS = BITS.reshape(-1)
_FAR = 1 << 24  # more than any component
_INT, _LONG = ir.IntType(32), ir.IntType(64)
_INTS = ir.VectorType(_INT, EVERY)


@njit(cache=KEPT, nogil=True, forceinline=True)
def _note(best: Ints, past: Ints, y: int, x: int, at: tuple[int, int], size: int, known: Facts, n: int) -> None:
    """What is known of a block's vector, in known [2,8,n:], whatever vector the square from ``at`` takes.

    For each component, of its neighbours outside the square: the least, the largest, and their sum; how many are
    inside; whether one of those outside is equal to it; the last frame's; then it, or 0 and all bits set where it is
    in the square itself.
    """
    h, w = best.shape[1:]
    top, left = at
    within = top <= y < top + size and left <= x < left + size
    for c in range(2):
        own = best[c, y, x]
        low, high, total, times, equal = _FAR, -_FAR, 0, 0, 0
        for i, j in ((max(y - 1, 0), x), (min(y + 1, h - 1), x), (y, max(x - 1, 0)), (y, min(x + 1, w - 1))):
            if top <= i < top + size and left <= j < left + size:
                times += 1
            else:
                v = best[c, i, j]
                low, high, total = min(low, v), max(high, v), total + v
                equal |= int(v == own)
        known[c, _LOW, n], known[c, _HIGH, n], known[c, _SUM, n], known[c, _TIMES, n] = low, high, total, times
        known[c, _EQUAL, n], known[c, _BEFORE, n] = equal, past[c, y, x]
        known[c, _OWN, n], known[c, _INSIDE, n] = 0 if within else own, -int(within)


@njit(cache=KEPT, nogil=True)
def known_of(best: Ints, past: Ints, at: tuple[int, int], size: int, bits: Sums, known: Facts) -> tuple[int, float]:
    """What is known of the blocks of a square and of those at its sides: how many these are, and what they cost now.

    In known [2,8,n], as _note has it; bits [h,w]: what each costs.
    """
    y, x = at
    h, w = best.shape[1:]
    n, cost = 0, 0.0
    for i in range(y, y + size):
        for j in range(max(x - 1, 0), min(x + size + 1, w)):
            _note(best, past, i, j, at, size, known, n)
            n, cost = n + 1, cost + bits[i, j]
    for j in range(x, x + size):
        for i in (y - 1, y + size):
            if 0 <= i < h:
                _note(best, past, i, j, at, size, known, n)
                n, cost = n + 1, cost + bits[i, j]
    return n, cost


def _find(typing_context: Any, known: Any, at: Any, room: Any, v: Any, grain: Any, places: Any, to: Any) -> Any:
    """places[to : to + EVERY] = where in _BITS stands what vectors known[at + fact * room:] cost, if a square takes v.

    known, places: flat int32 arrays.  As bits_of has it.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def everywhere(value: Any) -> Any:
            first = builder.insert_element(ir.Constant(_INTS, ir.Undefined), builder.trunc(value, _INT), _INT(0))
            return builder.shuffle_vector(first, first, constant(_INTS, 0))

        def fact(which: int) -> Any:
            place = builder.add(args[1], builder.mul(args[2], ir.Constant(_LONG, which)))
            return loaded(context, builder, signature.args[0], args[0], place, _INTS)

        def one(flags: Any) -> Any:
            return builder.zext(flags, _INTS)

        v, grain = everywhere(args[3]), everywhere(args[4])
        own = builder.or_(fact(_OWN), builder.and_(v, fact(_INSIDE)))
        low, high = fact(_LOW), fact(_HIGH)
        low = builder.select(builder.icmp_signed("<", low, v), low, v)
        high = builder.select(builder.icmp_signed(">", high, v), high, v)
        apart = builder.ashr(builder.sub(high, low), grain)
        kind = constant(_INTS, 0)
        for least in (1, 3, 7, 17):
            kind = builder.add(kind, one(builder.icmp_signed(">=", apart, constant(_INTS, least))))
        equal = builder.or_(fact(_EQUAL), one(builder.icmp_signed("==", own, v)))
        row = builder.add(builder.shl(kind, constant(_INTS, 2)), builder.shl(equal, constant(_INTS, 1)))
        row = builder.add(row, one(builder.icmp_signed("==", own, fact(_BEFORE))))
        middle = builder.add(fact(_SUM), builder.mul(fact(_TIMES), v))
        off = builder.sub(builder.add(own, own), builder.sub(middle, builder.add(low, high)))
        off = builder.select(builder.icmp_signed("<", off, constant(_INTS, 0)), builder.neg(off), off)
        place = builder.add(builder.mul(row, constant(_INTS, _WIDE)), builder.ashr(off, grain))
        data = context.make_array(signature.args[5])(context, builder, args[5]).data
        builder.store(place, builder.bitcast(builder.gep(data, [args[6]]), _INTS.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.none(known, at, room, v, grain, places, to), emit


_found: Any = intrinsic(_find)


@njit(cache=KEPT, nogil=True)
def bits_around(known: Facts, count: int, dy: int, dx: int, grain: int, places: Facts) -> float:
    """What the first so many vectors known [2,8,n] cost where the square takes one; places [2,n]: room."""
    facts, goals, room = known.reshape(-1), places.reshape(-1), places.shape[1]
    for first in range(0, count, EVERY):
        _found(facts, first, room, dy, grain, goals, first)
        _found(facts, _FACTS * room + first, room, dx, grain, goals, room + first)
    bits = 0.0
    for k in range(count):
        bits += _BITS[goals[k]] + _BITS[goals[room + k]]
    return bits
