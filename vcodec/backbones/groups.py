"""Vectors for groups of blocks at once, compiled for this CPU.

A block with a vector of its own, among others of theirs, does not give it up alone: its neighbours' vectors would cost
more.  A square of blocks may take one vector together where that costs less in all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.backbones import differences
from vcodec.backbones.costs import BITS, NEAR, Sizes, bits_at, coded, moved_to, plainly
from vcodec.loops import KEPT

__all__ = ["GROUPS", "together"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]

GROUPS = (8, 4, 2)  # blocks at a side of a group, in turn
_LOW, _HIGH, _SUM, _TIMES, _EQUAL, _BEFORE, _OWN, _INSIDE = range(8)  # what is known of a block (`_known_of`)
_EVERY = 8  # blocks, whose bits are looked up at once
_WIDE = BITS.shape[1]
_FLAT = BITS.reshape(-1)


@njit(cache=KEPT, nogil=True)
def _bids(best: Ints, y: int, x: int, size: int, bids: Ints) -> int:
    """Vectors of a group's blocks, and of those at its sides, each once: how many."""
    h, w = best.shape[1:]
    count = 0
    for i in range(max(y - 1, 0), min(y + size + 1, h)):
        for j in range(max(x - 1, 0), min(x + size + 1, w)):
            if not y <= i < y + size and not x <= j < x + size:
                continue
            dy, dx = best[0, i, j], best[1, i, j]
            k = 0
            while k < count and (bids[k, 0] != dy or bids[k, 1] != dx):
                k += 1
            if k == count:
                bids[count, 0], bids[count, 1] = dy, dx
                count += 1
    return count


@njit(cache=KEPT, nogil=True, forceinline=True)
def _known_of(best: Ints, past: Ints, y: int, x: int, at: tuple[int, int], size: int, known: Ints, n: int) -> None:
    """What is known of a block's vector known[:,:,n] whatever vector a group from ``at`` takes, for each component.

    The least and the largest of its neighbours outside the group, their sum, how many are inside; whether one of them
    is equal to it, and the last frame's; then it, or 0 and all bits set if it is in the group itself.
    """
    h, w = best.shape[1:]
    top, left = at
    within = top <= y < top + size and left <= x < left + size
    for c in range(2):
        own = best[c, y, x]
        low, high, total, times, equal = 1 << 30, -(1 << 30), 0, 0, 0
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
def _known(best: Ints, past: Ints, at: tuple[int, int], size: int, bits: Sums, known: Ints) -> tuple[int, float]:
    """What is known of a group's blocks and of those at its sides: how many they are, and what they cost in bits [h,w].

    In known [2,8,n], as _known_of has it.
    """
    y, x = at
    h, w = best.shape[1:]
    n, cost = 0, 0.0
    for i in range(y, y + size):
        for j in range(max(x - 1, 0), min(x + size + 1, w)):
            _known_of(best, past, i, j, at, size, known, n)
            n, cost = n + 1, cost + bits[i, j]
    for j in range(x, x + size):
        for i in (y - 1, y + size):
            if 0 <= i < h:
                _known_of(best, past, i, j, at, size, known, n)
                n, cost = n + 1, cost + bits[i, j]
    return n, cost


@njit(cache=KEPT, nogil=True)
def _bits_around(known: Ints, count: int, dy: int, dx: int, grain: int, places: Ints) -> float:
    """What the first so many known vectors cost where the group takes one; places [2,n]: room for where that stands."""
    for c in range(2):
        v, facts, goal = dx if c else dy, known[c], places[c]
        for first in range(0, count, _EVERY):
            for k in range(first, first + _EVERY):
                own = facts[_OWN, k] | (v & facts[_INSIDE, k])
                low, high = min(facts[_LOW, k], v), max(facts[_HIGH, k], v)
                apart = (high - low) >> grain
                kind = int(apart >= 1) + int(apart >= 3) + int(apart >= 7) + int(apart >= 17)
                row = 4 * kind + 2 * (facts[_EQUAL, k] | int(own == v)) + int(own == facts[_BEFORE, k])
                middle = facts[_SUM, k] + facts[_TIMES, k] * v - low - high
                goal[k] = row * _WIDE + (abs(2 * own - middle) >> grain)
    bits = 0.0
    for k in range(count):
        bits += _FLAT[places[0, k]] + _FLAT[places[1, k]]
    return bits


@njit(cache=KEPT, nogil=True)
def _missed(
    here: Bytes,
    there: Bytes,
    sizes: Sizes,
    plain: Sums,
    best: Ints,
    at: tuple[int, int],
    size: int,
    dy: int,
    dx: int,
    bits: float,
    near: float,
) -> float:
    """What a group's blocks plainly miss under a vector, or no end where that and its bits are more than ``near``."""
    total = 0.0
    for y in range(at[0], at[0] + size):
        for x in range(at[1], at[1] + size):
            if best[0, y, x] == dy and best[1, y, x] == dx:
                total += plain[y, x]
            else:
                total += plainly(here, there, sizes, y, x, moved_to(sizes, y, x, dy, dx), False)
            if total >= near or total + bits > near:
                return np.inf
    return total


@njit(cache=KEPT, nogil=True)
def _cost(
    here: Bytes,
    there: Bytes,
    sizes: Sizes,
    sums: Sums,
    best: Ints,
    at: tuple[int, int],
    size: int,
    dy: int,
    dx: int,
    most: float,
    measure: tuple[float, float],
) -> float:
    """What a group's blocks cost to code under a vector, or no end where that is ``most`` or more."""
    total = 0.0
    for y in range(at[0], at[0] + size):
        for x in range(at[1], at[1] + size):
            if best[0, y, x] == dy and best[1, y, x] == dx:
                total += sums[y, x]
            else:
                total += coded(here, there, sizes, y, x, moved_to(sizes, y, x, dy, dx), measure)
            if total >= most:
                return np.inf
    return total


@njit(cache=KEPT, nogil=True, forceinline=True)
def _fetch(there: Bytes, sizes: Sizes, at: tuple[int, int], size: int, dy: int, dx: int) -> None:
    """Have what a group of blocks looks at under a vector brought near: plain differences read every other row."""
    begin = moved_to(sizes, at[0], at[1], dy, dx)
    for row in range(0, 16 * size, 2):
        first = begin + row * sizes[4]
        for more in range(0, 16 * size + 63, 64):
            differences.fetch(there, first + min(more, 16 * size - 1))


@njit(cache=KEPT, nogil=True)
def together(
    here: Bytes,
    there: Bytes,
    sizes: Sizes,
    best: Ints,
    past: Ints,
    sums: Sums,
    plain: Sums,
    size: int,
    price: float,
    grain: int,
    measure: tuple[float, float],
    turn: int,
    changed: Ints,
    rows: tuple[int, int],
) -> None:
    """Give each group of size × size blocks, and those half a group further, one vector where that costs less in all.

    Of rows[0] up to rows[1].  As in matching.py; sums and plain [h,w] and changed [h+2,w+2] follow best [2,h,w].
    """
    (h, w), (first, stop) = best.shape[1:], rows
    bids = np.empty(((size + 2) ** 2, 2), np.int64)
    known, places = (
        np.zeros((2, 8, (size + 4) * size + _EVERY), np.int64),
        np.empty((2, (size + 4) * size + _EVERY), np.int64),
    )
    bits = np.empty((h, w))
    for y in range(max(first - 1, 0), min(stop + 1, h)):
        for x in range(w):
            bits[y, x] = bits_at(best, past, y, x, grain)
    for off in (0, size // 2):
        for y in range(first + off, stop - size + 1, size):
            for x in range(off, w - size + 1, size):
                count = _bids(best, y, x, size, bids)
                if count < 2:
                    continue
                around, cost = _known(best, past, (y, x), size, bits, known)
                least = sums[y : y + size, x : x + size].sum() + price * cost
                near = NEAR * (plain[y : y + size, x : x + size].sum() + price * cost)
                found = -1
                for k in range(count):
                    dy, dx = bids[k, 0], bids[k, 1]
                    if k + 1 < count:
                        _fetch(there, sizes, (y, x), size, bids[k + 1, 0], bids[k + 1, 1])
                    cost = price * _bits_around(known, around, dy, dx, grain, places)
                    if cost >= least:
                        continue
                    if _missed(here, there, sizes, plain, best, (y, x), size, dy, dx, cost, near) == np.inf:
                        continue
                    total = cost + _cost(here, there, sizes, sums, best, (y, x), size, dy, dx, least - cost, measure)
                    if total < least:
                        least, found = total, k
                if found < 0:
                    continue
                dy, dx = bids[found, 0], bids[found, 1]
                for i in range(y, y + size):
                    for j in range(x, x + size):
                        if best[0, i, j] != dy or best[1, i, j] != dx:
                            best[0, i, j], best[1, i, j] = dy, dx
                            moved = moved_to(sizes, i, j, dy, dx)
                            sums[i, j] = coded(here, there, sizes, i, j, moved, measure)
                            plain[i, j] = plainly(here, there, sizes, i, j, moved, False)
                            changed[i + 1, j + 1] = turn
                for i in range(max(y - 1, 0), min(y + size + 1, h)):
                    for j in range(max(x - 1, 0), min(x + size + 1, w)):
                        bits[i, j] = bits_at(best, past, i, j, grain)
