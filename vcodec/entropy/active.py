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
    squares = out.shape[1] // 2
    for color in range(2):
        last = min(first + len(sums), (color + 1) * squares)
        for begin in range(max(first, color * squares), last, 64):  # what fits the nearest cache
            for i in range(len(channels)):
                c, more = channels[i], offset[i] + half
                if step == EVERY or owners[c, color] == step:
                    for row in range(begin, min(begin + 64, last)):
                        value = np.int32(sums[row - first, i] + more) >> shift
                        out[c, row] = min(max(value, np.int32(0)), most)


@njit(cache=KEPT, nogil=True)
def _coded(
    numbers: Bytes, owners: Bytes, step: int, places: Ints, order: Ints, area: int, first: int
) -> tuple[Ints, Ints]:
    """As Active.coded, of maps of this area."""
    squares, count = order.shape[1], 0
    room = squares * np.sum(owners == step) + 1
    rows, found = np.empty(room, np.int64), np.empty(room, np.int64)
    for c in range(len(numbers)):
        for color in range(2):
            if owners[c, color] == step:
                for i in range(squares):  # without a branch that nobody can foresee
                    row = order[color, i]
                    number = np.int64(numbers[c, row])
                    rows[count], found[count] = first + number, c * area + places[row]
                    count += number > 0
    return rows[:count].copy(), found[:count].copy()
