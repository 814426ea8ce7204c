"""3×3 convolutions of whole pictures in 16-bit integers, channels last, strip by strip: two rows at a time.

    four rows of activations, r₀ to r₃ ─► what a strip's products are made of ─► products in pairs ─► sums of both rows

A strip takes four products in place of six where that is exact (turning.py); elsewhere places gather what they see.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from vcodec import products
from vcodec.convolving import Activations, Dense, Sums, gather, multiplied
from vcodec.loops import KEPT
from vcodec.turning import LOUD, turned_weights

__all__ = ["Strips"]

_ALONG = 4 * products.ROWS  # places of a strip at a time, in each of its rows


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
                    multiplied(given[i], channels, n, turned[i], sums[i], 0)
                _halved(sums, out[at : at + n], out[at + w : at + w + n])
            else:
                for row in range(min(2, span[1] - y)):
                    gather(x, 3, np.arange((y + row) * w + c, (y + row) * w + c + n), rows)
                    multiplied(rows.reshape(-1), rows.shape[1], n, matrix, sums[row], 0)
                    out[at + row * w : at + row * w + n] = sums[row, :n]


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

    @property
    def outputs(self) -> int:
        return self.dense.outputs

    def sums(self, x: Activations, first: int, stop: int) -> Sums:
        """Of x [h+2,w+2,I] in rows first..stop of [h,w] -> [n,O]."""
        out = np.empty(((stop - first) * (x.shape[1] - 2), len(self.dense.matrix) * products.OUTPUTS), np.int32)
        matrix = cast(Activations, self.dense.matrix)  # not narrow
        _in_strips(x, (first, stop), self.turned, matrix, self.fits, out)
        return out[:, : self.dense.outputs]
