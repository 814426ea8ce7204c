"""Motion compensation, compiled for this CPU: tensor operations are slower, memory being slower than arithmetic.

Its twin in tensors (compensation.py) serves training and other devices, and gives the same values; a test compares the
two.  Numba compiles at the first call on a machine and keeps the result beside this file
(or in its cache folder), and lets go of Python's lock while a loop runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from vcodec import lanes
from vcodec.loops import KEPT

__all__ = ["compilable", "overlapped"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Count = tuple[int, ...]
_EIGHT, _FOUR, _TWO = (0,) * 8, (0,) * 4, (0,) * 2  # their lengths are known where loops are compiled


def compilable(*planes: Tensor) -> bool:
    """Whether these loops serve such planes: here, in single precision, without gradients."""
    grad = torch.is_grad_enabled()
    return all(p.device.type == "cpu" and p.dtype == torch.float32 and not (grad and p.requires_grad) for p in planes)


@njit(cache=KEPT, nogil=True)
def _around(flat: Floats, begin: int, h: int, w: int, top: int, left: int, size: int, out: Floats) -> None:
    """A patch of size×size samples of the plane [h,w] that begins somewhere beside flat: out, edges repeated."""
    for r in range(size):
        row = begin + min(max(top + r, 0), h - 1) * w
        for c in range(size):
            out[r * size + c] = flat[np.uint64(row + min(max(left + c, 0), w - 1))]  # not from the end, if below 0


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
    flat: Floats,
    begins: Ints,
    vectors: Ints,
    source: Ints,
    taps: Floats,
    weights: Floats,
    out: Floats,
    whole: Count,
    part: Count,
) -> None:
    """Planes flat, begins [S], vectors [B,2,h,w], source [B,h,w], taps [phases,block], weights [half,block].

    flat is the first reference, from which the others begin so many samples away, wherever they lie in memory: planes
    [n·B,H,W], as out, n of them under one vector.
    """
    block, half, phases = len(whole), len(part), 32 // len(whole)
    batch, high, width = out.shape
    h, w = source.shape[1:]
    flat_taps, shown = taps.reshape(-1), out.reshape(-1)
    reach = 2 * half - 1  # samples around a patch that its filters read: half − 1 before, half after
    work, own, beside, edge = (
        np.empty(2 * block * block, np.float32),
        np.empty(block * block, np.float32),
        np.empty(block * block, np.float32),
        np.empty((block + reach) * (block + reach), np.float32),
    )
    edge_begins = (edge.ctypes.data - flat.ctypes.data) // 4
    # what the blocks above, below, left and right weigh: of the half that lies beside them
    shares = np.empty((4, block * block), np.float32)
    for r in range(half):
        for c in range(block):
            shares[0, r * block + c], shares[1, r * block + c] = weights[r, c], weights[half - 1 - r, c]
            shares[2, c * block + r], shares[3, c * block + r] = weights[r, c], weights[half - 1 - r, c]
    share = shares.reshape(-1)
    for plane in range(batch):
        b = plane * len(source) // batch
        for y in range(h):
            for x in range(w):
                dy, dx, s = vectors[b, 0, y, x], vectors[b, 1, y, x], source[b, y, x]
                goal = (plane * high + y * block) * width + x * block
                for side in range(-1, 4):
                    ny = y + (2 * side - 1 if 0 <= side < 2 else 0)
                    nx = x + (2 * side - 5 if side >= 2 else 0)
                    if ny < 0 or nx < 0 or ny >= h or nx >= w:
                        continue
                    oy, ox, o = vectors[b, 0, ny, nx], vectors[b, 1, ny, nx], source[b, ny, nx]
                    if side >= 0 and oy == dy and ox == dx and o == s:
                        continue
                    far, narrow = (side & 1) * half, side >= 2
                    rows = half if side == 0 or side == 1 else block
                    top, left = y * block + oy // phases, x * block + ox // phases
                    if side < 0:
                        far = 0
                    elif narrow:
                        left += far
                    else:
                        top += far
                    at, pitch = begins[o] + plane * high * width, width
                    if (
                        top < half - 1
                        or left < half - 1
                        or top + rows + half > high
                        or left + (half if narrow else block) + half > width
                    ):
                        pitch = block + reach
                        _around(flat, at, high, width, top - half + 1, left - half + 1, pitch, edge)
                        at = edge_begins + (half - 1) * (pitch + 1)
                    else:
                        at += top * width + left
                    _read(flat, at, pitch, oy % phases, ox % phases, rows, narrow, flat_taps, work, beside, whole, part)
                    if side < 0:
                        for r in range(block):
                            lanes.copy(own, r * block, beside, r * block, whole)
                            lanes.copy(shown, goal + r * width, beside, r * block, whole)
                    elif narrow:
                        for r in range(block):
                            i, j, k = goal + r * width + far, r * block + far, side * block * block + r * block
                            lanes.blend(shown, i, own, j, beside, r * block, share, k, part)
                    else:
                        for r in range(half):
                            i, j, k = goal + (far + r) * width, (far + r) * block, side * block * block + r * block
                            lanes.blend(shown, i, own, j, beside, r * block, share, k, whole)


@njit(cache=KEPT, nogil=True)
def _overlap_luma(
    flat: Floats, begins: Ints, vectors: Ints, source: Ints, taps: Floats, weights: Floats, out: Floats
) -> None:
    _overlap(flat, begins, vectors, source, taps, weights, out, _EIGHT, _FOUR)


@njit(cache=KEPT, nogil=True)
def _overlap_chroma(
    flat: Floats, begins: Ints, vectors: Ints, source: Ints, taps: Floats, weights: Floats, out: Floats
) -> None:
    _overlap(flat, begins, vectors, source, taps, weights, out, _FOUR, _TWO)


def overlapped(
    planes: Sequence[Floats], vectors: Ints, source: Ints, taps: Floats, weights: Floats, out: Floats
) -> None:
    """Blocks of references [n·B,H,W], each by its vector [B,2,h,w] in 1/len(taps) samples: out [n·B,H,W].

    source [B,h,w]: which reference; taps [phases,block]; weights [block/2,block] of the block above.
    """
    begins = np.array([(plane.ctypes.data - planes[0].ctypes.data) // 4 for plane in planes])
    loop = _overlap_luma if taps.shape[1] == len(_EIGHT) else _overlap_chroma
    loop(planes[0].reshape(-1), begins, vectors, source, taps, weights, out)
