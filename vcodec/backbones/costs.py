"""What a 16×16 block costs under a vector, compiled for this CPU: what it misses, and what the vector takes to send.

Vectors are as the search has them (matching.py).  A vector costs what it differs by from the middle of its four
neighbours', as it is sent, in grains.
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
    "CODED",
    "NOWHERE",
    "PAD",
    "PLAIN",
    "all_bits",
    "bits_around",
    "bits_of",
    "inside",
    "missed",
    "nowhere",
    "place_of",
    "predicted",
]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

PAD = MARGIN + 4  # samples around a reference: what a block may reach outside the frame, and the filters
CODED = 0  # in place of a number of rows
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
NOWHERE = 1 << 20  # a component that none is equal to
PLAIN = (0.0, 0.0)  # the measure where nothing is coded


def nowhere(like: Ints) -> Ints:
    """Vectors that none is equal to."""
    return np.full_like(like, NOWHERE)


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
def predicted(best: Ints, i: int, y: int, x: int) -> tuple[int, int]:
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
def missed(
    here: Bytes, there: Bytes, at: int, moved: int, pitch: int, wide: int, rows: int, measure: tuple[float, float]
) -> float:
    """What a 16×16 block misses: differences of every so many-th row, or coded; at, moved: where it begins.

    measure: unit_of, and what a bit of coding is worth in plain differences.
    """
    if rows == CODED:
        upper = differences.coded_16x8(here, at, there, moved, pitch, wide, measure[0])
        at, moved = at + 8 * pitch, moved + 8 * wide
        return float(measure[1] * (upper + differences.coded_16x8(here, at, there, moved, pitch, wide, measure[0])))
    if rows == 2:
        return float(2 * differences.plain_16(here, at, there, moved, pitch, wide, 2))
    return float(differences.plain_16(here, at, there, moved, pitch, wide, 1))


@njit(cache=KEPT, nogil=True, forceinline=True)
def bits_of(best: Ints, past: Ints, i: int, y: int, x: int, v: int, middle: tuple[int, int], grain: int) -> float:
    """What a component v of the block at (y, x) costs; middle: what predicted says of it."""
    kind = _row(middle[1] >> grain), _alike(best, past, i, y, x, v)
    return _BITS[kind[0], kind[1], abs(2 * v - middle[0]) >> grain]  # type: ignore[no-any-return]


@njit(cache=KEPT, nogil=True)
def all_bits(best: Ints, past: Ints, grain: int) -> float:
    """What a frame's vectors cost."""
    bits = 0.0
    for c in range(2):
        for y in range(best.shape[1]):
            for x in range(best.shape[2]):
                bits += bits_of(best, past, c, y, x, best[c, y, x], predicted(best, c, y, x), grain)
    return bits


@njit(cache=KEPT, nogil=True)
def bits_around(best: Ints, past: Ints, at: tuple[int, int], size: int, grain: int) -> float:
    """What the vectors of size × size blocks from ``at`` cost, and those at their sides, which they predict."""
    y, x = at
    bits = 0.0
    for i in range(max(y - 1, 0), min(y + size + 1, best.shape[1])):
        for j in range(max(x - 1, 0), min(x + size + 1, best.shape[2])):
            if not y <= i < y + size and not x <= j < x + size:
                continue
            for c in range(2):
                bits += bits_of(best, past, c, i, j, best[c, i, j], predicted(best, c, i, j), grain)
    return bits
