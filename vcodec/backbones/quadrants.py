"""Whose vector each 8×8 block takes, compiled for this CPU: of its own 16×16 block, or of a neighbour (motion.py).

First by sums of absolute differences, each block for itself; then, knowing what its neighbours took, by what the
overlapped prediction (compensation.py) leaves of it to be coded.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.backbones import differences
from vcodec.backbones.costs import inside, place_of
from vcodec.backbones.settling import CODING
from vcodec.backbones.softening import smoothed
from vcodec.choices import whose
from vcodec.loops import KEPT
from vcodec.sources import LAST, MEMORY

__all__ = ["choose", "reconsider"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.int16]
_OWN, _OTHER = 0.4, 3.0  # about what the choices cost, bits


@njit(cache=KEPT, nogil=True)
def _own_again(coarse: Ints, y: int, x: int, choice: int) -> bool:
    """Whether a choice names what the first one does: that stands for both."""
    cy, cx = whose(y, x, choice, coarse.shape[1], coarse.shape[2])
    by, bx = y >> 1, x >> 1
    return bool(
        coarse[0, cy, cx] == coarse[0, by, bx]
        and coarse[1, cy, cx] == coarse[1, by, bx]
        and coarse[2, cy, cx] == coarse[2, by, bx]
    )


@njit(cache=KEPT, nogil=True, forceinline=True)
def _place(shape: tuple[int, int, int], size: tuple[int, int], at: tuple[int, int], dy: int, dx: int) -> int:
    """Where a vector leads the 8×8 block ``at``, in flat planes of a shape."""
    y, x = 8 * at[0], 8 * at[1]
    return place_of(y, x, inside(dy, y, size[0], 8), inside(dx, x, size[1], 8), shape)


@njit(cache=KEPT, nogil=True)
def _missed(
    here: Bytes,
    begins: int,
    wide: int,
    there: Bytes,
    moved: int,
    pitch: int,
    work: Shorts,
    measure: tuple[float, float],
) -> float:
    """What a block of flat planes misses of another, as _cheapest has it."""
    if measure[0] == 0.0:
        return float(differences.plain_8(here, begins, wide, there, moved, pitch))
    total = differences.coded_share_8(here, begins, wide, there, moved, pitch, work[0], work[1], measure[0])
    return float(measure[1] * total)


@njit(cache=KEPT, nogil=True)
def _cheapest(
    now: Bytes,
    pictures: tuple[Bytes, Bytes],
    coarse: Ints,
    at: tuple[int, int],
    price: float,
    work: Shorts,
    measure: tuple[float, float],
    room: Bytes,
) -> int:
    """The best choice of the block ``at``, by plain differences if it is looked at alone, else by what coding costs.

    measure: unit_of (0: alone), and what a bit of coding is worth in plain differences.

    work [2,64]: what its neighbours show of it, weighted over 64; and what it weighs itself; room [64]:
    where a block is smoothed.
    """
    y, x = at
    here, begins, wide = now.reshape(-1), 8 * (y * now.shape[1] + x), now.shape[1]
    last, beside, pitch = pictures[0].reshape(-1), pictures[1].reshape(-1), pictures[0].shape[2]
    least, found = 0.0, 0
    for i in range(4):
        if i and _own_again(coarse, y, x, i):
            continue
        cy, cx = whose(y, x, i, coarse.shape[1], coarse.shape[2])
        source = coarse[2, cy, cx]
        if source == MEMORY:
            missed = _missed(here, begins, wide, beside, begins, wide, work, measure)
        else:
            moved = _place(pictures[0].shape, now.shape, at, coarse[0, cy, cx], coarse[1, cy, cx])
            if source == LAST:
                missed = _missed(here, begins, wide, last, moved, pitch, work, measure)
            else:
                smoothed(last, moved, pitch, source, room)
                missed = _missed(here, begins, wide, room, 0, 8, work, measure)
        cost = missed + price * (_OTHER if i else _OWN)
        if i == 0 or cost < least:
            least, found = cost, i
    return found


@njit(cache=KEPT, nogil=True)
def choose(now: Bytes, pictures: tuple[Bytes, Bytes], coarse: Ints, price: float, out: Ints) -> None:
    """coarse [3,h,w] -> out [2h,2w] in 0..3.

    pictures: the last frame at every quarter sample, and the memory.
    """
    work, room = np.zeros((2, 64), np.int16), np.empty(64, np.uint8)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = _cheapest(now, pictures, coarse, (y, x), price, work, (0.0, 0.0), room)


@njit(cache=KEPT, nogil=True)
def reconsider(
    now: Bytes,
    pictures: tuple[Bytes, Bytes],
    coarse: Ints,
    weights: Ints,
    price: float,
    unit: float,
    out: Ints,
) -> None:
    """Choose again, block by block, under overlap: weights [4,8] over 64 as `compensate` has them; unit: unit_of."""
    h, w = coarse.shape[1:]
    measure = (unit, CODING * price)
    field = np.empty((2 * h, 2 * w, 3), np.int64)
    for y in range(2 * h):
        for x in range(2 * w):
            cy, cx = whose(y, x, out[y, x], h, w)
            field[y, x] = coarse[:, cy, cx]
    # what the blocks above, below, left and right weigh
    parts = np.zeros((4, 8, 8), np.int16)
    for r in range(4):
        for c in range(8):
            parts[0, r, c], parts[1, 7 - r, c] = weights[r, c], weights[r, c]
            parts[2, c, r], parts[3, c, 7 - r] = weights[r, c], weights[r, c]
    work, part, room = np.empty((2, 64), np.int16), parts.reshape(-1), np.empty(64, np.uint8)
    planes, wide, around, share = pictures[0], now.shape[1], work[0], work[1]
    there, beside = planes.reshape(-1), pictures[1].reshape(-1)
    for y in range(2 * h):
        for x in range(2 * w):
            if _own_again(coarse, y, x, 1) and _own_again(coarse, y, x, 2) and _own_again(coarse, y, x, 3):
                continue
            around[:], share[:] = 0, 64
            for side in range(4):
                ny, nx = (y + 2 * side - 1, x) if side < 2 else (y, x + 2 * side - 5)
                if ny < 0 or nx < 0 or ny >= 2 * h or nx >= 2 * w:
                    continue
                source = field[ny, nx, 2]
                if source == MEMORY:
                    differences.add_share_8(around, share, beside, 8 * (y * wide + x), wide, part, 64 * side)
                    continue
                moved = _place(planes.shape, now.shape, (y, x), field[ny, nx, 0], field[ny, nx, 1])
                if source == LAST:
                    differences.add_share_8(around, share, there, moved, planes.shape[2], part, 64 * side)
                else:
                    smoothed(there, moved, planes.shape[2], source, room)
                    differences.add_share_8(around, share, room, 0, 8, part, 64 * side)
            out[y, x] = _cheapest(now, pictures, coarse, (y, x), price, work, measure, room)
            cy, cx = whose(y, x, out[y, x], h, w)
            field[y, x] = coarse[:, cy, cx]
