"""Vectors for groups of blocks at once, compiled for this CPU.

A block with a vector of its own, among others of theirs, does not give it up alone: its neighbours' vectors would cost
more.  A square of blocks may take one vector together where that costs less in all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.backbones.costs import CODED, bits_around, inside, missed, place_of
from vcodec.loops import KEPT

__all__ = ["GROUPS", "together"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]

GROUPS = (4, 2)  # blocks at a side of a group, in turn


@njit(cache=KEPT, nogil=True)
def _add(bids: Ints, count: int, dy: int, dx: int) -> int:
    """One more bid, unless it is there; how many there are."""
    for k in range(count):
        if bids[k, 0] == dy and bids[k, 1] == dx:
            return count
    bids[count, 0], bids[count, 1] = dy, dx
    return count + 1


@njit(cache=KEPT, nogil=True)
def _bids(best: Ints, y: int, x: int, size: int, bids: Ints) -> int:
    """Vectors of a group's blocks, and of those at its sides, each once: how many."""
    h, w = best.shape[1:]
    count = 0
    for i in range(max(y - 1, 0), min(y + size + 1, h)):
        for j in range(max(x - 1, 0), min(x + size + 1, w)):
            if y <= i < y + size or x <= j < x + size:
                count = _add(bids, count, best[0, i, j], best[1, i, j])
    return count


@njit(cache=KEPT, nogil=True)
def _moved(now: Bytes, planes: Bytes, y: int, x: int, dy: int, dx: int, measure: tuple[float, float]) -> float:
    """What the block at (y, x) costs under a vector, beside that."""
    high, wide = now.shape
    begins = 16 * (y * wide + x)
    moved = place_of(16 * y, 16 * x, inside(dy, 16 * y, high, 16), inside(dx, 16 * x, wide, 16), planes.shape)
    return missed(now.reshape(-1), planes.reshape(-1), begins, moved, wide, planes.shape[2], CODED, measure)


@njit(cache=KEPT, nogil=True)
def together(
    now: Bytes,
    planes: Bytes,
    best: Ints,
    past: Ints,
    sums: Sums,
    size: int,
    price: float,
    grain: int,
    measure: tuple[float, float],
    turn: int,
    changed: Ints,
) -> None:
    """Give each group of size × size blocks, and those half a group further, one vector where that costs less in all.

    As in matching.py; sums [h,w] and changed [h+2,w+2] follow best [2,h,w].
    """
    h, w = best.shape[1:]
    bids = np.empty(((size + 2) ** 2, 2), np.int64)
    for off in (0, size // 2):
        for y in range(off, h - size + 1, size):
            for x in range(off, w - size + 1, size):
                count = _bids(best, y, x, size, bids)
                if count < 2:
                    continue
                group = best[:, y : y + size, x : x + size]
                old = group.copy()
                least = sums[y : y + size, x : x + size].sum() + price * bits_around(best, past, (y, x), size, grain)
                found = -1
                for k in range(count):
                    group[0], group[1] = bids[k, 0], bids[k, 1]
                    total = price * bits_around(best, past, (y, x), size, grain)
                    for i in range(size):
                        for j in range(size):
                            if total >= least:
                                break
                            if old[0, i, j] == bids[k, 0] and old[1, i, j] == bids[k, 1]:
                                total += sums[y + i, x + j]
                            else:
                                total += _moved(now, planes, y + i, x + j, bids[k, 0], bids[k, 1], measure)
                    if total < least:
                        least, found = total, k
                group[:] = old
                if found < 0:
                    continue
                dy, dx = bids[found, 0], bids[found, 1]
                for i in range(size):
                    for j in range(size):
                        if old[0, i, j] != dy or old[1, i, j] != dx:
                            sums[y + i, x + j] = _moved(now, planes, y + i, x + j, dy, dx, measure)
                            changed[y + i + 1, x + j + 1] = turn
                group[0], group[1] = dy, dx
