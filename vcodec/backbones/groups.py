"""Vectors for groups of blocks at once, compiled for this CPU.

A block with a vector of its own, among others of theirs, does not give it up alone: its neighbours' vectors would cost
more.  A square of blocks may take one vector together where that costs less in all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.backbones import differences
from vcodec.backbones.costs import NEAR, PLAIN, Sizes, bits_around, coded, moved_to, plainly
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
            dy, dx = best[0, i, j], best[1, i, j]
            k = 0
            while k < count and (bids[k, 0] != dy or bids[k, 1] != dx):
                k += 1
            if k == count:
                bids[count, 0], bids[count, 1] = dy, dx
                count += 1
    return count


@njit(cache=KEPT, nogil=True)
def _missed(
    here: Bytes,
    there: Bytes,
    sizes: Sizes,
    sums: Sums,
    old: Ints,
    at: tuple[int, int],
    dy: int,
    dx: int,
    most: float,
    measure: tuple[float, float],
) -> float:
    """What blocks [2,size,size] from ``at`` miss under a vector, or no end where that is ``most`` or more.

    measure: as `coded` has it, or PLAIN; sums [h,w]: what blocks miss in it under the vectors they have.
    """
    total = 0.0
    for i in range(old.shape[1]):
        for j in range(old.shape[2]):
            y, x = at[0] + i, at[1] + j
            if old[0, i, j] == dy and old[1, i, j] == dx:
                total += sums[y, x]
            elif measure[0] > 0.0:
                total += coded(here, there, sizes, y, x, moved_to(sizes, y, x, dy, dx), measure)
            else:
                total += plainly(here, there, sizes, y, x, moved_to(sizes, y, x, dy, dx), False)
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
    w, (first, stop) = best.shape[2], rows
    bids = np.empty(((size + 2) ** 2, 2), np.int64)
    old = np.empty((2, size, size), np.int64)
    for off in (0, size // 2):
        for y in range(first + off, stop - size + 1, size):
            for x in range(off, w - size + 1, size):
                count = _bids(best, y, x, size, bids)
                if count < 2:
                    continue
                group = best[:, y : y + size, x : x + size]
                old[:] = group
                bits = price * bits_around(best, past, (y, x), size, grain)
                least = sums[y : y + size, x : x + size].sum() + bits
                near = NEAR * (plain[y : y + size, x : x + size].sum() + bits)
                found = -1
                for k in range(count):
                    dy, dx = bids[k, 0], bids[k, 1]
                    if k + 1 < count:
                        _fetch(there, sizes, (y, x), size, bids[k + 1, 0], bids[k + 1, 1])
                    off_by = _missed(here, there, sizes, plain, old, (y, x), dy, dx, near, PLAIN)
                    if off_by >= near:
                        continue
                    group[0], group[1] = dy, dx
                    bits = price * bits_around(best, past, (y, x), size, grain)
                    if off_by + bits > near or bits >= least:
                        continue
                    total = bits + _missed(here, there, sizes, sums, old, (y, x), dy, dx, least - bits, measure)
                    if total < least:
                        least, found = total, k
                group[:] = old
                if found < 0:
                    continue
                dy, dx = bids[found, 0], bids[found, 1]
                group[0], group[1] = dy, dx
                for i in range(size):
                    for j in range(size):
                        if old[0, i, j] != dy or old[1, i, j] != dx:
                            moved = moved_to(sizes, y + i, x + j, dy, dx)
                            sums[y + i, x + j] = coded(here, there, sizes, y + i, x + j, moved, measure)
                            plain[y + i, x + j] = plainly(here, there, sizes, y + i, x + j, moved, False)
                            changed[y + i + 1, x + j + 1] = turn
