"""The last frame without its fine detail: what predicts what has become blurred, or whose noise is new each time.

Where something moves fast, is out of focus or is but noise, the last frame's detail is not this frame's: it is in the
prediction for nothing, and costs bits to be taken away.  A block may say that it comes from the last frame smoothed,
by one of two binomial filters, in integers over 64 each way (AV1 has smooth interpolation filters for the same).
"""

from __future__ import annotations

import math
from typing import Any

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
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Wide = npt.NDArray[np.int32]

_EIGHT, _SIXTEEN = (0,) * 8, (0,) * 16  # their lengths are known where loops are compiled
REACH = 3  # samples that the filters read on each side
_PRIOR = (2.5, 0.5, 0.15, 0.15)  # of each source, beside its four neighbours': what it costs to send one
_BITS = np.array([[math.log2((4 + sum(_PRIOR)) / (n + p)) for n in range(5)] for p in _PRIOR])
_LITTLE = 3.0  # bits: what costs no more to code is left as it is
_TURNS = 2
_BESIDE: Any = np.int64(1)  # a plain number would have a loop compiled for itself
_TILE = (16, 64)  # samples that are smoothed together


@njit(cache=KEPT, nogil=True)
def smoothed(plane: Bytes, at: int, pitch: int, source: int, across: Wide, out: Bytes) -> None:
    """A block of a flat plane, as SOFT or BLURRED would have it: out [64], or [256] where across [rows,16] is so wide.

    at: where it begins, with REACH samples around it.
    """
    if across.shape[1] == len(_SIXTEEN):
        if source == SOFT:
            put_soft(out, plane, at, pitch, _SIXTEEN)
        else:
            put_blurred(out, plane, at, pitch, _SIXTEEN)
    elif source == SOFT:
        put_soft(out, plane, at, pitch, _EIGHT)
    else:
        put_blurred(out, plane, at, pitch, _EIGHT)


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
    """As ``smoothed``, planes [n,h,w], edges repeated: out, in the tiles wanted.

    In floats, which hold these integers and are found many at a time; rows of a tile stand one behind the other, and
    filters run over all of them at once.
    """
    _, h, w = planes.shape
    high, pitch = _TILE[0] + 2 * REACH, _TILE[1] + 2 * REACH
    wide, across = np.empty(high * pitch, np.float32), np.empty(high * pitch, np.float32)
    for n in range(len(planes)):
        for i in range(wanted.shape[0]):
            for j in range(wanted.shape[1]):
                if not wanted[i, j]:
                    continue
                top, left = i * _TILE[0] - REACH, j * _TILE[1] - REACH
                inside = left >= 0 and left + pitch <= w
                for r in range(high):
                    row, line = planes[n, min(max(top + r, 0), h - 1)], wide[r * pitch : (r + 1) * pitch]
                    if inside:
                        near = row[left:]
                        for c in range(pitch):
                            line[c] = near[c]
                    else:
                        for c in range(pitch):
                            line[c] = row[min(max(left + c, 0), w - 1)]
                _binomial(wide, _BESIDE, source, across[REACH:-REACH])
                _binomial(across, pitch, source, wide[REACH * pitch : -REACH * pitch])
                right = min(left + pitch - REACH, w)
                for r in range(REACH, min(high - REACH, h - top)):
                    line, goal = wide[r * pitch + REACH :], out[n, top + r, left + REACH : right]
                    for c in range(len(goal)):
                        goal[c] = np.uint8(np.int32((line[c] + np.float32(2048.0)) * np.float32(1 / 4096)))


@njit(cache=KEPT, nogil=True)
def _binomial(x: Floats, step: int, source: int, out: Floats) -> None:
    """TAPS of a source times what lies ``step`` apart in x [n + 6·step], out [n]."""
    n = len(out)
    s, t, u, v = x[:n], x[step:], x[2 * step :], x[3 * step :]
    left, right, last = x[4 * step :], x[5 * step :], x[6 * step :]
    if source == SOFT:
        for c in range(n):
            out[c] = np.float32(32.0) * v[c] + np.float32(16.0) * (u[c] + left[c])
    else:
        for c in range(n):
            near = np.float32(20.0) * v[c] + np.float32(15.0) * (u[c] + left[c])
            out[c] = near + np.float32(6.0) * (t[c] + right[c]) + (s[c] + last[c])


@njit(cache=KEPT, nogil=True)
def choose_sources(now: Bytes, planes: Bytes, coarse: Ints, bit: float, measure: tuple[float, float]) -> None:
    """Which blocks of coarse [3,h,w] that come from the last frame had better come from it smoothed.

    planes: the last frame at every quarter sample; bit: what a bit of a source is worth in plain differences;
    measure: as `coded` has it.
    """
    h, w = coarse.shape[1:]
    here, there, sizes = now.reshape(-1), planes.reshape(-1), matching.sizes_of(now, planes)
    patch_sizes = (sizes[0], sizes[1], 1, 16, 16)
    costs, patch, across = np.zeros((SOURCES, h, w)), np.empty(256, np.uint8), np.empty((22, 16), np.int32)
    for y in range(h):
        for x in range(w):
            if coarse[2, y, x] == MEMORY:
                continue
            at = moved_to(sizes, y, x, coarse[0, y, x], coarse[1, y, x])
            plain = coded(here, there, sizes, y, x, at, np.inf, measure)
            costs[LAST, y, x] = plain
            for source in (SOFT, BLURRED):
                costs[source, y, x] = np.inf
                if plain > _LITTLE * measure[1]:
                    smoothed(there, at, sizes[4], source, across, patch)
                    costs[source, y, x] = coded(here, patch, patch_sizes, y, x, 0, np.inf, measure)
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
