"""What a 16×16 block costs under a vector, compiled for this CPU: what it misses, and what the vector takes to send.

Vectors are as the search has them (matching.py).  A vector costs what it differs by from the middle of its four
neighbours', as it is sent, in grains.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.backbones import differences, transforms
from vcodec.backbones.compensation import MARGIN
from vcodec.grain import RANGE
from vcodec.loops import KEPT

__all__ = [
    "BITS",
    "NEAR",
    "NOWHERE",
    "PAD",
    "PLAIN",
    "Sizes",
    "all_bits",
    "bits_at",
    "bits_of",
    "coded",
    "inside",
    "moved_to",
    "note_of",
    "nowhere",
    "place_of",
    "plainly",
    "room_for_notes",
    "surroundings",
]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]
Known = tuple[int, int, int, int, int, int, int]
Sizes = tuple[int, int, int, int, int]  # of a frame, then of planes

PAD = MARGIN + 4  # samples around a reference: what a block may reach outside the frame, and the filters
# What a component costs, bits, under the trees of side information: means over training clips.  All in grains: by how
# far its four neighbours differ among themselves (less than 1, 3, 7, 17, or more), by whether it is that of one of
# them or none, each without and with that being the last frame's there; then by how far it is from their middle (_AT).
_AT = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 9, 15, 30)
_COSTS = (
    (
        (5.0, 5.3, 5.9, 7.4, 9.6, 10.2, 11.3, 12.4, 14.1, 15.5, 16.5),
        (4.2, 4.3, 4.4, 6.5, 8.2, 9.0, 10.0, 11.0, 12.5, 14.0, 15.0),
        (0.28, 0.28, 0.28, 0.28, 0.28, 0.28, 0.28, 0.28, 0.28, 0.28, 0.28),
        (0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04),
    ),
    (
        (1.7, 3.1, 4.6, 5.6, 6.6, 7.7, 8.7, 9.8, 11.9, 13.5, 14.5),
        (1.1, 2.4, 3.6, 4.3, 5.1, 6.3, 7.9, 9.5, 10.5, 12.0, 13.0),
        (1.0, 2.0, 3.7, 4.7, 6.1, 7.4, 8.7, 9.8, 11.9, 13.5, 14.5),
        (0.4, 1.1, 2.5, 3.6, 5.0, 5.9, 7.9, 9.5, 10.5, 12.0, 13.0),
    ),
    (
        (2.4, 3.1, 3.7, 4.3, 5.0, 5.9, 6.9, 8.3, 9.7, 11.6, 12.6),
        (1.6, 2.1, 2.8, 3.2, 3.9, 5.3, 6.0, 8.0, 9.2, 11.5, 13.0),
        (1.6, 2.6, 3.7, 4.4, 5.2, 6.7, 7.9, 9.1, 10.0, 12.2, 14.0),
        (0.6, 1.4, 2.4, 2.5, 2.8, 4.6, 6.1, 8.0, 9.2, 11.5, 13.0),
    ),
    (
        (3.7, 4.0, 4.1, 4.3, 4.7, 5.2, 5.5, 6.4, 7.5, 10.0, 11.3),
        (2.5, 2.7, 3.1, 3.3, 3.9, 4.6, 4.9, 5.1, 6.4, 8.5, 10.0),
        (2.0, 3.1, 3.7, 4.1, 4.7, 5.4, 5.8, 6.6, 8.1, 11.4, 12.0),
        (0.8, 1.8, 2.5, 2.6, 2.7, 3.0, 3.6, 3.8, 4.3, 7.0, 9.0),
    ),
    (
        (5.1, 5.2, 5.2, 5.2, 5.5, 5.6, 6.1, 6.4, 7.1, 8.3, 9.6),
        (3.4, 4.0, 4.1, 4.4, 4.5, 4.6, 4.8, 5.4, 5.6, 6.7, 8.5),
        (2.4, 3.2, 4.0, 4.8, 5.2, 5.8, 6.0, 6.7, 7.4, 8.5, 9.8),
        (0.9, 2.2, 2.7, 2.8, 3.2, 3.6, 3.7, 3.9, 4.6, 6.0, 6.3),
    ),
)
_HALVES = np.arange(8 * (RANGE + 1)) / 2  # of grains
BITS = np.stack([np.interp(_HALVES, _AT, c) + np.log2(np.maximum(_HALVES, 30) / 30) for row in _COSTS for c in row])
NEAR = 1.2  # times what is there, in plain differences: what may still cost less when coded
NOWHERE = 1 << 20  # a component that none is equal to
PLAIN = (0.0, 0.0)  # the measure where nothing is coded
_NOTES = 32  # vectors of a block; by measurement


def room_for_notes(blocks: int) -> Sums:
    """Room for what coding so many blocks costs under vectors tried, to be forgotten with the frame or its reference.

    Each has places for some; one is where the vector leads, and one more, since nothing is 0; then the cost.
    """
    return np.zeros(2 * _NOTES * blocks)


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
def surroundings(best: Ints, past: Ints, i: int, y: int, x: int, grain: int) -> Known:
    """What is known of a block's component i before it is sent.

    Its four neighbours', the last frame's, twice the middle of the four, and where in BITS begins what holds there.
    """
    h, w = best.shape[1:]
    up, down = best[i, y - 1 if y else 0, x], best[i, y + 1 if y + 1 < h else y, x]
    left, right = best[i, y, x - 1 if x else 0], best[i, y, x + 1 if x + 1 < w else x]
    low, high = min(min(up, down), min(left, right)), max(max(up, down), max(left, right))
    apart = (high - low) >> grain
    kind = 0 if apart < 1 else 1 if apart < 3 else 2 if apart < 7 else 3 if apart < 17 else 4
    return up, down, left, right, past[i, y, x], up + down + left + right - low - high, 4 * kind


@njit(cache=KEPT, nogil=True, forceinline=True)
def moved_to(sizes: Sizes, y: int, x: int, dy: int, dx: int) -> int:
    """Where a vector leads the 16×16 block (y, x), in flat planes; sizes: of the frame, then of the planes."""
    high, wide, count, tall, pitch = sizes
    dy, dx = inside(dy, 16 * y, high, 16), inside(dx, 16 * x, wide, 16)
    return place_of(16 * y, 16 * x, dy, dx, (count, tall, pitch))


@njit(cache=KEPT, nogil=True, forceinline=True)
def plainly(here: Bytes, there: Bytes, sizes: Sizes, y: int, x: int, moved: int, whole: bool) -> float:
    """Sum of absolute differences of a block from flat planes: of all its rows, or of every other one, twice."""
    at = 16 * (y * sizes[1] + x)
    if whole:
        return float(differences.plain_16(here, at, there, moved, sizes[1], sizes[4], 1))
    return float(2 * differences.plain_16(here, at, there, moved, sizes[1], sizes[4], 2))


@njit(cache=KEPT, nogil=True, forceinline=True)
def coded(here: Bytes, there: Bytes, sizes: Sizes, y: int, x: int, moved: int, measure: tuple[float, float]) -> float:
    """What coding a block's differences costs.

    measure: unit_of, and what a bit of coding is worth in plain differences.
    """
    at = 16 * (y * sizes[1] + x)
    return float(transforms.coded_16(here, at, there, moved, sizes[1], sizes[4], measure[0], measure[1]))


@njit(cache=KEPT, nogil=True, forceinline=True)
def note_of(sizes: Sizes, y: int, x: int, dy: int, dx: int) -> int:
    """Where in room_for_notes what coding a block under a vector costs has its place, maybe with others."""
    mixed = 13 * dy + dx
    return 2 * (_NOTES * (y * (sizes[1] >> 4) + x) + ((mixed + (mixed >> 6)) & (_NOTES - 1)))


@njit(cache=KEPT, nogil=True, forceinline=True)
def bits_of(v: int, known: Known, grain: int) -> float:
    """What a component v costs among its surroundings."""
    up, down, left, right, before, middle, kind = known
    if v in (up, down, left, right):
        kind += 2
    if v == before:
        kind += 1
    return BITS[kind, abs(2 * v - middle) >> grain]  # type: ignore[no-any-return]


@njit(cache=KEPT, nogil=True, forceinline=True)
def bits_at(best: Ints, past: Ints, y: int, x: int, grain: int) -> float:
    """What a block's vector costs."""
    h, w = best.shape[1:]
    bits, up, down, left, right = 0.0, max(y - 1, 0), min(y + 1, h - 1), max(x - 1, 0), min(x + 1, w - 1)
    for c in range(2):
        v = best[c, y, x]
        if best[c, up, x] == v and best[c, down, x] == v and best[c, y, left] == v and best[c, y, right] == v:
            bits += BITS[3 if past[c, y, x] == v else 2, 0]  # most often, and as below
        else:
            bits += bits_of(v, surroundings(best, past, c, y, x, grain), grain)
    return bits


@njit(cache=KEPT, nogil=True)
def all_bits(best: Ints, past: Ints, grain: int) -> Sums:
    """What each of a frame's vectors costs [h,w]."""
    bits = np.empty(best.shape[1:])
    for y in range(best.shape[1]):
        for x in range(best.shape[2]):
            bits[y, x] = bits_at(best, past, y, x, grain)
    return bits
