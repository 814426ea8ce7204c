"""Narrow stacks of 3×3 convolutions in integers, compiled: all layers go down the picture together, strip by strip.

    x ─► last 3 strips ─► layer 1 ─► last 3 strips ─► layer 2 ─► … ─► out             a strip: two rows r₁, r₂

What lies between the layers never leaves the cache.  A library that multiplies whole channels of 16 wastes much of
itself on 12, 24 and 6 of them; here samples of a row stand side by side, two channels in each element (lanes.py).  What
the integers are: exact.py.

A strip takes four products in place of six where that is exact (turning.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec import lanes
from vcodec.backbones.exact import ExactLayer
from vcodec.loops import KEPT
from vcodec.turning import turned_weights

__all__ = ["BENT", "LAST", "MIDDLE", "START", "LayerRows", "clear", "due", "laid_out", "layer_rows", "layer_strip",
           "listen", "silent"]  # fmt: skip

Flags = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.int32]
_ROWS = 6  # output channels at a time: with lanes.ACROSS vectors side by side, sums in 12 of 16 registers, or 24 of 32
_TILE = lanes.ACROSS * lanes.SIZE
_ROOM = 16  # elements behind a row, at least what ``lanes.turn`` reads beyond a tile
_SETS = 5  # of weights: of the rows above, on and below what is made; a's and b's
_LOUD: Any = np.uint8(2)
ZERO = np.int32(0)
# kinds of layers, and a place; for plain numbers loops would be compiled one by one
BENT: Any = np.int64(0)
MIDDLE: Any = np.int64(1)
LAST: Any = np.int64(2)
START: Any = np.int64(0)


class LayerRows(NamedTuple):
    """What ``layer_strip`` wants of layers: weights, biases [layers,O]; [layers,4]: pairs of inputs, outputs, shift,
    whether four products will do."""

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
        turned, fits = turned_weights(wide)
        pairs = _paired(np.concatenate([wide, turned[:2].transpose(1, 2, 0, 3)], 2), 1)
        n = pairs.shape[1]
        flat.append(pairs.reshape(-1, _ROWS, n, _SETS, 3).transpose(0, 3, 2, 4, 1).reshape(-1))
        sizes.append((n, o, shift, int(fits)))
    return LayerRows(np.concatenate(flat), biases, np.array(sizes, np.int64))


@njit(cache=KEPT, nogil=True)
def laid_out(w: int, layers: Ints) -> tuple[int, int]:
    """Of rows of w samples: from one pair to the next, sample 0 at 1; and from one row to the next."""
    pitch = (w + _TILE - 1) // _TILE * _TILE + _ROOM
    pairs = max(layers[:, 0].max(), (layers[:-1, 1].max() + _ROWS - 1) // _ROWS * _ROWS // 2)
    return pitch, pairs * pitch


@njit(cache=KEPT, nogil=True)
def due(sizes: Ints, first: int, stop: int) -> Ints:
    """What is made for strips first..stop of the last layer, in its order [n,4].

    Layer (−1 is what is given), strip, where the layer's weights begin, and which third of its strips it goes to.
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
                k += (sizes[layer, 1] + _ROWS - 1) // _ROWS * _group(sizes[layer, 0])
    return order[:n]


@njit(cache=KEPT, nogil=True, forceinline=True)
def _group(inputs: int) -> int:
    """Weights of _ROWS outputs."""
    return int(_SETS * 3 * _ROWS * inputs)


@njit(cache=KEPT, nogil=True)
def _aligned(count: int) -> Words:
    """Room for vectors: none lies across two lines of a cache."""
    room = np.empty(count + 16, np.int32)
    begin = -room.ctypes.data % 64 // 4
    return room[begin : begin + count]


@njit(cache=KEPT, nogil=True, forceinline=True)
def _added(total: Any, x: Words, first: int, pitch: int, which: Ints, n: int, weights: Words, at: int) -> Any:
    """Lanes and products of pairs which[:n] of x, a pitch apart from ``first`` on, with a set of weights."""
    for i in range(n):
        place, k = first + which[i] * pitch, at + which[i] * 3 * _ROWS
        for dx in range(3):
            total = lanes.add_pairs(total, x, place + dx, weights, k + dx * _ROWS)
    return total


@njit(cache=KEPT, nogil=True, forceinline=True)
def _end(
    total: Any, out: Words, to: int, pitch: int, biases: Words, first: int, shift: int, kind: int, beside: int
) -> None:
    """Of a tile what ``layer_strip`` says that kinds of layers give."""
    if kind == LAST:
        lanes.put(total, out, to, pitch, biases, first)
    elif kind == MIDDLE:
        lanes.put_beside(total, out, to, pitch, biases, first, shift, beside)
    else:
        lanes.put_positive(total, out, to, pitch, biases, first, shift)


@njit(cache=KEPT, nogil=True)
def layer_strip(
    rows: Words,
    place: Ints,
    pitch: int,
    size: int,
    live: Flags,
    weights: Words,
    biases: Words,
    layers: Ints,
    kind: int,
    out: Words,
    goal: int,
    apart: int,
) -> None:
    """A strip of a layer, at goal of out, which is ``rows`` but where kind is LAST; its rows lie ``apart``.

    place: of the strip, as ``due`` has it; pitch, size: as laid_out has them; live: of what is in rows, as ``listen``
    has it: what is all zero adds nothing; weights, biases (flat), layers: as in LayerRows; kind: BENT ends at 0, MIDDLE
    adds that to what the layer was given, LAST leaves the sums as they are, one channel an element.
    """
    layer, y = place[0], place[1]
    mine, first = 3 * layer, layer * (len(biases) // len(layers))
    over, here, under = mine + (y + 2) % 3, mine + y % 3, mine + (y + 1) % 3
    given = (2 * over + 1) * size, 2 * here * size, (2 * here + 1) * size, 2 * under * size
    inputs, outputs, shift, fits = layers[layer]
    which, turned = np.empty(inputs, np.int64), _aligned(4 * lanes.WIDE * inputs)
    kept, wide, one_set = _aligned(_ROWS * _TILE), 4 * lanes.WIDE, 3 * _ROWS * inputs
    for left in range(0, pitch - _ROOM, _TILE):
        n, loudest, tile = 0, np.uint8(0), left // _TILE
        for c in range(inputs):
            level = max(
                max(live[over, 1, tile, c], live[under, 0, tile, c]),
                max(live[here, 0, tile, c], live[here, 1, tile, c]),
            )
            if level:
                which[n], loudest = c, max(loudest, level)
                n += 1
        quick = fits and loudest < _LOUD
        if quick:
            for i in range(n):
                at = left + which[i] * pitch
                lanes.turn(rows, given[0] + at, given[1] + at, given[2] + at, given[3] + at, turned, which[i] * wide)
        for o in range(0, outputs, _ROWS):
            k = place[2] + o // _ROWS * _group(inputs)
            to = goal + left + (o * pitch if kind == LAST else o * pitch // 2)
            beside = to - goal + given[1] + 1
            if quick:
                lanes.keep(_added(lanes.zeros(6), turned, 0, wide, which, n, weights, k + 3 * one_set), kept)
                total = _added(lanes.zeros(6), turned, lanes.WIDE, wide, which, n, weights, k + 4 * one_set)
                total = lanes.halves(total, kept)
                total = _added(total, turned, 2 * lanes.WIDE, wide, which, n, weights, k)
                _end(total, out, to, pitch, biases, first + o, shift, kind, beside)
                total = lanes.kept(6, kept)
                total = _added(total, turned, 3 * lanes.WIDE, wide, which, n, weights, k + 2 * one_set)
                _end(total, out, to + apart, pitch, biases, first + o, shift, kind, beside + size)
            else:
                for row in range(2):
                    total = lanes.zeros(6)
                    for dy in range(3):
                        at = given[row + dy] + left
                        total = _added(total, rows, at, pitch, which, n, weights, k + dy * one_set)
                    _end(total, out, to + row * apart, pitch, biases, first + o, shift, kind, beside + row * size)


@njit(cache=KEPT, nogil=True)
def silent(layers: Ints, pitch: int) -> Flags:
    """Room for ``listen``: of each strip that is held, its rows, and tiles of them, how loud each pair is."""
    return np.zeros((3 * len(layers), 2, (pitch - _ROOM) // _TILE, layers[:, 0].max()), np.uint8)


@njit(cache=KEPT, nogil=True)
def clear(rows: Words, number: int, size: int, live: Flags) -> None:
    """What lies above and below the picture."""
    rows[2 * number * size : 2 * (number + 1) * size] = ZERO
    live[number] = np.uint8(0)


@njit(cache=KEPT, nogil=True)
def listen(rows: Words, number: int, size: int, w: int, pitch: int, count: int, live: Flags) -> None:
    """Close rows of w samples of a strip that is made, and note which of its pairs are not all zero, and where.

    Half of what a layer ends at 0 is: channels that tell of what is rare, or of what the latent adds, are often silent.
    """
    for row in range(2):
        for c in range(count):
            begin = (2 * number + row) * size + c * pitch
            rows[begin + 1 + w] = ZERO  # tiles reach beyond
            for tile in range(live.shape[2]):
                live[number, row, tile, c] = lanes.loudness(rows, begin + tile * _TILE)
