"""Whose vector each 8×8 block takes, compiled for this CPU: of its own 16×16 block, or of a neighbour (motion.py).

First by sums of absolute differences, each block for itself; then, knowing what its neighbours took, by what the
overlapped prediction (compensation.py) leaves of it to be coded.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.backbones import differences
from vcodec.backbones.costs import PLAIN, Sizes, inside, place_of
from vcodec.backbones.matching import sizes_of
from vcodec.backbones.settling import CODING
from vcodec.backbones.softening import smoothed
from vcodec.choices import whose
from vcodec.loops import KEPT
from vcodec.sources import LAST, MEMORY

__all__ = ["choose"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.int16]
_OWN, _OTHER = 0.4, 3.0  # about what the choices cost, bits


@njit(cache=KEPT, nogil=True, forceinline=True)
def _bids(coarse: Ints, y: int, x: int, out: Ints) -> int:
    """Choices of an 8×8 block, but those that name what one before them does: out [4,4], each with vector and source.

    Gives how many they are.
    """
    count = 0
    for i in range(4):
        cy, cx = whose(y, x, i, coarse.shape[1], coarse.shape[2])
        dy, dx, source = coarse[0, cy, cx], coarse[1, cy, cx], coarse[2, cy, cx]
        another = True
        for j in range(count):
            another &= out[j, 1] != dy or out[j, 2] != dx or out[j, 3] != source
        if another:
            out[count, 0], out[count, 1], out[count, 2], out[count, 3] = i, dy, dx, source
            count += 1
    return count


@njit(cache=KEPT, nogil=True, forceinline=True)
def _place(sizes: Sizes, y: int, x: int, dy: int, dx: int) -> int:
    """Where a vector leads the 8×8 block (y, x), in flat planes; sizes: of the frame, then of the planes."""
    high, wide, count, tall, pitch = sizes
    dy, dx = inside(dy, 8 * y, high, 8), inside(dx, 8 * x, wide, 8)
    return place_of(8 * y, 8 * x, dy, dx, (count, tall, pitch))


@njit(cache=KEPT, nogil=True, forceinline=True)
def _missed(
    here: Bytes,
    begins: int,
    wide: int,
    there: Bytes,
    moved: int,
    pitch: int,
    around: Shorts,
    share: Shorts,
    measure: tuple[float, float],
) -> float:
    """What a block of flat planes misses of another, as _cheapest has it."""
    if measure[0] == 0.0:
        return float(differences.plain_8(here, begins, wide, there, moved, pitch))
    return float(
        measure[1] * differences.coded_share_8(here, begins, wide, there, moved, pitch, around, share, measure[0])
    )


@njit(cache=KEPT, nogil=True, forceinline=True)
def _cheapest(
    here: Bytes,
    last: Bytes,
    beside: Bytes,
    sizes: Sizes,
    bids: Ints,
    count: int,
    y: int,
    x: int,
    price: float,
    around: Shorts,
    share: Shorts,
    measure: tuple[float, float],
    room: Bytes,
) -> int:
    """Which of so many bids is best for the block (y, x), by plain differences if it is looked at alone, else by what
    coding costs.

    Planes are flat; measure: unit_of (0: alone), and what a bit of coding is worth in plain differences.

    around, share [64]: what its neighbours show of it, weighted over 64, and what it weighs itself; room [64]: where a
    block is smoothed.
    """
    wide, pitch = sizes[1], sizes[4]
    begins, least, found = 8 * (y * wide + x), 0.0, 0
    for i in range(count):
        if i and price * _OTHER >= least:
            break  # were nothing missed there, it would not be cheaper
        source = bids[i, 3]
        if source == MEMORY:
            missed = _missed(here, begins, wide, beside, begins, wide, around, share, measure)
        else:
            moved = _place(sizes, y, x, bids[i, 1], bids[i, 2])
            if source == LAST:
                missed = _missed(here, begins, wide, last, moved, pitch, around, share, measure)
            else:
                smoothed(last, moved, pitch, source, room)
                missed = _missed(here, begins, wide, room, 0, 8, around, share, measure)
        cost = missed + price * (_OTHER if i else _OWN)
        if i == 0 or cost < least:
            least, found = cost, i
    return found


@njit(cache=KEPT, nogil=True)
def _alone(
    here: Bytes, last: Bytes, beside: Bytes, sizes: Sizes, coarse: Ints, price: float, y: int, out: Ints, field: Ints
) -> None:
    """Choose in a row of blocks, each for itself: out [2h,2w], and what that names, field [2h,2w,3]."""
    none, room, bids = np.empty(0, np.int16), np.empty(64, np.uint8), np.empty((4, 4), np.int64)
    for x in range(out.shape[1]):
        count, found = _bids(coarse, y, x, bids), 0
        if count > 1:
            found = _cheapest(here, last, beside, sizes, bids, count, y, x, price, none, none, PLAIN, room)
        out[y, x], field[y, x, 0] = bids[found, 0], bids[found, 1]
        field[y, x, 1], field[y, x, 2] = bids[found, 2], bids[found, 3]


@njit(cache=KEPT, nogil=True)
def _again(
    here: Bytes,
    last: Bytes,
    beside: Bytes,
    sizes: Sizes,
    coarse: Ints,
    price: float,
    y: int,
    out: Ints,
    field: Ints,
    parts: Shorts,
    measure: tuple[float, float],
) -> None:
    """As _alone, under overlap: parts [4·64], what the blocks above, below, left and right weigh, over 64."""
    around, share, wide, pitch = np.empty(64, np.int16), np.empty(64, np.int16), sizes[1], sizes[4]
    room, bids, (high, across) = np.empty(64, np.uint8), np.empty((4, 4), np.int64), out.shape
    for x in range(across):
        count = _bids(coarse, y, x, bids)
        if count == 1:
            continue
        around[:], share[:] = 0, 64
        for side in range(4):
            ny, nx = (y + 2 * side - 1, x) if side < 2 else (y, x + 2 * side - 5)
            if ny < 0 or nx < 0 or ny >= high or nx >= across:
                continue
            source = field[ny, nx, 2]
            if source == MEMORY:
                differences.add_share_8(around, share, beside, 8 * (y * wide + x), wide, parts, 64 * side)
                continue
            moved = _place(sizes, y, x, field[ny, nx, 0], field[ny, nx, 1])
            if source == LAST:
                differences.add_share_8(around, share, last, moved, pitch, parts, 64 * side)
            else:
                smoothed(last, moved, pitch, source, room)
                differences.add_share_8(around, share, room, 0, 8, parts, 64 * side)
        found = _cheapest(here, last, beside, sizes, bids, count, y, x, price, around, share, measure, room)
        out[y, x], field[y, x, 0] = bids[found, 0], bids[found, 1]
        field[y, x, 1], field[y, x, 2] = bids[found, 2], bids[found, 3]


@njit(cache=KEPT, nogil=True)
def choose(
    now: Bytes, pictures: tuple[Bytes, Bytes], coarse: Ints, weights: Ints, price: float, unit: float, out: Ints
) -> None:
    """coarse [3,h,w] -> out [2h,2w] in 0..3.

    pictures: the last frame at every quarter sample, and the memory; weights [4,8] over 64 as `compensate` has them;
    unit: unit_of.
    """
    parts = np.zeros((4, 8, 8), np.int16)
    for r in range(4):
        for c in range(8):
            parts[0, r, c], parts[1, 7 - r, c] = weights[r, c], weights[r, c]
            parts[2, c, r], parts[3, c, 7 - r] = weights[r, c], weights[r, c]
    here, last, beside = now.reshape(-1), pictures[0].reshape(-1), pictures[1].reshape(-1)
    sizes, field, rows = sizes_of(now, pictures[0]), np.empty((*out.shape, 3), np.int64), out.shape[0]
    measure, shares = (unit, CODING * price), parts.reshape(-1)
    for y in range(rows + 1):  # a row is chosen again as soon as the next one is known: what it reads is still near
        if y < rows:
            _alone(here, last, beside, sizes, coarse, price, y, out, field)
        if y:
            _again(here, last, beside, sizes, coarse, price, y - 1, out, field, shares, measure)
