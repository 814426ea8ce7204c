"""Layers of integer networks in 8-bit arithmetic: a convolution gathers what a place sees, and multiplies matrices.

    bytes [h+2,w+2,C] ─► gather [n, 9·C] ─► × [9·C, O] ─► sums [n, O]

Maps lie channels last, with an edge of one around them.  A weight beyond a byte is the sum of several, each with a copy
of its input.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec.loops import KEPT

__all__ = ["ZERO", "Bytes", "History", "Layer", "Places", "Sums", "edged", "fast_here", "places_of"]

Bytes = npt.NDArray[np.int8]
Sums = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]
_TOGETHER = 1024  # positions gathered at a time: what fits a cache
ZERO = -128  # the byte of an activation of 0


def fast_here() -> bool:
    """Whether this CPU and this torch multiply matrices of bytes fast."""
    supported = getattr(torch.cpu, "_is_vnni_supported", None)
    return hasattr(torch, "_int_mm") and supported is not None and bool(supported())


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


def edged(h: int, w: int, channels: int, edge: int = 0) -> Bytes:
    """A map [h+2,w+2,C] of one byte."""
    return np.full((h + 2, w + 2, channels), edge, np.int8)


@njit(cache=KEPT, nogil=True)
def _gather(x: Bytes, side: int, places: Places, more: Places, out: Bytes) -> None:
    """What each place sees of x [h+side−1,w+side−1,C], side×side samples: out [n, side²·C + more]."""
    wide, channels = x.shape[1:]
    w = wide - side + 1
    flat, goal = x.reshape(-1), out.reshape(-1)
    run = np.uint64(side * channels)
    for n in range(len(places)):
        y, c = places[n] // w, places[n] % w
        begin = n * out.shape[1]
        to = np.uint64(begin)
        for dy in range(side):
            at = np.uint64(((y + dy) * wide + c) * channels)
            for i in range(run):
                goal[to + np.uint64(i)] = flat[at + np.uint64(i)]
            to += run
        for i in range(more.shape[0]):
            goal[to + np.uint64(i)] = goal[np.uint64(begin + more[i])]


class Layer(NamedTuple):
    """One input's share of a convolution: side of its kernel, columns to repeat, the matrix, sums of a silent input."""

    side: int
    more: Places
    matrix: Tensor  # int8 [K,O]
    bias: Sums

    @staticmethod
    def of(weight: Tensor, edge: int) -> Layer:
        """weight: integer-valued [O,I,k,k]; edge: 0, or ZERO for what is stored as value − 128."""
        side = weight.shape[2]
        flat = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0]).long()
        parts, rows, rest, at = [], [], flat, torch.arange(len(flat))
        while len(rest):
            held = rest.clamp(-127, 127)
            parts.append(held)
            rows.append(at)
            beyond = (rest != held).any(1)
            rest, at = (rest - held)[beyond], at[beyond]
        bias = (-edge * flat.sum(0)).to(torch.int32)
        matrix = torch.cat(parts).to(torch.int8).contiguous()
        return Layer(side, torch.cat(rows)[len(flat) :].numpy(), matrix, bias.numpy())

    def sums(self, x: Bytes, places: Places) -> Sums:
        """Of x [h+side−1,w+side−1,I] in some places of [h,w] -> [n,O], without the bias."""
        out = torch.empty(len(places), self.matrix.shape[1], dtype=torch.int32)
        rows = torch.empty(min(_TOGETHER, len(places)), len(self.matrix), dtype=torch.int8)
        for first in range(0, len(places), _TOGETHER):
            some = places[first : first + _TOGETHER]
            part = rows[: len(some)]
            _gather(x, self.side, some, self.more, part.numpy())
            torch._int_mm(part, self.matrix, out=out[first : first + len(some)])
        return out.numpy()

    def alone(self, x: Bytes) -> Sums:
        """Of places [n,I] that see nothing but themselves -> [n,O], without the bias."""
        return self.sums(x[None], np.arange(len(x)))


class History:
    """What a layer makes of a frame before, found place by place as it is asked for: sums [h·w,O]."""

    def __init__(self, layer: Layer, seen: Bytes) -> None:
        self._layer, self._seen = layer, seen
        self._known = np.zeros((seen.shape[0] - 2) * (seen.shape[1] - 2), np.bool_)
        self._sums = np.empty((len(self._known), layer.matrix.shape[1]), np.int32)

    def at(self, places: Places) -> Sums:
        """The sums of all places, valid in these."""
        new = places[~self._known[places]]
        if new.size:
            self._sums[new] = self._layer.sums(self._seen, new)
            self._known[new] = True
        return self._sums
