"""Levels of indices, compiled for this CPU: one pass in place of a dozen operations; conditional.py defines them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.loops import KEPT

__all__ = ["in_steps", "listed_levels", "oriented_levels"]

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
    one, two, three, beyond = shift[1], shift[2], shift[3], shift[4]
    for c in range(channels):
        steps = step[c]
        for y in range(h):
            given, found, some = index[c, y], out[c, y], np.int32(0)
            for x in range(w):
                some |= bits[c, y, x]
            if not some:
                found[:] = np.float32(0.0)
                continue
            first = turn[0] if (c + y) % 2 == 0 else -turn[0]
            # without a branch, so that many are found at a time; levels of both signs mirror each other
            for x in range(w):
                value = given[x]
                size = abs(value)
                less = three if size > 2 else two if size > 1 else one
                level = (size - (less if size < _SIZES - 1 else beyond)) * steps
                turned = level * (first if (x & 1) == 0 else -first)
                found[x] = turned if value > 0 else -turned if value < 0 else np.float32(0.0)


@njit(cache=KEPT, nogil=True)
def listed_levels(
    places: npt.NDArray[np.int64],
    values: Floats,
    shape: tuple[int, int, int],
    shift: Floats,
    step: Floats,
    turn: Floats,
    out: Floats,
) -> None:
    """As oriented_levels, of indices that are not 0: flat places [n] in a map [C,h,w], and values [n]; out [n]."""
    _, h, w = shape
    for i in range(len(places)):
        place, value = places[i], values[i]
        c, y, x = place // (h * w), place // w % h, place % w
        size = abs(value)
        less = shift[np.int64(min(size, np.float32(_SIZES - 1)))]
        level = (size - less) * step[c]
        turned = level * (turn[0] if (c + y + x) % 2 == 0 else -turn[0])
        out[i] = turned if value > 0 else -turned if value < 0 else np.float32(0.0)


@njit(cache=KEPT, nogil=True)
def in_steps(values: Floats, step: Floats, turn: Floats, out: Floats) -> None:
    """Latents [C,h,w] in steps [C], out [C,h,w]; turn: see oriented_levels."""
    channels, h, w = values.shape
    for c in range(channels):
        steps = step[c]
        for y in range(h):
            given, found = values[c, y], out[c, y]
            first = turn[0] if (c + y) % 2 == 0 else -turn[0]
            for x in range(w):
                found[x] = given[x] * (first if (x & 1) == 0 else -first) / steps
