"""What is coded of a frame's indices, and what is not 0 of them, as lists, compiled for this CPU.

Of the indices of a frame few are coded, and most of these are 0: who decodes goes from one list to the next, where
maps [C,h,w] would have to be cleared and searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.loops import KEPT

__all__ = ["Spots", "counted", "joined", "kept", "numbered", "put"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]


class Spots(NamedTuple):
    """Indices that are not 0: flat places [n] in a map [C,h,w], and values [n]."""

    places: Ints
    values: Floats


def joined(lists: Sequence[Spots]) -> Spots:
    """One list of all."""
    return Spots(np.concatenate([s.places for s in lists]), np.concatenate([s.values for s in lists]))


@njit(cache=KEPT, nogil=True)
def numbered(
    sums: Small,
    offset: Small,
    shape: tuple[np.int32, np.int32, np.int32],
    places: Ints,
    mask: npt.NDArray[np.bool_],
    first: int,
) -> tuple[Ints, Ints]:
    """Of sums [n,C] in places [n], in ascending order, of maps [C,h·w] those that are coded, in the order of the maps.

    Gives rows of their tables (first + number) and flat places.  shape: what a sum is raised by, shifted by, and at
    most then; a number of 0 is not coded.  mask [C,h·w]: what belongs to the step.
    """
    n, channels = sums.shape
    half, shift, most = shape
    numbers = np.empty((n, channels), np.uint8)
    for i in range(n):
        for c in range(channels):
            value = np.int32(sums[i, c] + offset[c] + half) >> shift
            numbers[i, c] = min(max(value, np.int32(0)), most)
    rows, found, count = np.empty(n * channels + 1, np.int64), np.empty(n * channels + 1, np.int64), 0
    area = mask.shape[1]
    for c in range(channels):
        member = mask[c]
        for i in range(n):  # without a branch that nobody can foresee
            number, place = int(numbers[i, c]), places[i]
            rows[count], found[count] = first + number, c * area + place
            count += int(number > 0) & int(member[place])
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


@njit(cache=KEPT, nogil=True)
def put(places: Ints, values: Floats, out: Floats) -> None:
    """Values in flat places of a map."""
    for i in range(len(places)):
        out[places[i]] = values[i]


@njit(cache=KEPT, nogil=True)
def counted(places: Ints, values: Floats, most: int, one: int, out: npt.NDArray[np.int8]) -> None:
    """Magnitudes of indices, up to a most, times one: bytes out [h+2,w+2,C or more], which holds zeros."""
    h, w = out.shape[0] - 2, out.shape[1] - 2
    for i in range(len(places)):
        place = places[i] % (h * w)
        size = min(abs(values[i]), np.float32(most))
        out[place // w + 1, place % w + 1, places[i] // (h * w)] = np.int64(size) * one
