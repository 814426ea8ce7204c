"""3×3 convolutions of whole pictures in 16-bit integers, channels last, in tiles of places and outputs (tiles.py).

    rows of activations ─► their high and low bytes ─► of 16 places at a time, sums of 16 outputs ─► sums

Places are counted as they lie, those of the edge too: what is made of these is left out.  A CPU without tiles goes by
strips (strips.py), to the same sums.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec import tiles
from vcodec.convolving import Activations, Sums, zeros
from vcodec.loops import KEPT

__all__ = ["Tiled"]

Bytes = npt.NDArray[np.uint8]


@njit(cache=KEPT, nogil=True)
def _aligned(count: int) -> Bytes:
    """Room for rows of tiles: none lies across two lines of a cache."""
    room = np.empty(count + tiles.DEEP, np.uint8)
    begin = -room.ctypes.data % tiles.DEEP
    return room[begin : begin + count]


@njit(cache=KEPT, nogil=True)
def _split(x: Activations, high: Bytes, low: Bytes) -> None:
    """Bytes of integers, all flat."""
    for i in range(len(x)):
        high[i], low[i] = x[i] >> np.int16(8), x[i] & np.int16(255)


@njit(cache=KEPT, nogil=True)
def _in_tiles(x: Activations, shapes: Bytes, weights: Bytes, some: Sums, made: Sums, out: Sums) -> None:
    """Of rows x [h+2,w+2,I] sums out [h·w,O]; weights as Tiled has them; some [16,O], made [3·256]: room."""
    wide, channels = x.shape[1:]
    h, w, outputs = x.shape[0] - 2, wide - 2, some.shape[1]
    beyond = (tiles.SIDE + 2) * channels + tiles.DEEP  # what the last tiles see
    high, low = _aligned(x.size + beyond), _aligned(x.size + beyond)
    _split(x.reshape(-1), high, low)
    flat, sums, goal = weights.reshape(-1), some.reshape(-1), out.reshape(-1)
    steps, one = weights.shape[1], weights.shape[2]
    column, to = 0, np.uint64(0)
    tiles.begin(shapes)
    for first in range(0, h * wide, tiles.SIDE):
        for block in range(len(weights)):
            tiles.clear()
            k = block * steps * one
            for dy in range(3):
                at = (first + dy * wide) * channels
                for i in range(steps // 3):
                    tiles.add(high, low, at + i * tiles.DEEP, channels, flat, k)
                    k += one
            tiles.put(made, sums, block * tiles.SIDE, outputs)
        for place in range(min(tiles.SIDE, h * wide - first)):
            if column < w:
                at = np.uint64(place * outputs)
                for o in range(np.uint64(outputs)):
                    goal[to + o] = sums[at + o]
                to += np.uint64(outputs)
            column = column + 1 if column + 1 < wide else 0
    tiles.end()


class Tiled(NamedTuple):
    """A 3×3 convolution of whole pictures: outputs, and weights as tiles.weights_of gives them."""

    outputs: int
    weights: Bytes

    @staticmethod
    def of(weight: npt.NDArray[np.int64]) -> Tiled:
        """weight [O,I,3,3]."""
        return Tiled(len(weight), tiles.weights_of(weight))

    def sums(self, x: Activations, first: int, stop: int) -> Sums:
        """Of x [h+2,w+2,I] in rows first..stop of [h,w] -> [n,O]."""
        wide = len(self.weights) * tiles.SIDE
        out = np.empty(((stop - first) * (x.shape[1] - 2), wide), np.int32)
        some, made = zeros((tiles.SIDE, wide), np.int32), zeros((3 * tiles.SIDE**2,), np.int32)
        _in_tiles(x[first : stop + 2], tiles.SHAPES, self.weights, some, made, out)
        return out[:, : self.outputs]
