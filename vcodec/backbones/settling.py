"""Vectors by what coding costs, compiled for this CPU: from those that miss least to those that cost least in all.

Block by block, and for groups of them (groups.py); vectors are as in matching.py, which finds what to begin with.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec import helper
from vcodec.backbones import differences
from vcodec.backbones.costs import Sizes, all_bits, coded, moved_to, plainly
from vcodec.backbones.groups import GROUPS, together
from vcodec.backbones.matching import VECTORS, borrow, ring, sizes_of, visit
from vcodec.loops import KEPT

__all__ = ["CODING", "hoped", "settle", "settled"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]

_HALVED = 16  # rows of blocks: from there on halves of a frame are settled beside each other
_SEAM = 4  # rows on each side of where they meet
# times the least cost: what a short look at a coarser or finer grain may find, and it still be tried.  The next frame
# begins with this one's grain: one that is too coarse stays so for long
_HOPE = (1.0, 1.003)
CODING = 0.4  # of the price of a bit, for what coding costs beside vectors; by measurement


@njit(cache=KEPT, nogil=True, forceinline=True)
def _fetch(there: Bytes, sizes: Sizes, y: int, x: int, dy: int, dx: int, grain: int) -> None:
    """Have what a block looks at around a vector brought near, at every phase that its grain has."""
    for down in range(0, 4, 1 << grain):
        for right in range(0, 4, 1 << grain):
            begin = moved_to(sizes, y, x, (dy & -4) + down, (dx & -4) + right)
            for row in range(16):
                differences.fetch(there, begin + row * sizes[4])


@njit(cache=KEPT, nogil=True)
def settle(
    now: Bytes,
    planes: Bytes,
    best: Ints,
    past: Ints,
    price: float,
    grain: int,
    unit: float,
    turns: int,
    grouped: int,
    rows: tuple[int, int],
    sums: Sums,
    noted: Sums,
) -> None:
    """Better vectors best [2,h,w] in rows[0] up to rows[1], by what coding costs: sums [h,w] there, in the end.

    Goes round the blocks until nothing around a block has changed since its last turn.

    As begin; unit: of the step, as unit_of has it; turns: around all blocks at most, after ``grouped`` of which groups
    of them are tried; noted: room_for_notes of this frame, its reference, price and unit, which all calls share.
    """
    here, there, sizes = now.reshape(-1), planes.reshape(-1), sizes_of(now, planes)
    bit, measure = VECTORS * price, (unit, CODING * price)
    (h, w), (first, stop) = best.shape[1:], rows
    plain = np.empty((h, w), np.float64)
    for y in range(first, stop):
        for x in range(w):
            moved = moved_to(sizes, y, x, best[0, y, x], best[1, y, x])
            plain[y, x] = plainly(here, there, sizes, y, x, moved, False)
            sums[y, x] = coded(here, there, sizes, y, x, moved, measure)
    bids = np.empty((10, 2), np.int64)
    changed = np.zeros((h + 2, w + 2), np.int64)  # in which turn; all before the first
    for turn in range(1, turns + 1):
        for y in range(first, stop):
            for x in range(w):
                last = 0
                for i in range(3):
                    for j in range(3):
                        last = max(last, changed[y + i, x + j])
                if last < turn - 1:
                    continue
                if x % 4 == 0 and x + 4 < w:
                    _fetch(there, sizes, y, x + 4, best[0, y, x + 4], best[1, y, x + 4], grain)
                oy, ox = best[0, y, x], best[1, y, x]
                anew = changed[y + 1, x + 1] >= turn - 1
                for scale in (2, 1, 0):
                    if scale == 0:
                        count = borrow(best, y, x, grain, 8, bids)
                    elif anew and (scale >> grain or scale == 2):
                        ring(best, y, x, max(scale, 1 << grain), bids)
                        count = 8
                    else:
                        continue  # around a vector that has stood since its last turn, only its cost has changed
                    at = (y, x)
                    visit(
                        here, there, sizes, best, past, sums, plain, at, bids, count, bit, False, grain, measure, noted
                    )
                if best[0, y, x] != oy or best[1, y, x] != ox:
                    changed[y + 1, x + 1] = turn
        if turn <= grouped:
            for size in GROUPS:
                if size > 2 and turn > 1:
                    continue  # large ones once
                together(
                    here, there, sizes, best, past, sums, plain, size, bit, grain, measure, noted, turn, changed, rows
                )


def settled(
    now: Bytes,
    planes: Bytes,
    best: Ints,
    past: Ints,
    price: float,
    grain: int,
    unit: float,
    turns: int,
    grouped: int,
    noted: Sums,
) -> Sums:
    """As settle, of all rows; gives what each block costs [h,w], in plain differences: to code and to move.

    Halves of a large frame are settled beside each other, each as if the other stood still, then what lies at their
    seam.
    """
    sums, rows = np.empty(best.shape[1:]), best.shape[1]

    def part(found: Ints, turns: int, grouped: int, first: int, stop: int) -> None:
        settle(now, planes, found, past, price, grain, unit, turns, grouped, (first, stop), sums, noted)

    if rows < _HALVED:
        part(best, turns, grouped, 0, rows)
    else:
        middle, upper = rows // 2, best.copy()
        top = helper.begun(lambda: part(upper, turns, grouped, 0, middle))
        part(best, turns, grouped, middle, rows)
        top()
        best[:, :middle] = upper[:, :middle]
        part(best, 1, 1, middle - _SEAM, middle + _SEAM)
    return sums + VECTORS * price * all_bits(best, past, grain)


def hoped(
    now: Bytes,
    planes: Bytes,
    best: Ints,
    past: Ints,
    price: float,
    grain: int,
    unit: float,
    costs: Sums,
    noted: Sums,
    finer: bool,
) -> bool:
    """Whether vectors best of another grain may cost less than those of costs [h,w]: a turn of a part of them says.

    best: changed there.
    """
    rows = best.shape[1]
    first = rows // 2 if rows >= _HALVED else 0
    sums = np.zeros_like(costs)
    settle(now, planes, best, past, price, grain, unit, 1, 0, (first, rows), sums, noted)
    sums += VECTORS * price * all_bits(best, past, grain)
    return bool(sums[first:].sum() <= _HOPE[finer] * costs[first:].sum())
