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
def _block(
    x: Floats, starts: tuple[int, int, int], pitch: int, inputs: int, weights: Floats, k: int, out: Floats
) -> None:
    """One tile of a row, _ROWS channels of it: out [_ROWS · _TILE]; starts: where the three rows begin in x."""
    total = lanes.zeros(6)
    for start in starts:
        for dx in range(3):
            at = start + dx
            for _ in range(inputs):
                total = lanes.add_products(total, x, at, weights, k)
                at += pitch
                k += 6
    lanes.put(total, out)


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
    tiles = (w + _TILE - 1) // _TILE
    pitch = tiles * _TILE + lanes.WIDE  # sample 0 of a row stands at 1
    ring = 3 * (channels.max() + _ROWS) * pitch
    rows = np.zeros(layers * ring, np.float32)
    tile = np.empty(_ROWS * _TILE, np.float32)
    for step in range(first - layers, stop + layers):
        begin = 0  # of a layer's weights
        for layer in range(-1, layers):
            y, reach = step - 1 - layer, layers - 1 - layer
            last = layer == layers - 1
            inputs, outputs = channels[max(layer, 0)]
            mine, k = layer * ring, begin
            if layer >= 0:
                begin += (outputs + _ROWS - 1) // _ROWS * _ROWS * 9 * inputs
            if y < first - reach or y >= stop + reach:
                continue
            count = inputs if layer < 0 else outputs
            goal = (layer + 1) * ring + y % 3 * count * pitch + 1
            if layer < 0 or y < 0 or y >= h:
                for c in range(count):
                    to = goal + c * pitch
                    for i in range(w):
                        rows[to + i] = x[c, y, i] if 0 <= y < h else ZERO
                continue
            size = inputs * pitch
            above, here, below = mine + (y + 2) % 3 * size, mine + y % 3 * size, mine + (y + 1) % 3 * size
            for block in range(0, outputs, _ROWS):
                for t in range(tiles):
                    left = t * _TILE
                    _block(rows, (above + left, here + left, below + left), pitch, inputs, weights, k, tile)
                    width = min(_TILE, w - left)
                    for c in range(block, min(block + _ROWS, outputs)):
                        found = tile[(c - block) * _TILE : (c - block) * _TILE + width]
                        bias = biases[layer, c]
                        if last:
                            shown = out[c, y, left : left + width]
                            for i in range(width):
                                shown[i] = found[i] + bias
                            continue
                        to = goal + c * pitch + left
                        held = rows[to : to + width]
                        more = offset[c] if layer == 0 else ZERO
                        if skips and layer:
                            at = here + c * pitch + left + 1
                            given = rows[at : at + width]
                            for i in range(width):
                                held[i] = given[i] + max(found[i] + bias, ZERO)
                        else:
                            for i in range(width):
                                held[i] = max(found[i] + bias + more, ZERO)
                k += 9 * inputs * _ROWS
