"""A frame of its prediction and its latent, drawn in one pass down the picture, compiled for this CPU.

    prediction p (planes) ─┐
    S · latent (blocks) ───┴► p + d, d ─► loop filter, row by row ─► + p + d ─► 8-bit levels

Its twin in tensors (exact.py) serves other devices, and gives the same bytes; a test compares the two.  What lies
between never leaves the cache.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from numba import njit

from vcodec import helper, lanes
from vcodec.backbones.exact import BELOW, CENTRE, GREY, HIGHEST, LATENT, LEVEL, LOWEST, SHORT, ExactTransform
from vcodec.backbones.rows import (
    BENT,
    LAST,
    MIDDLE,
    START,
    LayerRows,
    clear,
    due,
    laid_out,
    layer_strip,
    listen,
    silent,
)
from vcodec.loops import KEPT
from vcodec.spots import Spots

__all__ = ["Shown", "changed", "columns", "draw"]

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.int16]
Words = npt.NDArray[np.int32]
Shown = tuple[Bytes, Bytes]
"""A frame in bytes: luma [H,W], chroma [2,H/2,W/2]."""
_LATENT_ONE = np.float32(2.0**LATENT)


def columns(transform: ExactTransform) -> Words:
    """S, flat, of each latent what it is worth in the samples of its block: 16 bits an element, the upper half 0."""
    return (transform.weights.T.reshape(-1) & 0xFFFF).astype(np.int32)


@njit(cache=KEPT, nogil=True)
def _transformed(places: Ints, values: Floats, basis: Words, shift: int, out: Shorts, busy: Flags) -> None:
    """Latents [96,h·w] in 8-bit levels, as a list -> what they add to samples, out [h·w,96]; busy [h·w]: where any is,
    nowhere yet.

    basis: as ``columns`` has it.  What is not busy is left as it is.
    """
    sums = np.empty((len(busy), 96), np.int32)
    flat, half = sums.reshape(-1), (1 << shift) >> 1
    for i in range(len(places)):
        c, place = places[i] // len(busy), places[i] % len(busy)
        if not busy[place]:
            busy[place] = True
            sums[place] = 0
        level = np.int64(np.rint(values[i] * _LATENT_ONE))
        lanes.add_scaled(flat, place * 96, basis, c * 96, min(max(level, -SHORT), SHORT), 96)
    for place in range(len(busy)):
        if busy[place]:
            for i in range(96):
                out[place, i] = min(max((sums[place, i] + half) >> shift, -SHORT), SHORT)


def changed(latent: Spots, basis: Words, transform: ExactTransform) -> tuple[Shorts, Flags]:
    """What a latent [1,96,h,w] adds to samples of blocks, [h,w,96] in parts of a level; and where it is anything."""
    height, width = latent.shape[-2:]
    added, busy = np.empty((height, width, 96), np.int16), np.zeros((height, width), np.bool_)
    _transformed(latent.places, latent.values, basis, transform.shift, added.reshape(-1, 96), busy.reshape(-1))
    return added, busy


@njit(cache=KEPT, nogil=True)
def _changes(added: Shorts, busy: Flags, first: int, line: Shorts) -> None:
    """A row of what latents add to luma, line [8·w]: of each block [w,96] eight samples from ``first`` on."""
    flat = added.reshape(-1)
    for b in range(len(busy)):
        if busy[b]:
            lanes.carry(flat, 96 * b + first, line, 8 * b, 8)
        else:
            for i in range(8):
                line[8 * b + i] = 0


@njit(cache=KEPT, nogil=True)
def _colour_changes(added: Shorts, busy: Flags, first: int, line: Shorts) -> None:
    """The same of a plane of chroma, four samples of each block."""
    flat = added.reshape(-1)
    for b in range(len(busy)):
        if busy[b]:
            lanes.carry(flat, 96 * b + first, line, 4 * b, 4)
        else:
            for i in range(4):
                line[4 * b + i] = 0


@njit(cache=KEPT, nogil=True)
def _begin(plane: Shorts, line: Shorts, base: Shorts, first: Shorts, second: Shorts) -> None:
    """What the filter sees of a row: p + d about the centre, and 8 d; base keeps p + d.

    In two loops: LLVM makes vectors of no more arrays in one.
    """
    for x in range(len(plane)):
        frame = min(max(np.int32(np.int32(plane[x]) + line[x]), np.int32(LOWEST)), np.int32(HIGHEST))
        base[x] = frame
        first[x] = frame - np.int32(CENTRE)
    for x in range(len(plane)):
        second[x] = min(max(np.int32(8 * np.int32(line[x])), np.int32(-SHORT - 1)), np.int32(SHORT))


@njit(cache=KEPT, nogil=True)
def _beside(one: Shorts, other: Shorts, rows: Shorts) -> None:
    """Two channels as pairs."""
    for x in range(len(one)):
        rows[2 * x], rows[2 * x + 1] = one[x], other[x]


@njit(cache=KEPT, nogil=True)
def _begin_row(
    planes: tuple[Shorts, Shorts],
    added: Shorts,
    busy: Flags,
    y: int,
    rows: Shorts,
    goal: int,
    pitch: int,
    work: Shorts,
    base: Shorts,
) -> None:
    """What the filter sees of a row at half resolution, pairs of channels at ``goal`` of rows and a pitch apart.

    added [W/8,96] and busy [W/8]: d of the blocks there, samples one after the other; base [3,W] keeps p + d: two rows
    of luma, then chroma's.  Two neighbours in a row of luma are a pair as they stand.  work [5,W]: room.
    """
    inner, w = y & 3, base.shape[1] // 2
    line = work[0]
    for c in range(2):
        _changes(added, busy, (2 * inner + c) * 8, line)
        to, beside = 2 * (goal + c * pitch), 2 * (goal + (3 + c) * pitch)
        _begin(planes[0][2 * y + c], line, base[c], rows[to : to + 2 * w], rows[beside : beside + 2 * w])
    for i in range(2):
        part = line[i * w : (i + 1) * w]
        _colour_changes(added, busy, 64 + 16 * i + 4 * inner, part)
        _begin(planes[1][i, y], part, base[2, i * w : (i + 1) * w], work[1 + i, :w], work[3 + i, :w])
    for i in range(2):
        to = 2 * (goal + (2 + 3 * i) * pitch)
        _beside(work[1 + 2 * i, :w], work[2 + 2 * i, :w], rows[to : to + 2 * w])


@njit(cache=KEPT, nogil=True, forceinline=True)
def _level(frame: int, bent: int, shift: int) -> int:
    """An 8-bit level of what is drawn."""
    total = int((np.int32(frame) << (shift + BELOW)) + bent)
    return min(max(total >> (shift + LEVEL), 0), 255)


@njit(cache=KEPT, nogil=True)
def _end_luma(base: Shorts, left: Words, right: Words, shift: int, out: Bytes) -> None:
    """Levels of a row of luma [W], of two channels at half resolution."""
    for x in range(len(left)):
        out[2 * x], out[2 * x + 1] = _level(base[2 * x], left[x], shift), _level(base[2 * x + 1], right[x], shift)


@njit(cache=KEPT, nogil=True)
def _end_colour(base: Shorts, bent: Words, shift: int, out: Bytes) -> None:
    """Levels of a row of one plane of chroma [W/2]."""
    for x in range(len(base)):
        out[x] = _level(base[x], bent[x], shift)


@njit(cache=KEPT, nogil=True)
def _end_row(base: Shorts, bent: Words, pitch: int, y: int, shift: int, grey: bool, out: Shown) -> None:
    """Levels of a row at half resolution: base as ``_begin_row`` has it, bent the filter's channels a pitch apart."""
    w = out[1].shape[2]
    for i in range(2):
        left, right = bent[2 * i * pitch : 2 * i * pitch + w], bent[(2 * i + 1) * pitch :]
        _end_luma(base[i], left, right, shift, out[0][2 * y + i])
        if grey:
            out[1][i, y] = GREY
        else:
            colour = bent[(4 + i) * pitch : (4 + i) * pitch + w]
            _end_colour(base[2, i * w : (i + 1) * w], colour, shift, out[1][i, y])


@njit(cache=KEPT, nogil=True)
def _drawn(
    planes: tuple[Shorts, Shorts],
    added: tuple[Shorts, Flags],
    filters: tuple[Words, Words, Ints],
    span: tuple[int, int],
    grey: bool,
    out: Shown,
) -> None:
    """Strips of a frame, two rows at half resolution each, from span[0] up to span[1].

    planes: the prediction in parts, luma [H,W] and chroma [2,H/2,W/2]; added [H/8,W/8,96] and [H/8,W/8]: what the
    latent adds, and where; filters: as LayerRows has them, biases flat, the last ones with half a level; grey: chroma
    is 128.
    """
    weights, biases, layers = filters
    h, w = planes[1].shape[1:]
    count = len(layers)
    pitch, size = laid_out(w, layers)
    rows, bent = np.zeros(6 * count * size, np.int32), np.empty(12 * pitch, np.int32)
    shorts = rows.view(np.int16)
    bases = np.empty((count + 1, 2, 3, 2 * w), np.int16)
    live, work = silent(layers, pitch), np.empty((5, 2 * w), np.int16)
    for place in due(layers, span[0], span[1]):
        layer, y, number = place[0], place[1], place[3]
        goal, base = 2 * number * size + 1, bases[y % (count + 1)]
        if y < 0 or 2 * y >= h:
            clear(rows, number, size, live)
        elif layer < 0:
            block = y >> 1
            for i in range(2):
                to = goal + i * size
                _begin_row(planes, added[0][block], added[1][block], 2 * y + i, shorts, to, pitch, work, base[i])
            listen(rows, number, size, w, pitch, layers[0, 0], live)
        elif layer < count - 1:
            kind = MIDDLE if layer else BENT
            layer_strip(rows, place, pitch, size, live, weights, biases, layers, kind, rows, goal, size)
            listen(rows, number, size, w, pitch, layers[layer + 1, 0], live)
        else:
            layer_strip(rows, place, pitch, size, live, weights, biases, layers, LAST, bent, START, 6 * pitch)
            for i in range(2):
                _end_row(base[i], bent[6 * i * pitch :], pitch, 2 * y + i, layers[layer, 2], grey, out)


def draw(planes: tuple[Shorts, Shorts], added: tuple[Shorts, Flags], layers: LayerRows, grey: bool) -> Shown:
    """A frame of its prediction in parts of a level, luma [H,W] and chroma [2,H/2,W/2], and what is added to that.

    added: as ``changed`` has it; grey: chroma is 128.  Top and bottom are drawn beside each other where a helper is at
    hand.
    """
    strips = planes[1].shape[1] // 2
    out = np.empty(planes[0].shape, np.uint8), np.empty(planes[1].shape, np.uint8)
    part = partial(_drawn, planes, added, (layers.weights, layers.biases.reshape(-1), layers.layers))
    middle = strips // 2
    top = helper.begun(lambda: part((0, middle), grey, out))
    part((middle, strips), grey, out)
    top()
    return out
