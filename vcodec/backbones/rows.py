"""Narrow stacks of 3×3 convolutions, compiled for this CPU: all layers go down the picture together, row by row.

    x ─► last 3 rows ─► layer 1 ─► last 3 rows ─► layer 2 ─► … ─► out

What lies between the layers never leaves the cache.  A library that multiplies whole channels of 16 wastes much of
itself on 12, 24 and 6 of them; here samples of a row stand side by side, and channels are as many as they are.  Sums go
over rows, columns and channels of the input, in this order, as oneDNN's do on CPUs with AVX-512.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec import lanes
from vcodec.loops import KEPT

__all__ = ["LayerRows", "layer_rows", "stacked"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_ROWS = 6  # output channels at a time: with four vectors side by side, 24 sums in 32 registers
_TILE = lanes.ACROSS * lanes.WIDE
ZERO = np.float32(0.0)
BENT, MIDDLE, LAST = 0, 1, 2  # kinds of layers

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
def layer_row(
    rows: Floats,
    starts: tuple[int, int, int],
    pitch: int,
    inputs: int,
    outputs: int,
    weights: Floats,
    k: int,
    biases: Floats,
    first: int,
    more: Floats,
    kind: int,
    out: Floats,
    goal: int,
) -> None:
    """A row of a layer, at goal of out, which is ``rows`` but where kind is LAST.

    starts: where the three rows that it sees begin in rows; weights from k, biases and more from first on; kind: BENT
    ends at 0, MIDDLE adds that to what the layer was given, LAST does neither.
    """
    for left in range(0, pitch - lanes.WIDE, _TILE):
        at, j = k, first
        for to in range(goal + left, goal + left + outputs * pitch, _ROWS * pitch):
            total = lanes.zeros(6)
            for start in starts:
                for dx in range(3):
                    x = start + left + dx
                    for _ in range(inputs):
                        total = lanes.add_products(total, rows, x, weights, at)
                        x += pitch
                        at += 6
            if kind == LAST:
                lanes.put(total, out, to, pitch, biases, j)
            elif kind == MIDDLE:
                lanes.put_beside(total, out, to, pitch, biases, j, to - goal + starts[1] + 1)
            else:
                lanes.put_positive(total, out, to, pitch, biases, j, more)
            j += _ROWS


@njit(cache=KEPT, nogil=True)
def clear(rows: Floats, begin: int, size: int) -> None:
    """What lies above and below the picture."""
    for i in range(begin, begin + size):
        rows[i] = ZERO


@njit(cache=KEPT, nogil=True)
def close(rows: Floats, goal: int, w: int, pitch: int, count: int) -> None:
    """What lies right of a row of w samples: tiles reach beyond it."""
    for c in range(count):
        rows[goal + c * pitch + w] = ZERO


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
    pitch = (w + _TILE - 1) // _TILE * _TILE + lanes.WIDE  # sample 0 of a row stands at 1
    size = (channels.max() + _ROWS - 1) // _ROWS * _ROWS * pitch
    rows, shown = np.zeros(3 * layers * size, np.float32), np.empty(size, np.float32)
    bias, more = biases.reshape(-1), np.zeros(biases.size, np.float32)
    more[: len(offset)] = offset
    for step in range(first - layers, stop + layers):
        k = 0  # where a layer's weights begin
        for layer in range(-1, layers):
            y, reach = step - 1 - layer, layers - 1 - layer
            inputs, outputs = channels[max(layer, 0)]
            begin = k
            if layer >= 0:
                k += (outputs + _ROWS - 1) // _ROWS * _ROWS * 9 * inputs
            if y < first - reach or y >= stop + reach:
                continue
            goal = (3 * layer + 3 + y % 3) * size
            if layer < layers - 1 and (y < 0 or y >= h):
                clear(rows, goal, size)
                continue
            if layer < 0:
                for c in range(inputs):
                    to = goal + c * pitch + 1
                    rows[to : to + w] = x[c, y]
                continue
            mine = 3 * layer * size
            seen = mine + (y + 2) % 3 * size, mine + y % 3 * size, mine + (y + 1) % 3 * size
            given = (rows, seen, pitch, inputs, outputs, weights, begin, bias, layer * biases.shape[1], more)
            if layer == layers - 1:
                layer_row(*given, LAST, shown, 0)
                for c in range(outputs):
                    out[c, y] = shown[c * pitch : c * pitch + w]
                continue
            kind = MIDDLE if skips and layer else BENT
            layer_row(*given, kind, rows, goal + 1)
            close(rows, goal + 1, w, pitch, (outputs + _ROWS - 1) // _ROWS * _ROWS)
