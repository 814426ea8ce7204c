"""Narrow stacks of 3×3 convolutions, compiled for this CPU: all layers go down the picture together, row by row.

    x ─► last 3 rows ─► layer 1 ─► last 3 rows ─► layer 2 ─► … ─► out

What lies between the layers never leaves the cache.  A library that multiplies whole channels of 16 wastes much of
itself on 12, 24 and 6 of them; here samples of a row stand side by side, and channels are as many as they are.  Sums go
over rows, columns and channels of the input, in this order, as oneDNN's do on CPUs with AVX-512.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec import lanes
from vcodec.loops import KEPT

__all__ = [
    "BENT",
    "LAST",
    "MIDDLE",
    "START",
    "LayerRows",
    "clear",
    "due",
    "laid_out",
    "layer_row",
    "layer_rows",
    "listen",
    "silent",
    "stacked",
]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_ROWS = 6  # output channels at a time: with lanes.ACROSS vectors side by side, sums in 24 of 32 registers, or 12 of 16
_TILE = lanes.ACROSS * lanes.WIDE
ZERO = np.float32(0.0)
# kinds of layers, and a place; for plain numbers loops would be compiled one by one
BENT: Any = np.int64(0)
MIDDLE: Any = np.int64(1)
LAST: Any = np.int64(2)
START: Any = np.int64(0)

LayerRows = tuple[Floats, Floats, Ints]
"""Weights, biases and channels of layers, as `stacked` wants them."""


def layer_rows(weights: list[Tensor], biases: list[Tensor]) -> LayerRows:
    """weights: [O,I,3,3] of each layer; biases [O] of each."""
    flat, channels = [], np.array([w.shape[1::-1] for w in weights], np.int64)
    offsets = np.zeros((len(weights), int(channels.max()) + _ROWS), np.float32)
    for number, (w, b) in enumerate(zip(weights, biases, strict=True)):
        o, i = w.shape[:2]
        wide = torch.zeros(-(-o // _ROWS) * _ROWS, i, 3, 3)
        wide[:o] = w.detach()
        flat.append(wide.view(-1, _ROWS, i, 3, 3).permute(0, 3, 4, 2, 1).reshape(-1))
        offsets[number, :o] = b.detach().numpy()
    return torch.cat(flat).numpy(), offsets, channels


@njit(cache=KEPT, nogil=True)
def laid_out(w: int, channels: Ints) -> tuple[int, int]:
    """Of rows of w samples: from one channel to the next, sample 0 at 1; and from one row to the next."""
    pitch = (w + _TILE - 1) // _TILE * _TILE + lanes.WIDE
    return pitch, (channels.max() + _ROWS - 1) // _ROWS * _ROWS * pitch


@njit(cache=KEPT, nogil=True)
def due(channels: Ints, first: int, stop: int) -> Ints:
    """What is made for rows first..stop of the last layer, in its order [n,4].

    Layer (−1 is what is given), row, where the layer's weights begin, and which third of its rows it goes to.
    """
    layers = len(channels)
    order, n = np.empty(((layers + 1) * (stop - first + 2 * layers), 4), np.int64), 0
    for step in range(first - layers, stop + layers):
        k = 0
        for layer in range(-1, layers):
            y, reach = step - 1 - layer, layers - 1 - layer
            if first - reach <= y < stop + reach:
                order[n, 0], order[n, 1], order[n, 2], order[n, 3] = layer, y, k, 3 * layer + 3 + y % 3
                n += 1
            if layer >= 0:
                k += (channels[layer, 1] + _ROWS - 1) // _ROWS * _ROWS * 9 * channels[layer, 0]
    return order[:n]


@njit(cache=KEPT, nogil=True)
def layer_row(
    rows: Floats,
    place: Ints,
    pitch: int,
    size: int,
    channels: Ints,
    live: Ints,
    weights: Floats,
    biases: Floats,
    more: Floats,
    kind: int,
    out: Floats,
    goal: int,
) -> None:
    """A row of a layer, at goal of out, which is ``rows`` but where kind is LAST.

    place: of the row, as ``due`` has it; pitch, size: as laid_out has them; live: of what is in rows, as ``listen`` has
    it: what is all zero adds nothing; biases, and more beside the first layer's, flat; kind: BENT ends at 0, MIDDLE
    adds that to what the layer was given, LAST does neither.
    """
    layer, y, k = place[0], place[1], place[2]
    mine, first = 3 * layer, layer * (len(biases) // len(channels))
    given = mine + (y + 2) % 3, mine + y % 3, mine + (y + 1) % 3
    inputs, outputs = channels[layer]
    for left in range(0, pitch - lanes.WIDE, _TILE):
        at, j = k, first
        for to in range(goal + left, goal + left + outputs * pitch, _ROWS * pitch):
            total = lanes.zeros(6)
            for number in given:
                heard = live[number, left // _TILE]
                for x in range(number * size + left, number * size + left + 3):
                    for i in range(1, heard[0] + 1):
                        total = lanes.add_products(total, rows, x + heard[i] * pitch, weights, at + heard[i] * _ROWS)
                    at += inputs * _ROWS
            if kind == LAST:
                lanes.put(total, out, to, pitch, biases, j)
            elif kind == MIDDLE:
                lanes.put_beside(total, out, to, pitch, biases, j, to - goal + given[1] * size + 1)
            else:
                lanes.put_positive(total, out, to, pitch, biases, j, more)
            j += _ROWS


@njit(cache=KEPT, nogil=True)
def silent(channels: Ints, pitch: int) -> Ints:
    """Room for ``listen``: of each row that is held and each tile of it, how many channels are live, and which."""
    return np.zeros((3 * len(channels), (pitch - lanes.WIDE) // _TILE, 1 + channels.max()), np.int64)


@njit(cache=KEPT, nogil=True)
def clear(live: Ints, number: int) -> None:
    """What lies above and below the picture."""
    for tile in range(live.shape[1]):
        live[number, tile, 0] = 0


@njit(cache=KEPT, nogil=True)
def listen(rows: Floats, number: int, size: int, w: int, pitch: int, count: int, live: Ints) -> None:
    """Close a row of w samples that is made, and note which of its channels are not all zero, and where.

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


@njit(cache=KEPT, nogil=True)
def stacked(
    x: Floats,
    weights: Floats,
    biases: Floats,
    channels: Ints,
    offset: Floats,
    skips: bool,
    first: int,
    stop: int,
    out: Floats,
) -> None:
    """Rows first..stop of out [O,H,W] from x [I,H,W]; zeros lie around it.

    channels: (inputs, outputs) of each layer; offset: of the first layer's output, beside its bias; skips: layers in
    the middle add to what they were given.
    """
    h, w = x.shape[1:]
    layers = len(channels)
    pitch, size = laid_out(w, channels)
    rows, shown = np.zeros(3 * layers * size, np.float32), np.empty(size, np.float32)
    bias, more = biases.reshape(-1), np.zeros(biases.size, np.float32)
    more[: len(offset)] = offset
    live = silent(channels, pitch)
    for place in due(channels, first, stop):
        layer, y, number = place[0], place[1], place[3]
        goal = number * size + 1
        if y < 0 or y >= h:
            clear(live, number)
        elif layer < 0:
            for c in range(channels[0, 0]):
                to = goal + c * pitch
                rows[to : to + w] = x[c, y]
            listen(rows, number, size, w, pitch, channels[0, 0], live)
        elif layer == layers - 1:
            layer_row(rows, place, pitch, size, channels, live, weights, bias, more, LAST, shown, START)
            for c in range(channels[layer, 1]):
                out[c, y] = shown[c * pitch : c * pitch + w]
        else:
            kind = MIDDLE if skips and layer else BENT
            layer_row(rows, place, pitch, size, channels, live, weights, bias, more, kind, rows, goal)
            listen(rows, number, size, w, pitch, channels[layer, 1], live)
