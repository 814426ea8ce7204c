"""Block matching, compiled for this CPU: sums of absolute differences between 8-bit pictures, and walks over them.

    now ──┐
    last ─┴► coarse_start: every other displacement at a quarter of the size
                 └─► refine_whole: whole samples           (looking ahead, between source frames)
                        └─► refine: as fine as is asked    (in the decoded frame)
                               └─► whose vector each 8×8 block takes  (quadrants.py)

Vectors are (dy, dx) in quarter samples, one for each 16×16 block: [2,h,w]; those of a frame are multiples of 1 << its
grain.  A vector costs what it differs by from the middle of its four neighbours', as it is sent, in grains;
blocks are visited row by row, and each sees what those before it found.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.backbones import differences
from vcodec.backbones.compensation import MARGIN
from vcodec.grain import RANGE
from vcodec.loops import KEPT

__all__ = [
    "CODING",
    "PAD",
    "coarse_start",
    "inside",
    "interpolate",
    "nowhere",
    "place_of",
    "refine",
    "refine_whole",
]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]

PAD = MARGIN + 4  # samples around a reference: what a block may reach outside the frame, and the filters
CODED = 0  # in place of a number of rows
_ROUNDS = 4
_NEAR = 1.15  # times what a block has, in plain differences: what may still cost less when coded
# What a component costs, bits, under the trees of side information: means over training clips.  All in grains: by how
# far its four neighbours differ among themselves (less than 1, 3, 7, 17, or more), by whether it is that of one of
# them or none, each without and with that being the last frame's there; then by how far it is from their middle (_AT).
_AT = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 9, 15, 30)
_COSTS = (
    (
        (5.0, 5.3, 5.6, 7.4, 9.3, 10.0, 11.3, 12.4, 14.1, 15.5, 16.5),
        (4.2, 4.5, 4.8, 6.5, 8.2, 9.0, 10.0, 11.0, 12.5, 14.0, 15.0),
        (0.44, 0.44, 0.44, 0.44, 0.44, 0.44, 0.44, 0.44, 0.44, 0.44, 0.44),
        (0.07, 0.07, 0.07, 0.07, 0.07, 0.07, 0.07, 0.07, 0.07, 0.07, 0.07),
    ),
    (
        (1.8, 3.0, 4.2, 5.0, 6.0, 7.4, 8.8, 10.6, 11.9, 13.5, 14.5),
        (1.5, 2.5, 3.5, 4.5, 5.4, 5.9, 7.9, 9.5, 10.5, 12.0, 13.0),
        (1.1, 2.0, 3.4, 4.3, 6.5, 7.4, 8.8, 10.6, 11.9, 13.5, 14.5),
        (0.55, 1.4, 2.8, 4.2, 5.4, 5.9, 7.9, 9.5, 10.5, 12.0, 13.0),
    ),
    (
        (2.2, 3.1, 3.5, 4.0, 4.9, 5.8, 6.8, 8.4, 9.6, 12.2, 14.0),
        (2.0, 2.5, 3.2, 3.7, 4.2, 5.1, 6.0, 8.0, 9.2, 11.5, 13.0),
        (1.8, 2.6, 3.6, 4.2, 4.9, 6.1, 7.3, 9.1, 10.0, 12.2, 14.0),
        (0.9, 1.9, 2.8, 3.2, 4.1, 4.6, 6.1, 8.0, 9.2, 11.5, 13.0),
    ),
    (
        (3.2, 3.7, 4.0, 4.3, 4.7, 5.2, 5.8, 6.7, 8.1, 10.6, 11.7),
        (2.7, 3.2, 3.4, 3.6, 3.9, 4.2, 4.7, 5.1, 6.4, 8.5, 10.0),
        (2.4, 3.1, 3.9, 4.3, 4.8, 5.2, 5.8, 6.9, 9.3, 11.4, 12.0),
        (1.0, 2.1, 2.9, 3.3, 3.4, 3.6, 4.3, 4.5, 5.4, 8.0, 10.0),
    ),
    (
        (4.9, 5.2, 5.2, 5.2, 5.5, 5.8, 6.1, 6.9, 7.5, 8.6, 9.1),
        (3.7, 4.0, 4.1, 4.3, 4.4, 4.6, 5.4, 5.8, 6.5, 7.0, 7.2),
        (3.0, 3.8, 4.8, 5.1, 5.4, 5.9, 6.5, 6.7, 7.7, 8.9, 9.1),
        (1.3, 2.6, 3.1, 3.2, 3.5, 3.7, 4.2, 5.0, 5.0, 5.0, 5.0),
    ),
)
_HALVES = np.arange(8 * (RANGE + 1)) / 2  # of grains
_BITS = np.stack(
    [np.stack([np.interp(_HALVES, _AT, c) + np.log2(np.maximum(_HALVES, 30) / 30) for c in row]) for row in _COSTS]
)
_NOWHERE = 1 << 20  # a component that none is equal to
_SHARE, CODING = 0.5, 0.4  # of the price of a bit: for vectors, for what coding costs beside them; by measurement
_PLAIN = (0.0, 0.0)  # the measure where nothing is coded
_RING = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)])  # four sides, four corners


@njit(cache=KEPT, nogil=True)
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


def nowhere(like: Ints) -> Ints:
    """Vectors that none is equal to."""
    return np.full_like(like, _NOWHERE)


@njit(cache=KEPT, nogil=True)
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


@njit(cache=KEPT, nogil=True, forceinline=True)
def inside(v: int, corner: int, size: int, block: int) -> int:
    """A vector's component limited so that no block reads outside the padded reference (as `clamped` says)."""
    return min(max(v, -4 * MARGIN - 4 * corner), 4 * (size + MARGIN - block - corner))


@njit(cache=KEPT, nogil=True, forceinline=True)
def place_of(y: int, x: int, dy: int, dx: int, planes: tuple[int, int, int]) -> int:
    """Where samples displaced by a vector begin in flat padded planes of shape [1 or 16,Hp,Wp]."""
    count, high, wide = planes
    plane = (dy & 3) * 4 + (dx & 3) if count > 1 else 0
    return int((plane * high + y + PAD + (dy >> 2)) * wide + x + PAD + (dx >> 2))


@njit(cache=KEPT, nogil=True, forceinline=True)
def _predicted(best: Ints, i: int, y: int, x: int) -> tuple[int, int]:
    """Of a block's four neighbours, one component: the sum of the middle two, and how far they are all apart."""
    h, w = best.shape[1:]
    up, down = best[i, max(y - 1, 0), x], best[i, min(y + 1, h - 1), x]
    left, right = best[i, y, max(x - 1, 0)], best[i, y, min(x + 1, w - 1)]
    low, high = min(min(up, down), min(left, right)), max(max(up, down), max(left, right))
    return up + down + left + right - low - high, high - low


@njit(cache=KEPT, nogil=True, forceinline=True)
def _alike(best: Ints, past: Ints, i: int, y: int, x: int, v: int) -> int:
    """Which of a row's _COSTS holds for a component v: 2 where a neighbour has it, and 1 where the last frame had."""
    h, w = best.shape[1:]
    one = v == best[i, max(y - 1, 0), x] or v == best[i, min(y + 1, h - 1), x]
    one = one or v == best[i, y, max(x - 1, 0)] or v == best[i, y, min(x + 1, w - 1)]
    return (2 if one else 0) + (1 if v == past[i, y, x] else 0)


@njit(cache=KEPT, nogil=True, forceinline=True)
def _row(apart: int) -> int:
    """Which of _COSTS holds where neighbours are so far apart."""
    return 0 if apart < 1 else 1 if apart < 3 else 2 if apart < 7 else 3 if apart < 17 else 4


@njit(cache=KEPT, nogil=True, forceinline=True)
def _missed(
    here: Bytes, there: Bytes, at: int, moved: int, pitch: int, wide: int, rows: int, measure: tuple[float, float]
) -> float:
    """What a 16×16 block misses: differences of every so many-th row, or coded; at, moved: where it begins.

    measure: square_worth, and what a bit of coding is worth in plain differences.
    """
    if rows == CODED:
        return float(measure[1] * differences.coded_16(here, at, there, moved, pitch, wide, measure[0]))
    if rows == 2:
        return float(2 * differences.plain_16(here, at, there, moved, pitch, wide, 2))
    return float(differences.plain_16(here, at, there, moved, pitch, wide, 1))


@njit(cache=KEPT, nogil=True, forceinline=True)
def _bits(best: Ints, past: Ints, i: int, y: int, x: int, v: int, middle: tuple[int, int], grain: int) -> float:
    """What a component v of the block at (y, x) costs; middle: what _predicted says of it."""
    kind = _row(middle[1] >> grain), _alike(best, past, i, y, x, v)
    return _BITS[kind[0], kind[1], abs(2 * v - middle[0]) >> grain]  # type: ignore[no-any-return]


@njit(cache=KEPT, nogil=True)
def _visit(
    now: Bytes,
    planes: Bytes,
    best: Ints,
    past: Ints,
    sums: Sums,
    at: tuple[int, int],
    bids: Ints,
    count: int,
    price: float,
    rows: int,
    grain: int,
    measure: tuple[float, float],
) -> None:
    """Take the cheapest of the first so many bids [n,2] for the block ``at``, where it is cheaper than what it has."""
    here, there = now.reshape(-1), planes.reshape(-1)
    high, wide = now.shape
    y, x = at
    begins, pitch = 16 * (y * wide + x), planes.shape[2]
    limit = RANGE if planes.shape[0] > 1 else RANGE - RANGE % 4
    limit = (limit >> grain) << grain
    middle_y, middle_x = _predicted(best, 0, y, x), _predicted(best, 1, y, x)
    vy, vx = best[0, y, x], best[1, y, x]
    had = _bits(best, past, 0, y, x, vy, middle_y, grain) + _bits(best, past, 1, y, x, vx, middle_x, grain)
    had *= price
    most = sums[y, x] + had
    plain = 0.0
    if rows == CODED:
        moved = place_of(16 * y, 16 * x, inside(vy, 16 * y, high, 16), inside(vx, 16 * x, wide, 16), planes.shape)
        plain = _NEAR * (_missed(here, there, begins, moved, wide, pitch, 2, measure) + had)
    for i in range(count):
        dy, dx = min(max(bids[i, 0], -limit), limit), min(max(bids[i, 1], -limit), limit)
        bits = _bits(best, past, 0, y, x, dy, middle_y, grain) + _bits(best, past, 1, y, x, dx, middle_x, grain)
        bits *= price
        if bits >= most or (dy == vy and dx == vx):
            continue
        moved = place_of(16 * y, 16 * x, inside(dy, 16 * y, high, 16), inside(dx, 16 * x, wide, 16), planes.shape)
        # what is plainly farther off need not be transformed
        if rows == CODED and _missed(here, there, begins, moved, wide, pitch, 2, measure) + bits > plain:
            continue
        total = _missed(here, there, begins, moved, wide, pitch, rows, measure)
        if total + bits < most:
            vy, vx, most = dy, dx, total + bits
            sums[y, x] = total
    best[0, y, x], best[1, y, x] = vy, vx


@njit(cache=KEPT, nogil=True, forceinline=True)
def _ring(best: Ints, y: int, x: int, scale: int, bids: Ints) -> None:
    """Bids around a block's vector: eight."""
    for i in range(8):
        for c in range(2):
            bids[i, c] = best[c, y, x] + scale * _RING[i, c]


@njit(cache=KEPT, nogil=True, forceinline=True)
def _borrow(best: Ints, y: int, x: int, grain: int, bids: Ints) -> None:
    """Bids from a block's neighbours: those at its sides, those at its corners, what four of them predict: nine."""
    h, w = best.shape[1:]
    for i in range(8):
        ny, nx = min(max(y + _RING[i, 0], 0), h - 1), min(max(x + _RING[i, 1], 0), w - 1)
        bids[i, 0], bids[i, 1] = best[0, ny, nx], best[1, ny, nx]
    for c in range(2):
        bids[8, c] = (_predicted(best, c, y, x)[0] >> (1 + grain)) << grain


@njit(cache=KEPT, nogil=True)
def _sums(now: Bytes, planes: Bytes, best: Ints, rows: int, measure: tuple[float, float]) -> Sums:
    """What each block misses under its vector [h,w]."""
    here, there = now.reshape(-1), planes.reshape(-1)
    high, wide = now.shape
    sums = np.empty(best.shape[1:], np.float64)
    for y in range(best.shape[1]):
        for x in range(best.shape[2]):
            dy, dx = inside(best[0, y, x], 16 * y, high, 16), inside(best[1, y, x], 16 * x, wide, 16)
            begins, moved = 16 * (y * wide + x), place_of(16 * y, 16 * x, dy, dx, planes.shape)
            sums[y, x] = _missed(here, there, begins, moved, wide, planes.shape[2], rows, measure)
    return sums


@njit(cache=KEPT, nogil=True)
def _walk(
    now: Bytes,
    planes: Bytes,
    best: Ints,
    past: Ints,
    sums: Sums,
    steps: Ints,
    price: float,
    rows: int,
    grain: int,
) -> None:
    """Visit all blocks once for each of steps [n,2]: (scale, bids) of a ring, or scale 0 for neighbours' vectors."""
    bids = np.empty((9, 2), np.int64)
    for scale, count in steps:
        for y in range(best.shape[1]):
            for x in range(best.shape[2]):
                if scale:
                    _ring(best, y, x, scale, bids)
                else:
                    _borrow(best, y, x, grain, bids)
                _visit(now, planes, best, past, sums, (y, x), bids, count, price, rows, grain, _PLAIN)


@njit(cache=KEPT, nogil=True)
def _try(
    now: Bytes, planes: Bytes, best: Ints, past: Ints, sums: Sums, others: Ints, price: float, rows: int, grain: int
) -> None:
    """Try vectors others [n,2,h,w], each in its place."""
    for y in range(best.shape[1]):
        for x in range(best.shape[2]):
            bids = others[:, :, y, x]
            _visit(now, planes, best, past, sums, (y, x), bids, len(others), price, rows, grain, _PLAIN)


@njit(cache=KEPT, nogil=True)
def refine_whole(now: Bytes, planes: Bytes, others: Ints, best: Ints, price: float) -> Sums:
    """From no motion and others [n,2,h,w] to whole-sample vectors best [2,h,w]; gives what they miss [h,w]."""
    best[:] = 0
    past = np.full_like(best, _NOWHERE)
    sums = _sums(now, planes, best, 2, _PLAIN)
    _try(now, planes, best, past, sums, others, price, 2, 0)
    _walk(now, planes, best, past, sums, np.array([(16, 8), (0, 4), (8, 4), (4, 4), (0, 4)]), price, 2, 0)
    return sums


@njit(cache=KEPT, nogil=True)
def _settle(
    now: Bytes, planes: Bytes, best: Ints, past: Ints, price: float, grain: int, measure: tuple[float, float]
) -> Sums:
    """Go round the blocks, by what coding costs, until nothing around a block has changed since its last turn."""
    h, w = best.shape[1:]
    sums = _sums(now, planes, best, CODED, measure)
    bids = np.empty((9, 2), np.int64)
    changed = np.zeros((h + 2, w + 2), np.int64)  # in which turn
    for turn in range(1, _ROUNDS + 1):
        for y in range(h):
            for x in range(w):
                last = 0
                for i in range(3):
                    for j in range(3):
                        last = max(last, changed[y + i, x + j])
                if last < turn - 1:
                    continue
                oy, ox = best[0, y, x], best[1, y, x]
                for scale in (2, 1):
                    if scale >> grain or scale == 2:
                        _ring(best, y, x, max(scale, 1 << grain), bids)
                        _visit(now, planes, best, past, sums, (y, x), bids, 8, price, CODED, grain, measure)
                _borrow(best, y, x, grain, bids)
                _visit(now, planes, best, past, sums, (y, x), bids, 9, price, CODED, grain, measure)
                if best[0, y, x] != oy or best[1, y, x] != ox:
                    changed[y + 1, x + 1] = turn
    return sums


@njit(cache=KEPT, nogil=True)
def _all_bits(best: Ints, past: Ints, grain: int) -> float:
    """What a frame's vectors cost."""
    bits = 0.0
    for c in range(2):
        for y in range(best.shape[1]):
            for x in range(best.shape[2]):
                bits += _bits(best, past, c, y, x, best[c, y, x], _predicted(best, c, y, x), grain)
    return bits


@njit(cache=KEPT, nogil=True)
def refine(
    now: Bytes,
    planes: Bytes,
    others: Ints,
    past: Ints,
    best: Ints,
    price: float,
    grain: int,
    worth: float,
) -> tuple[Sums, float]:
    """From others [n,2,h,w] to vectors best [2,h,w] in quarter samples, smooth where that costs little.

    past: the last frame's, or what none is equal to; grain: these and others are multiples of 1 << grain, and so will
    best be; worth: square_worth of the step.

    Gives the sums of absolute differences that they leave [h,w], and what the frame costs in all, in such sums.
    """
    vectors = _SHARE * price
    first, least = 0, 0.0
    for i in range(len(others)):
        best[:] = others[i]
        cost = _sums(now, planes, best, 2, _PLAIN).sum() + vectors * _all_bits(best, past, grain)
        if i == 0 or cost < least:
            first, least = i, cost
    best[:] = others[first]
    sums = _sums(now, planes, best, 1, _PLAIN)
    _try(now, planes, best, past, sums, others, vectors, 1, grain)
    _walk(now, planes, best, past, sums, np.array([(0, 9), (max(4, 1 << grain), 8)]), vectors, 1, grain)
    total = _settle(now, planes, best, past, vectors, grain, (worth, CODING * price)).sum()
    return _sums(now, planes, best, 1, _PLAIN), total + vectors * _all_bits(best, past, grain)
