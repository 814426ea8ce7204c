"""Where a frame has activity, and the table numbers of its indices there, compiled for this CPU.

    activity [h/2,w/2] ─► places [n] ─► numbers [C,n] ─► what each step codes, in order

Few blocks have activity: who goes through lists of their places spares maps [C,h,w], which would have to be cleared and
searched.  Of each channel what is on white squares (y + x even) belongs to one step, what is on black ones to another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.loops import KEPT

__all__ = ["EVERY", "Active", "numbered"]

Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
EVERY = -1  # in place of a step: all of them
_TOGETHER = 64  # places whose numbers fit the nearest cache
_QUARTERS = np.array([0, 2, 3, 1])  # of a block, by 2·y + x: the white squares' come first


class Active(NamedTuple):
    """Blocks of some activity [h/2,w/2], of which there are n/4.

    places [n]: flat, of all blocks' first quarters, then of their fourth, second and third ones: the first half is
    white; order [2,n/2]: rows of places that are white and black, as they lie in a map; rows [h,w]: of each place in
    ``places``, -1 where there is no activity.
    """

    activity: Ints
    places: Ints
    order: Ints
    rows: Small

    @staticmethod
    def of(activity: Ints) -> Active:
        """Of a map of activity."""
        n, (h, w) = 4 * np.count_nonzero(activity), activity.shape
        found = np.empty(n, np.int64), np.empty((2, n // 2), np.int64), np.full((2 * h, 2 * w), -1, np.int32)
        _found(activity, *found)
        return Active(activity, *found)

    def none(self, channels: int) -> Bytes:
        """Table numbers [C,n], all 0."""
        return np.zeros((channels, len(self.places)), np.uint8)

    def coded(self, numbers: Bytes, owners: Bytes, step: int, first: int) -> tuple[Ints, Ints]:
        """Of the indices that a step codes: rows of their tables (first + number), and flat places, in order.

        numbers [C,n]: 0 is not coded; owners [C,2]: step that a channel's white and black squares belong to.
        """
        return _coded(numbers, owners, step, self.places, self.order, self.rows.size, first)


@njit(cache=KEPT, nogil=True)
def _found(activity: Ints, places: Ints, order: Ints, rows: Small) -> None:
    """Active's lists of a map of activity; rows holds -1."""
    h, w = activity.shape
    blocks, n, counts = len(places) // 4, 0, np.zeros(2, np.int64)
    for y in range(h):
        begin = n
        for x in range(w):
            if activity[y, x]:
                for quarter in range(4):
                    below, beside = quarter >> 1, quarter & 1
                    row = _QUARTERS[quarter] * blocks + n
                    places[row] = (2 * y + below) * 2 * w + 2 * x + beside
                    rows[2 * y + below, 2 * x + beside] = row
                n += 1
        for quarter in range(4):  # of a row of blocks the upper squares come before the lower ones
            color = (quarter >> 1) ^ (quarter & 1)
            for block in range(begin, n):
                order[color, counts[color]] = _QUARTERS[quarter] * blocks + block
                counts[color] += 1


@njit(cache=KEPT, nogil=True)
def numbered(
    sums: Small,
    offset: Small,
    rounding: tuple[np.int32, np.int32, np.int32],
    channels: Ints,
    first: int,
    owners: Bytes,
    step: int,
    out: Bytes,
) -> None:
    """Table numbers of sums [n,O] of some channels [O], for rows first.. of Active's places: into out [C,rows].

    rounding: what a sum is raised by, shifted by, and at most then; step: those of its squares alone (see Active), or
    EVERY.
    """
    half, shift, most = rounding
    count, width = np.uint64(len(channels)), np.uint64(out.shape[1])
    squares, flat, goal = out.shape[1] // 2, sums.reshape(-1), out.reshape(-1)
    some = np.empty(_TOGETHER * len(channels), np.uint8)
    for color in range(2):
        last = min(first + len(sums), (color + 1) * squares)
        for begin in range(max(first, color * squares), last, _TOGETHER):
            rows = np.uint64(min(_TOGETHER, last - begin))
            for row in range(rows):
                at, to = np.uint64(begin - first) * count + row * count, row * count
                for i in range(count):
                    value = np.int32(flat[at + i] + offset[i] + half) >> shift
                    some[to + i] = min(max(value, np.int32(0)), most)
            for i in range(count):
                c = channels[i]
                if step == EVERY or owners[c, color] == step:
                    to = np.uint64(c) * width + np.uint64(begin)
                    for row in range(rows):
                        goal[to + row] = some[row * count + i]


@njit(cache=KEPT, nogil=True)
def _coded(
    numbers: Bytes, owners: Bytes, step: int, places: Ints, order: Ints, area: int, first: int
) -> tuple[Ints, Ints]:
    """As Active.coded, of maps of this area."""
    squares, most = order.shape[1], 1
    for c in range(len(numbers)):
        for color in range(2):
            if owners[c, color] == step:
                for number in numbers[c, color * squares : (color + 1) * squares]:
                    most += number > 0
    rows, found, count = np.empty(most, np.int64), np.empty(most, np.int64), np.uint64(0)
    sides, there = order.astype(np.uint64), places[order.reshape(-1)].reshape(order.shape)
    for c in range(len(numbers)):
        for color in range(2):
            if owners[c, color] == step:
                line, side, beside, begin = numbers[c], sides[color], there[color], c * area
                for i in range(np.uint64(squares)):  # without a branch that nobody can foresee
                    number = np.int64(line[side[i]])
                    rows[count], found[count] = first + number, begin + beside[i]
                    count += np.uint64(number > 0)
    return rows[: most - 1], found[: most - 1]
