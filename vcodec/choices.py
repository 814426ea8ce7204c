"""Whose vector an 8×8 block takes, compiled for this CPU: the encoder, the picture and the contexts all ask.

choice 0  its own 16×16's     1  that of the 16×16 beside it     2  above or below it     3  the diagonal one
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.loops import KEPT

__all__ = ["chosen", "whose"]

Ints = npt.NDArray[np.int64]


@njit(cache=KEPT, nogil=True)
def whose(y: int, x: int, choice: int, h: int, w: int) -> tuple[int, int]:
    """The 16×16 block, of h × w, that an 8×8 block's choice names."""
    by, bx = y >> 1, x >> 1
    ny, nx = min(max(by + 2 * (y & 1) - 1, 0), h - 1), min(max(bx + 2 * (x & 1) - 1, 0), w - 1)
    return (ny if choice & 2 else by), (nx if choice & 1 else bx)


@njit(cache=KEPT, nogil=True)
def chosen(coarse: Ints, choice: Ints, out: Ints) -> None:
    """Vectors of 16×16 blocks [C,h,w] and whose each 8×8 block takes [2h,2w]: its vector, out [C,2h,2w]."""
    parts, h, w = coarse.shape
    for y in range(2 * h):
        for x in range(2 * w):
            row, column = whose(y, x, choice[y, x], h, w)
            for c in range(parts):
                out[c, y, x] = coarse[c, row, column]
