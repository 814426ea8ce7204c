"""A frame that motion predicts, drawn in one pass down the picture, compiled for this CPU.

    prediction p (planes) ─┐
    S · latent (blocks) ───┴► p + d, d ─► loop filter, row by row ─► + p + d ─► 8-bit levels ─► planes

Its twin in tensors (qae.py: packed, synthesise, decode) serves training, keyframes and other devices, and gives the
same values; a test compares the two.  What lies between never leaves the cache.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec import helper
from vcodec.backbones.rows import BENT, LAST, MIDDLE, LayerRows, clear, close, due, laid_out, layer_row
from vcodec.loops import KEPT

__all__ = ["Shown", "draw"]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Shown = tuple[Bytes, Bytes]
"""A frame in bytes: luma [H,W], chroma [2,H/2,W/2]."""
_HALF, _EIGHT = np.float32(0.5), np.float32(8.0)
_FINE, _TOP = np.float32(1 / 32), np.float32(255.0)
_NONE, _ONE = np.float32(0.0), np.float32(1.0)


@njit(cache=KEPT, nogil=True)
def _begin_row(
    luma: Floats, chroma: Floats, blocks: Floats, y: int, rows: Floats, goal: int, pitch: int, base: Floats
) -> None:
    """What the filter sees of a row at half resolution: p + d − 0.5 and 8 d; base [6,W/2] keeps p + d.

    luma [H,W], chroma [2,H/2,W/2]; blocks [96,H/8,W/8] hold d, samples of a block one after the other.
    """
    top, inner = y >> 2, y & 3
    across = blocks.shape[2]
    for c in range(6):
        to, beside = goal + c * pitch, goal + (6 + c) * pitch
        for j in range(4):
            if c < 4:
                line, plane = blocks[(2 * inner + (c >> 1)) * 8 + 2 * j + (c & 1), top], luma[2 * y + (c >> 1)]
                step, start = 8, 2 * j + (c & 1)
            else:
                line, plane = blocks[64 + 16 * (c - 4) + 4 * inner + j, top], chroma[c - 4, y]
                step, start = 4, j
            kept = base[c]
            for b in range(across):
                d, x = line[b], 4 * b + j
                frame = plane[step * b + start] + d
                kept[x] = frame
                rows[to + x] = frame - _HALF
                rows[beside + x] = d * _EIGHT


@njit(cache=KEPT, nogil=True)
def _level(frame: np.float32, bent: np.float32) -> np.float32:
    """An 8-bit level of what is drawn."""
    return np.rint(min(max(frame + bent * _FINE, _NONE), _ONE) * _TOP)  # type: ignore[no-any-return]


@njit(cache=KEPT, nogil=True)
def _end_row(base: Floats, bent: Floats, pitch: int, first: int, out: Floats, shown: Bytes) -> None:
    """A row of luma [W] of channels first and first + 1 at half resolution, in levels / 255 and in bytes."""
    left, right = bent[first * pitch : (first + 1) * pitch], bent[(first + 1) * pitch : (first + 2) * pitch]
    for x in range(base.shape[1]):
        one, other = _level(base[first, x], left[x]), _level(base[first + 1, x], right[x])
        out[2 * x], out[2 * x + 1] = one / _TOP, other / _TOP
        shown[2 * x], shown[2 * x + 1] = np.uint8(one), np.uint8(other)


@njit(cache=KEPT, nogil=True)
def _end_colour(base: Floats, bent: Floats, grey: bool, out: Floats, shown: Bytes) -> None:
    """A row of one plane of chroma [W/2], as _end_row."""
    for x in range(len(base)):
        level = _level(base[x], bent[x])
        if grey:
            level = np.float32(128.0)
        out[x], shown[x] = level / _TOP, np.uint8(level)


@njit(cache=KEPT, nogil=True)
def _drawn(
    planes: tuple[Floats, Floats],
    blocks: Floats,
    filters: tuple[Floats, Floats, Ints, Floats],
    span: tuple[int, int],
    grey: bool,
    out: tuple[Floats, Floats],
    shown: Shown,
) -> None:
    """Rows of a frame, at half resolution from span[0] up to span[1].

    planes: the prediction, luma [H,W] and chroma [2,H/2,W/2]; blocks [96,H/8,W/8]: what the latent adds; filters: of
    the loop filter weights, biases, channels (rows.py) and the first layer's offset; grey: chroma is 128.
    out, shown: planes as these, in levels / 255, and in bytes.
    """
    weights, biases, channels, offset = filters
    h, w = planes[1].shape[1:]
    layers = len(channels)
    pitch, size = laid_out(w, channels)
    rows, bent = np.zeros(3 * layers * size, np.float32), np.empty(6 * pitch, np.float32)
    bases = np.empty((layers + 1, 6, w), np.float32)
    bias, more = biases.reshape(-1), np.zeros(biases.size, np.float32)
    more[: len(offset)] = offset
    for place in due(channels, span[0], span[1]):
        layer, y, goal = place[0], place[1], place[3] * size
        base = bases[y % (layers + 1)]
        if y < 0 or y >= h:
            clear(rows, goal, size)
        elif layer < 0:
            _begin_row(planes[0], planes[1], blocks, y, rows, goal + 1, pitch, base)
        elif layer < layers - 1:
            kind = MIDDLE if layer else BENT
            layer_row(rows, place, pitch, size, channels, weights, bias, more, kind, rows, goal + 1)
            close(rows, goal + 1, w, pitch, channels[layer, 1])
        else:
            layer_row(rows, place, pitch, size, channels, weights, bias, more, LAST, bent, 0)
            for i in range(2):
                _end_row(base, bent, pitch, 2 * i, out[0][2 * y + i], shown[0][2 * y + i])
                colour = bent[(4 + i) * pitch : (5 + i) * pitch]
                _end_colour(base[4 + i], colour, grey, out[1][i, y], shown[1][i, y])


def draw(
    planes: tuple[Tensor, Tensor], blocks: Tensor, layers: LayerRows, offset: Tensor, grey: bool
) -> tuple[tuple[Tensor, Tensor], Shown]:
    """A frame of its prediction, luma [1,1,H,W] and chroma [1,2,H/2,W/2], and of blocks [1,96,H/8,W/8] beside it.

    layers, offset [1,width]: of the loop filter.  Gives planes in levels / 255, and in bytes; top and bottom are drawn
    beside each other where a helper is at hand.
    """
    given = np.ascontiguousarray(planes[0][0, 0].numpy()), np.ascontiguousarray(planes[1][0].numpy())
    filters = (*layers, offset[0].numpy())
    out = torch.empty_like(planes[0]), torch.empty(planes[1].shape)
    shown = np.empty(given[0].shape, np.uint8), np.empty(given[1].shape, np.uint8)
    part = partial(_drawn, given, np.ascontiguousarray(blocks[0].numpy()), filters)
    middle, h = given[1].shape[1] // 2, given[1].shape[1]
    rest = grey, (out[0][0, 0].numpy(), out[1][0].numpy()), shown
    top = helper.begun(lambda: part((0, middle), *rest))
    part((middle, h), *rest)
    top()
    return out, shown
