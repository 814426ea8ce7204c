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

from vcodec import helper, lanes
from vcodec.backbones.rows import BENT, LAST, MIDDLE, START, LayerRows, clear, due, laid_out, layer_row, listen, silent
from vcodec.loops import KEPT
from vcodec.spots import Spots

__all__ = ["Shown", "draw"]

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Shown = tuple[Bytes, Bytes]
"""A frame in bytes: luma [H,W], chroma [2,H/2,W/2]."""
_HALF, _EIGHT = np.float32(0.5), np.float32(8.0)
_FINE, _TOP = np.float32(1 / 32), np.float32(255.0)
_BLOCKS = np.array([8, 4])  # samples along a block of luma, of chroma
_NONE, _ONE = np.float32(0.0), np.float32(1.0)


@njit(cache=KEPT, nogil=True)
def _transformed(places: Ints, values: Floats, basis: Floats, out: Floats, busy: Flags) -> None:
    """Latents [96,h·w] in 8-bit levels, as a list -> what they add to samples, out [h·w,96]; busy [h·w]: where any is,
    nowhere yet.

    basis [96,96]: of each latent the samples of its block.  Sums are in the order of channels; what is not busy is left
    as it is.
    """
    flat, shown = basis.reshape(-1), out.reshape(-1)
    level = np.empty(1, np.float32)
    for i in range(len(places)):
        c, place = places[i] // len(busy), places[i] % len(busy)
        if not busy[place]:
            busy[place] = True
            for j in range(96):
                out[place, j] = _NONE
        level[0] = values[i] / _TOP
        lanes.add_scaled(shown, place * 96, flat, c * 96, level, 0, 6)


@njit(cache=KEPT, nogil=True)
def _changes(added: Floats, busy: Flags, first: int, size: int, line: Floats) -> None:
    """A row of what latents add to a plane, line [w·size]: of each block ``size`` samples from ``first`` on."""
    for b in range(len(busy)):
        if busy[b]:
            for i in range(size):
                line[b * size + i] = added[b, first + i]
        else:
            for i in range(size):
                line[b * size + i] = _NONE


@njit(cache=KEPT, nogil=True)
def _begin_row(
    luma: Floats,
    chroma: Floats,
    added: Floats,
    busy: Flags,
    y: int,
    rows: Floats,
    goal: int,
    pitch: int,
    line: Floats,
    base: Floats,
) -> None:
    """What the filter sees of a row at half resolution: p + d − 0.5 and 8 d; base [6,W/2] keeps p + d.

    luma [H,W], chroma [2,H/2,W/2]; added [W/8,96] and busy [W/8]: d of the blocks there, samples one after the other.
    line [W]: room.
    """
    inner, w = y & 3, base.shape[1]
    for c in range(0, 6, 2):  # a row of luma, two, then both of chroma
        if c < 4:
            _changes(added, busy, (2 * inner + (c >> 1)) * 8, _BLOCKS[0], line)
        else:
            _changes(added, busy, 64 + 4 * inner, _BLOCKS[1], line[:w])
            _changes(added, busy, 80 + 4 * inner, _BLOCKS[1], line[w:])
        for i in range(2):
            to, beside = goal + (c + i) * pitch, goal + (6 + c + i) * pitch
            kept, first, second = base[c + i], rows[to : to + w], rows[beside : beside + w]
            if c < 4:
                plane, more = luma[2 * y + (c >> 1)], line
                for x in range(w):
                    d = more[2 * x + i]
                    frame = plane[2 * x + i] + d
                    kept[x], first[x], second[x] = frame, frame - _HALF, d * _EIGHT
            else:
                plane, more = chroma[i, y], line[i * w : (i + 1) * w]
                for x in range(w):
                    d = more[x]
                    frame = plane[x] + d
                    kept[x], first[x], second[x] = frame, frame - _HALF, d * _EIGHT


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
    added: tuple[Floats, Flags],
    filters: tuple[Floats, Floats, Ints, Floats],
    span: tuple[int, int],
    grey: bool,
    out: tuple[Floats, Floats],
    shown: Shown,
) -> None:
    """Rows of a frame, at half resolution from span[0] up to span[1].

    planes: the prediction, luma [H,W] and chroma [2,H/2,W/2]; added [H/8,W/8,96] and [H/8,W/8]: what the latent adds,
    and where; filters: of the loop filter weights, biases, channels (rows.py) and the first layer's offset; grey:
    chroma is 128.
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
    live, line = silent(channels, pitch), np.empty(2 * w, np.float32)
    for place in due(channels, span[0], span[1]):
        layer, y, number = place[0], place[1], place[3]
        goal, base = number * size + 1, bases[y % (layers + 1)]
        if y < 0 or y >= h:
            clear(live, number)
        elif layer < 0:
            block = y >> 2
            _begin_row(planes[0], planes[1], added[0][block], added[1][block], y, rows, goal, pitch, line, base)
            listen(rows, number, size, w, pitch, channels[0, 0], live)
        elif layer < layers - 1:
            kind = MIDDLE if layer else BENT
            layer_row(rows, place, pitch, size, channels, live, weights, bias, more, kind, rows, goal)
            listen(rows, number, size, w, pitch, channels[layer, 1], live)
        else:
            layer_row(rows, place, pitch, size, channels, live, weights, bias, more, LAST, bent, START)
            for i in range(2):
                _end_row(base, bent, pitch, 2 * i, out[0][2 * y + i], shown[0][2 * y + i])
                colour = bent[(4 + i) * pitch : (5 + i) * pitch]
                _end_colour(base[4 + i], colour, grey, out[1][i, y], shown[1][i, y])


def draw(
    planes: tuple[Tensor, Tensor], latent: Spots, basis: Tensor, layers: LayerRows, offset: Tensor, grey: bool
) -> tuple[tuple[Tensor, Tensor], Shown]:
    """A frame of its prediction, luma [1,1,H,W] and chroma [1,2,H/2,W/2], and of its latent [1,96,H/8,W/8].

    basis [96,96,1,1]: of each sample of a block what latents add to it; layers, offset [1,width]: of the loop filter.
    Gives planes in levels / 255, and in bytes; top and bottom are drawn beside each other where a helper is at hand.
    """
    given = np.ascontiguousarray(planes[0][0, 0].numpy()), np.ascontiguousarray(planes[1][0].numpy())
    filters = (*layers, offset[0].numpy())
    out = torch.empty_like(planes[0]), torch.empty(planes[1].shape)
    shown = np.empty(given[0].shape, np.uint8), np.empty(given[1].shape, np.uint8)
    height, width = latent.shape[2:]
    added, busy = np.empty((height, width, 96), np.float32), np.zeros((height, width), np.bool_)
    columns = np.ascontiguousarray(basis.detach()[:, :, 0, 0].t().numpy())
    _transformed(latent.places, latent.values, columns, added.reshape(-1, 96), busy.reshape(-1))
    part = partial(_drawn, given, (added, busy), filters)
    middle, h = given[1].shape[1] // 2, given[1].shape[1]
    rest = grey, (out[0][0, 0].numpy(), out[1][0].numpy()), shown
    top = helper.begun(lambda: part((0, middle), *rest))
    part((middle, h), *rest)
    top()
    return out, shown
