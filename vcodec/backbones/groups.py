"""Vectors for groups of blocks at once, compiled for this CPU.

A block with a vector of its own, among others of theirs, does not give it up alone: its neighbours' vectors would cost
more.  A square of blocks may take one vector together where that costs less in all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.backbones import differences
from vcodec.backbones.costs import NEAR, Sizes, bits_at, coded, moved_to, note_of, plainly
from vcodec.backbones.matching import with_bid
from vcodec.backbones.sides import EVERY, bits_around, known_of
from vcodec.loops import KEPT

__all__ = ["GROUPS", "together"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]

GROUPS = (8, 4, 2)  # blocks at a side of a group, in turn


@njit(cache=KEPT, nogil=True)
def _bids(best: Ints, y: int, x: int, size: int, bids: Ints) -> int:
    """Vectors of a group's blocks, and of those at its sides, each once: how many."""
    h, w = best.shape[1:]
    count = 0
    for i in range(max(y - 1, 0), min(y + size + 1, h)):
        for j in range(max(x - 1, 0), min(x + size + 1, w)):
            if not y <= i < y + size and not x <= j < x + size:
                continue
            count = with_bid(bids, count, best[0, i, j], best[1, i, j])
    return count


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
    noted: Sums,
) -> float:
    """What a group's blocks cost to code under a vector, or no end where that is ``most`` or more."""
    total = 0.0
    for y in range(at[0], at[0] + size):
        for x in range(at[1], at[1] + size):
            if best[0, y, x] == dy and best[1, y, x] == dx:
                total += sums[y, x]
            else:
                moved, note = moved_to(sizes, y, x, dy, dx), note_of(sizes, y, x, dy, dx)
                if noted[note] != moved + 1:
                    noted[note], noted[note + 1] = moved + 1, coded(here, there, sizes, y, x, moved, measure)
                total += noted[note + 1]
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
    noted: Sums,
    turn: int,
    changed: Ints,
    rows: tuple[int, int],
) -> None:
    """Give each group of size × size blocks, and those half a group further, one vector where that costs less in all.

    Of rows[0] up to rows[1].  As in matching.py; sums and plain [h,w] and changed [h+2,w+2] follow best [2,h,w].
    """
    (h, w), (first, stop) = best.shape[1:], rows
    bids, prices = np.empty(((size + 2) ** 2, 2), np.int64), np.empty((size + 2) ** 2)
    room = EVERY * ((size + 4) * size // EVERY + 1)
    known, places = np.zeros((2, 8, room), np.int32), np.empty((2, room), np.int32)
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
                around, cost = known_of(best, past, (y, x), size, bits, known)
                least = sums[y : y + size, x : x + size].sum() + price * cost
                near = NEAR * (plain[y : y + size, x : x + size].sum() + price * cost)
                found, left = -1, 0
                for k in range(count):
                    cost = price * bits_around(known, around, bids[k, 0], bids[k, 1], grain, places)
                    if cost < least and cost <= near:
                        bids[left, 0], bids[left, 1], prices[left] = bids[k, 0], bids[k, 1], cost
                        left += 1
                for k in range(left):
                    dy, dx, cost = bids[k, 0], bids[k, 1], prices[k]
                    if k + 1 < left:
                        _fetch(there, sizes, (y, x), size, bids[k + 1, 0], bids[k + 1, 1])
                    if cost >= least:
                        continue
                    if _missed(here, there, sizes, plain, best, (y, x), size, dy, dx, cost, near) == np.inf:
                        continue
                    total = cost + _cost(
                        here, there, sizes, sums, best, (y, x), size, dy, dx, least - cost, measure, noted
                    )
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
