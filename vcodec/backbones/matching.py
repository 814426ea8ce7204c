"""Block matching, compiled for this CPU: sums of absolute differences between 8-bit pictures, and walks over them.

    now ──┐
    last ─┴► coarse_start: every other displacement at a quarter of the size
                 └─► refine_whole: whole samples           (looking ahead, between source frames)
                        └─► refine: quarter samples        (in the decoded frame)
                               └─► whose vector each 8×8 block takes  (quadrants.py)

Vectors are (dy, dx) in quarter samples, one for each 16×16 block: [2,h,w].  A vector costs what it differs by from the
middle of its four neighbours', as it is sent; blocks are visited row by row, and each sees what those before it found.
Everything but that price is an integer.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = [
    "PAD",
    "RANGE",
    "TRANSFORM_GAIN",
    "coarse_start",
    "inside",
    "interpolate",
    "place_of",
    "refine",
    "refine_whole",
    "transformed",
]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

PAD = 20  # samples around a reference: what a block may reach outside the frame, and the filters
RANGE = 255  # largest vector component
_MARGIN = 16
TRANSFORMED = 0  # in place of a number of rows
TRANSFORM_GAIN = 5  # by which transformed differences are larger, for their price; by measurement
_ROUNDS = 4
_BITS = np.array([0.35 + 2.0 * math.log2(1.0 + d / 2) for d in range(8 * (RANGE + 1))], np.float32)  # of half units
_RING = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)])  # four sides, four corners


@njit(cache=True, nogil=True)
def interpolate(wide: Bytes, taps: Ints, out: Bytes) -> None:
    """wide [H+7,W+7], taps [4,8] over 64 -> out [16,H,W], every quarter sample (4·dy + dx), rounded to 8 bits."""
    high, width = wide.shape
    across = np.empty((high, width - 7), np.int32)
    for right in range(4):
        t0, t1, t2, t3, t4, t5, t6, t7 = taps[right].astype(np.int32)
        for y in range(high):
            line, goal = wide[y], across[y]
            for x in range(width - 7):
                goal[x] = (
                    line[x] * t0 + line[x + 1] * t1 + line[x + 2] * t2 + line[x + 3] * t3
                    + line[x + 4] * t4 + line[x + 5] * t5 + line[x + 6] * t6 + line[x + 7] * t7
                )  # fmt: skip
        for down in range(4):
            t0, t1, t2, t3, t4, t5, t6, t7 = taps[down].astype(np.int32)
            for y in range(high - 7):
                shown = out[4 * down + right, y]
                a0, a1, a2, a3 = across[y], across[y + 1], across[y + 2], across[y + 3]
                a4, a5, a6, a7 = across[y + 4], across[y + 5], across[y + 6], across[y + 7]
                for x in range(width - 7):
                    total = (
                        a0[x] * t0 + a1[x] * t1 + a2[x] * t2 + a3[x] * t3
                        + a4[x] * t4 + a5[x] * t5 + a6[x] * t6 + a7[x] * t7
                    )  # fmt: skip
                    level = (total + np.int32(2048)) >> np.int32(12)
                    shown[x] = np.uint8(min(max(level, np.int32(0)), np.int32(255)))


@njit(cache=True, nogil=True)
def coarse_start(now: Bytes, last: Bytes, reach: int, out: Ints) -> None:
    """Every other displacement up to ``reach`` at a quarter of the size -> whole-sample vectors out [2,h,w]."""
    h, w = now.shape[0] // 16, now.shape[1] // 16
    small = np.zeros((4 * h, 4 * w), np.int32)
    wide = np.zeros((4 * h + 2 * reach, 4 * w + 2 * reach), np.int32)
    for y in range(16 * h):
        for x in range(16 * w):
            small[y // 4, x // 4] += now[y, x]
            wide[y // 4 + reach, x // 4 + reach] += last[y, x]
    for x in range(reach):
        wide[:, x] = wide[:, reach]
        wide[:, -1 - x] = wide[:, -1 - reach]
    for y in range(reach):
        wide[y] = wide[reach]
        wide[-1 - y] = wide[-1 - reach]
    for by in range(h):
        for bx in range(w):
            best = 1 << 30
            for dy in range(0, 2 * reach + 1, 2):
                for dx in range(0, 2 * reach + 1, 2):
                    total = 8 * (abs(dy - reach) + abs(dx - reach))
                    for y in range(4 * by, 4 * by + 4):
                        for x in range(4):
                            total += abs(small[y, 4 * bx + x] - wide[y + dy, 4 * bx + x + dx])
                    if total < best:
                        best = total
                        out[0, by, bx], out[1, by, bx] = 16 * (dy - reach), 16 * (dx - reach)


@njit(cache=True, nogil=True)
def inside(v: int, corner: int, size: int, block: int) -> int:
    """A vector's component limited so that no block reads outside the padded reference (as `clamped` says)."""
    return min(max(v, -4 * _MARGIN - 4 * corner), 4 * (size + _MARGIN - block - corner))


@njit(cache=True, nogil=True)
def _sum_16(here: Bytes, there: Bytes, at: int, moved: int, pitch: int, wide: int, rows: int) -> int:
    """Of a 16×16 block, every so many-th row: here, there are flat; at, moved where the block begins in them."""
    a, b = np.uint64(at), np.uint64(moved)
    total = np.int32(0)
    for _ in range(16 // rows):
        for c in range(16):
            total += abs(np.int32(here[a + np.uint64(c)]) - np.int32(there[b + np.uint64(c)]))
        a += np.uint64(rows * pitch)
        b += np.uint64(rows * wide)
    return int(total) * rows


@njit(cache=True, nogil=True)
def place_of(y: int, x: int, dy: int, dx: int, planes: Any) -> int:
    """Where samples displaced by a vector begin in flat padded planes [1 or 16,Hp,Wp]."""
    count, high, wide = planes.shape
    plane = (dy & 3) * 4 + (dx & 3) if count > 1 else 0
    return int((plane * high + y + PAD + (dy >> 2)) * wide + x + PAD + (dx >> 2))


@njit(cache=True, nogil=True)
def _twice_middle(best: Ints, i: int, y: int, x: int) -> int:
    """Sum of the middle two of a block's four neighbours, one component."""
    h, w = best.shape[1:]
    up, down = best[i, max(y - 1, 0), x], best[i, min(y + 1, h - 1), x]
    left, right = best[i, y, max(x - 1, 0)], best[i, y, min(x + 1, w - 1)]
    low, high = min(min(up, down), min(left, right)), max(max(up, down), max(left, right))
    return int(up + down + left + right - low - high)


@njit(cache=True, nogil=True)
def _sum_at(now: Bytes, planes: Bytes, y: int, x: int, dy: int, dx: int, rows: int) -> int:
    """Sum of absolute differences of the 16×16 block at (y, x) under a vector; rows as `_sum_16`, or TRANSFORMED."""
    high, wide = now.shape
    place = place_of(y, x, inside(dy, y, high, 16), inside(dx, x, wide, 16), planes)
    here, there = now.reshape(-1), planes.reshape(-1)
    if rows == TRANSFORMED:
        return int(_sum_transformed(here, there, y * wide + x, place, wide, planes.shape[2]))
    return int(_sum_16(here, there, y * wide + x, place, wide, planes.shape[2], rows))


@njit(cache=True, nogil=True)
def transformed(d: npt.NDArray[Any]) -> int:
    """Sum of magnitudes of the Hadamard transform of d [8,8], which it overwrites."""
    for step in (4, 2, 1):
        for i in range(8):
            if not i & step:
                for c in range(8):
                    u, v = d[i, c], d[i + step, c]
                    d[i, c], d[i + step, c] = u + v, u - v
    total = 0
    for r in range(8):
        for step in (4, 2, 1):
            for i in range(8):
                if not i & step:
                    u, v = d[r, i], d[r, i + step]
                    d[r, i], d[r, i + step] = u + v, u - v
        for c in range(8):
            total += abs(d[r, c])
    return total


@njit(cache=True, nogil=True)
def _sum_transformed(here: Bytes, there: Bytes, at: int, moved: int, pitch: int, wide: int) -> int:
    """As `_sum_16`, of the Hadamard transforms of the four 8×8 blocks: nearer to what differences cost to code."""
    d = np.empty((8, 8), np.int32)
    total = 0
    for block in range(4):
        down, right = 8 * (block >> 1), 8 * (block & 1)
        for r in range(8):
            a, b = np.uint64(at + (down + r) * pitch + right), np.uint64(moved + (down + r) * wide + right)
            for c in range(8):
                d[r, c] = np.int32(here[a + np.uint64(c)]) - np.int32(there[b + np.uint64(c)])
        total += transformed(d)
    return total // TRANSFORM_GAIN


@njit(cache=True, nogil=True)
def _bid(
    now: Bytes, planes: Bytes, best: Ints, sums: Ints, y: int, x: int, dy: int, dx: int, price: float, rows: int
) -> None:
    """Take a vector for a block where it is cheaper than what the block has."""
    limit = RANGE if planes.shape[0] > 1 else RANGE - RANGE % 4
    dy, dx = min(max(dy, -limit), limit), min(max(dx, -limit), limit)
    if dy == best[0, y, x] and dx == best[1, y, x]:
        return
    my, mx = _twice_middle(best, 0, y, x), _twice_middle(best, 1, y, x)
    most = sums[y, x] + price * (_BITS[abs(2 * best[0, y, x] - my)] + _BITS[abs(2 * best[1, y, x] - mx)])
    bits = price * (_BITS[abs(2 * dy - my)] + _BITS[abs(2 * dx - mx)])
    if bits >= most:
        return
    total = _sum_at(now, planes, 16 * y, 16 * x, dy, dx, rows)
    if total + bits < most:
        best[0, y, x], best[1, y, x], sums[y, x] = dy, dx, total


@njit(cache=True, nogil=True)
def _ring(now: Bytes, planes: Bytes, best: Ints, sums: Ints, price: float, rows: int, count: int, scale: int) -> None:
    """Try the first so many places of the ring around each block's vector."""
    for y in range(best.shape[1]):
        for x in range(best.shape[2]):
            dy, dx = best[0, y, x], best[1, y, x]
            for i in range(count):
                _bid(now, planes, best, sums, y, x, dy + scale * _RING[i, 0], dx + scale * _RING[i, 1], price, rows)


@njit(cache=True, nogil=True)
def _borrow(now: Bytes, planes: Bytes, best: Ints, sums: Ints, price: float, rows: int, count: int) -> None:
    """Try the vectors of so many neighbours: 4, or 8 and what four of them predict."""
    h, w = best.shape[1:]
    for y in range(h):
        for x in range(w):
            for i in range(count):
                ny, nx = min(max(y + _RING[i, 0], 0), h - 1), min(max(x + _RING[i, 1], 0), w - 1)
                _bid(now, planes, best, sums, y, x, best[0, ny, nx], best[1, ny, nx], price, rows)
            if count == 8:
                dy, dx = _twice_middle(best, 0, y, x) >> 1, _twice_middle(best, 1, y, x) >> 1
                _bid(now, planes, best, sums, y, x, dy, dx, price, rows)


@njit(cache=True, nogil=True)
def _try(now: Bytes, planes: Bytes, best: Ints, sums: Ints, price: float, rows: int, others: Ints) -> None:
    """Try vectors others [n,2,h,w], each in its place."""
    for i in range(len(others)):
        for y in range(best.shape[1]):
            for x in range(best.shape[2]):
                _bid(now, planes, best, sums, y, x, others[i, 0, y, x], others[i, 1, y, x], price, rows)


@njit(cache=True, nogil=True)
def _sums(now: Bytes, planes: Bytes, best: Ints, rows: int) -> Ints:
    """What each block misses under its vector [h,w]."""
    sums = np.empty(best.shape[1:], np.int64)
    for y in range(best.shape[1]):
        for x in range(best.shape[2]):
            sums[y, x] = _sum_at(now, planes, 16 * y, 16 * x, best[0, y, x], best[1, y, x], rows)
    return sums


@njit(cache=True, nogil=True)
def refine_whole(now: Bytes, planes: Bytes, others: Ints, best: Ints, price: float) -> Ints:
    """From no motion and others [n,2,h,w] to whole-sample vectors best [2,h,w]; gives what they miss [h,w]."""
    rows = 2
    best[:] = 0
    sums = _sums(now, planes, best, rows)
    _try(now, planes, best, sums, price, rows, others)
    _ring(now, planes, best, sums, price, rows, 8, 16)
    _borrow(now, planes, best, sums, price, rows, 4)
    _ring(now, planes, best, sums, price, rows, 4, 8)
    _ring(now, planes, best, sums, price, rows, 4, 4)
    _borrow(now, planes, best, sums, price, rows, 4)
    return sums


@njit(cache=True, nogil=True)
def refine(now: Bytes, planes: Bytes, others: Ints, best: Ints, price: float) -> Ints:
    """From others [n,2,h,w] to vectors best [2,h,w] in quarter samples, smooth where that costs little.

    Gives the sums of absolute differences that they leave [h,w].
    """
    best[:] = others[0]
    sums = _sums(now, planes, best, 1)
    _try(now, planes, best, sums, price, 1, others[1:])
    _borrow(now, planes, best, sums, price, 1, 8)
    _ring(now, planes, best, sums, price, 1, 8, 4)
    sums = _sums(now, planes, best, TRANSFORMED)
    for _ in range(_ROUNDS):
        _ring(now, planes, best, sums, price, TRANSFORMED, 8, 2)
        _ring(now, planes, best, sums, price, TRANSFORMED, 8, 1)
        _borrow(now, planes, best, sums, price, TRANSFORMED, 8)
    return _sums(now, planes, best, 1)
