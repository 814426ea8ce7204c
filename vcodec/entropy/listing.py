"""What is coded of a frame's indices, and what is not 0 of them, as lists, compiled for this CPU.

Of the indices of a frame few are coded, and most of these are 0: who decodes goes from one list to the next, where
maps [C,h,w] would have to be cleared and searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.loops import KEPT
from vcodec.spots import Spots

__all__ = ["joined", "kept", "numbered"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]


def joined(lists: Sequence[Spots]) -> Spots:
    """One list of all, of the same map."""
    return reduce(lambda a, b: Spots(*_merged(a.places, a.values, b.places, b.values), a.shape), lists)


@njit(cache=KEPT, nogil=True)
def _merged(places: Ints, values: Floats, more: Ints, theirs: Floats) -> tuple[Ints, Floats]:
    """Of two lists one, ascending as they are."""
    count = len(places) + len(more)
    at, found = np.empty(count, np.int64), np.empty(count, np.float32)
    i = j = 0
    for n in range(count):
        if j == len(more) or (i < len(places) and places[i] < more[j]):
            at[n], found[n] = places[i], values[i]
            i += 1
        else:
            at[n], found[n] = more[j], theirs[j]
            j += 1
    return at, found


@njit(cache=KEPT, nogil=True)
def numbered(
    sums: Small,
    offset: Small,
    rounding: tuple[np.int32, np.int32, np.int32],
    places: Ints,
    grid: tuple[int, int],
    step: int,
    first: int,
) -> tuple[Ints, Ints]:
    """Of sums [n,C] in places [n], in ascending order, of maps [C,h·w] those that are coded, in the order of the maps.

    Gives rows of their tables (first + number) and flat places.  rounding: what a sum is raised by, shifted by, and at
    most then; a number of 0 is not coded.  grid: h and w; step: 0 codes what is on white squares (c + y + x even), 1
    what is on black ones.
    """
    n, channels = sums.shape
    half, shift, most = rounding
    sides, counts = np.empty((2, n), np.int64), np.zeros(2, np.int64)
    for i in range(n):
        side = (places[i] // grid[1] + places[i] % grid[1]) & 1
        sides[side, counts[side]] = i
        counts[side] += 1
    numbers = np.empty((channels, n), np.uint8)
    for side in range(2):
        for begin in range(0, counts[side], 64):  # what fits the nearest cache
            for c in range(side ^ step, channels, 2):
                for i in range(begin, min(begin + 64, counts[side])):
                    value = np.int32(sums[sides[side, i], c] + offset[c] + half) >> shift
                    numbers[c, i] = min(max(value, np.int32(0)), most)
    room = channels * (counts.max() + 1)
    rows, found, count = np.empty(room, np.int64), np.empty(room, np.int64), 0
    for c in range(channels):
        side = (c & 1) ^ step
        for i in range(counts[side]):  # without a branch that nobody can foresee
            number = int(numbers[c, i])
            rows[count], found[count] = first + number, c * grid[0] * grid[1] + places[sides[side, i]]
            count += int(number > 0)
    return rows[:count].copy(), found[:count].copy()


@njit(cache=KEPT, nogil=True)
def kept(symbols: Ints, places: Ints, reach: int) -> tuple[Ints, Floats, int]:
    """Of symbols [n] in places [n] those of indices that are not 0: places, values, and how many are escapes."""
    found, values = np.empty(len(symbols) + 1, np.int64), np.empty(len(symbols) + 1, np.float32)
    count = far = 0
    for i in range(len(symbols)):
        value = symbols[i] - reach
        found[count], values[count] = places[i], value
        count += value != 0
        far += value > reach
    return found[:count].copy(), values[:count].copy(), far
