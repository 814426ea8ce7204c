"""The golden frame: an older one of high quality, as a second reference, compiled for this CPU.

The golden frame is the last frame but one of a cascade's finest, every eighth of a GOP.  Where a block was in it is
known: its own vector leads to the last frame, and what that place was made of leads on.  So a block that is predicted
from the golden frame needs to say only that it is, and a small correction of where.

coarse [5,h,w] of 16×16 blocks: vector (dy, dx) to the last frame, source, correction (dy, dx) of where in the golden
frame.  All in quarter samples, multiples of the frame's grain.  A block from the golden frame alone sends no vector to
the last one: the trail, and how the last frame moved there, say where it is looked for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec.backbones import differences
from vcodec.backbones.costs import bits_of, inside, place_of, surroundings
from vcodec.backbones.matching import VECTORS
from vcodec.backbones.settling import CODING
from vcodec.grain import RANGE
from vcodec.loops import KEPT
from vcodec.sources import BOTH, GOLDEN, LAST, MEMORY

__all__ = ["choose_sources", "followed", "handed_on", "mixed"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

_FARTHEST = 1020  # quarter samples, of a vector into the golden frame
_SAME, _STILL = 0.3, 0.7  # about what a source costs, and a component of a correction that is zero; bits
_OTHER = (5.0, 2.5, 1.2)  # a source by how many of the blocks above and to the left have it
_NEAR = 1.15  # times what the last frame misses, in plain differences: what may still cost less when coded
_TURNS = 5  # around a place in the golden frame
_RING = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)])


@njit(cache=KEPT, nogil=True)
def _led(coarse: Ints, source: int, way: Ints, y: int, x: int) -> tuple[int, int]:
    """Where in the golden frame the block at (y, x) was, by its vector and the trail of what is there.

    way [4,h,w]: the trail of the last frame's blocks to the golden frame, and their vectors.
    """
    h, w = coarse.shape[1:]
    if source == GOLDEN:
        return way[0, y, x] + way[2, y, x], way[1, y, x] + way[3, y, x]
    dy, dx = coarse[0, y, x], coarse[1, y, x]
    by, bx = min(max((64 * y + 32 + dy) >> 6, 0), h - 1), min(max((64 * x + 32 + dx) >> 6, 0), w - 1)
    return dy + way[0, by, bx], dx + way[1, by, bx]


@njit(cache=KEPT, nogil=True)
def _follow(coarse: Ints, way: Ints, out: Ints) -> None:
    """As followed, of one picture."""
    for y in range(coarse.shape[1]):
        for x in range(coarse.shape[2]):
            out[:3, y, x], out[3:, y, x] = coarse[:3, y, x], 0
            if coarse[2, y, x] >= BOTH:
                dy, dx = _led(coarse, coarse[2, y, x], way, y, x)
                out[3, y, x] = min(max(dy + coarse[3, y, x], -_FARTHEST), _FARTHEST)
                out[4, y, x] = min(max(dx + coarse[4, y, x], -_FARTHEST), _FARTHEST)


@njit(cache=KEPT, nogil=True)
def _hand_on(coarse: Ints, way: Ints, renewed: bool, out: Ints) -> None:
    """As handed_on, of one picture."""
    for y in range(coarse.shape[1]):
        for x in range(coarse.shape[2]):
            source = coarse[2, y, x]
            vy, vx = coarse[0, y, x], coarse[1, y, x]
            if source == GOLDEN:
                vy, vx = way[2, y, x], way[3, y, x]
            dy, dx = vy, vx
            if not renewed and source != MEMORY:
                dy, dx = _led(coarse, source, way, y, x)
                if source >= BOTH:
                    dy, dx = dy + coarse[3, y, x], dx + coarse[4, y, x]
            out[0, y, x] = min(max(dy, -_FARTHEST), _FARTHEST)
            out[1, y, x] = min(max(dx, -_FARTHEST), _FARTHEST)
            out[2, y, x], out[3, y, x] = vy, vx


def followed(coarse: Tensor, way: Tensor) -> Tensor:
    """coarse [B,5,h,w] under ways [B,4,h,w]: with vectors into the golden frame, 0 where there are none."""
    if not (coarse[:, 2] >= BOTH).any():
        return coarse
    out = np.empty(coarse.shape, np.int64)
    for one, led, to in zip(coarse.cpu().numpy(), way.cpu().numpy(), out, strict=True):
        _follow(one, led, to)
    return torch.from_numpy(out).to(coarse.device)


def handed_on(coarse: Tensor, way: Tensor, renewed: bool) -> Tensor:
    """The ways [B,4,h,w] after a frame; renewed: the frame before it is golden from now on.

    A way is where blocks of the last frame were in the golden one, and their own vectors.
    """
    out = np.empty(way.shape, np.int64)
    for one, led, to in zip(coarse.cpu().numpy(), way.cpu().numpy(), out, strict=True):
        _hand_on(one, led, renewed, to)
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
    past: Ints,
    way: Ints,
    matched: Ints,
    price: float,
    grain: int,
    unit: float,
) -> None:
    """Which blocks of coarse [5,h,w] that come from the last frame had better come from the golden one, or both.

    last, golden: planes at every quarter sample; past [2,h,w]: the last frame's vectors, or what none is equal to;
    matched [2,h,w]: vectors into the golden frame that may serve; price: sum of absolute differences that a bit is
    worth; unit: as unit_of says.
    """
    h, w = coarse.shape[1:]
    size, pitch, measure = now.shape, last.shape[2], (unit, CODING * price)
    here, there, older = now.reshape(-1), last.reshape(-1), golden.reshape(-1)
    limit = (RANGE >> grain) << grain
    mean, bids, places = np.empty(256, np.uint8), np.zeros((13, 2), np.int64), np.zeros((2, h, w), np.int64)
    best = coarse[:2].copy()  # a block from the golden frame counts as if it moved as the search has it
    for y in range(h):
        for x in range(w):
            if coarse[2, y, x] == MEMORY:
                continue
            begins = 16 * (y * size[1] + x)
            up, left = coarse[2, y - 1, x] if y else LAST, coarse[2, y, x - 1] if x else LAST
            at = _place(last.shape, size, y, x, coarse[0, y, x], coarse[1, y, x])
            most = _coded(here, begins, there, at, size[1], pitch, measure, np.inf)
            sent = 0.0
            for c in range(2):
                sent += price * VECTORS * bits_of(best[c, y, x], surroundings(best, past, c, y, x, grain), grain)
            most += sent + price * (_SAME if up == LAST and left == LAST else 1.0)
            enough = _NEAR * differences.plain_16(here, begins, there, at, size[1], pitch, 2)
            found, fy, fx = LAST, 0, 0
            for source in (GOLDEN, BOTH):
                gy, gx = _led(coarse, source, way, y, x)
                said = price * _OTHER[(up == source) + (left == source)] + (sent if source == BOTH else 0.0)
                cy, cx, scale, turns = 0, 0, 2 << grain, 0
                bids[0, 0], bids[0, 1] = 0, 0
                for i in range(4):  # where it is matched, where the blocks above, to the left and this came from
                    ny, nx = (max(y - 1, 0), x) if i == 1 else (y, max(x - 1, 0)) if i == 2 else (y, x)
                    sy, sx = (matched[0, y, x], matched[1, y, x]) if i == 0 else (places[0, ny, nx], places[1, ny, nx])
                    bids[1 + i, 0], bids[1 + i, 1] = ((sy - gy) >> grain) << grain, ((sx - gx) >> grain) << grain
                better = False
                while turns < _TURNS:
                    if turns:
                        for i in range(8):
                            bids[i, 0], bids[i, 1] = cy + scale * _RING[i, 0], cx + scale * _RING[i, 1]
                    better = False
                    for i in range(8 if turns else 5):
                        dy, dx = bids[i, 0], bids[i, 1]
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
                            fy, fx, places[0, y, x], places[1, y, x] = dy, dx, gy + dy, gx + dx
                    turns += 1
                    if not better and turns > 1:
                        if scale == 1 << grain:
                            break
                        scale >>= 1
            coarse[2, y, x] = found
            if found == LAST:
                places[0, y, x], places[1, y, x] = _led(coarse, BOTH, way, y, x)
                continue
            coarse[3, y, x], coarse[4, y, x] = fy, fx
            if found == GOLDEN:
                coarse[0, y, x], coarse[1, y, x] = 0, 0
