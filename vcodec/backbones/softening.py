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

__all__ = ["REACH", "choose_sources", "smoothed", "softened"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

REACH = 3  # samples that the filters read on each side
_PRIOR = (2.5, 0.5, 0.15, 0.15)  # of each source, beside its four neighbours': what it costs to send one
_BITS = np.array([[math.log2((4 + sum(_PRIOR)) / (n + p)) for n in range(5)] for p in _PRIOR])
_LITTLE = 3.0  # bits: what costs no more to code is left as it is
_TURNS = 2


@njit(cache=KEPT, nogil=True)
def _smooth(plane: Bytes, at: int, pitch: int, shape: tuple[int, int], source: int, out: Bytes) -> None:
    """A part of a flat plane, smoothed; out flat.  at: where it begins, with REACH samples around it."""
    rows, cols = shape
    across = np.empty((rows + 2 * REACH, cols), np.int32)
    for r in range(rows + 2 * REACH):
        begin = at + (r - REACH) * pitch
        for c in range(cols):
            i = begin + c
            middle, near = np.int32(plane[i]), np.int32(plane[i - 1]) + np.int32(plane[i + 1])
            if source == SOFT:
                across[r, c] = 32 * middle + 16 * near
            else:
                far = np.int32(plane[i - 2]) + np.int32(plane[i + 2])
                end = np.int32(plane[i - 3]) + np.int32(plane[i + 3])
                across[r, c] = 20 * middle + 15 * near + 6 * far + end
    for r in range(rows):
        for c in range(cols):
            middle, near = across[r + 3, c], across[r + 2, c] + across[r + 4, c]
            if source == SOFT:
                total = 32 * middle + 16 * near
            else:
                total = 20 * middle + 15 * near + 6 * (across[r + 1, c] + across[r + 5, c])
                total += across[r, c] + across[r + 6, c]
            out[r * cols + c] = (total + 2048) >> 12


@njit(cache=KEPT, nogil=True)
def smoothed(plane: Bytes, at: int, pitch: int, side: int, source: int, out: Bytes) -> None:
    """A square block of a flat plane, as SOFT or BLURRED would have it; out [side²]."""
    _smooth(plane, at, pitch, (side, side), source, out)


def softened(planes: tuple[Tensor, Tensor], source: int) -> tuple[Tensor, Tensor]:
    """Planes [B,1,H,W], [B,2,H/2,W/2] in 0..1 of the last frame -> of SOFT or BLURRED."""
    luma, chroma = (_softened(p, source) for p in planes)
    return luma, chroma


def _softened(planes: Tensor, source: int) -> Tensor:
    levels = planes.mul(255.0).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()
    wide = np.pad(levels, ((0, 0), (0, 0), (REACH, REACH), (REACH, REACH)), mode="edge")
    out = np.empty(levels.shape, np.uint8)
    (high, pitch), (h, w) = wide.shape[-2:], levels.shape[-2:]
    for plane, to in zip(wide.reshape(-1, high * pitch), out.reshape(-1, h * w), strict=True):
        _smooth(plane, REACH * pitch + REACH, pitch, (h, w), source, to)
    return torch.from_numpy(out).to(planes.device, planes.dtype).div_(255.0)


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
            plain = coded(here, there, sizes, y, x, at, np.inf, measure)
            costs[LAST, y, x] = plain
            for source in (SOFT, BLURRED):
                costs[source, y, x] = np.inf
                if plain > _LITTLE * measure[1]:
                    smoothed(there, at, sizes[4], 16, source, patch)
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
