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
from vcodec.loops import KEPT
from vcodec.sources import BLURRED, LAST, MEMORY, SOFT, SOURCES

__all__ = ["REACH", "TAPS", "choose_sources", "smoothed", "softened"]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Wide = npt.NDArray[np.int32]

TAPS = {SOFT: (16, 32, 16), BLURRED: (1, 6, 15, 20, 15, 6, 1)}  # over 64 each way
REACH = 3  # samples that the filters read on each side
_PRIOR = (2.5, 0.5, 0.15, 0.15)  # of each source, beside its four neighbours': what it costs to send one
_BITS = np.array([[math.log2((4 + sum(_PRIOR)) / (n + p)) for n in range(5)] for p in _PRIOR])
_LITTLE = 3.0  # bits: what costs no more to code is left as it is
_TURNS = 2
_TOP = np.float32(255.0)


@njit(cache=KEPT, nogil=True)
def smoothed(plane: Bytes, at: int, pitch: int, source: int, across: Wide, out: Bytes) -> None:
    """A part of a flat plane, as SOFT or BLURRED would have it: out [rows·cols]; across [rows+2·REACH,cols]: room.

    at: where it begins, with REACH samples around it.  Rows are looked at as slices, so that loops run in vectors.
    """
    high, cols = across.shape
    for r in range(high):
        begin = at + (r - REACH) * pitch - REACH
        row, to = plane[begin : begin + cols + 2 * REACH], across[r]
        if source == SOFT:
            for c in range(cols):
                to[c] = np.int32(32) * row[c + 3] + np.int32(16) * (np.int32(row[c + 2]) + row[c + 4])
        else:
            for c in range(cols):
                total = np.int32(20) * row[c + 3] + np.int32(15) * (np.int32(row[c + 2]) + row[c + 4])
                to[c] = total + np.int32(6) * (np.int32(row[c + 1]) + row[c + 5]) + row[c] + row[c + 6]
    for r in range(high - 2 * REACH):
        goal = out[r * cols : (r + 1) * cols]
        u, v, w = across[r + 2], across[r + 3], across[r + 4]
        if source == SOFT:
            for c in range(cols):
                goal[c] = (np.int32(32) * v[c] + np.int32(16) * (u[c] + w[c]) + np.int32(2048)) >> np.int32(12)
        else:
            s, t, x, y = across[r], across[r + 1], across[r + 5], across[r + 6]
            for c in range(cols):
                total = np.int32(20) * v[c] + np.int32(15) * (u[c] + w[c]) + np.int32(6) * (t[c] + x[c])
                goal[c] = (total + s[c] + y[c] + np.int32(2048)) >> np.int32(12)


def softened(planes: tuple[Tensor, Tensor], source: int) -> tuple[Tensor, Tensor]:
    """Planes [B,1,H,W], [B,2,H/2,W/2] in 0..1 of the last frame -> of SOFT or BLURRED."""
    luma, chroma = (_softened(p, source) for p in planes)
    return luma, chroma


def _softened(planes: Tensor, source: int) -> Tensor:
    shown = planes.detach().float().cpu().contiguous().numpy()
    out, (h, w) = np.empty_like(shown), shown.shape[-2:]
    _soften(shown.reshape(-1, h, w), source, out.reshape(-1, h, w))
    return torch.from_numpy(out).to(planes.device, planes.dtype)


@njit(cache=KEPT, nogil=True)
def _soften(planes: Floats, source: int, out: Floats) -> None:
    """As ``smoothed``, whole planes [n,h,w] of samples in 0..1, edges repeated: out, levels / 255.

    In floats, which hold these integers and are found many at a time.
    """
    _, h, w = planes.shape
    wide, across = np.empty(w + 2 * REACH, np.float32), np.empty((2 * REACH + 1, w), np.float32)
    for n in range(len(planes)):
        for y in range(-REACH, h + REACH):
            row, line = planes[n, min(max(y, 0), h - 1)], wide[REACH : REACH + w]
            for c in range(w):
                line[c] = np.int32(row[c] * _TOP + np.float32(0.5))
            wide[:REACH], wide[REACH + w :] = line[0], line[w - 1]
            to = across[(y + REACH) % len(across)]
            _binomial(wide[:w], wide[1:], wide[2:], line, wide[4:], wide[5:], wide[6:], source, to)
            if y < REACH:
                continue
            first, goal = y + 4, out[n, y - REACH]  # of the seven rows around it, the oldest
            s, t, u = across[first % 7], across[(first + 1) % 7], across[(first + 2) % 7]
            x, z = across[(first + 4) % 7], across[(first + 6) % 7]
            _binomial(s, t, u, across[(first + 3) % 7], x, across[(first + 5) % 7], z, source, goal)
            for c in range(w):
                goal[c] = np.float32(np.int32((goal[c] + np.float32(2048.0)) * np.float32(1 / 4096))) / _TOP


@njit(cache=KEPT, nogil=True, forceinline=True)
def _binomial(
    s: Floats, t: Floats, u: Floats, v: Floats, x: Floats, y: Floats, z: Floats, source: int, out: Floats
) -> None:
    """TAPS of a source times what lies three before to three after."""
    if source == SOFT:
        for c in range(len(out)):
            out[c] = np.float32(32.0) * v[c] + np.float32(16.0) * (u[c] + x[c])
    else:
        for c in range(len(out)):
            near = np.float32(20.0) * v[c] + np.float32(15.0) * (u[c] + x[c])
            out[c] = near + np.float32(6.0) * (t[c] + y[c]) + (s[c] + z[c])


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
