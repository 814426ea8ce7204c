"""Narrow stacks of 3×3 convolutions in integers, compiled: all layers go down the picture together, row by row.

    x ─► last 3 rows ─► layer 1 ─► last 3 rows ─► layer 2 ─► … ─► out

What lies between the layers never leaves the cache.  A library that multiplies whole channels of 16 wastes much of
itself on 12, 24 and 6 of them; here samples of a row stand side by side, two channels in each element (lanes.py).  What
the integers are: exact.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec import lanes
from vcodec.backbones.exact import ExactLayer
from vcodec.loops import KEPT

__all__ = ["BENT", "LAST", "MIDDLE", "START", "LayerRows", "clear", "due", "laid_out", "layer_row", "layer_rows",
           "listen", "silent"]  # fmt: skip

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.int32]
_ROWS = 6  # output channels at a time: with lanes.ACROSS vectors side by side, sums in 12 of 16 registers, or 24 of 32
_TILE = lanes.ACROSS * lanes.SIZE
_ROOM = 16  # elements behind a row, at least the two that a tile sees beyond itself
ZERO = np.int32(0)
# kinds of layers, and a place; for plain numbers loops would be compiled one by one
BENT: Any = np.int64(0)
MIDDLE: Any = np.int64(1)
LAST: Any = np.int64(2)
START: Any = np.int64(0)


class LayerRows(NamedTuple):
    """What ``layer_row`` wants of layers: weights, biases [layers,O]; [layers,3]: pairs of inputs, outputs, shift."""

    weights: Words
    biases: Words
    layers: Ints


def _paired(channels: npt.NDArray[Any], axis: int) -> Words:
    """Two neighbours along an axis as one 32-bit integer, the first in its lower half."""
    if channels.shape[axis] % 2:
        channels = np.concatenate([channels, np.zeros_like(channels.take([0], axis))], axis)
    low, high = (channels.take(range(i, channels.shape[axis], 2), axis).astype(np.int64) for i in range(2))
    return ((low & 0xFFFF) | (high << 16)).astype(np.uint32).view(np.int32)


def layer_rows(layers: list[ExactLayer]) -> LayerRows:
    """Layers as compiled rows read them, with room for their biases."""
    flat, sizes = [], []
    biases = np.zeros((len(layers), max(len(layer.biases) for layer in layers) + _ROWS), np.int32)
    for weights, _, shift in layers:
        o = len(weights)
        wide = np.zeros((-(-o // _ROWS) * _ROWS, *weights.shape[1:]), np.int64)
        wide[:o] = weights
        pairs = _paired(wide, 1)
        n = pairs.shape[1]
        flat.append(pairs.reshape(-1, _ROWS, n, 3, 3).transpose(0, 3, 4, 2, 1).reshape(-1))
        sizes.append((n, o, shift))
    return LayerRows(np.concatenate(flat), biases, np.array(sizes, np.int64))


@njit(cache=KEPT, nogil=True)
def laid_out(w: int, layers: Ints) -> tuple[int, int]:
    """Of rows of w samples: from one pair to the next, sample 0 at 1; and from one row to the next."""
    pitch = (w + _TILE - 1) // _TILE * _TILE + _ROOM
    pairs = max(layers[:, 0].max(), (layers[:-1, 1].max() + _ROWS - 1) // _ROWS * _ROWS // 2)
    return pitch, pairs * pitch


@njit(cache=KEPT, nogil=True)
def due(sizes: Ints, first: int, stop: int) -> Ints:
    """What is made for rows first..stop of the last layer, in its order [n,4].

    Layer (−1 is what is given), row, where the layer's weights begin, and which third of its rows it goes to.
    """
    layers = len(sizes)
    order, n = np.empty(((layers + 1) * (stop - first + 2 * layers), 4), np.int64), 0
    for step in range(first - layers, stop + layers):
        k = 0
        for layer in range(-1, layers):
            y, reach = step - 1 - layer, layers - 1 - layer
            if first - reach <= y < stop + reach:
                order[n, 0], order[n, 1], order[n, 2], order[n, 3] = layer, y, k, 3 * layer + 3 + y % 3
                n += 1
            if layer >= 0:
                k += (sizes[layer, 1] + _ROWS - 1) // _ROWS * _ROWS * 9 * sizes[layer, 0]
    return order[:n]


@njit(cache=KEPT, nogil=True)
def layer_row(
    rows: Words,
    place: Ints,
    pitch: int,
    size: int,
    live: Ints,
    weights: Words,
    biases: Words,
    layers: Ints,
    kind: int,
    out: Words,
    goal: int,
) -> None:
    """A row of a layer, at goal of out, which is ``rows`` but where kind is LAST.

    place: of the row, as ``due`` has it; pitch, size: as laid_out has them; live: of what is in rows, as ``listen`` has
    it: what is all zero adds nothing; weights, biases (flat), layers: as in LayerRows; kind: BENT ends at 0, MIDDLE
    adds that to what the layer was given, LAST leaves the sums as they are, one channel an element.
    """
    layer, y, k = place[0], place[1], place[2]
    mine, first = 3 * layer, layer * (len(biases) // len(layers))
    given = mine + (y + 2) % 3, mine + y % 3, mine + (y + 1) % 3
    inputs, outputs, shift = layers[layer]
    for left in range(0, pitch - _ROOM, _TILE):
        at = k
        for o in range(0, outputs, _ROWS):
            total, to = lanes.zeros(6), goal + left + (o * pitch if kind == LAST else o * pitch // 2)
            for number in given:
                heard = live[number, left // _TILE]
                for x in range(number * size + left, number * size + left + 3):
                    for i in range(1, heard[0] + 1):
                        total = lanes.add_pairs(total, rows, x + heard[i] * pitch, weights, at + heard[i] * _ROWS)
                    at += inputs * _ROWS
            if kind == LAST:
                lanes.put(total, out, to, pitch, biases, first + o)
            elif kind == MIDDLE:
                beside = to - goal + given[1] * size + 1
                lanes.put_beside(total, out, to, pitch, biases, first + o, shift, beside)
            else:
                lanes.put_positive(total, out, to, pitch, biases, first + o, shift)


@njit(cache=KEPT, nogil=True)
def silent(layers: Ints, pitch: int) -> Ints:
    """Room for ``listen``: of each row that is held and each tile of it, how many pairs are live, and which."""
    return np.zeros((3 * len(layers), (pitch - _ROOM) // _TILE, 1 + layers[:, 0].max()), np.int64)


@njit(cache=KEPT, nogil=True)
def clear(live: Ints, number: int) -> None:
    """What lies above and below the picture."""
    for tile in range(live.shape[1]):
        live[number, tile, 0] = 0


@njit(cache=KEPT, nogil=True)
def listen(rows: Words, number: int, size: int, w: int, pitch: int, count: int, live: Ints) -> None:
    """Close a row of w samples that is made, and note which of its pairs are not all zero, and where.

    Half of what a layer ends at 0 is: channels that tell of what is rare, or of what the latent adds, are often silent.
    """
    for c in range(count):
        rows[number * size + c * pitch + 1 + w] = ZERO  # tiles reach beyond
    for tile in range(live.shape[1]):
        n = 0
        for c in range(count):
            if lanes.some(rows, number * size + c * pitch + tile * _TILE):
                n += 1
                live[number, tile, n] = c
        live[number, tile, 0] = n
