"""The golden frame: an older one of high quality, as a second reference, compiled for this CPU.

The golden frame is the last frame but one of a cascade's finest, every eighth of a GOP.  Where a block was in it is
known: its own vector leads to the last frame, and what that place was made of leads on.  So a block that is predicted
from the golden frame needs to say only that it is, and a small correction of where.

coarse [5,h,w] of 16×16 blocks: vector (dy, dx) to the last frame, source, correction (dy, dx) of where in the golden
frame.  All in quarter samples, multiples of the frame's grain.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec.backbones import differences
from vcodec.backbones.costs import inside, place_of
from vcodec.backbones.settling import CODING
from vcodec.grain import RANGE
from vcodec.loops import KEPT
from vcodec.sources import BOTH, GOLDEN, LAST, MEMORY

__all__ = ["choose_sources", "followed", "mixed", "trailed"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

_FARTHEST = 1020  # quarter samples, of a vector into the golden frame
_SAME, _STILL = 0.3, 0.7  # about what a source costs, and a component of a correction that is zero; bits
_OTHER = (5.0, 2.5, 1.2)  # a source by how many of the blocks above and to the left have it
_NEAR = 1.15  # times what the last frame misses, in plain differences: what may still cost less when coded
_TURNS = 5  # around a place in the golden frame
_RING = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)])


@njit(cache=KEPT, nogil=True)
def _led(coarse: Ints, trail: Ints, y: int, x: int) -> tuple[int, int]:
    """Where in the golden frame the block at (y, x) was, by its vector and the trail of what is there."""
    h, w = coarse.shape[1:]
    dy, dx = coarse[0, y, x], coarse[1, y, x]
    by, bx = min(max((64 * y + 32 + dy) >> 6, 0), h - 1), min(max((64 * x + 32 + dx) >> 6, 0), w - 1)
    return dy + trail[0, by, bx], dx + trail[1, by, bx]


@njit(cache=KEPT, nogil=True)
def _follow(coarse: Ints, trail: Ints, out: Ints) -> None:
    """coarse [5,h,w] and trail [2,h,w], which leads from the last frame's blocks to the golden frame -> out [5,h,w].

    out: as coarse, with the vector into the golden frame in place of its correction (0 where it is not used).
    """
    for y in range(coarse.shape[1]):
        for x in range(coarse.shape[2]):
            out[:3, y, x], out[3:, y, x] = coarse[:3, y, x], 0
            if coarse[2, y, x] >= BOTH:
                dy, dx = _led(coarse, trail, y, x)
                out[3, y, x] = min(max(dy + coarse[3, y, x], -_FARTHEST), _FARTHEST)
                out[4, y, x] = min(max(dx + coarse[4, y, x], -_FARTHEST), _FARTHEST)


@njit(cache=KEPT, nogil=True)
def _handed_on(coarse: Ints, trail: Ints, renewed: bool, out: Ints) -> None:
    """The trail out [2,h,w] of a frame's own blocks; renewed: the last frame is golden from now on."""
    for y in range(coarse.shape[1]):
        for x in range(coarse.shape[2]):
            dy, dx = coarse[0, y, x], coarse[1, y, x]
            if coarse[2, y, x] == MEMORY:
                dy, dx = 0, 0
            elif not renewed:
                dy, dx = _led(coarse, trail, y, x)
                if coarse[2, y, x] >= BOTH:
                    dy, dx = dy + coarse[3, y, x], dx + coarse[4, y, x]
            out[0, y, x] = min(max(dy, -_FARTHEST), _FARTHEST)
            out[1, y, x] = min(max(dx, -_FARTHEST), _FARTHEST)


def followed(coarse: Tensor, trail: Tensor) -> Tensor:
    """coarse [B,5,h,w] under trails [B,2,h,w]: with vectors into the golden frame, 0 where there are none."""
    if not (coarse[:, 2] >= BOTH).any():
        return coarse
    out = np.empty(coarse.shape, np.int64)
    for one, way, to in zip(coarse.cpu().numpy(), trail.cpu().numpy(), out, strict=True):
        _follow(one, way, to)
    return torch.from_numpy(out).to(coarse.device)


def trailed(coarse: Tensor, trail: Tensor, renewed: bool) -> Tensor:
    """The trails [B,2,h,w] after a frame; renewed: the frame before it is golden from now on."""
    out = np.empty(trail.shape, np.int64)
    for one, way, to in zip(coarse.cpu().numpy(), trail.cpu().numpy(), out, strict=True):
        _handed_on(one, way, renewed, to)
    return torch.from_numpy(out).to(coarse.device)


@njit(cache=KEPT, nogil=True, forceinline=True)
def _bits(delta: int) -> float:
    """Of a component of a correction, in grains."""
    return _STILL if delta == 0 else 2.5 + 2.0 * np.log2(abs(delta))


@njit(cache=KEPT, nogil=True, forceinline=True)
def _place(shape: tuple[int, int, int], size: tuple[int, int], y: int, x: int, dy: int, dx: int) -> int:
    return place_of(16 * y, 16 * x, inside(dy, 16 * y, size[0], 16), inside(dx, 16 * x, size[1], 16), shape)


@njit(cache=KEPT, nogil=True)
def mixed(one: Bytes, at: int, other: Bytes, there: int, pitch: int, side: int, out: Bytes) -> None:
    """The mean of two blocks of flat planes, out [side²]."""
    for r in range(side):
        a, b = at + r * pitch, there + r * pitch
        for c in range(side):
            out[side * r + c] = (np.int32(one[a + c]) + np.int32(other[b + c]) + 1) >> 1


@njit(cache=KEPT, nogil=True, forceinline=True)
def _coded(
    here: Bytes, at: int, there: Bytes, moved: int, pitch: int, wide: int, measure: tuple[float, float], most: float
) -> float:
    """What coding a 16×16 block's differences costs, or what half of them does where that is more than ``most``."""
    half = measure[1] * differences.coded_16x8(here, at, there, moved, pitch, wide, measure[0])
    if half >= most:
        return float(half)
    at, moved = at + 8 * pitch, moved + 8 * wide
    return float(half + measure[1] * differences.coded_16x8(here, at, there, moved, pitch, wide, measure[0]))


@njit(cache=KEPT, nogil=True)
def choose_sources(
    now: Bytes,
    last: Bytes,
    golden: Bytes,
    coarse: Ints,
    trail: Ints,
    matched: Ints,
    price: float,
    grain: int,
    unit: float,
) -> None:
    """Which blocks of coarse [5,h,w] that come from the last frame had better come from the golden one, or both.

    last, golden: planes at every quarter sample; price: sum of absolute differences that a bit is worth; unit: as
    unit_of says.
    """
    h, w = coarse.shape[1:]
    size, pitch, measure = now.shape, last.shape[2], (unit, CODING * price)
    here, there, older = now.reshape(-1), last.reshape(-1), golden.reshape(-1)
    limit = (RANGE >> grain) << grain
    mean, bids, places = np.empty(256, np.uint8), np.zeros((13, 2), np.int64), np.zeros((2, h, w), np.int64)
    for y in range(h):
        for x in range(w):
            if coarse[2, y, x] == MEMORY:
                continue
            begins = 16 * (y * size[1] + x)
            up, left = coarse[2, y - 1, x] if y else LAST, coarse[2, y, x - 1] if x else LAST
            at = _place(last.shape, size, y, x, coarse[0, y, x], coarse[1, y, x])
            most = _coded(here, begins, there, at, size[1], pitch, measure, np.inf)
            most += price * (_SAME if up == LAST and left == LAST else 1.0)
            enough = _NEAR * differences.plain_16(here, begins, there, at, size[1], pitch, 2)
            gy, gx = _led(coarse, trail, y, x)
            found, fy, fx = LAST, 0, 0
            for source in (GOLDEN, BOTH):
                said = price * _OTHER[(up == source) + (left == source)]
                cy, cx, scale, turns = fy, fx, 2 << grain, 0
                bids[0, 0], bids[0, 1], bids[1, 0], bids[1, 1] = 0, 0, fy, fx
                bids[2, 0], bids[2, 1] = (
                    ((matched[0, y, x] - gy) >> grain) << grain,
                    ((matched[1, y, x] - gx) >> grain) << grain,
                )
                for i in range(2):  # where the blocks above and to the left came from
                    ny, nx = (max(y - 1, 0), x) if i == 0 else (y, max(x - 1, 0))
                    bids[3 + i, 0] = ((places[0, ny, nx] - gy) >> grain) << grain
                    bids[3 + i, 1] = ((places[1, ny, nx] - gx) >> grain) << grain
                while turns < _TURNS:
                    oy, ox, better = cy, cx, False
                    for i in range(-5 if turns == 0 else 0, 8):
                        dy, dx = bids[i + 5, 0], bids[i + 5, 1]
                        if i >= 0:
                            dy, dx = oy + scale * _RING[i, 0], ox + scale * _RING[i, 1]
                        if abs(dy) > limit or abs(dx) > limit:
                            continue
                        cost = said + price * (_bits(dy >> grain) + _bits(dx >> grain))
                        if cost >= most:
                            continue
                        shown, to, wide = older, _place(golden.shape, size, y, x, gy + dy, gx + dx), pitch
                        if source == BOTH:
                            mixed(there, at, older, to, pitch, 16, mean)
                            shown, to, wide = mean, 0, 16
                        if differences.plain_16(here, begins, shown, to, size[1], wide, 2) > enough:
                            continue
                        cost += _coded(here, begins, shown, to, size[1], wide, measure, most - cost)
                        if cost < most:
                            most, found, cy, cx, better = cost, source, dy, dx, True
                    turns += 1
                    if not better:
                        if scale == 1 << grain:
                            break
                        scale >>= 1
                fy, fx = cy, cx
            coarse[2, y, x] = found
            places[0, y, x], places[1, y, x] = gy, gx
            if found != LAST:
                coarse[3, y, x], coarse[4, y, x] = fy, fx
                places[0, y, x], places[1, y, x] = gy + fy, gx + fx
