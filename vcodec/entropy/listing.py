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

__all__ = ["joined", "kept"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


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
