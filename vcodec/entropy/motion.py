"""What context networks see of a frame's motion, compiled for this CPU: where vectors differ from those around them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec.choices import chosen
from vcodec.loops import KEPT

__all__ = ["roughness"]

Ints = npt.NDArray[np.int64]


@njit(cache=KEPT, nogil=True)
def roughness(coarse: Ints, choice: Ints, limits: Ints, out: npt.NDArray[np.float32]) -> None:
    """Maps out [n,h,w]: 1 where a neighbour's vector differs by one of n limits or more, as observed.roughness has it.

    coarse [2+,h/2,w/2]: vectors of 16×16 blocks; choice [h,w]: which of four each 8×8 block takes (vcodec/choices.py).
    """
    h, w = choice.shape
    vectors = np.empty((len(coarse), h, w), np.int64)
    chosen(coarse, choice, vectors)
    for y in range(h):
        for x in range(w):
            most = 0
            for i in range(2):
                own = vectors[i, y, x]
                above, below = vectors[i, max(y - 1, 0), x], vectors[i, min(y + 1, h - 1), x]
                left, right = vectors[i, y, max(x - 1, 0)], vectors[i, y, min(x + 1, w - 1)]
                most = max(most, abs(above - own), abs(below - own), abs(left - own), abs(right - own))
            for n in range(len(limits)):
                out[n, y, x] = most >= limits[n]
