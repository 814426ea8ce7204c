"""The last frame without its fine detail: what predicts what has become blurred, or whose noise is new each time.

Where something moves fast, is out of focus or is but noise, the last frame's detail is not this frame's: it is in the
prediction for nothing, and costs bits to be taken away.  A block may say that it comes from the last frame smoothed,
by one of two binomial filters, in integers over 64 each way (AV1 has smooth interpolation filters for the same).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec.backbones import matching
from vcodec.backbones.costs import coded, moved_to
from vcodec.backbones.patches import TAPS, put_blurred, put_soft
from vcodec.loops import KEPT
from vcodec.sources import BLURRED, LAST, MEMORY, SOFT, SOURCES

__all__ = ["REACH", "TAPS", "choose_sources", "smoothed", "softened"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

_EIGHT, _SIXTEEN = (0,) * 8, (0,) * 16  # their lengths are known where loops are compiled
REACH = 3  # samples that the filters read on each side
_PRIOR = (2.5, 0.5, 0.15, 0.15)  # of each source, beside its four neighbours': what it costs to send one
_BITS = np.array([[math.log2((4 + sum(_PRIOR)) / (n + p)) for n in range(5)] for p in _PRIOR])
_LITTLE = 3.0  # bits: what costs no more to code is left as it is
_TURNS = 2
_TILE = (16, 64)  # samples that are smoothed together
_ALONG = (0,) * 32  # as many of a row at once


@njit(cache=KEPT, nogil=True)
def smoothed(plane: Bytes, at: int, pitch: int, source: int, out: Bytes) -> None:
    """A block of a flat plane, as SOFT or BLURRED would have it: out [64], or [256] for a block of 16×16.

    at: where it begins, with REACH samples around it.
    """
    if len(out) == len(_SIXTEEN) ** 2:
        if source == SOFT:
            put_soft(out, 0, 16, plane, at, pitch, _SIXTEEN, _SIXTEEN)
        else:
            put_blurred(out, 0, 16, plane, at, pitch, _SIXTEEN, _SIXTEEN)
    elif source == SOFT:
        put_soft(out, 0, 8, plane, at, pitch, _EIGHT, _EIGHT)
    else:
        put_blurred(out, 0, 8, plane, at, pitch, _EIGHT, _EIGHT)


def softened(planes: tuple[Tensor, Tensor], source: int, vectors: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Bytes [B,1,H,W], [B,2,H/2,W/2] of the last frame -> of SOFT or BLURRED.

    vectors [1,3,H/8,W/8]: only what blocks of this source read is needed then, and that is of the edge where a vector
    leads farther out than compensation goes.
    """
    needed = None
    if vectors is not None and len(vectors) == 1:
        needed = np.ascontiguousarray(vectors[0].cpu().numpy())
    luma, chroma = (_softened(plane, source, needed, block) for plane, block in zip(planes, (8, 4), strict=True))
    return luma, chroma


def _softened(planes: Tensor, source: int, vectors: Ints | None, block: int) -> Tensor:
    levels, (h, w) = planes.cpu().contiguous().numpy(), planes.shape[-2:]
    out = np.empty(levels.shape, np.uint8)
    wanted = np.full((-(-h // _TILE[0]), -(-w // _TILE[1])), vectors is None)
    if vectors is not None:
        _reached(vectors, source, block, (h, w), wanted)
    _soften(levels.reshape(-1, h, w), source, wanted, out.reshape(-1, h, w))
    return torch.from_numpy(out).to(planes.device)


@njit(cache=KEPT, nogil=True)
def _reached(vectors: Ints, source: int, block: int, shape: tuple[int, int], out: npt.NDArray[np.bool_]) -> None:
    """Tiles of a plane of this shape that filters read for blocks of a source, and for half of those beside them."""
    phases = 32 // block
    for y in range(vectors.shape[1]):
        for x in range(vectors.shape[2]):
            if vectors[2, y, x] == source:
                top, left = y * block + vectors[0, y, x] // phases, x * block + vectors[1, y, x] // phases
                first = min(max(top - block, 0), shape[0] - 1) // _TILE[0]
                last = min(max(top + 2 * block, 0), shape[0] - 1) // _TILE[0]
                begin = min(max(left - block, 0), shape[1] - 1) // _TILE[1]
                end = min(max(left + 2 * block, 0), shape[1] - 1) // _TILE[1]
                for i in range(first, last + 1):
                    for j in range(begin, end + 1):
                        out[i, j] = True


@njit(cache=KEPT, nogil=True)
def _soften(planes: Bytes, source: int, wanted: npt.NDArray[np.bool_], out: Bytes) -> None:
    """As ``smoothed``, planes [n,h,w], edges repeated: out, in the tiles wanted."""
    _, h, w = planes.shape
    high, pitch = _TILE[0] + 2 * REACH, _TILE[1] + 2 * REACH
    wide, made = np.empty(high * pitch, np.uint8), np.empty(_TILE[0] * _TILE[1], np.uint8)
    flat, shown = planes.reshape(-1), out.reshape(-1)
    for n in range(len(planes)):
        for i in range(wanted.shape[0]):
            for j in range(wanted.shape[1]):
                if not wanted[i, j]:
                    continue
                top, left = i * _TILE[0], j * _TILE[1]
                at = (n * h + top) * w + left
                if min(top, left) > 0 and top + high - REACH <= h and left + pitch - REACH <= w:
                    _soften_tile(flat, at, w, source, shown, at, w)
                    continue
                for r in range(high):
                    row, line = planes[n, min(max(top + r - REACH, 0), h - 1)], wide[r * pitch : (r + 1) * pitch]
                    for c in range(pitch):
                        line[c] = row[min(max(left + c - REACH, 0), w - 1)]
                _soften_tile(wide, REACH * (pitch + 1), pitch, source, made, 0, _TILE[1])
                for r in range(min(_TILE[0], h - top)):
                    for c in range(min(_TILE[1], w - left)):
                        out[n, top + r, left + c] = made[r * _TILE[1] + c]


@njit(cache=KEPT, nogil=True)
def _soften_tile(x: Bytes, at: int, pitch: int, source: int, out: Bytes, to: int, along: int) -> None:
    for c in range(0, _TILE[1], len(_ALONG)):
        if source == SOFT:
            put_soft(out, to + c, along, x, at + c, pitch, _SIXTEEN, _ALONG)
        else:
            put_blurred(out, to + c, along, x, at + c, pitch, _SIXTEEN, _ALONG)


@njit(cache=KEPT, nogil=True)
def choose_sources(now: Bytes, planes: Bytes, coarse: Ints, bit: float, measure: tuple[float, float]) -> None:
    """Which blocks of coarse [3,h,w] that come from the last frame had better come from it smoothed.

    planes: the last frame at every quarter sample; bit: what a bit of a source is worth in plain differences;
    measure: as `coded` has it.
    """
    h, w = coarse.shape[1:]
    here, there, sizes = now.reshape(-1), planes.reshape(-1), matching.sizes_of(now, planes)
    patch_sizes = (sizes[0], sizes[1], 1, 16, 16)
    costs, patch = np.zeros((SOURCES, h, w)), np.empty(256, np.uint8)
    for y in range(h):
        for x in range(w):
            if coarse[2, y, x] == MEMORY:
                continue
            at = moved_to(sizes, y, x, coarse[0, y, x], coarse[1, y, x])
            plain = coded(here, there, sizes, y, x, at, measure)
            costs[LAST, y, x] = plain
            for source in (SOFT, BLURRED):
                costs[source, y, x] = np.inf
                if plain > _LITTLE * measure[1]:
                    smoothed(there, at, sizes[4], source, patch)
                    costs[source, y, x] = coded(here, patch, patch_sizes, y, x, 0, measure)
    for _ in range(_TURNS):
        for y in range(h):
            for x in range(w):
                if coarse[2, y, x] == MEMORY:
                    continue
                around = (
                    coarse[2, y - 1 if y else 0, x],
                    coarse[2, y + 1 if y + 1 < h else y, x],
                    coarse[2, y, x - 1 if x else 0],
                    coarse[2, y, x + 1 if x + 1 < w else x],
                )
                found, least = LAST, np.inf
                for source in (LAST, SOFT, BLURRED):
                    alike = 0
                    for other in around:
                        alike += other == source
                    cost = costs[source, y, x] + bit * _BITS[source, alike]
                    if cost < least:
                        found, least = source, cost
                coarse[2, y, x] = found
