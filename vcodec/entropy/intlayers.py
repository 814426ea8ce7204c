"""Layers of integer networks, compiled for this CPU.  Maps lie channels last, with an edge of one around them.

    list of what is not 0 (spots) ─► Listed ─► sums [h+2,w+2,O]    each adds its weights to the nine places around it
    map of small levels           ─► Levels ─► rows to add         of each of nine neighbours what its level weighs
    activations [h+2,w+2,I]       ─► Dense  ─► sums [n,O]          a place gathers what it sees; products in pairs

Most indices are 0: what is not costs a tenth of a convolution over all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec import products
from vcodec.entropy.integer import ACTIVATION_ONE
from vcodec.entropy.observed import COUNT_MAX
from vcodec.loops import KEPT
from vcodec.spots import Spots

__all__ = ["Activations", "Dense", "Levels", "Listed", "Places", "Sums", "fits", "places_of", "room"]

Activations = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
Sums = npt.NDArray[np.int32]
_OUTPUTS, _ROWS = products.OUTPUTS, products.ROWS
_TOGETHER = 8 * _ROWS  # places gathered at a time: what the nearest cache holds beside a block of weights


def fits(*weights: Tensor) -> bool:
    """Whether integer-valued weights are 16-bit integers, which these layers want."""
    return all(int(weight.abs().max()) < 2**15 for weight in weights)


def room(n: int, channels: int) -> Activations:
    """Activations [n,C] of places, as many as whole blocks of rows hold."""
    return np.zeros((-(-n // _ROWS) * _ROWS, channels), np.int16)


@njit(cache=KEPT, nogil=True)
def places_of(act: npt.NDArray[np.int64], reach: int) -> Places:
    """Flat places [n] of the map [h,w] that lie in blocks of some activity [h/2,w/2], or up to ``reach`` beside."""
    h, w = 2 * act.shape[0], 2 * act.shape[1]
    out, n = np.empty(h * w, np.int64), 0
    for y in range(h):
        top, bottom = max(y - reach, 0) >> 1, min(y + reach, h - 1) >> 1
        for x in range(w):
            left, right = max(x - reach, 0) >> 1, min(x + reach, w - 1) >> 1
            if act[top, left] or act[top, right] or act[bottom, left] or act[bottom, right]:
                out[n] = y * w + x
                n += 1
    return out[:n].copy()


@njit(cache=KEPT, nogil=True)
def _scatter(places: Places, values: Floats, most: int, h: int, w: int, weights: Sums, out: Sums) -> None:
    """Weights [9,C,O], times magnitudes up to a most, around places of [C,h,w]: added to out [(h+2)·(w+2),O]."""
    channels, size = weights.shape[1:]
    flat, goal = weights.reshape(-1), out.reshape(-1)
    for i in range(len(places)):
        c, place = places[i] // (h * w), places[i] % (h * w)
        y, x = place // w, place % w
        count = np.int32(min(abs(values[i]), np.float32(most)))
        for tap in range(9):
            at = np.uint64((tap * channels + c) * size)
            to = np.uint64(((y + 2 - tap // 3) * (w + 2) + x + 2 - tap % 3) * size)
            if count == 1:
                for o in range(np.uint64(size)):
                    goal[to + o] += flat[at + o]
            else:
                for o in range(np.uint64(size)):
                    goal[to + o] += count * flat[at + o]


class Listed(NamedTuple):
    """A 3×3 convolution's share of indices: weights [9,C,O], times what stands for a magnitude of 1."""

    weights: Sums

    @staticmethod
    def of(weight: Tensor) -> Listed:
        """weight: integer-valued [O,C,3,3]."""
        rows = weight.permute(2, 3, 1, 0).reshape(9, weight.shape[1], len(weight))
        return Listed((rows * ACTIVATION_ONE).to(torch.int32).numpy().copy())

    def sums(self, index: Spots) -> Sums:
        """Of indices [1,C,h,w] -> [(h+2)·(w+2),O]; those at the edge are of no use."""
        h, w = index.shape[2:]
        out = np.zeros(((h + 2) * (w + 2), self.weights.shape[2]), np.int32)
        _scatter(index.places, index.values, COUNT_MAX, h, w, self.weights, out)
        return out


class Levels(NamedTuple):
    """A 3×3 convolution's share of marks that a level sums up: rows to add [9,levels,O]; level 0 adds nothing."""

    rows: Sums

    @staticmethod
    def of(weight: Tensor, codes: npt.NDArray[np.int64]) -> Levels:
        """weight: integer-valued [O,M,3,3]; codes [levels,M]: marks that a level stands for, 0 or 1."""
        taps = weight.permute(2, 3, 0, 1).reshape(9, len(weight), -1).numpy().astype(np.int64)
        rows = np.einsum("tom,lm->tlo", taps, codes) * ACTIVATION_ONE
        return Levels(np.ascontiguousarray(rows, np.int32))


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
def _multiplied(rows: Activations, count: int, matrix: Activations, out: Sums, first: int) -> None:
    """rows [n,2K], whole blocks of them · matrix [O/16,K,16,2] -> rows first.. of out [n,O], ``count`` at least."""
    inputs, outputs = np.int64(rows.shape[1]), np.int64(out.shape[1])
    a, b, goal = rows.reshape(-1), matrix.reshape(-1), out.reshape(-1)
    for block in range(len(matrix)):
        begin = block * inputs * _OUTPUTS
        for i in range(0, count, _ROWS):
            total = products.zero_sums(6)
            for k in range(0, inputs, 2):
                total = products.add_pairs(total, a, i * inputs + k, inputs, b, begin + k * _OUTPUTS)
            products.put_sums(total, goal, (first + i) * outputs + block * _OUTPUTS, outputs)


@njit(cache=KEPT, nogil=True)
def _convolved(x: Activations, side: int, places: Places, matrix: Activations, out: Sums) -> None:
    """As Dense.sums; out has whole blocks of rows."""
    rows = np.zeros((_TOGETHER, side * side * x.shape[2]), np.int16)
    for first in range(0, len(places), _TOGETHER):
        some = places[first : first + _TOGETHER]
        _gather(x, side, some, rows)
        _multiplied(rows, len(some), matrix, out, first)


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
        _multiplied(x, n, self.matrix, out, 0)
        return self._shown(out, n)
