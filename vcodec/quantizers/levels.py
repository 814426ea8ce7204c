"""Levels of indices, compiled for this CPU: one pass in place of a dozen operations; conditional.py defines them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.loops import KEPT

__all__ = ["oriented_levels"]

Floats = npt.NDArray[np.float32]
_SIZES = 5  # magnitudes whose levels are shifted


@njit(cache=KEPT, nogil=True)
def oriented_levels(
    index: Floats, bits: npt.NDArray[np.int32], shift: Floats, step: Floats, turn: Floats, out: Floats
) -> None:
    """Levels out [C,h,w] of indices [C,h,w]: shifts [5] of magnitudes, steps [C], turn: ±1 where c + y + x is even.

    bits [C,h,w]: the indices as they lie in memory; most rows hold nothing.
    """
    channels, h, w = index.shape
    for c in range(channels):
        size = step[c]
        for y in range(h):
            given, found, some = index[c, y], out[c, y], np.int32(0)
            for x in range(w):
                some |= bits[c, y, x]
            if not some:
                found[:] = np.float32(0.0)
                continue
            first = turn[0] if (c + y) % 2 == 0 else -turn[0]
            for x in range(w):
                value = given[x]
                if value != 0:
                    less = shift[min(int(abs(value)), _SIZES - 1)]
                    value = (value - less if value > 0 else value + less) * size
                    found[x] = value * first
                else:
                    found[x] = np.float32(0.0)
                first = -first
