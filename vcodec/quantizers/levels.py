"""Levels of indices, compiled for this CPU: one pass in place of a dozen operations; conditional.py defines them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.loops import KEPT

__all__ = ["in_steps", "listed_levels"]

Floats = npt.NDArray[np.float32]
_SIZES = 5  # magnitudes whose levels are shifted


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
    """Levels out [n] of indices that are not 0: flat places [n] in a map of this shape [C,h,w], and values [n].

    Shifts [5] of magnitudes, steps [C], turn: ±1 where c + y + x is even.
    """
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
    """Latents [C,h,w] in steps [C], out [C,h,w]; turn: see listed_levels."""
    channels, h, w = values.shape
    for c in range(channels):
        steps = step[c]
        for y in range(h):
            given, found = values[c, y], out[c, y]
            first = turn[0] if (c + y) % 2 == 0 else -turn[0]
            for x in range(w):
                found[x] = given[x] * (first if (x & 1) == 0 else -first) / steps
