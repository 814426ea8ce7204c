"""Convolutions of 16-bit integers that lie channels last, compiled for this CPU: a place gathers what it sees.

activations [h+2,w+2,I] ─► what places see [n,9·I] ─► products in pairs (products.py) ─► 32-bit sums [n,O]

Activations that are bytes may stay so, if weights are bytes too and the CPU has products of them: twice as fast.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec import products
from vcodec.loops import KEPT

__all__ = ["Activations", "Dense", "Narrow", "Places", "Sums", "gather", "multiplied", "room", "zeros"]

Activations = npt.NDArray[np.int16]
Narrow = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
Sums = npt.NDArray[np.int32]
_OUTPUTS, _ROWS = products.OUTPUTS, products.ROWS
_LINE = 64  # bytes of the cache
_TOGETHER = 8 * _ROWS  # places gathered at a time: what the nearest cache holds beside a block of weights


def zeros(shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros that begin where a line of the cache does: a vector that lies in two lines takes twice as long."""
    size = math.prod(shape) * np.dtype(kind).itemsize
    flat = np.zeros(size + _LINE, np.uint8)
    return flat[-flat.ctypes.data % _LINE :][:size].view(kind).reshape(shape)


def room(n: int, channels: int) -> Activations:
    """Activations [n,C] of places, as many as whole blocks of rows hold."""
    return zeros((-(-n // _ROWS) * _ROWS, channels), np.int16)


@njit(cache=KEPT, nogil=True)
def gather(x: Activations | Narrow, side: int, places: Places, out: Activations | Narrow) -> None:
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
def multiplied(
    a: Activations | Narrow,
    pitch: int,
    count: int,
    matrix: Activations | npt.NDArray[np.int8],
    out: Sums,
    first: int,
) -> None:
    """Rows of a, flat, a pitch apart · matrix as Dense has it -> rows first.. of out [n,O], ``count`` at least.

    Rows are read and written in whole blocks.
    """
    inputs, outputs = np.int64(matrix.shape[1] * matrix.shape[3]), np.int64(out.shape[1])
    b, goal = matrix.reshape(-1), out.reshape(-1)
    for block in range(len(matrix)):
        begin = block * inputs * _OUTPUTS
        for i in range(0, count, _ROWS):
            total = products.zero_sums(_ROWS)
            for k in range(0, inputs, matrix.shape[3]):
                total = products.add_products(total, a, i * pitch + k, pitch, b, begin + k * _OUTPUTS)
            products.put_sums(total, goal, (first + i) * outputs + block * _OUTPUTS, outputs)


@njit(cache=KEPT, nogil=True)
def _convolved(
    x: Activations | Narrow, side: int, places: Places, matrix: Activations | npt.NDArray[np.int8], out: Sums
) -> None:
    """As Dense.sums; out has whole blocks of rows."""
    rows = np.zeros((_TOGETHER, side * side * x.shape[2]), x.dtype)
    for first in range(0, len(places), _TOGETHER):
        some = places[first : first + _TOGETHER]
        gather(x, side, some, rows)
        multiplied(rows.reshape(-1), rows.shape[1], len(some), matrix, out, first)


class Dense(NamedTuple):
    """A convolution's share of activations: side of its kernel, outputs, and weights [⌈O/16⌉,K/2,16,2], or as bytes
    [⌈O/16⌉,K/4,16,4]."""

    side: int
    outputs: int
    matrix: Activations | npt.NDArray[np.int8]

    @staticmethod
    def of(weight: Tensor, narrow: bool = False) -> Dense:
        """weight: integer-valued [O,I,k,k], I even; narrow: of activations in 0..255, I divisible by 4."""
        outputs, side = len(weight), weight.shape[2]
        narrow = narrow and products.BYTES and int(weight.min()) >= -128 and int(weight.max()) < 128
        together = 4 if narrow else 2
        flat = weight.permute(2, 3, 1, 0).reshape(-1, outputs)
        wide = torch.zeros(len(flat), -(-outputs // _OUTPUTS) * _OUTPUTS)
        wide[:, :outputs] = flat
        blocks = wide.view(len(flat) // together, together, -1, _OUTPUTS).permute(2, 0, 3, 1)
        return Dense(side, outputs, blocks.to(torch.int8 if narrow else torch.int16).contiguous().numpy())

    @property
    def kind(self) -> type[np.uint8] | type[np.int16]:
        """What activations are to be given as."""
        return np.uint8 if self.matrix.dtype == np.int8 else np.int16

    def _room(self, n: int) -> Sums:
        return np.empty((-(-n // _ROWS) * _ROWS, len(self.matrix) * _OUTPUTS), np.int32)

    def _shown(self, out: Sums, n: int) -> Sums:
        return np.ascontiguousarray(out[:n, : self.outputs])

    def sums(self, x: Activations | Narrow, places: Places) -> Sums:
        """Of x [h+side−1,w+side−1,I] in some places of [h,w] -> [n,O]."""
        out = self._room(len(places))
        _convolved(x, self.side, places, self.matrix, out)
        return self._shown(out, len(places))

    def alone(self, x: Activations, n: int) -> Sums:
        """Of n places that see nothing but themselves, x as ``room`` has it -> [n,O]."""
        out = self._room(n)
        multiplied(x.reshape(-1), x.shape[1], n, self.matrix, out, 0)
        return self._shown(out, n)
