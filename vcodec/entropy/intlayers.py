"""Layers of integer networks, compiled for this CPU.  Maps lie channels last, with an edge of one around them.

    list of what is not 0 (spots) ─► Listed ─► sums [h+2,w+2,O]    each adds its weights to the nine places around it
    map of small levels           ─► Levels ─► rows to add         of each of nine neighbours what its level weighs
    activations [h+2,w+2,I]       ─► Dense  ─► sums [n,O]          (convolving.py)

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
from vcodec.convolving import Places, Sums, zeros
from vcodec.entropy.integer import ACTIVATION_ONE
from vcodec.entropy.observed import COUNT_MAX
from vcodec.loops import KEPT
from vcodec.spots import Spots

__all__ = ["Levels", "Listed", "Weights", "fits", "places_of"]

_RUN = 192  # sums that a loop holds in registers
_BLOCKS = _RUN // products.OUTPUTS
Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.int16] | npt.NDArray[np.int32]


def fits(*weights: Tensor) -> bool:
    """Whether integer-valued weights are 16-bit integers, which these layers want."""
    return all(int(weight.abs().max()) < 2**15 for weight in weights)


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
def _scatter(places: Places, values: Floats, most: int, h: int, w: int, weights: Weights, out: Sums) -> None:
    """Weights [3,C,3·O], times magnitudes up to a most, around places of [C,h,w]: added to out [(h+2)·(w+2),O].

    Of the three rows around a place each three samples lie together, as their weights do.
    """
    channels, run, area, size = weights.shape[1], weights.shape[2], h * w, out.shape[1]
    flat, goal = weights.reshape(-1), out.reshape(-1)
    # place by place, so that what is added to stays near
    ends, theirs, channel = np.zeros(area + 1, np.int64), np.empty((2, len(places)), np.int64), 0
    for i in range(len(places)):
        while places[i] >= (channel + 1) * area:  # places ascend
            channel += 1
        theirs[0, i], theirs[1, i] = places[i] - channel * area, channel * run
        ends[theirs[0, i] + 1] += 1
    for place in range(area):
        ends[place + 1] += ends[place]
    counts, begins = np.empty(len(places), np.int32), np.empty(len(places), np.int64)
    for i in range(len(places)):
        n = ends[theirs[0, i]]
        counts[n], begins[n] = np.int32(min(abs(values[i]), np.float32(most))), theirs[1, i]
        ends[theirs[0, i]] += 1
    begin, whole = 0, run - run % _RUN
    for place in range(area):
        end = ends[place]
        if end == begin:
            continue
        for row in range(3):
            at, to = row * channels * run, ((place // w + row) * (w + 2) + place % w) * size
            for first in range(0, whole, _RUN):
                total = products.add_row(products.zero_sums(_BLOCKS), np.int32(1), goal, to + first)
                for n in range(begin, end):
                    total = products.add_row(total, counts[n], flat, at + begins[n] + first)
                products.put_sums(total, goal, to + first, products.OUTPUTS)
            if whole < run:
                for n in range(begin, end):
                    for o in range(whole, run):
                        goal[to + o] += counts[n] * np.int32(flat[at + begins[n] + o])
        begin = end


def _small(values: Tensor) -> Weights:
    """Integers as 16 bits, if they fit: half as much to read."""
    out: Weights = zeros(tuple(values.shape), np.int16 if fits(values) else np.int32)
    out[:] = values.numpy()
    return out


class Listed(NamedTuple):
    """A 3×3 convolution's share of indices: weights [3,C,3·O], of the places around one, row by row, times what stands
    for a magnitude of 1."""

    weights: Weights

    @staticmethod
    def of(weight: Tensor) -> Listed:
        """weight: integer-valued [O,C,3,3]."""
        # the place below sees what is above it
        rows = weight.flip(2, 3).permute(2, 1, 3, 0).reshape(3, weight.shape[1], 3 * len(weight))
        return Listed(_small(rows * ACTIVATION_ONE))

    def sums(self, index: Spots) -> Sums:
        """Of indices [1,C,h,w] -> [(h+2)·(w+2),O]; those at the edge are of no use."""
        h, w = index.shape[2:]
        out = zeros(((h + 2) * (w + 2), self.weights.shape[2] // 3), np.int32)
        _scatter(index.places, index.values, COUNT_MAX, h, w, self.weights, out)
        return out


class Levels(NamedTuple):
    """A 3×3 convolution's share of marks that a level sums up: rows to add [9,levels,O]; level 0 adds nothing."""

    rows: Weights

    @staticmethod
    def of(weight: Tensor, codes: npt.NDArray[np.int64]) -> Levels:
        """weight: integer-valued [O,M,3,3]; codes [levels,M]: marks that a level stands for, 0 or 1."""
        taps = weight.permute(2, 3, 0, 1).reshape(9, len(weight), -1).numpy().astype(np.int64)
        rows = np.einsum("tom,lm->tlo", taps, codes) * ACTIVATION_ONE
        return Levels(_small(torch.from_numpy(rows)))
