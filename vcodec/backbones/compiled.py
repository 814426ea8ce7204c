"""Motion compensation, compiled for this CPU: tensor operations are slower, memory being slower than arithmetic.

Its twin in tensors (compensation.py) serves training and other devices, and gives the same values; a test compares the
two.  Numba compiles at the first call on a machine and keeps the result beside this file
(or in its cache folder), and lets go of Python's lock while a loop runs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec import lanes
from vcodec.loops import KEPT

__all__ = ["OVERLAPPED", "compilable", "widen"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Count = tuple[int, ...]
_EIGHT, _FOUR, _TWO = (0,) * 8, (0,) * 4, (0,) * 2  # their lengths are known where loops are compiled


def compilable(*planes: Tensor) -> bool:
    """Whether these loops serve such planes: here, in single precision, without gradients."""
    grad = torch.is_grad_enabled()
    return all(p.device.type == "cpu" and p.dtype == torch.float32 and not (grad and p.requires_grad) for p in planes)


@njit(cache=KEPT, nogil=True)
def widen(planes: Floats, pad: int, out: Floats) -> None:
    """Planes [B,H,W] with their edges repeated: out [B,H+2·pad,W+2·pad]."""
    batch, h, w = planes.shape
    for b in range(batch):
        for y in range(h + 2 * pad):
            given, row = planes[b, min(max(y - pad, 0), h - 1)], out[b, y]
            row[:pad] = given[0]
            row[pad : pad + w] = given
            row[pad + w :] = given[w - 1]


@njit(cache=KEPT, nogil=True, forceinline=True)
def _read(
    flat: Floats,
    at: int,
    pitch: int,
    dy: int,
    dx: int,
    rows: int,
    narrow: bool,
    taps: Floats,
    work: Floats,
    out: Floats,
    whole: Count,
    part: Count,
) -> None:
    """A patch of a padded plane, displaced by a phase, half as wide if narrow; the filter across goes first."""
    block, before = len(whole), len(part) - 1
    high, first = rows, at
    if dy:
        high, first = rows + block - 1, at - before * pitch
    for r in range(high):
        if narrow:
            if dx and dy:
                lanes.sum_taps(work, r * block, flat, first - before, taps, dx * block, 1, whole, part)
            elif dx:
                lanes.sum_taps(out, r * block, flat, first - before, taps, dx * block, 1, whole, part)
            elif dy:
                lanes.copy(work, r * block, flat, first, part)
            else:
                lanes.copy(out, r * block, flat, first, part)
        elif dx and dy:
            lanes.sum_taps(work, r * block, flat, first - before, taps, dx * block, 1, whole, whole)
        elif dx:
            lanes.sum_taps(out, r * block, flat, first - before, taps, dx * block, 1, whole, whole)
        elif dy:
            lanes.copy(work, r * block, flat, first, whole)
        else:
            lanes.copy(out, r * block, flat, first, whole)
        first += pitch
    if dy:
        for r in range(rows):
            if narrow:
                lanes.sum_taps(out, r * block, work, r * block, taps, dy * block, block, whole, part)
            else:
                lanes.sum_taps(out, r * block, work, r * block, taps, dy * block, block, whole, whole)


@njit(cache=KEPT, nogil=True, forceinline=True)
def _overlap(
    planes: Floats,
    pad: int,
    vectors: Ints,
    source: Ints,
    taps: Floats,
    weights: Floats,
    out: Floats,
    whole: Count,
    part: Count,
) -> None:
    """Planes [S,B,Hp,Wp], vectors [B,2,h,w], source [B,h,w], taps [phases,block], weights [half,block]."""
    block, half, phases = len(whole), len(part), 32 // len(whole)
    batch, h, w = source.shape
    pitch, width = planes.shape[3], w * block
    size = planes.shape[2] * pitch
    flat, flat_taps, shown = planes.reshape(-1), taps.reshape(-1), out.reshape(-1)
    work, own, beside = (
        np.empty(2 * block * block, np.float32),
        np.empty(block * block, np.float32),
        np.empty(block * block, np.float32),
    )
    # what the blocks above, below, left and right weigh: of the half that lies beside them
    shares = np.empty((4, block * block), np.float32)
    for r in range(half):
        for c in range(block):
            shares[0, r * block + c], shares[1, r * block + c] = weights[r, c], weights[half - 1 - r, c]
            shares[2, c * block + r], shares[3, c * block + r] = weights[r, c], weights[half - 1 - r, c]
    share = shares.reshape(-1)
    for b in range(batch):
        for y in range(h):
            for x in range(w):
                place = (y * block + pad) * pitch + x * block + pad
                dy, dx, s = vectors[b, 0, y, x], vectors[b, 1, y, x], source[b, y, x]
                at = (s * batch + b) * size + place + dy // phases * pitch + dx // phases
                _read(flat, at, pitch, dy % phases, dx % phases, block, False, flat_taps, work, own, whole, part)
                goal = (b * h * block + y * block) * width + x * block
                for r in range(block):
                    lanes.copy(shown, goal + r * width, own, r * block, whole)
                for side in range(4):
                    ny = y + (2 * side - 1 if side < 2 else 0)
                    nx = x + (0 if side < 2 else 2 * side - 5)
                    if ny < 0 or nx < 0 or ny >= h or nx >= w:
                        continue
                    oy, ox, o = vectors[b, 0, ny, nx], vectors[b, 1, ny, nx], source[b, ny, nx]
                    if oy == dy and ox == dx and o == s:
                        continue
                    far = side % 2 * half
                    at = (o * batch + b) * size + place + oy // phases * pitch + ox // phases
                    if side < 2:
                        at += far * pitch
                        _read(
                            flat, at, pitch, oy % phases, ox % phases, half, False, flat_taps, work, beside, whole, part
                        )
                        for r in range(half):
                            i, j, k = goal + (far + r) * width, (far + r) * block, side * block * block + r * block
                            lanes.blend(shown, i, own, j, beside, r * block, share, k, whole)
                    else:
                        at += far
                        _read(
                            flat, at, pitch, oy % phases, ox % phases, block, True, flat_taps, work, beside, whole, part
                        )
                        for r in range(block):
                            i, j, k = goal + r * width + far, r * block + far, side * block * block + r * block
                            lanes.blend(shown, i, own, j, beside, r * block, share, k, part)


@njit(cache=KEPT, nogil=True)
def _overlap_luma(
    planes: Floats, pad: int, vectors: Ints, source: Ints, taps: Floats, weights: Floats, out: Floats
) -> None:
    _overlap(planes, pad, vectors, source, taps, weights, out, _EIGHT, _FOUR)


@njit(cache=KEPT, nogil=True)
def _overlap_chroma(
    planes: Floats, pad: int, vectors: Ints, source: Ints, taps: Floats, weights: Floats, out: Floats
) -> None:
    _overlap(planes, pad, vectors, source, taps, weights, out, _FOUR, _TWO)


OVERLAPPED = {8: _overlap_luma, 4: _overlap_chroma}
