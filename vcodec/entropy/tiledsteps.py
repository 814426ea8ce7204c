"""The integer networks of keyframes.py in tiles of bytes (tiles.py), on CPUs that have those.

    activity, indices ─► marks and magnitudes [h+2,w+2,M+C] ─► activations ─► activations [h+2,w+2,O] ─► sums [n,O]

All is bytes, and what eightbit.py makes of it; of a keyframe, where there is something almost everywhere, tiles have
all places sooner than lists have some.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from vcodec import tiles
from vcodec.convolving import Activations, Dense, Places, Sums, room, zeros
from vcodec.entropy.active import Active
from vcodec.entropy.eightbit import HALF, SHIFT, TOP, Found
from vcodec.entropy.integer import ACTIVATION_ONE
from vcodec.entropy.observed import ACTIVITY_LEVELS, COUNT_MAX
from vcodec.loops import KEPT
from vcodec.spots import Spots

__all__ = ["TiledStep", "suit"]

Bytes = npt.NDArray[np.uint8]
_MARKS = ACTIVITY_LEVELS - 1
_ONE = np.uint8(ACTIVATION_ONE)
_TOGETHER = 2 * tiles.SIDE  # places


@njit(cache=KEPT, nogil=True)
def _see(activity: Places, places: Places, values: npt.NDArray[np.float32], out: Bytes) -> None:
    """Marks of activity [h/2,w/2], and magnitudes of values in places of [C,h,w], into out, as _layer has it, zeros."""
    wide, channels = out.shape[1:]
    w, area = wide - 2, 4 * activity.size
    for y in range(2 * activity.shape[0]):
        for x in range(2 * activity.shape[1]):
            for i in range(activity[y >> 1, x >> 1]):
                out[y + 1, x + 1, i] = _ONE
    flat, channel, begin, row = out.reshape(-1), -1, 0, 0
    for i in range(len(places)):
        while places[i] >= (channel + 1) * area:  # places ascend
            channel += 1
            begin, row = channel * area, 0
        while places[i] >= begin + w:
            begin, row = begin + w, row + 1
        at = ((row + 1) * wide + places[i] - begin + 1) * channels + _MARKS + channel
        flat[np.uint64(at)] = np.uint8(min(abs(values[i]), np.float32(COUNT_MAX))) * _ONE


@njit(cache=KEPT, nogil=True)
def _layer(x: Bytes, shapes: Bytes, weights: Bytes, offset: Sums, some: Sums, out: Bytes | Activations) -> None:
    """Activations out of a 3×3 layer of x, both [h+2 and more,w+2,channels]; some [2·SIDE,O]: room."""
    wide, inputs = x.shape[1:]
    flat, sums, goal, start = x.reshape(-1), some.reshape(-1), out.reshape(-1), offset + HALF
    held, steps, apart = weights.reshape(-1), weights.shape[1] // 3, weights.shape[1] * tiles.BLOCK
    size, column, outputs = np.uint64(len(offset)), 0, some.shape[1]
    stop = (len(x) - 2 - _beyond(wide)) * wide
    tiles.begin(shapes)
    for first in range(0, stop, _TOGETHER):
        for block in range(0, len(weights), 2):
            tiles.clear()
            k = block * apart
            for dy in range(3):
                at = (first + dy * wide) * inputs
                for i in range(steps):
                    tiles.add_bytes(flat, at + i * tiles.DEEP, inputs, held, k, apart)
                    k += tiles.BLOCK
            tiles.put_bytes(sums, block * tiles.SIDE, outputs)
        for place in range(min(_TOGETHER, stop - first)):
            if column < wide - 2:
                at, to = np.uint64(place * outputs), np.uint64(first + place + wide + 1) * size
                for o in range(size):
                    goal[to + o] = min(max(np.int32(sums[at + o] + start[o]) >> SHIFT, np.int32(0)), TOP)
            column = column + 1 if column + 1 < wide else 0
    tiles.end()


@njit(cache=KEPT, nogil=True)
def _alone(x: Activations, places: Places, out: Activations) -> None:
    """Those in some places of x [h+2 and more,w+2,C], out [n or more,C]."""
    w = x.shape[1] - 2
    for n in range(len(places)):
        here, goal = x[places[n] // w + 1, places[n] % w + 1], out[n]
        for i in range(len(goal)):
            goal[i] = here[i]


@njit(cache=KEPT, nogil=True)
def _beyond(wide: int) -> int:
    """Rows of so many places below a map's, for what the last tiles see."""
    return int(1 + (_TOGETHER + tiles.DEEP) // wide)


def suit(*weights: Tensor) -> bool:
    """Whether these are weights [O,I,k,k] of a step that tiles may have."""
    return all(int(w.min()) >= -128 and int(w.max()) < 128 and len(w) % (2 * tiles.SIDE) == 0 for w in weights[:-1])


class TiledStep:
    """As EightBitStep, of weights that suit."""

    def __init__(self, weights: Sequence[Tensor], offsets: Sequence[Tensor], channels: Places, color: int) -> None:
        """As of EightBitStep."""
        first, deep, head = weights
        wide = F.pad(
            first, (0, 0, 0, 0, 0, -first.shape[1] % tiles.DEEP)
        )  # places begin where a line of the cache does
        self._first, self._deep = (tiles.weights_of(w.to(torch.int64).numpy(), True) for w in (wide, deep))
        self._inputs, self._width, self._head = wide.shape[1], len(first), Dense.of(head)
        self._offsets: list[Sums] = [o.to(torch.int32).numpy() for o in offsets]
        self._channels, self._color = channels, color

    def found(self, active: Active, known: Spots, k: int) -> Found:
        """As EightBitStep.found."""
        one, two, three = (o[k] for o in self._offsets)
        h, w = active.rows.shape
        shape = h + 2 + _beyond(w + 2), w + 2
        seen, x = (zeros((*shape, channels), np.uint8) for channels in (self._inputs, self._width))
        deep, some = np.empty((*shape, self._width), np.int16), zeros((_TOGETHER, self._width), np.int32)
        _see(active.activity, known.places, known.values, seen)
        _layer(seen, tiles.SHAPES, self._first, one, some, x)
        _layer(x, tiles.SHAPES, self._deep, two, some, deep)
        n = len(active.places) // 2
        alone = room(n, self._width)
        _alone(deep, active.places[self._color * n :][:n], alone)
        return Found(self._head.alone(alone, n), three, self._channels, self._color * n)
