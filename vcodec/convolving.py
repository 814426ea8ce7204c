"""Convolutions of 16-bit integers that lie channels last, compiled for this CPU: a place gathers what it sees.

    activations [h+2,w+2,I] ─► what places see [n,9·I] ─► products in pairs (products.py) ─► 32-bit sums [n,O]

Whole pictures go strip by strip, two rows at a time, which takes fewer products (turning.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec import products
from vcodec.loops import KEPT
from vcodec.turning import LOUD, turned_weights

__all__ = ["Activations", "Dense", "Places", "Strips", "Sums", "room"]

Activations = npt.NDArray[np.int16]
Places = npt.NDArray[np.int64]
Sums = npt.NDArray[np.int32]
_OUTPUTS, _ROWS = products.OUTPUTS, products.ROWS
_TOGETHER = 8 * _ROWS  # places gathered at a time: what the nearest cache holds beside a block of weights
_ALONG = 4 * _ROWS  # places of a strip at a time, in each of its rows


def room(n: int, channels: int) -> Activations:
    """Activations [n,C] of places, as many as whole blocks of rows hold."""
    return np.zeros((-(-n // _ROWS) * _ROWS, channels), np.int16)


@njit(cache=KEPT, nogil=True)
def _gather(x: Activations, side: int, places: Places, out: Activations) -> None:
    """What each place sees of x [h+side−1,w+side−1,C], side×side samples: out [n, side²·C]."""
    wide, channels = x.shape[1:]
    w = wide - side + 1
    flat, goal = x.reshape(-1), out.reshape(-1)
    run = np.uint64(side * channels)
    for n in range(len(places)):
        y, c = places[n] // w, places[n] % w
        to = np.uint64(n * out.shape[1])
        for dy in range(side):
            at = np.uint64(((y + dy) * wide + c) * channels)
            for i in range(run):
                goal[to + i] = flat[at + i]
            to += run


@njit(cache=KEPT, nogil=True)
def _multiplied(a: Activations, pitch: int, count: int, matrix: Activations, out: Sums, first: int) -> None:
    """Rows [n,2K] of a, flat, a pitch apart · matrix [O/16,K,16,2] -> rows first.. of out [n,O], ``count`` at least.

    Rows are read and written in whole blocks.
    """
    inputs, outputs = 2 * np.int64(matrix.shape[1]), np.int64(out.shape[1])
    b, goal = matrix.reshape(-1), out.reshape(-1)
    for block in range(len(matrix)):
        begin = block * inputs * _OUTPUTS
        for i in range(0, count, _ROWS):
            total = products.zero_sums(6)
            for k in range(0, inputs, 2):
                total = products.add_pairs(total, a, i * pitch + k, pitch, b, begin + k * _OUTPUTS)
            products.put_sums(total, goal, (first + i) * outputs + block * _OUTPUTS, outputs)


@njit(cache=KEPT, nogil=True)
def _convolved(x: Activations, side: int, places: Places, matrix: Activations, out: Sums) -> None:
    """As Dense.sums; out has whole blocks of rows."""
    rows = np.zeros((_TOGETHER, side * side * x.shape[2]), np.int16)
    for first in range(0, len(places), _TOGETHER):
        some = places[first : first + _TOGETHER]
        _gather(x, side, some, rows)
        _multiplied(rows.reshape(-1), rows.shape[1], len(some), matrix, out, first)


@njit(cache=KEPT, nogil=True)
def _quiet(x: Activations, y: int, first: int, stop: int) -> bool:
    """Whether four rows of x [h+2,w+2,I] from y on are under LOUD in these columns, or −LOUD."""
    found = np.int16(0)
    for row in range(4):
        line = x[y + row, first:stop].reshape(-1)
        for i in range(len(line)):
            found = np.int16(found | (line[i] ^ (line[i] >> np.int16(15))))
    return bool(found < LOUD)


@njit(cache=KEPT, nogil=True)
def _turn(x: Activations, y: int, first: int, stop: int, out: Activations) -> None:
    """What a strip's products are made of, from the rows of x that it sees: out [4,n]."""
    above, one = x[y, first:stop].reshape(-1), x[y + 1, first:stop].reshape(-1)
    other, below = x[y + 2, first:stop].reshape(-1), x[y + 3, first:stop].reshape(-1)
    a, b, upper, lower = out[0], out[1], out[2], out[3]
    for i in range(len(one)):
        a[i], b[i] = one[i] + other[i], other[i] - one[i]
        upper[i], lower[i] = above[i] - other[i], below[i] - one[i]


@njit(cache=KEPT, nogil=True)
def _halved(sums: Sums, upper: Sums, lower: Sums) -> None:
    """Sums [4,n,O] of a strip's products -> of its rows, upper and lower [n,O]."""
    for n in range(len(upper)):
        a, b, above, below = sums[0, n], sums[1, n], sums[2, n], sums[3, n]
        for o in range(upper.shape[1]):
            upper[n, o] = (np.int32(a[o] + b[o]) >> np.int32(1)) + above[o]
            lower[n, o] = (np.int32(a[o] - b[o]) >> np.int32(1)) + below[o]


@njit(cache=KEPT, nogil=True)
def _in_strips(
    x: Activations, span: tuple[int, int], turned: Activations, matrix: Activations, fits: bool, out: Sums
) -> None:
    """As Strips.sums, out with whole blocks of outputs."""
    w, channels, blocks = x.shape[1] - 2, x.shape[2], out.shape[1]
    given = np.zeros((4, (_ALONG + 2) * channels), np.int16)
    rows = np.zeros((_ALONG, 9 * channels), np.int16)
    sums = np.empty((4, _ALONG, blocks), np.int32)
    for y in range(span[0], span[1], 2):
        for c in range(0, w, _ALONG):
            n, at = min(_ALONG, w - c), (y - span[0]) * w + c
            if fits and y + 1 < span[1] and _quiet(x, y, c, c + n + 2):
                _turn(x, y, c, c + n + 2, given)
                for i in range(4):
                    _multiplied(given[i], channels, n, turned[i], sums[i], 0)
                _halved(sums, out[at : at + n], out[at + w : at + w + n])
            else:
                for row in range(min(2, span[1] - y)):
                    _gather(x, 3, np.arange((y + row) * w + c, (y + row) * w + c + n), rows)
                    _multiplied(rows.reshape(-1), rows.shape[1], n, matrix, sums[row], 0)
                    out[at + row * w : at + row * w + n] = sums[row, :n]


class Dense(NamedTuple):
    """A convolution's share of activations: side of its kernel, outputs, and weights [⌈O/16⌉,K/2,16,2]."""

    side: int
    outputs: int
    matrix: Activations

    @staticmethod
    def of(weight: Tensor) -> Dense:
        """weight: integer-valued [O,I,k,k], I even."""
        outputs, side = len(weight), weight.shape[2]
        flat = weight.permute(2, 3, 1, 0).reshape(-1, outputs)
        wide = torch.zeros(len(flat), -(-outputs // _OUTPUTS) * _OUTPUTS)
        wide[:, :outputs] = flat
        blocks = wide.view(len(flat) // 2, 2, -1, _OUTPUTS).permute(2, 0, 3, 1)
        return Dense(side, outputs, blocks.to(torch.int16).contiguous().numpy())

    def _room(self, n: int) -> Sums:
        return np.empty((-(-n // _ROWS) * _ROWS, len(self.matrix) * _OUTPUTS), np.int32)

    def _shown(self, out: Sums, n: int) -> Sums:
        return np.ascontiguousarray(out[:n, : self.outputs])

    def sums(self, x: Activations, places: Places) -> Sums:
        """Of x [h+side−1,w+side−1,I] in some places of [h,w] -> [n,O]."""
        out = self._room(len(places))
        _convolved(x, self.side, places, self.matrix, out)
        return self._shown(out, len(places))

    def alone(self, x: Activations, n: int) -> Sums:
        """Of n places that see nothing but themselves, x as ``room`` has it -> [n,O]."""
        out = self._room(n)
        _multiplied(x.reshape(-1), x.shape[1], n, self.matrix, out, 0)
        return self._shown(out, n)


class Strips(NamedTuple):
    """A 3×3 convolution of whole pictures: as Dense has it, and turned, [4,⌈O/16⌉,3·I/2,16,2]; whether that fits."""

    dense: Dense
    turned: Activations
    fits: bool

    @staticmethod
    def of(weight: npt.NDArray[np.int64]) -> Strips:
        """weight [O,I,3,3], I even."""
        sets, fits = turned_weights(weight)
        each = [Dense.of(torch.from_numpy(some[:, :, None])).matrix for some in sets]
        return Strips(Dense.of(torch.from_numpy(weight)), np.stack(each), fits)

    def sums(self, x: Activations, first: int, stop: int) -> Sums:
        """Of x [h+2,w+2,I] in rows first..stop of [h,w] -> [n,O]."""
        out = np.empty(((stop - first) * (x.shape[1] - 2), len(self.dense.matrix) * _OUTPUTS), np.int32)
        _in_strips(x, (first, stop), self.turned, self.dense.matrix, self.fits, out)
        return out[:, : self.dense.outputs]
