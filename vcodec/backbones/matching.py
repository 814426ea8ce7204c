"""Block matching, compiled for this CPU: sums of absolute differences between 8-bit pictures, and walks over them.

    now ──┐
    last ─┴► coarse_start: every other displacement at a quarter of the size
                 └─► refine_whole: whole samples           (looking ahead, between source frames)
                        └─► begin: as fine as is asked    (in the decoded frame)
                               └─► settle: by what coding costs  (settling.py)
                                      └─► whose vector each 8×8 block takes  (quadrants.py)

Vectors are (dy, dx) in quarter samples, one for each 16×16 block: [2,h,w]; those of a frame are multiples of 1 << its
grain.  A vector costs what it differs by from the middle of its four neighbours', as it is sent, in grains;
blocks are visited row by row, and each sees what those before it found.  What one block alone would not change, a
group of them may (groups.py).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.backbones import differences
from vcodec.backbones.costs import (
    NEAR,
    NOWHERE,
    PLAIN,
    Sizes,
    all_bits,
    bits_of,
    coded,
    moved_to,
    note_of,
    plainly,
    surroundings,
)
from vcodec.grain import RANGE
from vcodec.loops import KEPT

__all__ = [
    "VECTORS",
    "begin",
    "borrow",
    "coarse_start",
    "misses",
    "refine_whole",
    "ring",
    "sizes_of",
    "sums_of",
    "unmoved",
    "visit",
    "with_bid",
]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int32]

VECTORS = 0.5  # of the price of a bit, for vectors, by measurement
_RING = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)])  # four sides, four corners


@njit(cache=KEPT, nogil=True)
def _quarter(picture: Bytes, out: Whole) -> None:
    """Sums of 4×4 samples, [4h,4w] -> out [h,w]."""
    column = np.empty(4 * out.shape[1], np.int32)
    for y in range(out.shape[0]):
        one, two, three, four = picture[4 * y], picture[4 * y + 1], picture[4 * y + 2], picture[4 * y + 3]
        for x in range(len(column)):
            column[x] = np.int32(one[x]) + np.int32(two[x]) + np.int32(three[x]) + np.int32(four[x])
        for x in range(out.shape[1]):
            out[y, x] = column[4 * x] + column[4 * x + 1] + column[4 * x + 2] + column[4 * x + 3]


@njit(cache=KEPT, nogil=True)
def _add_misses(a: Whole, b: Whole, out: Whole) -> None:
    """out += what two rows differ by."""
    for x in range(len(out)):
        out[x] += abs(a[x] - b[x])


@njit(cache=KEPT, nogil=True)
def coarse_start(now: Bytes, last: Bytes, reach: int, out: Ints) -> None:
    """Every other displacement up to ``reach`` at a quarter of the size -> whole-sample vectors out [2,h,w]."""
    h, w = now.shape[0] // 16, now.shape[1] // 16
    small, wide = np.empty((4 * h, 4 * w), np.int32), np.empty((4 * h + 2 * reach, 4 * w + 2 * reach), np.int32)
    inner = np.empty_like(small)
    _quarter(now, small)
    _quarter(last, inner)
    for y in range(len(wide)):
        for x in range(wide.shape[1]):
            wide[y, x] = inner[min(max(y - reach, 0), 4 * h - 1), min(max(x - reach, 0), 4 * w - 1)]
    missed, least = np.empty(4 * w, np.int32), np.empty(w, np.int32)
    for by in range(h):
        least[:] = 1 << 30
        for dy in range(0, 2 * reach + 1, 2):
            for dx in range(0, 2 * reach + 1, 2):
                missed[:] = 0
                for y in range(4 * by, 4 * by + 4):
                    _add_misses(small[y], wide[y + dy, dx : dx + 4 * w], missed)
                far = 8 * (abs(dy - reach) + abs(dx - reach))
                for bx in range(w):
                    total = far + missed[4 * bx] + missed[4 * bx + 1] + missed[4 * bx + 2] + missed[4 * bx + 3]
                    if total < least[bx]:
                        least[bx] = total
                        out[0, by, bx], out[1, by, bx] = 16 * (dy - reach), 16 * (dx - reach)


@njit(cache=KEPT, nogil=True, forceinline=True)
def sizes_of(now: Bytes, planes: Bytes) -> Sizes:
    """Of a frame and planes."""
    return now.shape[0], now.shape[1], planes.shape[0], planes.shape[1], planes.shape[2]


@njit(cache=KEPT, nogil=True)
def visit(
    here: Bytes,
    there: Bytes,
    sizes: Sizes,
    best: Ints,
    past: Ints,
    sums: Sums,
    plain: Sums,
    at: tuple[int, int],
    bids: Ints,
    count: int,
    price: float,
    whole: bool,
    grain: int,
    measure: tuple[float, float],
    noted: Sums,
) -> None:
    """Take the cheapest of the first so many bids [n,2] for the block ``at``, if cheaper than what it has.

    measure: as `coded` has it, or PLAIN, and noted as room_for_notes, or nothing; sums follow what blocks miss in it,
    and plain (the same array, if it is PLAIN) in plain differences: what is plainly farther off is not transformed.
    """
    y, x = at
    limit = ((RANGE if sizes[2] > 1 else RANGE - RANGE % 4) >> grain) << grain
    down, right = surroundings(best, past, 0, y, x, grain), surroundings(best, past, 1, y, x, grain)
    vy, vx = best[0, y, x], best[1, y, x]
    had = price * (bits_of(vy, down, grain) + bits_of(vx, right, grain))
    most, near = sums[y, x] + had, NEAR * (plain[y, x] + had)
    for i in range(count):
        dy, dx = min(max(bids[i, 0], -limit), limit), min(max(bids[i, 1], -limit), limit)
        if dy == vy and dx == vx:
            continue
        bits = price * (bits_of(dy, down, grain) + bits_of(dx, right, grain))
        if bits >= most:
            continue
        moved = moved_to(sizes, y, x, dy, dx)
        total = off = plainly(here, there, sizes, y, x, moved, whole)
        if off + bits > near:
            continue
        if measure[0] > 0.0:
            note = note_of(sizes, y, x, dy, dx)
            if noted[note] != moved + 1:
                noted[note], noted[note + 1] = moved + 1, coded(here, there, sizes, y, x, moved, measure)
            total = noted[note + 1]
        if total + bits < most:
            vy, vx, most, near = dy, dx, total + bits, min(near, NEAR * (off + bits))
            sums[y, x], plain[y, x] = total, off
    best[0, y, x], best[1, y, x] = vy, vx


@njit(cache=KEPT, nogil=True, forceinline=True)
def ring(best: Ints, y: int, x: int, scale: int, bids: Ints) -> None:
    """Bids around a block's vector: eight."""
    for i in range(8):
        for c in range(2):
            bids[i, c] = best[c, y, x] + scale * _RING[i, c]


@njit(cache=KEPT, nogil=True, forceinline=True)
def with_bid(bids: Ints, count: int, dy: int, dx: int) -> int:
    """How many bids there are with one more, if it is none of the first so many."""
    for i in range(count):
        if bids[i, 0] == dy and bids[i, 1] == dx:
            return count
    bids[count, 0], bids[count, 1] = dy, dx
    return count + 1


@njit(cache=KEPT, nogil=True, forceinline=True)
def borrow(best: Ints, y: int, x: int, grain: int, sides: int, bids: Ints) -> int:
    """Bids of a block's vector and those of so many of its neighbours: how many, each once.

    Those at its sides, those at its corners; of all eight what four of them predict, too.
    """
    h, w = best.shape[1:]
    bids[0, 0], bids[0, 1] = best[0, y, x], best[1, y, x]
    count = 1
    for i in range(sides):
        ny, nx = min(max(y + _RING[i, 0], 0), h - 1), min(max(x + _RING[i, 1], 0), w - 1)
        count = with_bid(bids, count, best[0, ny, nx], best[1, ny, nx])
    if sides == 8:
        dy = (surroundings(best, best, 0, y, x, grain)[5] >> (1 + grain)) << grain
        dx = (surroundings(best, best, 1, y, x, grain)[5] >> (1 + grain)) << grain
        count = with_bid(bids, count, dy, dx)
    return count


@njit(cache=KEPT, nogil=True)
def sums_of(here: Bytes, there: Bytes, sizes: Sizes, best: Ints, whole: bool) -> Sums:
    """What each block plainly misses under its vector [h,w]."""
    sums = np.empty(best.shape[1:], np.float64)
    for y in range(best.shape[1]):
        for x in range(best.shape[2]):
            moved = moved_to(sizes, y, x, best[0, y, x], best[1, y, x])
            sums[y, x] = plainly(here, there, sizes, y, x, moved, whole)
    return sums


@njit(cache=KEPT, nogil=True)
def _walk(
    here: Bytes,
    there: Bytes,
    sizes: Sizes,
    best: Ints,
    past: Ints,
    sums: Sums,
    steps: Ints,
    price: float,
    whole: bool,
    grain: int,
) -> None:
    """Visit all blocks once for each of steps [n,2]: (scale, bids) of a ring, or 0 and so many neighbours' vectors."""
    bids, nothing = np.empty((10, 2), np.int64), sums[0]
    for scale, most in steps:
        for y in range(best.shape[1]):
            for x in range(best.shape[2]):
                if scale:
                    ring(best, y, x, scale, bids)
                    count = most
                else:
                    count = borrow(best, y, x, grain, most, bids)
                visit(
                    here, there, sizes, best, past, sums, sums, (y, x), bids, count, price, whole, grain, PLAIN, nothing
                )


@njit(cache=KEPT, nogil=True)
def _try(
    here: Bytes,
    there: Bytes,
    sizes: Sizes,
    best: Ints,
    past: Ints,
    sums: Sums,
    others: Ints,
    price: float,
    whole: bool,
    grain: int,
) -> None:
    """Try vectors others [n,2,h,w], each in its place."""
    bids, nothing = np.empty((len(others), 2), np.int64), sums[0]
    for y in range(best.shape[1]):
        for x in range(best.shape[2]):
            bids[:] = others[:, :, y, x]
            visit(
                here,
                there,
                sizes,
                best,
                past,
                sums,
                sums,
                (y, x),
                bids,
                len(others),
                price,
                whole,
                grain,
                PLAIN,
                nothing,
            )


@njit(cache=KEPT, nogil=True)
def refine_whole(now: Bytes, planes: Bytes, others: Ints, best: Ints, price: float) -> Sums:
    """From no motion and others [n,2,h,w] to whole-sample vectors best [2,h,w]; gives what they miss [h,w]."""
    here, there, sizes = now.reshape(-1), planes.reshape(-1), sizes_of(now, planes)
    best[:] = 0
    past = np.full_like(best, NOWHERE)
    sums = sums_of(here, there, sizes, best, False)
    _try(here, there, sizes, best, past, sums, others, price, False, 0)
    steps = np.array([(16, 8), (0, 4), (8, 4), (4, 4), (0, 4)])
    _walk(here, there, sizes, best, past, sums, steps, price, False, 0)
    return sums


@njit(cache=KEPT, nogil=True)
def begin(now: Bytes, planes: Bytes, others: Ints, past: Ints, best: Ints, price: float, grain: int) -> None:
    """From others [n,2,h,w] to vectors best [2,h,w] in quarter samples that miss little, by plain differences.

    past: the last frame's, or what none is equal to; grain: these and others are multiples of 1 << grain, and so will
    best be.
    """
    here, there, sizes = now.reshape(-1), planes.reshape(-1), sizes_of(now, planes)
    vectors = VECTORS * price
    first, least = 0, 0.0
    for i in range(len(others)):
        best[:] = others[i]
        cost = sums_of(here, there, sizes, best, False).sum() + vectors * all_bits(best, past, grain).sum()
        if i == 0 or cost < least:
            first, least = i, cost
    best[:] = others[first]
    sums = sums_of(here, there, sizes, best, True)
    _try(here, there, sizes, best, past, sums, others, vectors, True, grain)
    steps = np.array([(0, 8), (max(4, 1 << grain), 8)])
    _walk(here, there, sizes, best, past, sums, steps, vectors, True, grain)


@njit(cache=KEPT, nogil=True)
def misses(now: Bytes, planes: Bytes, best: Ints) -> Sums:
    """The sums of absolute differences that vectors leave of each block [h,w]."""
    return sums_of(now.reshape(-1), planes.reshape(-1), sizes_of(now, planes), best, True)


@njit(cache=KEPT, nogil=True)
def unmoved(now: Bytes, other: Bytes) -> Sums:
    """The sums of absolute differences of each block [h,w] of two frames."""
    here, there, pitch = now.reshape(-1), other.reshape(-1), now.shape[1]
    sums = np.empty((now.shape[0] // 16, pitch // 16), np.float64)
    for y in range(sums.shape[0]):
        for x in range(sums.shape[1]):
            at = 16 * (y * pitch + x)
            sums[y, x] = differences.plain_16(here, at, there, at, pitch, pitch, 1)
    return sums
