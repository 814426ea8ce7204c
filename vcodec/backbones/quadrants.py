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
from vcodec.loops import KEPT
from vcodec.sources import LAST, MEMORY

__all__ = ["choose", "reconsider"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.int16]
_OWN, _OTHER = 0.4, 3.0  # about what the choices cost, bits


@njit(cache=KEPT, nogil=True)
def _whose(y: int, x: int, choice: int, h: int, w: int) -> tuple[int, int]:
    """The 16×16 block that an 8×8 block's choice names."""
    by, bx = y >> 1, x >> 1
    ny, nx = min(max(by + 2 * (y & 1) - 1, 0), h - 1), min(max(bx + 2 * (x & 1) - 1, 0), w - 1)
    return (ny if choice >= 2 else by), (nx if choice & 1 else bx)


@njit(cache=KEPT, nogil=True)
def _own_again(coarse: Ints, y: int, x: int, choice: int) -> bool:
    """Whether a choice names what the first one does: that stands for both."""
    cy, cx = _whose(y, x, choice, coarse.shape[1], coarse.shape[2])
    unlike = 0
    for c in range(len(coarse)):
        unlike += coarse[c, cy, cx] != coarse[c, y >> 1, x >> 1]
    return unlike == 0


@njit(cache=KEPT, nogil=True, forceinline=True)
def _place(shape: tuple[int, int, int], size: tuple[int, int], at: tuple[int, int], dy: int, dx: int) -> int:
    """Where a vector leads the 8×8 block ``at``, in flat planes of a shape."""
    y, x = 8 * at[0], 8 * at[1]
    return place_of(y, x, inside(dy, y, size[0], 8), inside(dx, x, size[1], 8), shape)


@njit(cache=KEPT, nogil=True)
def _shown(
    pictures: tuple[Bytes, Bytes], size: tuple[int, int], at: tuple[int, int], motion: Ints, patch: Bytes
) -> tuple[Bytes, int, int]:
    """What the 8×8 block ``at`` shows under motion [3]: a flat plane, where in it, and samples in a row.

    patch [64]: room for what is made for it.
    """
    last, beside = pictures
    if motion[2] == MEMORY:
        return beside.reshape(-1), 8 * (at[0] * size[1] + at[1]), size[1]
    there, pitch = _place(last.shape, size, at, motion[0], motion[1]), last.shape[2]
    if motion[2] == LAST:
        return last.reshape(-1), there, pitch
    smoothed(last.reshape(-1), there, pitch, 8, motion[2], patch)
    return patch, 0, 8


@njit(cache=KEPT, nogil=True)
def _cheapest(
    now: Bytes,
    pictures: tuple[Bytes, Bytes],
    coarse: Ints,
    at: tuple[int, int],
    price: float,
    work: Shorts,
    measure: tuple[float, float],
    patch: Bytes,
) -> int:
    """The best choice of the block ``at``, by plain differences if it is looked at alone, else by what coding costs.

    measure: unit_of (0: alone), and what a bit of coding is worth in plain differences.

    work [2,64]: what its neighbours show of it, weighted over 64; and what it weighs itself; patch: as _shown has it.
    """
    y, x = at
    here, begins, wide = now.reshape(-1), 8 * (y * now.shape[1] + x), now.shape[1]
    around, share = work[0], work[1]
    least, found = 0.0, 0
    for i in range(4):
        if i and _own_again(coarse, y, x, i):
            continue
        cy, cx = _whose(y, x, i, coarse.shape[1], coarse.shape[2])
        there, moved, pitch = _shown(pictures, now.shape, at, coarse[:, cy, cx], patch)
        if measure[0] == 0.0:
            missed = float(differences.plain_8(here, begins, wide, there, moved, pitch))
        else:
            total = differences.coded_share_8(here, begins, wide, there, moved, pitch, around, share, measure[0])
            missed = measure[1] * total
        cost = missed + price * (_OTHER if i else _OWN)
        if i == 0 or cost < least:
            least, found = cost, i
    return found


@njit(cache=KEPT, nogil=True)
def choose(now: Bytes, pictures: tuple[Bytes, Bytes], coarse: Ints, price: float, out: Ints) -> None:
    """coarse [3,h,w] -> out [2h,2w] in 0..3.

    pictures: the last frame at every quarter sample, and the memory.
    """
    work, patch = np.zeros((2, 64), np.int16), np.empty(64, np.uint8)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = _cheapest(now, pictures, coarse, (y, x), price, work, (0.0, 0.0), patch)


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
            cy, cx = _whose(y, x, out[y, x], h, w)
            field[y, x] = coarse[:, cy, cx]
    # what the blocks above, below, left and right weigh
    parts = np.zeros((4, 8, 8), np.int16)
    for r in range(4):
        for c in range(8):
            parts[0, r, c], parts[1, 7 - r, c] = weights[r, c], weights[r, c]
            parts[2, c, r], parts[3, c, 7 - r] = weights[r, c], weights[r, c]
    work, part, patch = np.empty((2, 64), np.int16), parts.reshape(-1), np.empty(64, np.uint8)
    around, share = work[0], work[1]
    for y in range(2 * h):
        for x in range(2 * w):
            if _own_again(coarse, y, x, 1) and _own_again(coarse, y, x, 2) and _own_again(coarse, y, x, 3):
                continue
            around[:], share[:] = 0, 64
            for side in range(4):
                ny, nx = (y + 2 * side - 1, x) if side < 2 else (y, x + 2 * side - 5)
                if ny < 0 or nx < 0 or ny >= 2 * h or nx >= 2 * w:
                    continue
                there, moved, pitch = _shown(pictures, now.shape, (y, x), field[ny, nx], patch)
                differences.add_share_8(around, share, there, moved, pitch, part, 64 * side)
            out[y, x] = _cheapest(now, pictures, coarse, (y, x), price, work, measure, patch)
            cy, cx = _whose(y, x, out[y, x], h, w)
            field[y, x] = coarse[:, cy, cx]
